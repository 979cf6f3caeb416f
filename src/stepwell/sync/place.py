"""Places the changes of one group: fast-forward, duplicate, same values, conflict.

Nothing is final until the group's savepoint is released: versions, conflicts and what this node
decided by itself are collected here, and written by whoever releases it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import msgspec
from sqlalchemy import bindparam, select

from stepwell.database.prepared import Prepared
from stepwell.sync.change import (
    Change,
    Operation,
    RowKey,
    Values,
    Version,
    decode_values,
    next_causal_length,
    parse_version_id,
    version_id,
)
from stepwell.sync.columns import encode_stamps, stamps_of, written
from stepwell.sync.conflict import NewConflict
from stepwell.sync.family import Family
from stepwell.sync.identity import merge_rows, with_kept
from stepwell.sync.moving import move
from stepwell.sync.own_group import OwnGroup
from stepwell.sync.place_columns import place_columns
from stepwell.sync.policy import Policy, Side, decide, find_resolver
from stepwell.sync.rows import CannotHold, holds, insert_row, read_row, update_row
from stepwell.sync.scene import CannotPlace, Scene
from stepwell.sync.table import TrackedTable
from stepwell.sync.tables import change_log
from stepwell.sync.touched import Token, names_of, row_key
from stepwell.sync.uniques import settle
from stepwell.sync.unspoken import is_apart

ANCESTORS_MAX = 10_000  # Of a row, looked at one by one, when a late change meets its descendant.

_c = change_log.c
_WRITE_OF_ROW = Prepared(
    select(_c.base, _c.resolves).where(
        _c.origin == bindparam("origin"),
        _c.epoch == bindparam("epoch"),
        _c.seq == bindparam("seq"),
        _c.table_name == bindparam("table_name"),
        _c.pk_json == bindparam("pk_json"),
    )
)
_ids = msgspec.json.Decoder(tuple[str, ...])


@dataclass
class Outcome:
    """What placing a group has come to, as far as it is not in the tables yet.

    Attributes:
        versions: What its rows are now.
        stamps: The same by column, for the policy ``columns``.
        conflicts: What was decided; ``conflict_count`` of them are recorded.
        settled: Versions that its resolutions settle: conflicts that waited for them end.
        rows: How many it wrote.
        freed: Rows and unique values that are others' now, where somebody waits for any.
        own: What this node decided.
    """

    versions: dict[RowKey, Version] = field(default_factory=dict)
    stamps: dict[RowKey, str] = field(default_factory=dict)
    conflicts: list[NewConflict] = field(default_factory=list)
    conflict_count: int = 0
    settled: list[tuple[RowKey, str]] = field(default_factory=list)
    rows: int = 0
    freed: set[Token] = field(default_factory=set)
    own: OwnGroup | None = None


class Placement(Outcome):
    """One group at its place, inside its savepoint."""

    def __init__(self, scene: Scene, *, seen_hlc: int, is_deferred: bool = False) -> None:
        self.own_group = OwnGroup(scene.writer, at=scene.at, seen_hlc=seen_hlc, actor=scene.actor)
        super().__init__(own=self.own_group)
        self.scene = scene
        self.family = Family(scene, is_deferred=is_deferred)

    def place(self, change: Change) -> None:
        """Place one change.

        Raises:
            CannotPlace: the group must wait.
            ConstraintViolation: the database's own answer.
        """
        table = self.scene.table(change)
        values = _values_of(table, change)
        key, new_key = change.key, None
        if values is not None:
            moved = row_key(table.shape, values)
            new_key = moved if moved != key else None
        self.settled += [(key, lost) for lost in change.resolves]
        if new_key is not None and change.resolves and values is not None:
            merge_rows(self, table, change, key, new_key, values)
            return
        if self.scene.has_aliases:
            key, new_key, values = with_kept(self.scene, table, key, new_key, values)
        try:
            if new_key is None:
                self.place_row(table, change, key, self.incoming(change, change.key), values)
            elif values is not None:
                move(self, table, change, key, new_key, values)
        except CannotHold as error:
            raise CannotPlace("values", str(error), change=change) from error

    def version(self, key: RowKey) -> Version | None:
        """What a row is now, this group's own changes included."""
        if key in self.versions:
            return self.versions[key]
        return self.scene.writer.find((key,)).get(key)

    def columns_of(self, key: RowKey) -> str | None:
        """When its columns were written; for the policy ``columns``."""
        return self.stamps.get(key) or self.scene.writer.columns_of(key)

    def wrote_own(self, table: TrackedTable, own: Change, key: RowKey, ours: Side) -> None:
        """This node has written a row that is there: what its columns' stamps are now."""
        policy = self.scene.policy(table.name)
        if policy.rows == "columns" and own.op == "U" and ours.values is not None:
            stamps = stamps_of(self.columns_of(key), ours.version, ours.values, policy)
            names = decode_values(own.before)
            self.stamps[key] = encode_stamps(written(policy, stamps, names, own.version))
        else:
            self.stamps.pop(key, None)

    def end(self) -> None:
        """All changes are placed: what waited for the last of them is done.

        Raises:
            CannotPlace: rows that nobody knew of name a row that was deleted.
        """
        self.family.end()

    # --- one row

    def place_row(
        self,
        table: TrackedTable,
        change: Change,
        key: RowKey,
        incoming: Version,
        values: Values | None,
        *,
        base: str | None = None,
    ) -> None:
        """One of the four cases; ``values`` None is a delete, ``base`` that of the change."""
        base = change.base if base is None else base
        policy = self.scene.policy(table.name)
        now = self.version(key)
        self.family.delete_if_waiting(key)
        row = self.read(table, key)
        if now is None and row is not None:
            now = self.unversioned()
        if policy.rows == "columns":
            place_columns(self, table, change, key, incoming, row, values, now, base)
        elif now is None or self.follows(now, change, base, incoming, policy):
            self.write(table, change, key, row, values, incoming)
        elif now.id == incoming.id:
            return
        elif holds(table.shape, row, values) and not is_apart(
            self.scene, table, change, row, values
        ):
            self.versions[key] = policy.greater(now, incoming)
        elif not self.has_seen(key, now, incoming):
            self._decide(table, change, key, row, values, Side(now, row), incoming)

    def follows(
        self, now: Version, change: Change, base: str | None, incoming: Version, policy: Policy
    ) -> bool:
        """Whether the change was made by somebody who had seen what is here."""
        is_next = now.id == base or now.id in change.resolves
        if change.epoch == 0:  # Of version 1.0: it names no base, but its source writes in order.
            is_next = (now.origin, now.epoch) == (change.origin, 0) and now.seq <= change.seq
        # All changes of a transaction have one stamp: its second change of a row is no later.
        is_own = now.id == incoming.id
        return is_next and (is_own or policy.order(incoming) > policy.order(now))

    def has_seen(self, key: RowKey, now: Version, older: Version) -> bool:
        """Whether the version that a row has now was made by somebody who had seen ``older``."""
        wanted, waiting = older.id, [now.id]
        for _ in range(ANCESTORS_MAX):
            if not waiting:
                return False
            origin, epoch, seq = parse_version_id(waiting.pop())
            values: dict[str, Any] = {"origin": origin, "epoch": epoch, "seq": seq}
            values |= {"table_name": key.table_name, "pk_json": key.pk_json}
            for base, resolves in self.scene.transaction.fetch_all(_WRITE_OF_ROW, values):
                seen = [*([base] if base else []), *(_ids.decode(resolves) if resolves else ())]
                if wanted in seen:
                    return True
                waiting += [each for each in seen if each != version_id(origin, epoch, seq)]
        return False

    def _decide(
        self,
        table: TrackedTable,
        change: Change,
        key: RowKey,
        row: Values | None,
        values: Values | None,
        ours: Side,
        incoming: Version,
    ) -> None:
        policy = self.scene.policy(table.name)
        image = None if values is None else {**(row or {}), **values}
        decision = decide(policy, ours, Side(incoming, image))
        if decision.winner == "person":
            self._ask(table, change, key, ours, Side(incoming, image))
            return
        self.record(change, key, ours, Side(incoming, image), decision.winner)
        if decision.winner == "ours":
            return
        if is_apart(self.scene, table, change, row, values):
            # Who hears of the two the other way round must end with both, too.
            self.decide_row(table, change, key, ours, image, lost=(incoming,))
        else:
            self.write(table, change, key, row, values, incoming)

    def _ask(
        self, table: TrackedTable, change: Change, key: RowKey, ours: Side, theirs: Side
    ) -> None:
        """A person decides; or a function, on a main that knows it."""
        policy = self.scene.policy(table.name)
        function = find_resolver(policy.function) if policy.rows == "function" else None
        if function is None or not self.scene.writer.node.is_main:
            raise CannotPlace(
                "conflict",
                f"row {key.pk_json} of table {table.name!r} was changed here and at"
                f" {change.origin!r}, policy {policy.rows!r} leaves it to a decision",
                change=change,
                conflict=self.conflict(change, key, ours, theirs, status="waiting", winner=None),
            )
        try:
            values = function(change.old_values(), ours.values, theirs.values)
            image = None if values is None else {**(theirs.values or ours.values or {}), **values}
        except Exception as error:
            raise CannotPlace(
                "conflict",
                f"function {policy.function!r} of table {table.name!r} raised {error!r}",
                change=change,
                conflict=self.conflict(change, key, ours, theirs, status="waiting", winner=None),
            ) from error
        self.record(change, key, ours, theirs, "merged")
        self.decide_row(table, change, key, ours, image, lost=(theirs.version,))

    def decide_row(
        self,
        table: TrackedTable,
        change: Change,
        key: RowKey,
        ours: Side,
        values: Values | None,
        *,
        lost: tuple[Version, ...],
    ) -> Version:
        """Write what this node decides about a row, as a change of its own; answers its version."""
        old = ours.values
        op: Operation = "D" if values is None else ("I" if old is None else "U")
        before = old if values is None else None
        if values is not None and old is not None:
            before = {n: old[n] for n in values if n in old and old[n] != values[n]}
        own = self.own_group.add(
            op,
            key,
            values=values,
            before=before,
            base=ours.version if ours.version.seq else None,
            lost=lost,
            schema=table.fingerprint,
        )
        self.wrote_own(table, own, key, ours)
        self.write(table, change, key, old, values, own.version)
        return own.version

    # --- writing

    def write(
        self,
        table: TrackedTable,
        change: Change,
        key: RowKey,
        row: Values | None,
        values: Values | None,
        version: Version,
    ) -> None:
        """Make the row so; ``row`` is what is there. Unique values of others are settled first."""
        transaction = self.scene.transaction
        if values is not None:
            settled = settle(self, table, change, key, row, values, version)
            values, version = settled.values, settled.version
        self.versions[key] = version
        self.replaced(table, row)
        if values is None:
            if row is not None:
                self.rows += 1
                self.family.delete(table, change, key, row)
            return
        self.rows += 1
        self.family.wrote(table, {**(row or {}), **values}, change.lsn)
        if row is None:
            insert_row(transaction, table.shape, values)
        else:
            own_key = decode_values(key.pk_json)
            changed = {n: v for n, v in values.items() if n not in table.shape.key}
            update_row(transaction, table.shape, own_key, changed)

    def replaced(self, table: TrackedTable, row: Values | None) -> None:
        """What a row was is free now."""
        if row is not None and self.scene.has_waiting:
            self.freed.update(names_of(table.shape, row))

    def conflict(
        self,
        change: Change,
        key: RowKey,
        ours: Side,
        theirs: Side,
        *,
        status: str,
        winner: str | None,
    ) -> NewConflict:
        """Two versions of a row."""
        return NewConflict(
            kind="row",
            key=key,
            policy=self.scene.policy(key.table_name).rows,
            status=status,  # type: ignore[arg-type]
            winner=winner,
            base=change.old_values(),
            ours=ours.values,
            theirs=theirs.values,
            our_version=ours.version if ours.version.seq else None,
            their_version=theirs.version,
            change=change,
        )

    def record(self, change: Change, key: RowKey, ours: Side, theirs: Side, winner: str) -> None:
        """A conflict that was decided here."""
        found = self.conflict(change, key, ours, theirs, status="decided", winner=winner)
        self.conflicts.append(found)

    def read(self, table: TrackedTable, key: RowKey) -> Values | None:
        """The row as it is now."""
        return read_row(self.scene.transaction, table.shape, decode_values(key.pk_json))

    def incoming(self, change: Change, key: RowKey) -> Version:
        """The change's version; one of version 1.0 knows no life, so it takes that of the row."""
        if change.epoch > 0:
            return change.version if key == change.key else change.new_version
        now = self.version(key)
        op: Operation = change.op
        if change.op == "U":
            moved = row_key(self.scene.table(change).shape, change.new_values())
            if moved != change.key:
                op = "D" if key == change.key else "I"
        length = next_causal_length(now.causal_length if now else 0, op)
        return msgspec.structs.replace(change.version, causal_length=length)

    def unversioned(self) -> Version:
        """Of a row that was there before its table was tracked: anything is newer."""
        node = self.scene.writer.node
        return Version(node.node_id, node.epoch, 0, 0, 1)


def _values_of(table: TrackedTable, change: Change) -> Values | None:
    """The new image in this node's columns; None for D."""
    shape = table.shape
    try:
        key, values = decode_values(change.pk_json), change.new_values()
        change.old_values()
    except ValueError as error:
        raise CannotPlace("values", f"its values cannot be read: {error}", change=change) from error
    if set(key) != set(shape.key):
        raise CannotPlace(
            "schema",
            f"its key has the columns {', '.join(key)}, table {table.name!r} has"
            f" {', '.join(shape.key)}",
            change=change,
        )
    if change.op == "D":
        return None
    unknown = sorted(n for n, v in values.items() if v is not None and n not in shape.names)
    if unknown:
        raise CannotPlace(
            "schema", f"table {table.name!r} has no column {unknown[0]!r} here", change=change
        )
    return {**key, **{name: value for name, value in values.items() if name in shape.names}}
