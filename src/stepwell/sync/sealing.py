"""Turns raw rows into changes: groups, stamps, versions, images; for ``log.seal`` alone.

A transaction has one stamp, of its first row; in a run of foreign transactions each change has its
own, so that a row written in the morning does not count as written when the run ended.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import msgspec
from sqlalchemy import bindparam, select

from stepwell.database.application import RawGroup, RawRow, Value
from stepwell.database.prepared import Prepared
from stepwell.database.shape import TableShape
from stepwell.database.transaction import Transaction
from stepwell.database.types import utc_text
from stepwell.sync.change import (
    NULL,
    Boundary,
    Change,
    Lineage,
    Operation,
    RowKey,
    Values,
    Version,
    encode_values,
    key_text,
    next_causal_length,
    tick,
    version_id,
)
from stepwell.sync.table import fingerprint_of
from stepwell.sync.tables import change_log
from stepwell.sync.versions import alive_keys

if TYPE_CHECKING:
    from stepwell.sync.log import LogWriter

_TX_AT = Prepared(
    select(change_log.c.tx_id, change_log.c.hlc).where(change_log.c.lsn == bindparam("lsn"))
)


class Context(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a transaction of Stepwell's own says to the triggers."""

    tx_id: str
    lineage: Lineage | None = None


_context_decoder = msgspec.json.Decoder(Context)


def encode_context(context: Context) -> str:
    """As the triggers store it."""
    return msgspec.json.encode(context).decode("utf-8")


