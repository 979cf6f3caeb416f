"""The size of SQLite's write-ahead log, kept within bounds under the writer gate.

Automatic checkpoints are off: SQLite before 3.51.3 can corrupt a database when one connection
resets the log while another one checkpoints (sqlite.org/wal.html#walresetbug). Instead the
committer that sees the log grown beyond ``CHECKPOINT_PAGES`` checkpoints before it leaves the gate,
so that no commit of Stepwell runs beside a checkpoint. PASSIVE waits for nobody; TRUNCATE, which
waits for readers, runs only when the file is above ``TRUNCATE_BYTES``, and briefly. Reasoned, not
proven; programs that write the file without the gate are outside it.
"""

from __future__ import annotations

import logging
from pathlib import Path

from stepwell.database.dialect import Emptied, KeptConnection
from stepwell.database.filesystem import filesystem_of
from stepwell.errors import DatabaseBusy, WalUnavailable

CHECKPOINT_PAGES = 1_000  # SQLite's own default.
TRUNCATE_BYTES = 64 * 1024 * 1024
TRUNCATE_TIMEOUT_MS = 100
WHOLE_TIMEOUT_S = 2.0  # Somebody has asked for it and waits.

# A small transaction changes a few leaves and inner pages; many rows share their pages.
_PAGES_A_COMMIT = 6
_ROWS_A_PAGE = 8
_PAGE_BYTES = 4096
# A commit writes at least one page; blobs may write hundreds a row.
_WEIGHT_MIN, _WEIGHT_MAX = 1 / _PAGES_A_COMMIT, 256.0

logger = logging.getLogger(__name__)


class WalCare:
    """When this process checkpoints one database file; used under the gate only."""

    def __init__(self, database_path: str) -> None:
        self._database_path = database_path
        self._units = wal_bytes(database_path) // _PAGE_BYTES
        # How many pages a unit of the estimate turned out to be.
        self._weight = 1.0
        self._emptied = False

    def after_commit(self, connection: KeptConnection) -> None:
        """Count the commit; checkpoint when it is time. Never raises: the commit stands."""
        changes = connection.raw.total_changes
        self._units += _PAGES_A_COMMIT + (changes - connection.total_changes) // _ROWS_A_PAGE
        connection.total_changes = changes
        if self._units * self._weight >= CHECKPOINT_PAGES:
            self._checkpoint(connection)

    def _checkpoint(self, connection: KeptConnection) -> None:
        units, self._units = self._units, 0
        try:
            _, pages, moved = _answer(connection, "PRAGMA wal_checkpoint(PASSIVE)")
            if self._emptied:
                # Never down by more than half: another process may just have begun the log anew.
                weight = max(pages / units, self._weight / 2)
                self._weight = min(max(weight, _WEIGHT_MIN), _WEIGHT_MAX)
            self._emptied = pages == moved
            if self._emptied and wal_bytes(self._database_path) > TRUNCATE_BYTES:
                connection.cursor.execute(f"PRAGMA busy_timeout = {TRUNCATE_TIMEOUT_MS}")
                _answer(connection, "PRAGMA wal_checkpoint(TRUNCATE)")
                connection.cursor.execute("PRAGMA busy_timeout = 0")
        except connection.raw.Error as error:
            # A full disk, say. What was committed is safe in the log, the next commit tries again.
            logger.warning("cannot checkpoint database %r: %s", self._database_path, error)


def empty(connection: KeptConnection, database_path: str, timeout_s: float) -> Emptied:
    """Move the whole log into the database and cut it, as far as its readers let it.

    Under the gate, outside of a transaction. Whoever reads is waited for at most ``timeout_s``.
    """
    before = wal_bytes(database_path)
    connection.cursor.execute(f"PRAGMA busy_timeout = {int(timeout_s * 1000)}")
    try:
        blocked, pages, moved = _answer(connection, "PRAGMA wal_checkpoint(TRUNCATE)")
    finally:
        connection.cursor.execute("PRAGMA busy_timeout = 0")
    # After a cut both numbers are 0.
    left = pages - moved if blocked else 0
    return Emptied(bool(blocked), max(left, 0), before, wal_bytes(database_path))


def wal_bytes(database_path: str) -> int:
    """The size of the ``-wal`` file; 0 when there is none."""
    try:
        return Path(database_path + "-wal").stat().st_size
    except FileNotFoundError:
        return 0


def _answer(connection: KeptConnection, pragma: str) -> tuple[int, int, int]:
    """Whether it was blocked, the pages in the log, the pages that are in the database now."""
    busy, pages, moved = connection.cursor.execute(pragma).fetchall()[0]
    return busy, pages, moved


def no_wal(location: str, path: str, answer: str) -> WalUnavailable:
    """That SQLite answered something else than ``wal`` when it was asked for it."""
    filesystem = filesystem_of(path)
    return WalUnavailable(
        f"cannot open database {location!r}: PRAGMA journal_mode answered {answer!r}"
        f" instead of 'wal', on filesystem {filesystem or 'unknown'}",
        hint="close other programs that use the file; it must lie on a local disk, and this"
        " user must be able to write the file and its folder",
        fields={"database": location, "answer": answer, "filesystem": filesystem},
    )


def held_back(location: str) -> DatabaseBusy:
    """That the log could not be cut."""
    return DatabaseBusy(
        f"cannot checkpoint database {location!r}: a reader holds its log back",
        hint="`stepwell doctor` names it, end it first",
        fields={"database": location},
    )
