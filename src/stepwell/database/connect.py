"""Open a database: its URL, its options, and the object that everything else is handed."""

from __future__ import annotations

import logging
import os
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

from stepwell.clock import Clock
from stepwell.database.connections import Connections
from stepwell.database.dialect import (
    DatabaseInfo,
    DatabaseOptions,
    Dialect,
    Emptied,
    KeptConnection,
    OldestReader,
)
from stepwell.database.liveness import Liveness
from stepwell.database.transaction import Reader, Transaction
from stepwell.database.wal import WHOLE_TIMEOUT_S, held_back
from stepwell.errors import CannotOpenDatabase, DatabaseBusy, DatabaseError

T = TypeVar("T")

RUNS_MAX = 5
_RERUN_AFTER_S = (0.001, 0.01)

logger = logging.getLogger(__name__)


class Database:
    """One open database, shared by all threads of the process; made by :func:`open_database`.

    >>> database.run(lambda transaction: transaction.execute(RENAME, {"item_id": 7, "to": "x"}))
    1

    Attributes:
        dialect: The operations that differ between SQLite and PostgreSQL.
        url: As it was given, with the password if there was one: not for messages.
        options: How it was opened.
        location: Path or URL for messages.
        path: The real path of the SQLite file; None on PostgreSQL.
        liveness: Which owners are alive.
        clock: The time, as it was injected.
    """

    def __init__(
        self,
        url: str,
        dialect: Dialect,
        clock: Clock,
        path: Path | None,
        options: DatabaseOptions,
    ) -> None:
        self.url = url
        self.options = options
        self.dialect = dialect
        self.location = dialect.location
        self.path = path
        self.clock = clock
        self._writers = Connections(dialect, writes=True)
        self._readers = Connections(dialect, writes=False)
        self._writers.add(dialect.open())
        self.liveness = Liveness(dialect, self.read)
        self._what_writing = f"write to database {self.location!r}"
        self._what_reading = f"read database {self.location!r}"
        _open_databases.add(self)

    @property
    def place(self) -> str:
        """Where it lies, whatever the working folder: the real path, or the location."""
        return self.location if self.path is None else str(self.path)

    def run(self, fact: Callable[[Transaction], T], *, what: str = "") -> T:
        """Run one fact in one write transaction, commit it, and answer what it answered.

        A transaction that meets another one (BUSY, a serialization failure, a deadlock) is rolled
        back and run again, a bounded number of times: ``fact`` does nothing outside of it.
        ``what`` completes "cannot …" in messages, such as "record a chunk of step 'load'".

        Raises:
            DatabaseBusy: the right to write did not come in time; the message names who has it.
            ConnectionLost: when its fields say ``during_commit`` the outcome is unknown (S37).
        """
        for attempt in range(1, RUNS_MAX):
            try:
                with self.write(what=what) as transaction:
                    return fact(transaction)
            except DatabaseError as error:
                if not self.dialect.may_rerun(error):
                    raise
                logger.info("transaction %d of %d met another: %s", attempt, RUNS_MAX, error)
            self.clock.sleep(self.clock.jitter(*_RERUN_AFTER_S))
        with self.write(what=what) as transaction:
            return fact(transaction)

    def write(self, *, what: str = "") -> Transaction:
        """A write transaction for ``with``: commits at its end, rolls back on any exception."""
        return Transaction(self.dialect, self._writers, what or self._what_writing)

    def read(self, *, what: str = "") -> Reader:
        """A short read transaction for ``with``; it sees one state and blocks nobody."""
        return Reader(self.dialect, self._readers, what or self._what_reading)

    @contextmanager
    def listening(self, subject: str, heard: Callable[[], None]) -> Iterator[None]:
        """Inside of it ``heard`` is called when ``subject`` is announced, where that can be heard.

        It is no more than a hint to look at once: a notice may be lost.
        """
        listening = self.dialect.listen(subject, heard)
        try:
            yield
        finally:
            if listening is not None:
                listening.close()

    def info(self) -> DatabaseInfo:
        """What there is to know about this database."""
        return self._ask(
            lambda connection: self.dialect.info(
                connection, self.dialect.schema_version(connection)
            )
        )

    def oldest_reader(self) -> OldestReader | None:
        """Who has been reading for longest right now, if that keeps the log from being cleared."""
        connection = self._readers.take()
        try:
            return self.dialect.oldest_reader(connection)
        finally:
            self._readers.give_back(connection)

    def empty_log(self, timeout_s: float) -> Emptied | None:
        """Move the write-ahead log into the database and cut it; None where a server does that.

        Writers wait meanwhile, readers are waited for at most ``timeout_s``.
        """
        what = f"checkpoint database {self.location!r}"
        self.dialect.enter(what)
        try:
            connection = self._writers.take()
            try:
                return self.dialect.empty_log(connection, timeout_s)
            except self.dialect.driver_errors as error:
                raise self.dialect.translate(error, what) from error
            finally:
                self._writers.give_back(connection)
        finally:
            self.dialect.leave()

    def schema_version(self) -> str | None:
        """The revision of Stepwell's tables; None before ``migrate`` has made them."""
        return self._ask(self.dialect.schema_version)

    def checkpoint(self) -> None:
        """Move SQLite's whole log into the database, behind the gate, and cut it.

        Raises:
            DatabaseBusy: a reader holds it back.
        """
        emptied = self.empty_log(WHOLE_TIMEOUT_S)
        if emptied is not None and emptied.is_blocked:
            raise held_back(self.location)

    def forget(self) -> object:
        """Start afresh in a forked child; answers what must never be closed there."""
        return self._writers.forget(), self._readers.forget(), self.dialect.forget()

    def _ask(self, question: Callable[[KeptConnection], T]) -> T:
        with self.read() as reader:
            return reader.ask(question)

    def close(self) -> None:
        """Close the idle connections. Transactions must have ended; closing twice is harmless."""
        if self not in _open_databases:
            return
        self._readers.drop_idle()
        try:
            # The last writer to close checkpoints, which only happens behind the gate (wal.py).
            self.dialect.enter(f"close database {self.location!r}")
        except DatabaseBusy as error:
            logger.warning("the connections stay open until the process ends: %s", error)
            _never_close(self._writers.forget())
        else:
            try:
                self._writers.drop_idle()
            finally:
                self.dialect.leave()
        _open_databases.discard(self)
        self.dialect.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        error_type: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def open_database(
    url: str, *, clock: Clock | None = None, options: DatabaseOptions | None = None
) -> Database:
    """Open ``sqlite:///path`` or ``postgresql://…``; the tables are made by ``migrate``.

    A missing SQLite file is created, an empty one and one with only the application's tables are
    fine. A relative path starts at the working folder.

    Raises:
        CannotOpenDatabase, DatabaseReadOnly, DatabaseDamaged, UnsafeFilesystem, WalUnavailable:
            with the fact that decides and the way out.
    """
    clock = clock or Clock()
    options = options or DatabaseOptions()
    path = sqlite_path(url)
    if path is not None:
        from stepwell.database.sqlite import SqliteDialect

        sqlite = SqliteDialect(path, options, clock)
        return Database(url, sqlite, clock, Path(sqlite.path), options)
    from stepwell.database.postgresql import PostgresqlDialect

    postgresql = PostgresqlDialect(f"postgresql://{url.partition('://')[2]}", options, clock)
    return Database(url, postgresql, clock, None, options)