class Sealer:
    """Seals the groups of one transaction through a log writer."""

    def __init__(
        self, transaction: Transaction, writer: LogWriter, shapes: Mapping[int, TableShape]
    ) -> None:
        self._transaction = transaction
        self._writer = writer
        self._shapes = shapes
        self._fingerprints = {i: fingerprint_of(shape) for i, shape in shapes.items()}
        self._known: dict[RowKey, Version] = {}
        # Of the group at hand.
        self._seq = 0
        self._hlc = 0
        self._tx_id = ""
        self._lineage: Lineage | None = None
        self._boundary: Boundary = "exact"

    def seal(self, groups: Sequence[RawGroup]) -> None:
        """Log them in their order; the last one may stay open."""
        writer = self._writer
        open_key = writer.sealing
        for group in groups:
            if open_key is not None and group.key == open_key:
                self._resume(group)
            else:
                self._begin(group)
            open_key = None
            writer.sealing = None
            logged = writer.last_lsn
            self._known.update(writer.find(self._keys(group)))
            self._rows(group)
            if writer.last_lsn > logged:
                writer.last_seq = self._seq
            if not group.is_whole and writer.last_seq == self._seq:
                writer.sealing = group.key
        if not groups:
            writer.sealing = None  # What was open had come to its end.

    def _begin(self, group: RawGroup) -> None:
        writer = self._writer
        self._seq = writer.last_seq + 1
        self._hlc = 0
        self._boundary = "exact" if group.is_transaction else "sealed"
        self._lineage = None
        self._tx_id = version_id(writer.node.node_id, writer.node.epoch, self._seq)
        if group.context:
            context = _context_decoder.decode(group.context)
            self._tx_id, self._lineage = context.tx_id, context.lineage

    def _resume(self, group: RawGroup) -> None:
        writer = self._writer
        self._begin(group)
        self._seq = writer.last_seq
        row = self._transaction.fetch_one(_TX_AT, {"lsn": writer.last_lsn})
        assert row is not None
        self._tx_id, self._hlc = row

    def _keys(self, group: RawGroup) -> Iterator[RowKey]:
        for row in group.rows:
            shape = self._shapes[row.table_id]
            for image in (row.old, row.new):
                if image is not None:
                    yield RowKey(shape.name, _key(shape, image))

    def _rows(self, group: RawGroup) -> None:
        replaced: RawRow | None = None
        for row in self._in_order(group.rows):
            if row.op == "R":
                replaced = row
            elif row.op == "T":
                self._truncated(row)
            elif replaced is not None and row.op == "I":
                if not _is_same_image(replaced.old, row.new):
                    self._change(row._replace(op="U", old=replaced.old))
                replaced = None
            else:
                self._change(row)

    def _in_order(self, rows: Sequence[RawRow]) -> Iterator[RawRow]:
        """A row that points to itself and changes its key is updated by its own cascade.

        SQLite runs the cascade before the trigger of the change that set it off, so the row is
        updated under a key that nobody has heard of yet: that update is put behind.
        """
        early: dict[RowKey, list[RawRow]] = {}
        for row in rows:
            shape = self._shapes[row.table_id]
            if row.op != "U" or not any(f.parent == shape.name for f in shape.foreign_keys):
                yield row
                continue
            assert row.old is not None
            assert row.new is not None
            old, new = (RowKey(shape.name, _key(shape, image)) for image in (row.old, row.new))
            version = self._known.get(old)
            if old == new and (version is None or not version.is_alive):
                early.setdefault(old, []).append(row)
            else:
                yield row
                yield from early.pop(new, ())
        for late in early.values():
            yield from late

    def _truncated(self, row: RawRow) -> None:
        """TRUNCATE says nothing of the rows: all that are known to be alive are gone."""
        self._writer.flush()
        name = self._shapes[row.table_id].name
        for key, version in list(alive_keys(self._transaction, name)):
            self._known[key] = version
            self._log(row, "D", key, NULL, NULL, None)

    def _change(self, row: RawRow) -> None:
        shape = self._shapes[row.table_id]
        old = None if row.old is None else dict(zip(shape.names, row.old, strict=True))
        new = None if row.new is None else dict(zip(shape.names, row.new, strict=True))
        key = RowKey(shape.name, key_text({k: (old or new or {})[k] for k in shape.key}))
        if new is None:
            before = NULL if old is None else msgspec.Raw(encode_values(old))
            self._log(row, "D", key, NULL, before, None)
            return
        payload = msgspec.Raw(encode_values(new))
        if old is None:
            self._log(row, "I", key, payload, NULL, None)
            return
        changed = {name: value for name, value in old.items() if not is_same(value, new[name])}
        new_key = RowKey(shape.name, key_text({k: new[k] for k in shape.key}))
        self._log(
            row,
            "U",
            key,
            payload,
            msgspec.Raw(encode_values(changed)),
            None if new_key == key else new_key,
        )

    def _log(
        self,
        row: RawRow,
        op: Operation,
        key: RowKey,
        payload: msgspec.Raw,
        before: msgspec.Raw,
        new_key: RowKey | None,
    ) -> None:
        """One change, and the versions that it leaves."""
        writer, known = self._writer, self._known
        at = datetime.fromtimestamp(row.at_ms / 1000, UTC)
        if self._hlc == 0 or self._boundary == "sealed":
            self._hlc = writer.last_hlc = tick(writer.last_hlc, at)
        base, new_base = known.get(key), known.get(new_key) if new_key else None
        authority = self._hlc if writer.node.is_main else _authority(base, new_base)
        last = base.causal_length if base else 0
        new_last = new_base.causal_length if new_base else 0
        change = Change(
            lsn=0,
            tx_id=self._tx_id,
            table_name=key.table_name,
            pk_json=msgspec.Raw(key.pk_json.encode("utf-8")),
            op=op,
            payload=payload,
            before=before,
            tombstone=int(op == "D"),
            created_at=utc_text(at),
            source_node=writer.node.node_id,
            origin=writer.node.node_id,
            epoch=writer.node.epoch,
            seq=self._seq,
            hlc=self._hlc,
            authority=authority,
            base=base.id if base else None,
            # The row of the old key is gone when the change gives it another one.
            causal_length=next_causal_length(last, "D" if new_key else op),
            new_base=new_base.id if new_base else None,
            new_causal_length=next_causal_length(new_last, "I") if new_key else 0,
            boundary=self._boundary,
            schema=self._fingerprints[row.table_id],
            lineage=self._lineage,
        )
        writer.add(change)
        known[key] = change.version
        writer.put(key, change.version)
        if new_key is not None:
            known[new_key] = change.new_version
            writer.put(new_key, change.new_version)


def _key(shape: TableShape, image: Sequence[Value]) -> str:
    values: Values = dict(zip(shape.names, image, strict=True))
    return key_text({name: values[name] for name in shape.key})


def _authority(*bases: Version | None) -> int:
    return max((base.authority for base in bases if base is not None), default=0)


def is_same(one: Value, other: Value) -> bool:
    """Whether two values of one database are the same in type and bits."""
    if type(one) is not type(other):
        return False
    if isinstance(one, float):
        return repr(one) == repr(other)
    return one == other


def _is_same_image(one: Sequence[Value] | None, other: Sequence[Value] | None) -> bool:
    if one is None or other is None:
        return False
    return all(map(is_same, one, other))
