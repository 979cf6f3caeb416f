"""The log: gives places to changes, seals what triggers wrote, reads it back.

LSNs are dense and in the order of commits, because they are given under the lock of the node's row;
rows beyond ``last_lsn`` belong to a group that is still being sealed, and nobody reads them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from operator import itemgetter
from typing import Any

from sqlalchemy import bindparam, func, insert, select

from stepwell.database.connect import Database
from stepwell.database.prepared import Prepared, Row
from stepwell.database.transaction import Reader, Transaction
from stepwell.sync import versions
from stepwell.sync.change import Change, RowKey, Version
from stepwell.sync.log_rows import change_of, row_of
from stepwell.sync.peers import SyncNode, lock_node, own_node, save_log_state
from stepwell.sync.policy import stored_policy
from stepwell.sync.sealing import Sealer
from stepwell.sync.table import tracked_tables
from stepwell.sync.tables import change_log

SEALED_AT_ONCE = 10_000  # Raw rows a transaction: the write lock is held for about 0.3 s.
READ_AT_ONCE = 1_000

_c = change_log.c
_COLUMNS = tuple(_c[name] for name in Change.__struct_fields__)
_in_order = itemgetter(*Change.__struct_fields__)
_INSERT = Prepared(insert(change_log))
_READ = Prepared(
    select(*_COLUMNS)
    .where(_c.lsn > bindparam("after"), _c.lsn <= bindparam("until"))
    .order_by(_c.lsn)
    .limit(bindparam("limit"))
)
_GROUP = Prepared(
    select(*_COLUMNS)
    .where(
        _c.origin == bindparam("origin"),
        _c.epoch == bindparam("epoch"),
        _c.seq == bindparam("seq"),
        _c.lsn > bindparam("after"),
    )
    .order_by(_c.lsn)
    .limit(bindparam("limit"))
)
_LAST = Prepared(select(func.max(_c.lsn)))
_AT = Prepared(select(*_COLUMNS).where(_c.lsn == bindparam("lsn")))
_first = change_log.alias()
_END = Prepared(
    select(func.max(_c.lsn)).where(
        _first.c.lsn == bindparam("lsn"),
        *(_c[name] == _first.c[name] for name in ("origin", "epoch", "seq")),
    )
)
_HOLDS = Prepared(
    select(_c.lsn)
    .where(
        _c.lsn > bindparam("after"),
        _c.lsn <= bindparam("until"),
        _c.origin != bindparam("node"),
        _c.source_node != bindparam("node"),
    )
    .order_by(_c.lsn)
    .limit(1)
)


class LogWriter:
    """Appends changes to the log inside one transaction; nobody else does meanwhile.

    What it is given is written by ``finish``, which must be called once, before COMMIT.
    """

    def __init__(self, transaction: Transaction) -> None:
        transaction.ask(transaction.application.lock_sealing)
        self.node: SyncNode = lock_node(transaction)
        self.last_lsn = self.node.last_lsn
        self.last_seq = self.node.last_seq
        self.last_hlc = self.node.last_hlc
        self.sealing = self.node.sealing
        self._transaction = transaction
        self._rows: list[Row] = []
        self._versions: dict[RowKey, Version] = {}
        self._columns: dict[RowKey, str] = {}

    def append(
        self, changes: Iterable[Change], source_node: str, *, hlc_max: int | None = None
    ) -> tuple[int, int]:
        """Give a received group its LSNs here; answers the first and the last.

        The stamps of this node rise to those of the group, but not beyond ``hlc_max``: a clock that
        is ahead is not followed.
        """
        first = self.last_lsn + 1
        for change in changes:
            self._add(change, source_node)
            if change.hlc > self.last_hlc:
                self.see(change.hlc, hlc_max)
        return first, self.last_lsn

    def see(self, hlc: int, hlc_max: int | None = None) -> None:
        """What is written here from now on comes behind this stamp."""
        if hlc > self.last_hlc and (hlc_max is None or hlc <= hlc_max):
            self.last_hlc = hlc

    def add(self, change: Change) -> int:
        """Log one change behind the last; answers its LSN."""
        return self._add(change, change.source_node)

    def add_row(self, row: dict[str, Any]) -> int:
        """The same for a row of ``change_log`` that has no place yet."""
        row["lsn"] = self.last_lsn + 1
        return self._append(_in_order(row))

    def _add(self, change: Change, source_node: str) -> int:
        return self._append(row_of(change, self.last_lsn + 1, source_node))

    def _append(self, row: Row) -> int:
        self.last_lsn += 1
        self._rows.append(row)
        if len(self._rows) >= READ_AT_ONCE:
            self.flush()
        return self.last_lsn

    def put(self, key: RowKey, version: Version, columns: str | None = None) -> None:
        """Remember the version that a row has now; ``columns`` is for the policy of that name."""
        self._versions[key] = version
        if columns is not None:
            self._columns[key] = columns
        elif self._columns:
            self._columns.pop(key, None)

    def columns_of(self, key: RowKey) -> str | None:
        """When each column of a row was written, as ``columns.py`` says it."""
        if key in self._versions:
            return self._columns.get(key)
        return versions.find_columns(self._transaction, key)

    def find(self, keys: Iterable[RowKey]) -> dict[RowKey, Version]:
        """The versions of rows as this writer would leave them."""
        wanted = set(keys)
        if not self._versions:
            return versions.find_versions(self._transaction, wanted)
        found = versions.find_versions(self._transaction, wanted - self._versions.keys())
        return found | {key: self._versions[key] for key in wanted & self._versions.keys()}

    def flush(self) -> None:
        """Write what has been added so far."""
        if self._rows:
            self._transaction.insert_rows(_INSERT, self._rows)
            self._rows = []
        if self._versions:
            versions.put_versions(self._transaction, self._versions, self._columns)
            self._versions, self._columns = {}, {}

    def finish(self) -> None:
        """Write everything, and how far the log has come."""
        self.flush()
        save_log_state(
            self._transaction,
            last_lsn=self.node.last_lsn if self.sealing is not None else self.last_lsn,
            last_seq=self.last_seq,
            last_hlc=self.last_hlc,
            sealing=self.sealing,
        )


@dataclass(frozen=True)
class Sealed:
    """What one call of :func:`seal` did.

    Attributes:
        changes: How many changes it logged.
        last_lsn: Where the log ends now.
        is_all: Nothing that was committed then is left.
    """

    changes: int
    last_lsn: int
    is_all: bool


def seal(transaction: Transaction, *, limit: int = SEALED_AT_ONCE) -> Sealed:
    """Turn committed raw rows, at most ``limit``, into changes of the log."""
    application = transaction.application
    writer = LogWriter(transaction)
    tables = tracked_tables(transaction).values()
    shapes = {table.table_id: table.shape for table in tables}
    policies = {table.table_id: stored_policy(table.policy) for table in tables}
    groups = transaction.ask(
        lambda connection: application.take_raw(
            connection, shapes, limit=limit, going_on=writer.sealing or ""
        )
    )
    before = writer.last_lsn
    if writer.sealing is not None:
        _go_on(transaction, writer)
        before = writer.last_lsn
    Sealer(transaction, writer, shapes, policies).seal(groups)
    logged = writer.last_lsn - before
    if groups or writer.node.sealing is not None:
        writer.finish()
    is_all = writer.sealing is None and not transaction.ask(application.has_raw)
    return Sealed(logged, writer.last_lsn, is_all)


def seal_all(database: Database) -> int:
    """Seal whatever is committed, in several transactions; answers how many changes."""
    changes = 0
    while True:
        with database.read() as reader:
            node = own_node(reader, database.location)
            waits = reader.ask(reader.application.has_raw) or node.sealing is not None
        if not waits:
            return changes
        sealed = database.run(seal, what="seal the changes of tracked tables")
        changes += sealed.changes
        if sealed.is_all or sealed.changes < SEALED_AT_ONCE // 2:
            return changes  # What has been written meanwhile is for the next time.


def begin_apply(transaction: Transaction) -> LogWriter:
    """Be alone with the tracked tables and seal everything local; answers the log's writer.

    Until the end of the transaction nobody else writes a tracked table. The caller appends the
    groups that it applies and calls ``finish``.
    """
    names = list(tracked_tables(transaction))
    application = transaction.application
    transaction.ask(application.lock_sealing)
    transaction.ask(lambda connection: application.lock_writers(connection, names))
    while not seal(transaction).is_all:
        pass
    return LogWriter(transaction)


def last_lsn(reader: Reader) -> int:
    """The last position that may be read."""
    return own_node(reader).last_lsn


def end_of_group(reader: Reader, lsn: int) -> int:
    """The position of the last change of the group to which the change at ``lsn`` belongs."""
    row = reader.fetch_one(_END, {"lsn": lsn})
    return lsn if row is None or row[0] is None else int(row[0])


def first_for(reader: Reader, node_id: str, after_lsn: int) -> int | None:
    """The first position behind ``after_lsn`` whose change a node lacks; None: there is none."""
    until = last_lsn(reader)
    found = reader.fetch_one(_HOLDS, {"node": node_id, "after": after_lsn, "until": until})
    return None if found is None else int(found[0])


def holds_for(reader: Reader, node_id: str, after_lsn: int) -> bool:
    """Whether the log has a change behind ``after_lsn`` that a node lacks."""
    return first_for(reader, node_id, after_lsn) is not None


def horizon(reader: Reader) -> int:
    """The first position that is still kept."""
    return own_node(reader).horizon_lsn


def read_changes(
    reader: Reader, after_lsn: int, *, until_lsn: int, limit: int = READ_AT_ONCE
) -> list[Change]:
    """A page of the log: changes behind ``after_lsn``, at most up to ``until_lsn``."""
    rows = reader.fetch_all(_READ, {"after": after_lsn, "until": until_lsn, "limit": limit})
    return [change_of(row) for row in rows]


def changes_of(
    database: Database, after_lsn: int, until_lsn: int, *, not_for: str | None = None
) -> Iterator[Change]:
    """The log in pages, each read in a transaction of its own: it only ever grows at its end.

    ``not_for`` leaves out what its node has written itself, or has delivered.
    """
    while after_lsn < until_lsn:
        with database.read() as reader:
            page = read_changes(reader, after_lsn, until_lsn=until_lsn)
        if not page:
            return
        after_lsn = page[-1].lsn
        for change in page:
            if not_for is None or not_for not in (change.origin, change.source_node):
                yield change


def read_group(reader: Reader, origin: str, epoch: int, seq: int) -> Iterator[Change]:
    """The changes of one group, in pages; nothing when it is unknown or pruned."""
    after = 0
    while True:
        rows = reader.fetch_all(
            _GROUP,
            {"origin": origin, "epoch": epoch, "seq": seq, "after": after, "limit": READ_AT_ONCE},
        )
        yield from map(change_of, rows)
        if len(rows) < READ_AT_ONCE:
            return
        after = rows[-1][0]


def _go_on(transaction: Transaction, writer: LogWriter) -> None:
    """The group that is being sealed stands beyond the last position: go on behind it."""
    row = transaction.fetch_one(_LAST)
    if row is not None and row[0] is not None:
        writer.last_lsn = max(writer.last_lsn, row[0])