def sqlite_path(url: str) -> str | None:
    """The path that a SQLite URL names; None for a URL of PostgreSQL.

    Raises:
        CannotOpenDatabase: it is neither.
    """
    scheme, separator, rest = url.partition("://")
    if separator and scheme in ("postgresql", "postgresql+psycopg", "postgres"):
        return None
    if not separator or scheme != "sqlite":
        raise CannotOpenDatabase(
            f"cannot open database {url!r}: it is neither sqlite:///PATH nor postgresql://…",
            hint=f"`sqlite:///{url}`" if not separator else "use one of the two",
        )
    path = rest.removeprefix("/")
    if not rest.startswith("/") or path in ("", ":memory:"):
        raise CannotOpenDatabase(
            f"cannot open database {url!r}: it names no file",
            hint="write sqlite:///stepwell.db, or sqlite:////var/lib/stepwell.db with four slashes;"
            " a database in memory cannot be shared between processes",
        )
    return path


# --- forked children, and what is never closed

_open_databases: weakref.WeakSet[Database] = weakref.WeakSet()


def _never_close(connections: object) -> None:
    """Python closes what it collects, at the latest at its end: hold a reference for ever."""
    import ctypes

    ctypes.pythonapi.Py_IncRef(ctypes.py_object(connections))


def _forget_after_fork() -> None:
    """A child uses no inherited connection and closes none: both would break the parent's.

    A child may use the database, on connections of its own; the parent must keep it open as long,
    because SQLite counts the two as one process.
    """
    for database in _open_databases:
        _never_close(database.forget())


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_after_fork)
