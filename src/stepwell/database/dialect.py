"""The one abstraction over the databases: what Stepwell needs to have done, by name.

Nobody outside this package asks which database it is; whatever differs is an operation here.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol

import sqlalchemy

from stepwell.database.prepared import Prepared
from stepwell.database.rows import Rows
from stepwell.errors import DatabaseError, StepUsageError
from stepwell.finding import Finding

if TYPE_CHECKING:
    from stepwell.database.application import ApplicationTables


# How the refusal of a closed table begins (``moves.py``).
CLOSED = "the database is closed: "
CLOSED_HINT = (
    "let `database` in stepwell.toml name that one; `stepwell db info` tells how far it is"
)


class _Inherited:
    """Stands for a connection of the parent process, in a forked child."""

    def __getattr__(self, name: str) -> Any:
        raise StepUsageError(
            f"cannot use a transaction of the parent process: {name!r} was asked for in a child",
            hint="open a transaction in the child, or start it with `spawn`",
        )


class Listening(Protocol):
    """Somebody listens until it is closed."""

    def close(self) -> None:
        """Hear nothing any more."""


class KeptConnection:
    """A driver's connection that is kept between transactions, with its one cursor.

    Used by one thread at a time; the cursor is reused because making one costs as much as a small
    statement.
    """

    __slots__ = ("cursor", "label", "raw", "total_changes")

    def __init__(self, raw: Any) -> None:
        self.raw = raw
        self.cursor = raw.cursor()
        # What the server knows the session by.
        self.label = ""
        # The driver's own counter at the last commit, see wal.py.
        self.total_changes = 0

    @property
    def is_inherited(self) -> bool:
        """Whether it is the parent process's, and this is a forked child."""
        return isinstance(self.raw, _Inherited)

    def forget(self) -> object:
        """Refuse every use from now on; answers what must never be closed."""
        inherited = self.raw, self.cursor
        self.raw = self.cursor = _Inherited()
        return inherited


class SqlStyle(NamedTuple):
    """How a database reads SQL text; a tuple, because it is hashed at every statement.

    Attributes:
        marker: The driver's positional parameter marker.
        is_sqlite: ``[x]`` and ``?`` mean something, ``$$`` does not, and CREATE TRIGGER has its
            statements in its text.
    """

    marker: str
    is_sqlite: bool


@dataclass(frozen=True)
class DatabaseOptions:
    """How a database is opened.

    Attributes:
        durability: ``full`` survives a power cut with every commit; ``normal`` survives a crash
            of the program with every commit and a power cut without damage, but perhaps without
            the last ones. On PostgreSQL it is the server's setting.
        sqlite_driver: ``auto`` is the ``sqlite3`` that the process has loaded; ``pysqlite3``
            brings a newer SQLite. Never both for one file in one process: they drop each other's
            locks (sqlite.org/howtocorrupt.html).
        allow_unsafe_filesystem: Open the file although its filesystem is known to corrupt it.
        gate_timeout_s: How long a writer waits for the others, in seconds.
        create: False: a missing file is an error.
        owner: Free text by which the others know this process while it writes.
    """

    durability: Literal["full", "normal"] = "full"
    sqlite_driver: Literal["auto", "sqlite3", "pysqlite3"] = "auto"
    allow_unsafe_filesystem: bool = False
    gate_timeout_s: float = 30.0
    create: bool = True
    owner: str = "stepwell"


@dataclass(frozen=True)
class DatabaseInfo:
    """What there is to know about an open database, for ``doctor``, ``/health`` and people.

    Attributes:
        location: Path or URL, without a password.
        version: Of the SQLite library or of the PostgreSQL server.
        wal_reset_affected: This SQLite can corrupt a WAL (sqlite.org/wal.html#walresetbug).
        schema_version: The revision of Stepwell's tables, None before the first migration.
        filesystem: Its type, empty where it cannot be told.
    """

    location: str
    dialect: str
    version: str
    driver: str
    wal_reset_affected: bool
    journal_mode: str
    synchronous: str
    size_bytes: int
    page_count: int
    wal_bytes: int
    schema_version: str | None
    filesystem: str


