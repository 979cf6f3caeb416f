"""Open a database to be looked at as it stands, whatever its state: for the doctor.

Nothing is switched to WAL, migrated or written (SQLite itself may put an empty log beside the
file), and what ``open_database`` refuses is
opened: a file that this user may not write, one on a filesystem that corrupts it, one in another
journal mode. A file on a read-only medium is read without its shared memory, which is safe as long
as there is no log: then nobody can have it open.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from stepwell.clock import Clock
from stepwell.database.connect import Database, open_database, sqlite_path
from stepwell.database.dialect import DatabaseOptions, KeptConnection
from stepwell.database.filesystem import refuse_what_is_not_there
from stepwell.database.process_file import PROCESS_FILES, ProcessFile
from stepwell.database.sqlite import SqliteDialect
from stepwell.database.wal import wal_bytes
from stepwell.errors import CannotOpenDatabase, DatabaseReadOnly
from stepwell.finding import Finding


def open_to_look(
    url: str, *, clock: Clock | None = None, options: DatabaseOptions | None = None
) -> Database:
    """A Database for reading alone; a write in it is refused as DatabaseReadOnly.

    Raises:
        CannotOpenDatabase: the URL names nothing that could be read.
        DatabaseDamaged, DatabaseReadOnly: the file cannot even be looked at.
    """
    clock, options = clock or Clock(), options or DatabaseOptions()
    path = sqlite_path(url)
    if path is None:
        return open_database(url, clock=clock, options=options)
    dialect = LookingDialect(path, options, clock)
    return Database(url, dialect, clock, Path(dialect.path), options)


class LookingDialect(SqliteDialect):
    """One SQLite file, as it stands."""

    _shared: ProcessFile | None = None
    _flags = ""

    def open(self) -> KeptConnection:
        """A connection for reading; the file's first page is read, so it is a database."""
        refuse_what_is_not_there(self.location, self.path)
        try:
            return self._readable()
        except (CannotOpenDatabase, DatabaseReadOnly):
            # Its log, or the index of it, cannot be made here; without a log none is needed.
            if wal_bytes(self.path):
                raise
            self._flags = "&immutable=1"
            return self._readable()

    def connect(self, *, writes: bool) -> KeptConnection:
        """For reading alone: a write meets "attempt to write a readonly database"."""
        return self._readable()

    def enter(self, what: str) -> None:
        """Nobody writes here, so nobody waits for it."""

    def leave(self) -> None:
        """As little."""

    def close(self) -> None:
        """The owners file, if it was asked."""
        if self._shared is not None:
            self._shared = None
            super().close()

    def owner_is_dead(self, connection: KeptConnection, owner_id: int) -> bool:
        """Asked of the owners file, which is opened when it is first needed."""
        if self._shared is None:
            self._shared = PROCESS_FILES.share(self.path, self._driver.__name__)
        return self._shared.owner_is_dead(owner_id)

    def findings(self, connection: KeptConnection, *, thorough: bool) -> list[Finding]:
        """As for any file; one that is read without its log cannot tell its journal mode."""
        found = super().findings(connection, thorough=thorough)
        return [each for each in found if not (self._flags and each.code == "journal_mode")]

    def _readable(self) -> KeptConnection:
        raw: Any = self.connect_raw("ro" + self._flags)
        try:
            raw.execute("PRAGMA mmap_size = 0")
            raw.execute("PRAGMA trusted_schema = OFF")
            raw.execute("PRAGMA query_only = ON")
            raw.execute("SELECT COUNT(*) FROM sqlite_master").fetchall()
        except self.driver_errors as error:
            raw.close()
            raise self.translate(error, f"look at database {self.location!r}") from error
        return KeptConnection(raw)
