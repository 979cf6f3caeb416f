"""The only place where a transaction is opened, committed and rolled back.

A :class:`Transaction` is a fact that becomes visible whole or not at all (law 2). It hands out
tuples and row counts of :class:`~stepwell.database.prepared.Prepared` statements, executed by the
driver's own cursor. A :class:`Reader` sees one state of the data, blocks nobody, and is short.

- Nobody commits or rolls back but ``with``: success commits, any exception rolls back.
- A thread has at most one write transaction; a second one is refused instead of waiting for itself.
- Driver exceptions stop here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from logging import DEBUG
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar

from stepwell.database import facts
from stepwell.database.connections import Connections
from stepwell.database.dialect import Dialect, KeptConnection
from stepwell.database.guarded import GuardedConnection
from stepwell.database.prepared import Prepared, Row
from stepwell.errors import TransactionEnded

if TYPE_CHECKING:
    from sqlalchemy import Table

    from stepwell.database.application import ApplicationTables

T = TypeVar("T")

_NO_VALUES: Mapping[str, Any] = {}

_tells = facts.logger.isEnabledFor  # Asked for each statement: bound once.


class Reader:
    """One state of the data, read through a connection that cannot write."""

    __slots__ = ("_connection", "_connections", "_cursor", "_dialect", "_guarded", "_what")

    def __init__(self, dialect: Dialect, connections: Connections, what: str) -> None:
        self._dialect = dialect
        self._connections = connections
        self._what = what
        self._connection: KeptConnection | None = None
        self._cursor: Any = None
        self._guarded: GuardedConnection | None = None

    def fetch_one(self, prepared: Prepared, values: Mapping[str, Any] = _NO_VALUES) -> Row | None:
        """The first row, or None. The others are read too, so that no statement stays open."""
        rows = self.fetch_all(prepared, values)
        return rows[0] if rows else None

    def fetch_all(self, prepared: Prepared, values: Mapping[str, Any] = _NO_VALUES) -> list[Row]:
        """Every row, as tuples of Python values in the order of the statement's columns."""
        plan = prepared.plan(self._dialect.core)
        cursor = self._cursor
        if cursor is None:
            raise self._ended()
        try:
            cursor.execute(plan.sql, plan.bind(values))
            rows: list[Row] = cursor.fetchall()
        except self._dialect.driver_errors as error:
            raise self._dialect.translate(error, self._what) from error
        if plan.conversions:
            return [plan.convert(row) for row in rows]
        return rows

    @contextmanager
    def rows(
        self, prepared: Prepared, values: Mapping[str, Any] = _NO_VALUES
    ) -> Iterator[Callable[[int], list[Row]]]:
        """A function that answers the next rows, at most as many as it is told; none at the end."""
        plan = prepared.plan(self._dialect.core)
        found = self.ask(
            lambda connection: self._dialect.rows(connection, plan.sql, plan.bind(values))
        )

        def take(count: int) -> list[Row]:
            rows = self.ask(lambda _connection: found.take(count))
            return [plan.convert(row) for row in rows] if plan.conversions else rows

        try:
            yield take
        finally:
            if self._connection is not None:
                with suppress(*self._dialect.driver_errors):
                    found.close()

    @property
    def connection(self) -> GuardedConnection:
        """The connection for user code, valid until this transaction ends (S192)."""
        if self._guarded is None:
            if self._connection is None:
                raise self._ended()
            self._guarded = GuardedConnection(self._dialect, self._connection)
        return self._guarded

    @property
    def application(self) -> ApplicationTables:
        """What is done with the application's own tables; its functions go through ``ask``."""
        return self._dialect.application

    def ask(self, question: Callable[[KeptConnection], T]) -> T:
        """Ask one of the dialect's own questions; for this package."""
        if self._connection is None:
            raise self._ended()
        try:
            return question(self._connection)
        except self._dialect.driver_errors as error:
            raise self._dialect.translate(error, self._what) from error

    def __enter__(self) -> Self:
        connection = self._connections.begin(self._dialect.begin_read, self._what)
        self._connection = connection
        self._cursor = connection.cursor
        return self

    def __exit__(
        self,
        error_type: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        connection, self._connection, self._cursor = self._connection, None, None
        if connection is not None:
            self.close_results()
            self._roll_back(connection)

    def _roll_back(self, connection: KeptConnection) -> None:
        """Roll back and keep the connection; one that cannot even do that is closed."""
        if connection.is_inherited:
            return  # A forked child leaves the transaction to its parent.
        try:
            self._dialect.rollback(connection)
        except self._dialect.driver_errors:
            self._connections.drop(connection)
        else:
            self._connections.give_back(connection)

    def close_results(self) -> None:
        """Close what :attr:`connection` has left open; who has it must ask for it again."""
        if self._guarded is not None:
            self._guarded.end()
            self._guarded = None

    def _ended(self) -> TransactionEnded:
        return TransactionEnded(
            f"cannot {self._what}: the transaction is not open",
            hint="use it inside its `with` block",
        )


class Transaction(Reader):
    """A write transaction: everything that it executes becomes visible together, or nothing."""

    __slots__ = ("_before_commit", "_undo")

    def __init__(self, dialect: Dialect, connections: Connections, what: str) -> None:
        super().__init__(dialect, connections, what)
        self._undo: list[Callable[[], None]] = []
        self._before_commit: list[Callable[[], None]] = []

    def execute(self, prepared: Prepared, values: Mapping[str, Any] = _NO_VALUES) -> int:
        """Execute a statement; answers how many rows it changed.

        Raises:
            ConstraintViolation: a key, a CHECK, a NOT NULL or a foreign key forbids it.
            TransactionEnded: something ended the transaction; nothing more can be done in it.
        """
        fact = facts.before(prepared, values) if _tells(DEBUG) else None
        plan = prepared.plan(self._dialect.core)
        cursor = self._cursor
        self.require_open()
        try:
            cursor.execute(plan.sql, plan.bind(values))
        except self._dialect.driver_errors as error:
            raise self._dialect.translate(error, self._what) from error
        if fact is not None:
            facts.after(fact, int(cursor.rowcount))
        return int(cursor.rowcount)

    def execute_many(self, prepared: Prepared, rows: Iterable[Mapping[str, Any]]) -> int:
        """Execute a statement once for each mapping; answers how many rows changed in all."""
        fact = facts.before(prepared, {}) if _tells(DEBUG) else None
        plan = prepared.plan(self._dialect.core)
        cursor = self._cursor
        self.require_open()
        try:
            cursor.executemany(plan.sql, map(plan.bind, rows))
        except self._dialect.driver_errors as error:
            raise self._dialect.translate(error, self._what) from error
        row_count = max(int(cursor.rowcount), 0)
        if fact is not None:
            facts.after(fact, row_count)
        return row_count

    def load(self, table: Table, rows: Sequence[Row]) -> None:
        """Insert whole rows, in the order of the table's columns, as fast as the database can.

        Raises:
            ConstraintViolation, StatementFailed: the table cannot hold one of them.
        """
        self.require_open()
        self.ask(lambda connection: self._dialect.load(connection, table, rows))

    def insert_rows(self, prepared: Prepared, rows: Sequence[Row]) -> None:
        """Execute an INSERT for many rows: tuples in the order of its columns, none converted.

        Raises:
            ConstraintViolation, TransactionEnded: as :meth:`execute`.
        """
        fact = facts.before(prepared, {}) if _tells(DEBUG) else None
        plan = prepared.plan(self._dialect.core)
        cursor = self._cursor
        self.require_open()
        try:
            for sql, tuples in plan.inserting(rows):
                cursor.executemany(sql, tuples)
        except self._dialect.driver_errors as error:
            raise self._dialect.translate(error, self._what) from error
        if fact is not None:
            facts.after(fact, len(rows))

    def fetch_all(self, prepared: Prepared, values: Mapping[str, Any] = _NO_VALUES) -> list[Row]:
        """Every row; of a statement that writes one, what it answers."""
        if not (_tells(DEBUG) and facts.writes(prepared)):
            return super().fetch_all(prepared, values)
        fact = facts.before(prepared, values)
        rows = super().fetch_all(prepared, values)
        facts.after(fact, len(rows), rows[0][0] if rows else None)
        return rows

    def take_turn(self, subject: str) -> None:
        """Have the others who ask for the turn of ``subject`` wait until this transaction ends.

        What it then reads is what they have left. One turn a transaction, before it changes
        anything, so that no two wait for each other.
        """
        self.require_open()
        self.ask(lambda connection: self._dialect.take_turn(connection, subject, self._what))

    def announce(self, subject: str) -> None:
        """Have who listens for ``subject`` look, once this transaction has committed."""
        self.ask(lambda connection: self._dialect.announce(connection, subject, self._what))

    def is_open(self) -> bool:
        """Whether the transaction can still commit; user code may have ended it (S192)."""
        return self._connection is not None and self._dialect.is_open(self._connection)

    def after_rollback(self, undo: Callable[[], None]) -> None:
        """Have something outside of the database undone when this transaction is rolled back."""
        self._undo.append(undo)

    def before_commit(self, last: Callable[[], None]) -> None:
        """Have something done as the last thing before COMMIT, and never after a rollback."""
        self._before_commit.append(last)

    @contextmanager
    def savepoint(self) -> Iterator[None]:
        """Undo what is executed inside when an exception leaves it; the transaction goes on."""
        self.require_open()
        self._control("SAVEPOINT stepwell")
        try:
            yield
        except BaseException:
            # Nothing is left to roll back to when something has ended the whole transaction.
            if self._connection is not None and self._dialect.has_begun(self._connection):
                self._control("ROLLBACK TO stepwell")
                self._control("RELEASE stepwell")
            raise
        self._control("RELEASE stepwell")

    def _control(self, sql: str) -> None:
        try:
            self._cursor.execute(sql)
        except self._dialect.driver_errors as error:
            raise self._dialect.translate(error, self._what) from error

    def require_open(self) -> None:
        """Refuse to go on in a transaction that something has ended (S192).

        Raises:
            TransactionEnded: nothing more can be done in it.
        """
        if self._connection is None or not self._dialect.is_open(self._connection):
            raise self._ended()

    def __enter__(self) -> Self:
        dialect = self._dialect
        dialect.enter(self._what)
        try:
            connection = self._connections.begin(dialect.begin_write, self._what)
        except BaseException:
            dialect.leave()
            raise
        self._connection = connection
        self._cursor = connection.cursor
        return self

    def __exit__(
        self,
        error_type: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._before_commit and error_type is None and self.is_open():
            try:
                for last in self._before_commit:
                    last()
            except BaseException as failed:
                self._before_commit = []
                self.__exit__(type(failed), failed, None)
                raise
        connection, self._connection, self._cursor = self._connection, None, None
        if connection is None:
            return
        try:
            self.close_results()
            if error_type is None:
                try:
                    self._dialect.commit(connection, self._what)
                except BaseException:
                    self._roll_back(connection)
                    raise
                if _tells(DEBUG):
                    facts.logger.debug("committed")
                self._connections.keep(connection)
            else:
                self._roll_back(connection)
        finally:
            self._dialect.leave()

    def _roll_back(self, connection: KeptConnection) -> None:
        facts.logger.debug("rolled back")
        super()._roll_back(connection)
        for undo in self._undo:
            undo()
