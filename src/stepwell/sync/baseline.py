"""Logs the rows that were there before their table was captured, one key range a transaction.

A baseline row has the least stamp of all, so that any real change beats it, and among baselines
that of a main. Of a table that was captured before, what nobody saw is announced, as changes: rows
that have gone, that have come, and that differ from what they were.

- Its triggers were whole (``ADD COLUMN``): only the new columns can have been written, so rows that
  have their default there are no news.
- They were not (a table that was rebuilt): a row is compared with what the log says that it was.
- Nobody can tell what it was: it is announced, but with the stamp next to that of the version that
  it has. So it reaches whoever has that version, and beats nothing that anybody has written since.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime

import msgspec

from stepwell.database.connect import Database
from stepwell.database.shape import Column, TableShape
from stepwell.database.transaction import Transaction
from stepwell.database.types import utc_text
from stepwell.sync.change import (
    NULL,
    Change,
    Operation,
    RowKey,
    Values,
    Version,
    decode_values,
    encode_values,
    key_text,
    next_causal_length,
    tick,
    version_id,
)
from stepwell.sync.columns import encode_stamps, stamps_of, unwritten, written
from stepwell.sync.images import last_images
from stepwell.sync.log import LogWriter, seal
from stepwell.sync.policy import stored_policy
from stepwell.sync.rows import read_row, read_rows_after, same_value
from stepwell.sync.table import TrackedTable, find_table, set_baseline, tracked_tables
from stepwell.sync.unspoken import default_of
from stepwell.sync.versions import alive_page

ROWS_AT_ONCE = 1_000
BASELINE_HLC = 1


class Position(msgspec.Struct, frozen=True, omit_defaults=True):
    """How far the first rows of a table have been logged.

    Attributes:
        again: The table was captured before.
        was_captured: Its triggers were whole until now, so only these columns may be news:
        added: Columns that are new.
        converted: Columns that have another type.
        after: The key of the last row that was logged, as ``pk_json``.
        is_gone: The rows are through, those that have gone are looked for.
    """

    again: bool = False
    was_captured: bool = False
    added: tuple[str, ...] = ()
    converted: tuple[str, ...] = ()
    after: str | None = None
    is_gone: bool = False


def begin() -> str:
    """The position of a table whose rows are all still to be logged."""
    return _text(Position())


def begin_again(
    tracked: TrackedTable | None, now: TableShape, *, was_captured: bool = False
) -> str:
    """The position of a table that was captured before; ``tracked`` as it was until now.

    None: it was not captured for a time.
    """
    if tracked is None:
        return _text(Position(again=True))
    was = {column.name: column for column in tracked.shape.columns}
    added = [c.name for c in now.columns if c.name not in was]
    converted = [c.name for c in now.columns if c.name in was and _type(c) != _type(was[c.name])]
    if tracked.baseline is not None:  # The last time has not come to its end.
        last = msgspec.json.decode(tracked.baseline, type=Position)
        was_captured = was_captured and last.was_captured
        added, converted = [*added, *last.added], [*converted, *last.converted]
    return _text(
        Position(
            again=True,
            was_captured=was_captured,
            added=tuple(name for name in dict.fromkeys(added) if name in now.names),
            converted=tuple(name for name in dict.fromkeys(converted) if name in now.names),
        )
    )


def uncounted(tracked: TrackedTable) -> tuple[str, ...]:
    """The counters to which may have been added what nobody saw; asked before its rows are logged.

    Other columns are announced as they are. Of a counter only what was added can be, which is not
    known: of such a row nobody can tell what it was (see ``images.py``).
    """
    if tracked.baseline is None:
        return ()
    position = msgspec.json.decode(tracked.baseline, type=Position)
    if not position.again or position.was_captured:
        return ()
    columns = stored_policy(tracked.policy).columns
    return tuple(name for name, rule in columns.items() if rule == "delta")


def _type(column: Column) -> tuple[str, str]:
    return column.kind, column.type_name


def log_baselines(database: Database, *, at: datetime) -> int:
    """Log every row that waits for it, in transactions of a key range each; answers how many."""
    with database.read() as reader:
        names = [t.name for t in tracked_tables(reader).values() if t.baseline is not None]
    logged = 0
    for name in names:
        more = True
        while more:
            count, more = database.run(
                lambda transaction, name=name: log_some(transaction, name, at=at),  # type: ignore[misc]
                what=f"log the rows of table {name!r}",
            )
            logged += count
    return logged


def log_some(
    transaction: Transaction, name: str, *, at: datetime, limit: int = ROWS_AT_ONCE
) -> tuple[int, bool]:
    """Log the next key range of a table as one group; answers how many rows, and if it goes on."""
    while not seal(transaction).is_all:
        pass
    tracked = find_table(transaction, name)
    if tracked is None or tracked.baseline is None:
        return 0, False
    position = msgspec.json.decode(tracked.baseline, type=Position)
    group = _Baseline(transaction, tracked, position, at)
    following = group.log_gone(limit) if position.is_gone else group.log_rows(limit)
    group.writer.finish()
    set_baseline(transaction, name, None if following is None else _text(following))
    return group.count, following is not None


class _Baseline:
    """One group of rows that were there."""

    def __init__(
        self, transaction: Transaction, tracked: TrackedTable, position: Position, at: datetime
    ) -> None:
        self.writer = LogWriter(transaction)
        self.count = 0
        self._transaction = transaction
        self._tracked = tracked
        self._position = position
        self._at = at
        self._seq = self.writer.last_seq + 1
        self._policy = stored_policy(tracked.policy)
        self._hlc = BASELINE_HLC
        if position.again:
            self._hlc = self.writer.last_hlc = tick(self.writer.last_hlc, at)

    def log_rows(self, limit: int) -> Position | None:
        """Rows of the table; answers where to go on."""
        shape, position = self._tracked.shape, self._position
        after = None if position.after is None else decode_values(position.after)
        rows = read_rows_after(self._transaction, shape, after, limit)
        keys = [RowKey(shape.name, key_text({k: row[k] for k in shape.key})) for row in rows]
        known = self.writer.find(keys)
        alive = {key: version for key, version in known.items() if version.is_alive}
        missed = _Missed(self._transaction, self._tracked, position, alive)
        for key, row in zip(keys, rows, strict=True):
            version = known.get(key)
            if key in alive:
                self._log_missed(key, alive[key], row, missed.of(key, row))
            elif version is not None or not position.was_captured:
                # One without a version was left out when its table was tracked.
                self._log("I", key, version, row)
        if len(rows) == limit:
            return msgspec.structs.replace(position, after=keys[-1].pk_json)
        return Position(again=True, is_gone=True) if position.again else None

    def _log_missed(
        self, key: RowKey, base: Version, row: Values, missed: tuple[Values, bool] | None
    ) -> None:
        if missed is None:
            if self._position.added and self._policy.rows == "columns":
                self.writer.put(key, base, self._stamps(key, base, row, (), base))
            return
        before, is_news = missed
        stamp = (self._hlc, None) if is_news else (base.hlc + 1, base.authority)
        self._log("U", key, base, row, before=before, stamp=stamp)

    def log_gone(self, limit: int) -> Position | None:
        """Rows that the log believes alive and the table has no more; answers where to go on."""
        shape, name = self._tracked.shape, self._tracked.name
        page = alive_page(self._transaction, name, self._position.after or "", limit)
        for key, version in page:
            if read_row(self._transaction, shape, decode_values(key.pk_json)) is None:
                self._log("D", key, version, None)
        if len(page) < limit:
            return None
        return Position(again=True, is_gone=True, after=page[-1][0].pk_json)

    def _log(
        self,
        op: Operation,
        key: RowKey,
        base: Version | None,
        row: Values | None,
        *,
        before: Values | None = None,
        stamp: tuple[int, int | None] | None = None,
    ) -> None:
        """One change, and the version that it leaves; ``stamp`` with the authority, if not its own.

        ``before`` are the columns that an update has changed, with their old values; none of them:
        nobody knows.
        """
        node = self.writer.node
        hlc, authority = stamp or (self._hlc, None)
        if authority is None:
            authority = hlc if node.is_main else (base.authority if base else 0)
        change = Change(
            lsn=0,
            tx_id=version_id(node.node_id, node.epoch, self._seq),
            table_name=key.table_name,
            pk_json=msgspec.Raw(key.pk_json.encode("utf-8")),
            op=op,
            payload=NULL if row is None else msgspec.Raw(encode_values(row)),
            before=msgspec.Raw(encode_values(before)) if before else NULL,
            tombstone=int(op == "D"),
            created_at=utc_text(self._at),
            source_node=node.node_id,
            origin=node.node_id,
            epoch=node.epoch,
            seq=self._seq,
            hlc=hlc,
            authority=authority,
            base=base.id if base else None,
            causal_length=next_causal_length(base.causal_length if base else 0, op),
            boundary="baseline",
            schema=self._tracked.fingerprint,
        )
        columns = None
        if op == "U" and self._policy.rows == "columns" and base is not None and row is not None:
            old = {**row, **(before or {})}
            columns = self._stamps(key, base, old, before or row, change.version)
        self.writer.add(change)
        self.writer.put(key, change.version, columns)
        self.writer.last_seq = self._seq
        self.count += 1

    def _stamps(
        self, key: RowKey, base: Version, old: Values, names: Iterable[str], now: Version
    ) -> str:
        """When each column was written, for the policy ``columns``; in a new one: never."""
        stamps = stamps_of(self.writer.columns_of(key), base, old, self._policy)
        stamps = unwritten(stamps, self._position.added)
        return encode_stamps(written(self._policy, stamps, names, now))


class _Missed:
    """What nobody saw of the rows of a page: by what they were, as far as it is known."""

    def __init__(
        self,
        transaction: Transaction,
        tracked: TrackedTable,
        position: Position,
        alive: Mapping[RowKey, Version],
    ) -> None:
        self._shape = tracked.shape
        self._position = position
        self._names = tracked.shape.names
        self._images: Mapping[RowKey, Values] = {}
        if position.was_captured:
            self._names = (*position.added, *position.converted)
        if position.again and not (position.was_captured and not position.converted):
            self._images = last_images(transaction, tracked, alive)
        self._defaults = {
            name: default_of(transaction, tracked.shape, name)
            for name in (self._names if position.again else ())
            if name not in tracked.shape.key
        }

    def of(self, key: RowKey, row: Values) -> tuple[Values, bool] | None:
        """Columns that are others than they were, with what they were; and whether it is news.

        None: nothing is. It is no news when it may be the doing of the migration alone.
        """
        if not self._position.again:
            return None
        image = self._images.get(key)
        before: Values = {}
        is_unknown = False
        for name in self._names:
            if image is not None and name in image:
                was = image[name]
            elif image is not None or name in self._position.added:
                was = self._defaults.get(name)
            else:
                is_unknown = True
                continue
            if not same_value(self._shape.column(name), was, row[name]):
                before[name] = was
        is_news = bool(before.keys() - set(self._position.converted))
        if is_unknown:
            return {}, is_news
        return (before, is_news) if before else None


def _text(position: Position) -> str:
    return msgspec.json.encode(position).decode("utf-8")
