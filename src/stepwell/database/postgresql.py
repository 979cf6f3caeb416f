"""PostgreSQL through psycopg 3: sessions, transactions, owners, and what its errors mean.

The driver never begins by itself (``autocommit``); BEGIN and COMMIT are Stepwell's, as on SQLite.
Writers run in READ COMMITTED and lock the rows they decide on; readers see one state of the data
(REPEATABLE READ READ ONLY), as on SQLite. No wait is without bound: ``lock_timeout`` is the gate's
timeout, ``idle_in_transaction_session_timeout`` is below the owners' lease, so that a frozen
process cannot hold rows for longer than it counts as alive.
"""

from __future__ import annotations

import importlib
import logging
from collections.abc import Callable, Collection, Sequence
from functools import cached_property
from threading import get_ident
from typing import TYPE_CHECKING, Any
from zlib import crc32

import sqlalchemy
from sqlalchemy.dialects.postgresql import psycopg as sqlalchemy_psycopg
from sqlalchemy.pool import StaticPool

from stepwell.clock import Clock
from stepwell.database import postgresql_findings
from stepwell.database.dialect import (
    DatabaseInfo,
    DatabaseOptions,
    Dialect,
    KeptConnection,
    Listening,
    OldestReader,
    SqlStyle,
)
from stepwell.database.postgresql_errors import first_line, is_rerunnable, translate
from stepwell.database.postgresql_listening import ListeningSession
from stepwell.database.postgresql_owners import (
    HEARTBEAT_S,
    LOCK_CLASS,
    OwnersSession,
    dead_owners,
    end_sessions,
    owner_is_dead,
    owner_name,
)
from stepwell.database.postgresql_rows import ServerRows, copy_rows
from stepwell.database.postgresql_url import without_password
from stepwell.database.rows import Rows
from stepwell.errors import (
    CannotOpenDatabase,
    ConnectionLost,
    DatabaseError,
    StepUsageError,
    TransactionEnded,
)
from stepwell.finding import Finding

if TYPE_CHECKING:
    from stepwell.database.application import ApplicationTables

CONNECT_TIMEOUT_S = 10
IDLE_IN_TRANSACTION_S = 25  # Below the lease of an owner.

_MIGRATION = 0  # The second key of the owners' locks; owners begin at 1.
_TURN_CLASS = LOCK_CLASS + 1

# A host that vanishes is noticed by the server within 25 s, and its locks are free.
_SESSION = """
SET TimeZone = 'UTC';
SET idle_in_transaction_session_timeout = '{idle_s}s';
SET lock_timeout = '{lock_ms}ms';
SET tcp_keepalives_idle = 10;
SET tcp_keepalives_interval = 5;
SET tcp_keepalives_count = 3
"""

# libpq's PGTransactionStatusType
_IN_TRANSACTION = 2
_IN_FAILED_TRANSACTION = 3
_UNKNOWN = 4

logger = logging.getLogger(__name__)

_CORE = sqlalchemy_psycopg.dialect(paramstyle="format")  # type: ignore[no-untyped-call]


