"""SQLite: the connection recipe, the writer's way in and out, and what its errors mean.

Every connection: the driver never begins by itself, WAL is verified, foreign keys are on,
automatic checkpoints are off (``wal.py``). Readers open ``mode=ro``, so that not even their close
checkpoints.
``application_id`` and ``user_version`` are never touched, the file may be the application's.

``busy_timeout`` is 0 on write connections, for good: behind the gate only BEGIN IMMEDIATE can meet
another program's lock, and it has a loop of its own; putting the timeout back and forth would cost
3 µs a transaction and change nothing.
"""

from __future__ import annotations

import os
from functools import cached_property
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import sqlalchemy
from sqlalchemy.dialects.sqlite import pysqlite
from sqlalchemy.pool import StaticPool

from stepwell.clock import Clock
from stepwell.database import sqlite_findings
from stepwell.database.dialect import (
    DatabaseInfo,
    DatabaseOptions,
    Dialect,
    Emptied,
    KeptConnection,
    OldestReader,
    SqlStyle,
)
from stepwell.database.filesystem import (
    filesystem_of,
    refuse_unsafe_filesystem,
    refuse_what_cannot_be_opened,
)
from stepwell.database.gate import RETRY_AFTER_S, WriterGate
from stepwell.database.process_file import PROCESS_FILES, ProcessFile
from stepwell.database.sqlite_driver import load_driver, wal_reset_fixed, warn_of_wal_reset
from stepwell.database.sqlite_errors import BUSY, driver_code, translate
from stepwell.database.wal import WalCare, empty, no_wal, wal_bytes
from stepwell.errors import (
    ConstraintViolation,
    DatabaseBusy,
    DatabaseError,
    TransactionEnded,
)
from stepwell.finding import Finding

if TYPE_CHECKING:
    from stepwell.database.application import ApplicationTables

BUSY_TIMEOUT_S = 30.0
JOURNAL_SIZE_LIMIT_BYTES = 64 * 1024 * 1024
STATEMENTS_KEPT = 256  # All of Stepwell's own, and the application's.

# The switch to WAL ignores busy_timeout in some races; together about a second.
_WAL_ATTEMPTS = 40
_WAL_RETRY_AFTER_S = (0.005, 0.05)

_CORE = pysqlite.dialect(paramstyle="qmark")