@dataclass(frozen=True)
class Emptied:
    """What a checkpoint has done to the write-ahead log.

    Attributes:
        is_blocked: A reader, or a writer that does not know the gate, kept it from being cut.
        pages_left: How many pages only the log holds still.
    """

    is_blocked: bool
    pages_left: int
    bytes_before: int
    bytes_after: int


@dataclass(frozen=True)
class OldestReader:
    """The oldest read transaction, which keeps old states from being cleared away.

    Attributes:
        pid: The process; at a server its backend; 0 where it cannot be told.
        name: What is known of it.
        pages_behind: How much the log has grown since; None at a server.
        seconds: How old it is; None on SQLite, where nothing tells.
    """

    pid: int
    name: str
    pages_behind: int | None
    seconds: float | None


class Dialect(ABC):
    """One open database's way of doing things.

    Attributes:
        core: What Core statements are compiled with.
        driver_errors: The exceptions that :meth:`translate` turns into Stepwell's.
        location: Path or URL for messages, without a password.
        sql_style: How user code's SQL text is read and given to the driver.
        heartbeat_s: How often an owner renews its proof of life; None where it needs no renewing.
    """

    core: sqlalchemy.Dialect
    driver_errors: tuple[type[Exception], ...]
    location: str
    sql_style: SqlStyle
    heartbeat_s: float | None = None

    @property
    @abstractmethod
    def application(self) -> ApplicationTables:
        """What is done with the application's own tables; imported when it is needed."""

    # --- connections

    @abstractmethod
    def open(self) -> KeptConnection:
        """Look whether the database can be opened, create it; answers its first write connection.

        Called once, before anything else.
        """

    @abstractmethod
    def connect(self, *, writes: bool) -> KeptConnection:
        """A new connection, set up by the recipe of ``database.md``."""

    @abstractmethod
    def disconnect(self, connection: KeptConnection) -> None:
        """Close a connection that has no open transaction."""

    @abstractmethod
    def is_lost(self, connection: KeptConnection) -> bool:
        """Whether the connection is of no further use."""

    @abstractmethod
    def close(self) -> None:
        """Give up what the database holds besides connections."""

    @abstractmethod
    def forget(self) -> object:
        """Start afresh in a forked child; answers what must never be closed there."""

    # --- transactions

    @abstractmethod
    def enter(self, what: str) -> None:
        """Wait for the right to write; a thread has it at most once."""

    @abstractmethod
    def leave(self) -> None:
        """Give the right to write back."""

    @abstractmethod
    def begin_write(self, connection: KeptConnection, what: str) -> None:
        """Begin a transaction that may write; the thread has entered."""

    @abstractmethod
    def begin_read(self, connection: KeptConnection, what: str) -> None:
        """Begin a transaction that sees one state of the data and cannot change it."""

    @abstractmethod
    def commit(self, connection: KeptConnection, what: str) -> None:
        """Commit, or raise; a ConnectionLost says ``during_commit`` (S37)."""

    @abstractmethod
    def rollback(self, connection: KeptConnection) -> None:
        """Roll back what is open, if anything is."""

    @abstractmethod
    def is_open(self, connection: KeptConnection) -> bool:
        """Whether the transaction can still commit."""

    @abstractmethod
    def has_begun(self, connection: KeptConnection) -> bool:
        """Whether there is a transaction at all, be it one that cannot commit any more."""

    @abstractmethod
    def take_turn(self, connection: KeptConnection, subject: str, what: str) -> None:
        """Wait until no other transaction has the turn of ``subject``; until this one's end."""

    def announce(  # noqa: B027 - nothing is what most databases can do
        self, connection: KeptConnection, subject: str, what: str
    ) -> None:
        """Tell who listens for ``subject``, with this transaction's commit; here nobody can."""

    def listen(self, subject: str, heard: Callable[[], None]) -> Listening | None:
        """Have ``heard`` called on a thread of its own when ``subject`` is announced.

        None where nobody can be told: who wants to know looks again and again.
        """
        return None

    # --- many rows

    def rows(self, connection: KeptConnection, sql: str, bound: Sequence[Any]) -> Rows:
        """Ask for rows that are taken some at a time, inside a read transaction."""
        return Rows(connection.raw.cursor(), sql, bound)

    def load(
        self, connection: KeptConnection, table: sqlalchemy.Table, rows: Sequence[Sequence[Any]]
    ) -> None:
        """Insert whole rows, given as Python values in the order of the table's columns."""
        plan = Prepared(sqlalchemy.insert(table)).plan(self.core)
        names = [column.key for column in table.columns]
        connection.cursor.executemany(
            plan.sql, (plan.bind(dict(zip(names, row, strict=True))) for row in rows)
        )

    # --- errors

    @abstractmethod
    def translate(self, error: Exception, what: str) -> DatabaseError:
        """The driver's exception as one of Stepwell's: "cannot ``what``: …"."""

    @abstractmethod
    def may_rerun(self, error: DatabaseError) -> bool:
        """Whether the whole transaction may succeed when it is run again."""

    # --- owners

    @abstractmethod
    def hold_owner(self, owner_id: int) -> bool:
        """Take the proof of life of an owner; False when somebody else has it."""

    @abstractmethod
    def release_owner(self, owner_id: int) -> None:
        """Give it up."""

    @abstractmethod
    def keeps_owner(self, owner_id: int) -> bool:
        """Whether this process has the proof still, or again, for as long as the lease is."""

    @abstractmethod
    def owner_is_dead(self, connection: KeptConnection, owner_id: int) -> bool:
        """Whether nobody alive has it; asked inside a read transaction."""

    def dead_owners(self, connection: KeptConnection, owner_ids: Collection[int]) -> set[int]:
        """Those of many whom nobody alive has."""
        return {each for each in owner_ids if self.owner_is_dead(connection, each)}

    @abstractmethod
    def end_sessions(self, connection: KeptConnection, owner_id: int) -> int:
        """End what an owner has open at the server, so that it holds no rows; how many (S34)."""

    # --- migrations

    @abstractmethod
    def schema_version(self, connection: KeptConnection) -> str | None:
        """The revision of Stepwell's tables, inside a transaction; None before the first."""

    @abstractmethod
    def has_table(self, connection: KeptConnection, name: str) -> bool:
        """Whether there is a table of this name, inside a transaction."""

    @abstractmethod
    def connect_to_migrate(self) -> KeptConnection:
        """A connection for one migration, on which tables may be rebuilt."""

    @abstractmethod
    def engine_upon(self, connection: KeptConnection) -> sqlalchemy.Engine:
        """SQLAlchemy's engine upon this one connection, for Alembic; it does not close it."""

    @abstractmethod
    def lock_migration(self, connection: KeptConnection, what: str) -> None:
        """Wait until nobody else migrates; until the end of the transaction."""

    @abstractmethod
    def check_foreign_keys(self, connection: KeptConnection, what: str) -> None:
        """Refuse to commit what breaks a foreign key."""

    # --- looking

    @abstractmethod
    def info(self, connection: KeptConnection, schema_version: str | None) -> DatabaseInfo:
        """Facts, read on a read connection inside a read transaction."""

    @abstractmethod
    def findings(self, connection: KeptConnection, *, thorough: bool) -> list[Finding]:
        """What is wrong with the database itself, see ``invariants.py``; on a read connection."""

    @abstractmethod
    def oldest_reader(self, connection: KeptConnection) -> OldestReader | None:
        """Who has read for longest, outside of a transaction of this thread's own."""

    # --- mending

    def empty_log(self, connection: KeptConnection, timeout_s: float) -> Emptied | None:
        """Empty the write-ahead log; None where a server cares for it. The thread has entered."""
        return None
