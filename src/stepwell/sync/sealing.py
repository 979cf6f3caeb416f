"""Turns raw rows into changes: groups, stamps, versions, images; for ``log.seal`` alone.

A transaction has one stamp, of its first row; in a run of foreign transactions each change has its
own, so that a row written in the morning does not count as written when the run ended.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, NamedTuple

import msgspec
from sqlalchemy import bindparam, select

from stepwell.database.application import RawGroup, RawRow, Value
from stepwell.database.prepared import Prepared
from stepwell.database.shape import TableShape
from stepwell.database.transaction import Transaction
from stepwell.database.types import utc_text
from stepwell.sync.change import (
    COUNTER_BITS,
    Boundary,
    Operation,
    RowKey,
    Version,
    encode_values,
    key_text,
    next_causal_length,
    version_id,
)
from stepwell.sync.columns import encode_stamps, stamps_of, written
from stepwell.sync.lineage import Context, decode_context
from stepwell.sync.mending import Mends
from stepwell.sync.policy import Policy
from stepwell.sync.table import fingerprint_of
from stepwell.sync.tables import change_log
from stepwell.sync.versions import alive_keys

if TYPE_CHECKING:
    from stepwell.sync.log import LogWriter

_TX_AT = Prepared(
    select(change_log.c.tx_id, change_log.c.hlc).where(change_log.c.lsn == bindparam("lsn"))
)


class _Table:
    """What sealing knows of a table by heart."""

    def __init__(self, shape: TableShape, policy: Policy) -> None:
        self.name = shape.name
        self.names = shape.names
        self.fingerprint = fingerprint_of(shape)
        self.shape = shape
        self.policy = policy
        self.points_to_itself = any(f.parent == shape.name for f in shape.foreign_keys)
        self._key_places = [(name, shape.names.index(name)) for name in shape.key]

    def key(self, image: Sequence[Value]) -> RowKey:
        """The key of a row with this image."""
        return RowKey(self.name, key_text({name: image[i] for name, i in self._key_places}))

    def text(self, image: Sequence[Value]) -> str:
        """The whole image as JSON."""
        return encode_values(dict(zip(self.names, image, strict=True))).decode("utf-8")

    def changed(self, old: Sequence[Value], new: Sequence[Value]) -> str:
        """The old values of the columns that differ, as JSON."""
        differing = {
            name: before
            for name, before, after in zip(self.names, old, new, strict=True)
            if before is not after and not is_same(before, after)
        }
        return encode_values(differing).decode("utf-8")


class _Step(NamedTuple):
    """A raw row with its keys."""

    row: RawRow
    table: _Table
    old: RowKey | None
    new: RowKey | None


class Sealer:
    """Seals the groups of one transaction through a log writer."""

    def __init__(
        self,
        transaction: Transaction,
        writer: LogWriter,
        shapes: Mapping[int, TableShape],
        policies: Mapping[int, Policy],
    ) -> None:
        self._transaction = transaction
        self._writer = writer
        self._tables = {i: _Table(shape, policies[i]) for i, shape in shapes.items()}
        self._known: dict[RowKey, Version] = {}
        self._mends = Mends(transaction)
        self._moment = (-1, "")
        # Of the group at hand.
        self._seq = 0
        self._hlc = 0
        self._facts: dict[str, object] = {}
        self._boundary: Boundary = "exact"

    def seal(self, groups: Sequence[RawGroup]) -> None:
        """Log them in their order; the last one may stay open."""
        writer = self._writer
        steps = [[self._step(row) for row in group.rows] for group in groups]
        self._known = writer.find(
            key for each in steps for s in each for key in (s.old, s.new) if key is not None
        )
        open_key, writer.sealing = writer.sealing, None
        for group, each in zip(groups, steps, strict=True):
            self._begin(group, going_on=open_key is not None and group.key == open_key)
            open_key = None
            logged = writer.last_lsn
            self._log_steps(each)
            if writer.last_lsn > logged:
                writer.last_seq = self._seq
            writer.sealing = None
            if not group.is_whole and writer.last_seq == self._seq:
                writer.sealing = group.key
        self._mends.write(list(self._tables))

    def _step(self, row: RawRow) -> _Step:
        table = self._tables[row.table_id]
        old = None if row.old is None else table.key(row.old)
        return _Step(row, table, old, None if row.new is None else table.key(row.new))

    def _begin(self, group: RawGroup, *, going_on: bool) -> None:
        writer, node = self._writer, self._writer.node
        self._seq = writer.last_seq + (0 if going_on else 1)
        self._hlc = 0
        self._boundary = "exact" if group.is_transaction else "sealed"
        context = Context(version_id(node.node_id, node.epoch, self._seq))
        if group.context:
            context = decode_context(group.context)
        if going_on:
            row = self._transaction.fetch_one(_TX_AT, {"lsn": writer.last_lsn})
            assert row is not None
            context, self._hlc = Context(row[0], context.lineage), row[1]
        lineage = context.lineage
        self._facts = {
            "tx_id": context.tx_id,
            "source_node": node.node_id,
            "origin": node.node_id,
            "epoch": node.epoch,
            "seq": self._seq,
            "boundary": self._boundary,
            "lineage": None if lineage is None else msgspec.json.encode(lineage).decode("utf-8"),
            "resolves": None,
            "extra": None,
        }

    def _log_steps(self, steps: Sequence[_Step]) -> None:
        replaced: _Step | None = None
        for step in self._in_order(steps):
            row, table = step.row, step.table
            if row.op == "R":
                replaced = step
            elif row.op == "T":
                self._truncated(step)
            elif row.old is None and row.new is not None and step.new is not None:
                if replaced is None:
                    self._mends.forget(step.new)
                    self._log(step, "I", step.new, table.text(row.new), None, None)
                else:
                    both = step._replace(row=row._replace(old=replaced.row.old))
                    # Its key may be written otherwise, where the column calls both the same.
                    was = replaced.old or step.new
                    self._update(both, both.row.old or (), row.new, was, step.new)
                replaced = None
            elif row.new is None and row.old is not None and step.old is not None:
                self._mends.forget(step.old)
                self._log(step, "D", step.old, None, table.text(row.old), None)
            else:
                assert row.old is not None
                assert row.new is not None
                assert step.old is not None
                assert step.new is not None
                self._update(step, row.old, row.new, step.old, step.new)

    def _in_order(self, steps: Sequence[_Step]) -> Iterator[_Step]:
        """A row that points to itself and changes its key is updated by its own cascade.

        SQLite runs the cascade before the trigger of the change that set it off, so the row is
        updated under a key that nobody has heard of yet: that update is put behind.
        """
        early: dict[RowKey, list[_Step]] = {}
        images: dict[RowKey, Sequence[Value] | None] = {}
        for step in steps:
            old, new = step.old, step.new
            if not step.table.points_to_itself:
                yield step
                continue
            if old is not None and old == new and self._is_early(step, old, images):
                early.setdefault(old, []).append(step)
                continue
            for each in (step, *(early.pop(new, ()) if new is not None else ())):
                if each.old is not None:
                    images[each.old] = None
                if each.new is not None:
                    images[each.new] = each.row.new
                yield each
        for late in early.values():
            yield from late

    def _is_early(
        self, step: _Step, key: RowKey, images: Mapping[RowKey, Sequence[Value] | None]
    ) -> bool:
        """Whether the row under this key is not there yet, or still another one."""
        if key not in images:
            version = self._known.get(key)
            return version is None or not version.is_alive
        there = images[key]
        return there is None or not all(map(is_same, there, step.row.old or ()))

    def _truncated(self, step: _Step) -> None:
        """TRUNCATE says nothing of the rows: all that are known to be alive are gone."""
        self._writer.flush()
        for key, version in list(alive_keys(self._transaction, step.table.name)):
            self._known[key] = version
            self._log(step, "D", key, None, None, None)

    def _update(
        self,
        step: _Step,
        old: Sequence[Value],
        new: Sequence[Value],
        key: RowKey,
        new_key: RowKey,
    ) -> None:
        table = step.table
        if new_key != key:
            self._mends.forget(key)
        elif table.policy.columns:
            new = self._mends.join(table.shape, table.policy, key, old, new)
            step = step._replace(row=step.row._replace(new=new))
        before = step.table.changed(old, new)
        if before != "{}":  # OR REPLACE may put the same row in its place.
            to = None if new_key == key else new_key
            self._log(step, "U", key, step.table.text(new), before, to)

    def _log(
        self,
        step: _Step,
        op: Operation,
        key: RowKey,
        payload: str | None,
        before: str | None,
        new_key: RowKey | None,
    ) -> None:
        """One change, and the versions that it leaves."""
        writer, known = self._writer, self._known
        at_ms = step.row.at_ms
        if self._hlc == 0 or self._boundary == "sealed":
            self._hlc = writer.last_hlc = max(writer.last_hlc + 1, at_ms << COUNTER_BITS)
        base, new_base = known.get(key), known.get(new_key) if new_key else None
        authority = self._hlc if writer.node.is_main else _authority(base, new_base)
        # The row of the old key is gone when the change gives it another one.
        length = next_causal_length(base.causal_length if base else 0, "D" if new_key else op)
        new_length = 0
        node = writer.node
        known[key] = Version(node.node_id, node.epoch, self._seq, self._hlc, length, authority)
        columns = None
        if op == "U" and new_key is None and step.table.policy.rows == "columns":
            columns = self._columns(step, key, base, known[key])
        writer.put(key, known[key], columns)
        if new_key is not None:
            new_length = next_causal_length(new_base.causal_length if new_base else 0, "I")
            known[new_key] = Version(
                node.node_id, node.epoch, self._seq, self._hlc, new_length, authority
            )
            writer.put(new_key, known[new_key])
        writer.add_row(
            {
                **self._facts,
                "table_name": key.table_name,
                "pk_json": key.pk_json,
                "op": op,
                "payload": payload,
                "before": before,
                "tombstone": int(op == "D"),
                "created_at": self._created_at(at_ms),
                "hlc": self._hlc,
                "authority": authority,
                "base": base.id if base else None,
                "causal_length": length,
                "new_base": new_base.id if new_base else None,
                "new_causal_length": new_length,
                "schema": step.table.fingerprint,
            }
        )

    def _columns(self, step: _Step, key: RowKey, base: Version | None, now: Version) -> str:
        """When each column was written; for the policy ``columns``."""
        table, row = step.table, step.row
        old = dict(zip(table.names, row.old or (), strict=True))
        new = dict(zip(table.names, row.new or (), strict=True))
        stamps = stamps_of(self._writer.columns_of(key), base or now, old, table.policy)
        changed = [name for name in table.names if not is_same(old[name], new[name])]
        return encode_stamps(written(table.policy, stamps, changed, now))

    def _created_at(self, at_ms: int) -> str:
        if self._moment[0] != at_ms:
            self._moment = at_ms, utc_text(datetime.fromtimestamp(at_ms / 1000, UTC))
        return self._moment[1]


def _authority(*bases: Version | None) -> int:
    return max((base.authority for base in bases if base is not None), default=0)


def is_same(one: Value, other: Value) -> bool:
    """Whether two values of one database are the same in type and bits."""
    if type(one) is not type(other):
        return False
    if isinstance(one, float):
        return repr(one) == repr(other)
    return one == other