class SqliteDialect(Dialect):
    """One SQLite file, as this process has it open."""

    core = _CORE
    sql_style = SqlStyle(marker="?", is_sqlite=True)

    def __init__(self, path: str, options: DatabaseOptions, clock: Clock) -> None:
        self.location = path
        self.path = os.path.realpath(path)
        self._options = options
        self._clock = clock
        self._driver = load_driver(options.sqlite_driver)
        self.driver_errors = (self._driver.Error, self._driver.Warning)
        self._file: ProcessFile
        self._gate: WriterGate
        self._wal: WalCare

    @cached_property
    def application(self) -> ApplicationTables:
        """See ``sqlite_application.py``."""
        from stepwell.database.sqlite_application import SqliteApplicationTables

        return SqliteApplicationTables()

    # --- connections

    def open(self) -> KeptConnection:
        """Look before WAL is asked for; create the file when it is missing; see to WAL mode."""
        options = self._options
        refuse_what_cannot_be_opened(self.location, self.path, create=options.create)
        if not options.allow_unsafe_filesystem:
            refuse_unsafe_filesystem(self.location, self.path)
        warn_of_wal_reset(self._driver.sqlite_version_info)
        what = f"open database {self.location!r}"
        raw = self.connect_raw("rwc" if options.create else "rw")
        try:
            is_wal = _pragma(raw, "journal_mode") == "wal"
            self._file = PROCESS_FILES.share(self.path, self._driver.__name__)
            self._gate = self._file.gate
            try:
                if not is_wal:
                    self._switch_to_wal(raw, what)
                self._set_up(raw, writes=True)
            except BaseException:
                self.close()
                raise
        except self.driver_errors as error:
            raw.close()
            raise self.translate(error, what) from error
        except BaseException:
            raw.close()
            raise
        self._wal = WalCare(self.path)
        return KeptConnection(raw)

    def connect(self, *, writes: bool) -> KeptConnection:
        """By the recipe; the file must have been opened."""
        raw = self.connect_raw("rw" if writes else "ro")
        try:
            self._set_up(raw, writes=writes)
        except BaseException:
            raw.close()
            raise
        return KeptConnection(raw)

    def disconnect(self, connection: KeptConnection) -> None:
        """A writer only behind the gate: the last one to close checkpoints (``wal.py``)."""
        connection.raw.close()

    def is_lost(self, connection: KeptConnection) -> bool:
        """After a rollback that failed; a file is not lost in any other way."""
        return bool(connection.raw.in_transaction)

    def close(self) -> None:
        """The lock files, unless others of this process use them."""
        PROCESS_FILES.give_up(self.path)

    def forget(self) -> None:
        """``process_file.py`` has a hook of its own."""

    @property
    def driver_name(self) -> str:
        """The module of the driver: one for all that this process does with a file."""
        return str(self._driver.__name__)

    @property
    def library_version(self) -> str:
        """Of SQLite itself."""
        return str(self._driver.sqlite_version)

    def connect_raw(self, mode: str) -> Any:
        """The driver's connection with a URI's ``mode``, and none of the recipe."""
        try:
            return self._driver.connect(
                f"file:{quote(self.path)}?mode={mode}",
                uri=True,
                timeout=BUSY_TIMEOUT_S,
                isolation_level=None,
                check_same_thread=False,
                cached_statements=STATEMENTS_KEPT,
            )
        except self.driver_errors as error:
            raise self.translate(error, f"open database {self.location!r}") from error

    def _set_up(self, raw: Any, *, writes: bool) -> None:
        try:
            mode = _pragma(raw, "journal_mode")
            if mode != "wal":
                raise no_wal(self.location, self.path, mode)
            raw.execute("PRAGMA wal_autocheckpoint = 0")
            raw.execute("PRAGMA mmap_size = 0")
            raw.execute("PRAGMA trusted_schema = OFF")
            raw.execute("PRAGMA foreign_keys = ON")
            if writes:
                raw.execute(f"PRAGMA synchronous = {self._options.durability.upper()}")
                raw.execute(f"PRAGMA journal_size_limit = {JOURNAL_SIZE_LIMIT_BYTES}")
                raw.execute("PRAGMA busy_timeout = 0")
            else:
                raw.execute("PRAGMA query_only = ON")
        except self.driver_errors as error:
            raise self.translate(error, f"open database {self.location!r}") from error

    def _switch_to_wal(self, raw: Any, what: str) -> None:
        self.enter(what)
        try:
            answer = ""
            for _ in range(_WAL_ATTEMPTS):
                try:
                    answer = _pragma(raw, "journal_mode = WAL")
                except self.driver_errors as error:
                    if driver_code(error) != BUSY:
                        raise
                    answer = str(error)
                    self._clock.sleep(self._clock.jitter(*_WAL_RETRY_AFTER_S))
                else:
                    break
            if answer != "wal":
                raise no_wal(self.location, self.path, answer)
        finally:
            self.leave()

    # --- transactions

    def enter(self, what: str) -> None:
        """Through the gate, see ``gate.py``."""
        options = self._options
        self._gate.enter(options.gate_timeout_s, options.owner, what)

    def leave(self) -> None:
        """Let the next one in."""
        self._gate.leave()

    def begin_write(self, connection: KeptConnection, what: str) -> None:
        """IMMEDIATE: a transaction that reads first and writes later would fail at once."""
        try:
            connection.cursor.execute("BEGIN IMMEDIATE")
        except self.driver_errors as error:
            if driver_code(error) != BUSY:
                raise self.translate(error, what) from error
            self._begin_when_free(connection, what)

    def _begin_when_free(self, connection: KeptConnection, what: str) -> None:
        """Other programs do not know the gate: try BEGIN again, as the gate does."""
        timeout_s = self._options.gate_timeout_s
        deadline = self._clock.monotonic() + timeout_s
        while self._clock.monotonic() < deadline:
            self._clock.sleep(self._clock.jitter(*RETRY_AFTER_S))
            try:
                connection.cursor.execute("BEGIN IMMEDIATE")
            except self.driver_errors as error:
                if driver_code(error) != BUSY:
                    raise self.translate(error, what) from error
            else:
                return
        raise DatabaseBusy(
            f"cannot {what}: a program other than Stepwell has held the write lock of database"
            f" {self.location!r} for {timeout_s:g} s",
            hint=f"find it with `fuser {self.location}`, end its transaction",
            fields={"database": self.location, "timeout_s": timeout_s},
        )

    def begin_read(self, connection: KeptConnection, what: str) -> None:
        """What it sees is decided by its first statement."""
        try:
            connection.cursor.execute("BEGIN")
        except self.driver_errors as error:
            raise self.translate(error, what) from error

    def commit(self, connection: KeptConnection, what: str) -> None:
        """COMMIT, then the log's care, which cannot fail."""
        if not connection.raw.in_transaction:
            raise TransactionEnded(
                f"cannot {what}: the transaction had ended before its commit",
                hint="leave out ON CONFLICT ROLLBACK, OR ROLLBACK and RAISE(ROLLBACK); a full"
                " disk ends a transaction too",
            )
        try:
            connection.cursor.execute("COMMIT")
        except self.driver_errors as error:
            raise self.translate(error, what) from error
        self._wal.after_commit(connection)

    def rollback(self, connection: KeptConnection) -> None:
        """Unless the database has already done it, as on a full disk."""
        if connection.raw.in_transaction:
            connection.cursor.execute("ROLLBACK")

    def is_open(self, connection: KeptConnection) -> bool:
        """A failed statement is undone alone; the transaction goes on."""
        return bool(connection.raw.in_transaction)

    has_begun = is_open

    def take_turn(self, connection: KeptConnection, subject: str, what: str) -> None:
        """Writers are alone anyhow."""

    # --- errors

    def translate(self, error: Exception, what: str) -> DatabaseError:
        """By result code; see ``sqlite_errors.py``."""
        return translate(error, what, self.location)

    def may_rerun(self, error: DatabaseError) -> bool:
        """After BUSY; the gate's own DatabaseBusy has waited long enough and has no code."""
        return error.fields.get("sqlite_code") == BUSY

    # --- owners

    def hold_owner(self, owner_id: int) -> bool:
        """The owner's byte of the owners file."""
        return self._file.hold_owner(owner_id)

    def release_owner(self, owner_id: int) -> None:
        """The file stays, for the others."""
        self._file.release_owner(owner_id)

    def keeps_owner(self, owner_id: int) -> bool:
        """A process keeps its locks until it ends."""
        return self._file.holds_owner(owner_id)

    def owner_is_dead(self, connection: KeptConnection, owner_id: int) -> bool:
        """Whether the byte can be locked; it is unlocked again."""
        return self._file.owner_is_dead(owner_id)

    def end_sessions(self, connection: KeptConnection, owner_id: int) -> int:
        """There is no server."""
        return 0

    # --- migrations

    def schema_version(self, connection: KeptConnection) -> str | None:
        """One of no rows or of no table is no version."""
        if not self.has_table(connection, "batch_schema_version"):
            return None
        rows = connection.cursor.execute("SELECT version_num FROM batch_schema_version").fetchall()
        return rows[0][0] if rows else None

    def has_table(self, connection: KeptConnection, name: str) -> bool:
        """In the main schema."""
        sql = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?"
        return bool(connection.cursor.execute(sql, (name,)).fetchall())

    def connect_to_migrate(self) -> KeptConnection:
        """Foreign keys are off: they cannot be within a transaction, and a rebuild cascades."""
        connection = self.connect(writes=True)
        connection.cursor.execute("PRAGMA foreign_keys = OFF")
        return connection

    def engine_upon(self, connection: KeptConnection) -> sqlalchemy.Engine:
        """With the driver that the connection is of."""
        return sqlalchemy.create_engine(
            "sqlite://", module=self._driver, creator=lambda: connection.raw, poolclass=StaticPool
        )

    def lock_migration(self, connection: KeptConnection, what: str) -> None:
        """The gate and BEGIN IMMEDIATE are the lock."""

    def check_foreign_keys(self, connection: KeptConnection, what: str) -> None:
        """Of Stepwell's tables, for which they were off; the application's are its own."""
        from stepwell.database.sqlite_state import first_broken_key

        broken = first_broken_key(connection)
        if broken is not None:
            row, table, parent, count = broken
            raise ConstraintViolation(
                f"cannot {what}: row {row} of table {table!r} names no row of {parent!r}"
                f" ({count} such rows)",
                hint="`PRAGMA foreign_key_check` in the sqlite3 shell lists them; mend them first",
                fields={"database": self.location, "constraint": "foreign key"},
            )

    # --- looking

    def info(self, connection: KeptConnection, schema_version: str | None) -> DatabaseInfo:
        """From the library and the file."""
        pages = int(_pragma(connection.raw, "page_count"))
        return DatabaseInfo(
            location=self.location,
            dialect="sqlite",
            version=self._driver.sqlite_version,
            driver=self._driver.__name__,
            wal_reset_affected=not wal_reset_fixed(self._driver.sqlite_version_info),
            journal_mode=_pragma(connection.raw, "journal_mode"),
            synchronous=self._options.durability,
            size_bytes=pages * int(_pragma(connection.raw, "page_size")),
            page_count=pages,
            wal_bytes=wal_bytes(self.path),
            schema_version=schema_version,
            filesystem=filesystem_of(self.path),
        )

    def findings(self, connection: KeptConnection, *, thorough: bool) -> list[Finding]:
        """From the library and the file."""
        return list(
            sqlite_findings.findings(self.path, self._driver, connection.raw, thorough=thorough)
        )

    def oldest_reader(self, connection: KeptConnection) -> OldestReader | None:
        """By the locks that it holds."""
        from stepwell.database.file_users import lagging_readers

        return next(iter(lagging_readers(self.path)), None)

    # --- mending

    def empty_log(self, connection: KeptConnection, timeout_s: float) -> Emptied | None:
        """The only checkpoint that waits for anybody."""
        return empty(connection, self.path, timeout_s)


def _pragma(raw: Any, pragma: str) -> str:
    return str(raw.execute(f"PRAGMA {pragma}").fetchall()[0][0])