class PostgresqlDialect(Dialect):
    """One PostgreSQL database, as this process uses it."""

    core = _CORE
    sql_style = SqlStyle(marker="%s", is_sqlite=False)
    heartbeat_s = HEARTBEAT_S

    def __init__(self, url: str, options: DatabaseOptions, clock: Clock) -> None:
        self.location = without_password(url)
        self.url = url
        self._options = options
        self._clock = clock
        self._driver = _load_driver(self.location)
        self.driver_errors = (self._driver.Error,)
        self._writing: set[int] = set()
        self._owners = OwnersSession(self._session, self._driver.Error, self.translate)
        self._application_name = "stepwell"

    @cached_property
    def application(self) -> ApplicationTables:
        """See ``postgresql_application.py``."""
        from stepwell.database.postgresql_application import PostgresqlApplicationTables

        return PostgresqlApplicationTables()

    # --- connections

    def open(self) -> KeptConnection:
        """The database must exist; its tables are made by ``migrate``."""
        return self.connect(writes=True)

    def connect(self, *, writes: bool) -> KeptConnection:
        """One kind serves both: what may be written is said at BEGIN."""
        return KeptConnection(self._session())

    def disconnect(self, connection: KeptConnection) -> None:
        """Close the session."""
        connection.raw.close()

    def is_lost(self, connection: KeptConnection) -> bool:
        """The driver notices with the first statement that fails."""
        return bool(connection.raw.closed)

    def close(self) -> None:
        """Give up the owners that are still held."""
        self._owners.close()

    def forget(self) -> object:
        """In a forked child the sessions stay the parent's."""
        self._writing = set()
        return self._owners.forget()

    def _session(self) -> Any:
        try:
            session = self._driver.connect(
                self.url,
                autocommit=True,
                application_name=self._application_name,
                connect_timeout=CONNECT_TIMEOUT_S,
            )
            session.execute(
                _SESSION.format(
                    idle_s=IDLE_IN_TRANSACTION_S, lock_ms=int(self._options.gate_timeout_s * 1000)
                )
            )
        except self._driver.Error as error:
            raise CannotOpenDatabase(
                f"cannot open database {self.location!r}: {first_line(error)}",
                hint="is the server running, are host, user, password and database name right?",
                fields={"database": self.location, "sqlstate": error.sqlstate},
            ) from error
        return session

    # --- transactions

    def enter(self, what: str) -> None:
        """Writers do not wait for each other; but a thread would wait for its own rows."""
        if get_ident() in self._writing:
            raise StepUsageError(
                f"cannot {what}: this thread is inside another write transaction",
                hint="use the open transaction, or open this one after its end",
            )
        self._writing.add(get_ident())

    def leave(self) -> None:
        """The thread may write again."""
        self._writing.discard(get_ident())

    def begin_write(self, connection: KeptConnection, what: str) -> None:
        """READ COMMITTED: whoever decides on a row locks it first."""
        if connection.label != self._application_name:
            # Since an owner is held its sessions must be found by its name (S34).
            self._execute(connection, f"SET application_name = '{self._application_name}'", what)
            connection.label = self._application_name
        self._execute(connection, "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE", what)

    def begin_read(self, connection: KeptConnection, what: str) -> None:
        """One state of the data, as a SQLite reader sees it."""
        self._execute(connection, "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY", what)

    def commit(self, connection: KeptConnection, what: str) -> None:
        """COMMIT; an aborted transaction would answer it with a quiet ROLLBACK."""
        status = connection.raw.pgconn.transaction_status
        if status == _UNKNOWN:
            raise self._lost(what, during_commit=False)
        if status != _IN_TRANSACTION:
            raise TransactionEnded(
                f"cannot {what}: a statement of the transaction had failed before its commit",
                hint="on PostgreSQL a failed statement ends the transaction; try what may fail"
                " after a SAVEPOINT and ROLLBACK TO it",
            )
        try:
            connection.cursor.execute("COMMIT")
        except self._driver.Error as error:
            translated = self.translate(error, what)
            if isinstance(translated, ConnectionLost):
                raise self._lost(what, during_commit=True) from error
            raise translated from error

    def rollback(self, connection: KeptConnection) -> None:
        """Also ends a transaction that has failed."""
        if self.has_begun(connection):
            connection.cursor.execute("ROLLBACK")

    def is_open(self, connection: KeptConnection) -> bool:
        """False after a statement failed, unless it was rolled back to a savepoint."""
        return bool(connection.raw.pgconn.transaction_status == _IN_TRANSACTION)

    def has_begun(self, connection: KeptConnection) -> bool:
        """Also one in which a statement has failed."""
        status = connection.raw.pgconn.transaction_status
        return status in (_IN_TRANSACTION, _IN_FAILED_TRANSACTION)

    def take_turn(self, connection: KeptConnection, subject: str, what: str) -> None:
        """An advisory lock; two subjects of one hash wait for each other without need."""
        turn = crc32(subject.encode()) - 2**31
        self._execute(connection, f"SELECT pg_advisory_xact_lock({_TURN_CLASS}, {turn})", what)

    def announce(self, connection: KeptConnection, subject: str, what: str) -> None:
        """A notice, which goes out with the commit."""
        self._execute(connection, f"NOTIFY stepwell_{subject}", what)

    def listen(self, subject: str, heard: Callable[[], None]) -> Listening:
        """See :mod:`.postgresql_listening`."""
        error = self._driver.Error
        return ListeningSession(self._session, error, self._clock, f"stepwell_{subject}", heard)

    def _execute(self, connection: KeptConnection, sql: str, what: str) -> None:
        try:
            connection.cursor.execute(sql)
        except self._driver.Error as error:
            raise self.translate(error, what) from error

    def _lost(self, what: str, *, during_commit: bool) -> ConnectionLost:
        fact = "during its commit, whose outcome is unknown" if during_commit else "before it ended"
        return ConnectionLost(
            f"cannot {what}: the connection to {self.location!r} was lost {fact}",
            hint="see whether the server is running, then run it again",
            fields={"database": self.location, "during_commit": during_commit},
        )

    # --- many rows

    def rows(self, connection: KeptConnection, sql: str, bound: Sequence[Any]) -> Rows:
        """The server keeps them until they are fetched."""
        return ServerRows(connection, sql, bound)

    def load(
        self, connection: KeptConnection, table: sqlalchemy.Table, rows: Sequence[Sequence[Any]]
    ) -> None:
        """By COPY: one statement, whatever their number."""
        copy_rows(connection, table, rows)

    # --- errors

    def translate(self, error: Exception, what: str) -> DatabaseError:
        """By SQLSTATE; see ``postgresql_errors.py``."""
        return translate(error, what, self.location)

    def may_rerun(self, error: DatabaseError) -> bool:
        """After a serialization failure or a deadlock."""
        return is_rerunnable(error)

    # --- owners

    def hold_owner(self, owner_id: int) -> bool:
        """A session's advisory lock: it goes with the session, so the session is for it alone."""
        self._application_name = owner_name(owner_id)
        return self._owners.hold(owner_id)

    def release_owner(self, owner_id: int) -> None:
        """Its lock is free, and so it is dead."""
        self._owners.release(owner_id)

    def keeps_owner(self, owner_id: int) -> bool:
        """Renews its lease."""
        return self._owners.keeps(owner_id)

    def owner_is_dead(self, connection: KeptConnection, owner_id: int) -> bool:
        """By its lock and its lease."""
        return owner_is_dead(connection, owner_id, is_ours=self._owners.has(owner_id))

    def dead_owners(self, connection: KeptConnection, owner_ids: Collection[int]) -> set[int]:
        """In one statement: each of many hosts asks it of all of them, again and again."""
        return dead_owners(connection, owner_ids, ours=self._owners.held)

    def end_sessions(self, connection: KeptConnection, owner_id: int) -> int:
        """By their name; never our own."""
        return 0 if self._owners.has(owner_id) else end_sessions(connection, owner_id)

    # --- migrations

    def schema_version(self, connection: KeptConnection) -> str | None:
        """Of the schema that the search path finds first."""
        if not self.has_table(connection, "batch_schema_version"):
            return None
        connection.cursor.execute("SELECT version_num FROM batch_schema_version")
        rows = connection.cursor.fetchall()
        return rows[0][0] if rows else None

    def has_table(self, connection: KeptConnection, name: str) -> bool:
        """In the schema that the search path finds first."""
        connection.cursor.execute("SELECT to_regclass(quote_ident(%s)) IS NOT NULL", (name,))
        return bool(connection.cursor.fetchall()[0][0])

    def connect_to_migrate(self) -> KeptConnection:
        """Like any other."""
        return self.connect(writes=True)

    def engine_upon(self, connection: KeptConnection) -> sqlalchemy.Engine:
        """Looking for hstore would cost a round trip."""
        return sqlalchemy.create_engine(
            "postgresql+psycopg://",
            creator=lambda: connection.raw,
            poolclass=StaticPool,
            use_native_hstore=False,
        )

    def lock_migration(self, connection: KeptConnection, what: str) -> None:
        """An advisory lock, waited for at most as long as for the gate."""
        self._execute(connection, f"SELECT pg_advisory_xact_lock({LOCK_CLASS}, {_MIGRATION})", what)

    def check_foreign_keys(self, connection: KeptConnection, what: str) -> None:
        """PostgreSQL has checked them all along."""

    # --- looking

    def info(self, connection: KeptConnection, schema_version: str | None) -> DatabaseInfo:
        """From the server."""
        cursor = connection.cursor
        cursor.execute(
            "SELECT current_setting('server_version'), current_setting('synchronous_commit'),"
            " pg_database_size(current_database()), current_setting('block_size')::bigint"
        )
        version, synchronous, size_bytes, block_bytes = cursor.fetchall()[0]
        return DatabaseInfo(
            location=self.location,
            dialect="postgresql",
            version=version,
            driver=f"psycopg {self._driver.__version__}",
            wal_reset_affected=False,
            journal_mode="wal",
            synchronous=synchronous,
            size_bytes=size_bytes,
            page_count=size_bytes // block_bytes,
            wal_bytes=0,
            schema_version=schema_version,
            filesystem="",
        )

    def findings(self, connection: KeptConnection, *, thorough: bool) -> list[Finding]:
        """From the server."""
        return list(postgresql_findings.findings(connection, self._clock.now()))

    def oldest_reader(self, connection: KeptConnection) -> OldestReader | None:
        """Of all sessions of the database but this one."""
        from stepwell.database.postgresql_state import oldest_transaction

        return oldest_transaction(connection)


def _load_driver(location: str) -> Any:
    try:
        return importlib.import_module("psycopg")
    except ImportError as error:
        raise CannotOpenDatabase(
            f"cannot open database {location!r}: psycopg, the PostgreSQL driver, is missing",
            hint="`pip install 'stepwell[postgres]'`",
            fields={"database": location},
        ) from error
