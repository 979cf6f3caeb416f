"""Logs the rows that were there before their table was captured, one key range a transaction.

A baseline row has the least stamp of all, so that any real change beats it, and among baselines
that of a main. Rows of a table that was captured before are announced again, as changes: nobody
knows what was missed meanwhile; and rows that have gone are announced as deleted.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

import msgspec

from stepwell.database.connect import Database
from stepwell.database.transaction import Transaction
from stepwell.database.types import utc_text
from stepwell.sync.change import (
    NULL,
    Change,
    Operation,
    RowKey,
    Value,
    Values,
    Version,
    decode_values,
    encode_values,
    key_text,
    next_causal_length,
    tick,
    version_id,
)
from stepwell.sync.log import LogWriter, seal
from stepwell.sync.rows import read_row, read_rows_after
from stepwell.sync.table import TrackedTable, find_table, set_baseline, tracked_tables
from stepwell.sync.versions import alive_page

ROWS_AT_ONCE = 1_000
BASELINE_HLC = 1


class Position(msgspec.Struct, frozen=True, omit_defaults=True):
    """How far the first rows of a table have been logged.

    Attributes:
        again: The table was captured before.
        after: The key of the last row that was logged, as ``pk_json``.
        is_gone: The rows are through, those that have gone are looked for.
    """

    again: bool = False
    after: str | None = None
    is_gone: bool = False


def begin(*, again: bool) -> str:
    """The position of a table whose rows are all still to be logged."""
    return _text(Position(again=again))


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
        for key, row in zip(keys, rows, strict=True):
            version = known.get(key)
            if version is None or not version.is_alive:
                self._log("I", key, version, row)
            elif position.again:
                self._log("U", key, version, row)
        if len(rows) == limit:
            return Position(again=position.again, after=keys[-1].pk_json)
        return Position(again=True, is_gone=True) if position.again else None

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
        self, op: Operation, key: RowKey, base: Version | None, row: Mapping[str, Value] | None
    ) -> None:
        node = self.writer.node
        values: Values = dict(row or {})
        authority = self._hlc if node.is_main else (base.authority if base else 0)
        change = Change(
            lsn=0,
            tx_id=version_id(node.node_id, node.epoch, self._seq),
            table_name=key.table_name,
            pk_json=msgspec.Raw(key.pk_json.encode("utf-8")),
            op=op,
            payload=NULL if row is None else msgspec.Raw(encode_values(values)),
            tombstone=int(op == "D"),
            created_at=utc_text(self._at),
            source_node=node.node_id,
            origin=node.node_id,
            epoch=node.epoch,
            seq=self._seq,
            hlc=self._hlc,
            authority=authority,
            base=base.id if base else None,
            causal_length=next_causal_length(base.causal_length if base else 0, op),
            boundary="baseline",
            schema=self._tracked.fingerprint,
        )
        self.writer.add(change)
        self.writer.put(key, change.version)
        self.writer.last_seq = self._seq
        self.count += 1


def _text(position: Position) -> str:
    return msgspec.json.encode(position).decode("utf-8")
