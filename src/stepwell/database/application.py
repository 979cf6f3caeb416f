"""The application's own tables: how they look, their exact values, the capture of their changes.

One implementation a database; ``Dialect.application`` has it. Its functions run inside the caller's
transaction, are given its connection by ``Transaction.ask``, and commit nothing.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, NamedTuple

from stepwell.database.dialect import KeptConnection
from stepwell.database.shape import Column, TableShape


class InvalidText(bytes):
    """The bytes of a text value that are no UTF-8; only SQLite can hold such a text."""

    __slots__ = ()


Value = None | bool | int | float | str | bytes | Decimal | InvalidText

# The tables of capture. They have no constraint: see sqlite_capture.py.
RAW = "change_raw"
CONTEXT = "change_context"


class RawRow(NamedTuple):
    """One row that a trigger wrote.

    Attributes:
        op: I, U, D; R: the row was replaced by the next one, which has its key; T: TRUNCATE.
        at_ms: When, in milliseconds since 1970.
        old, new: The images, in the order of the columns of the shape; None where there is none.
    """

    table_id: int
    op: str
    at_ms: int
    old: tuple[Value, ...] | None
    new: tuple[Value, ...] | None


@dataclass
class RawGroup:
    """Raw rows that belong together, in their order.

    Attributes:
        key: What holds them together; a group that was begun goes on under the same key.
        context: What a transaction of Stepwell's own said of itself; empty for anybody else's.
        is_transaction: One transaction; else a run of whole ones.
        is_whole: No row of it is left.
    """

    key: str
    context: str
    is_transaction: bool
    rows: list[RawRow] = field(default_factory=list)
    is_whole: bool = True


class ApplicationTables(ABC):
    """The application's tables in one kind of database."""

    # What an INSERT says before VALUES, so that it may give an identity its value.
    overriding = ""

    # --- looking

    @abstractmethod
    def table(self, connection: KeptConnection, name: str) -> TableShape | None:
        """What it looks like; None when there is no such table or view."""

    @abstractmethod
    def default(self, connection: KeptConnection, shape: TableShape, column: Column) -> Value:
        """What a row has in a column that it leaves out; None where that is not one value."""

    @abstractmethod
    def defer_foreign_keys(self, connection: KeptConnection) -> None:
        """Until the end of the transaction, as far as the database can."""

    @abstractmethod
    def enforce_foreign_keys(self, connection: KeptConnection) -> None:
        """Check them statement by statement again, and what was deferred now, if it can."""

    @abstractmethod
    def broken_foreign_keys(
        self, connection: KeptConnection, shape: TableShape
    ) -> Sequence[tuple[Value, ...]]:
        """The foreign keys of a table that name no row: parent, then the values of its key."""

    # --- exact values

    @abstractmethod
    def selected(self, column: Column, prefix: str = "") -> str:
        """The SQL by which a column is read, for :meth:`reading`."""

    @abstractmethod
    def reading(self, columns: Sequence[Column]) -> Callable[[Sequence[Any]], tuple[Value, ...]]:
        """A function from a driver's row of these columns to exact values."""

    @abstractmethod
    def exactly(self, connection: KeptConnection) -> AbstractContextManager[None]:
        """Inside, what is read for :meth:`reading` loses nothing on its way."""

    @abstractmethod
    def written(self, column: Column, parameter: str, value: Value = None) -> str:
        """The SQL by which a value of :meth:`bound` is written to, or compared with, a column.

        The same for all values but an :class:`InvalidText`.
        """

    @abstractmethod
    def bound(self, column: Column, value: Value) -> Any:
        """A value as :meth:`written` takes it.

        Raises:
            ValueError: the column cannot hold it; the message says why.
        """

    def bound_row(self, columns: Sequence[Column], values: Sequence[Value]) -> Sequence[Any]:
        """Values as :meth:`written` takes them; none of them is an :class:`InvalidText`.

        Raises:
            ValueError: as :meth:`bound`.
        """
        if InvalidText in map(type, values):
            raise ValueError("text that is no UTF-8 is written row by row alone")
        bound = self.bound
        return [bound(column, value) for column, value in zip(columns, values, strict=True)]

    # --- capture

    @abstractmethod
    def make_raw_tables(self, connection: KeptConnection) -> None:
        """Make what triggers write to, unless it is there."""

    @abstractmethod
    def install(self, connection: KeptConnection, shape: TableShape, table_id: int) -> None:
        """Make the triggers of a table, after all others; those that were there are replaced."""

    @abstractmethod
    def remove(self, connection: KeptConnection, table_id: int, table_name: str) -> None:
        """Drop them, and the raw rows of the table."""

    @abstractmethod
    def fault(self, connection: KeptConnection, shape: TableShape, table_id: int) -> str:
        """What is wrong with the triggers of a table that looks so now; empty when nothing is."""

    @abstractmethod
    def set_context(self, connection: KeptConnection, context: str) -> None:
        """Tell the triggers, in this transaction alone, whose it is."""

    @abstractmethod
    def set_echo(self, connection: KeptConnection) -> None:
        """Capture nothing of what this transaction writes from now on."""

    @abstractmethod
    def clear_context(self, connection: KeptConnection, table_ids: Sequence[int]) -> None:
        """Before COMMIT: nothing of the context is left, nor of an echo in these tables."""

    # --- sealing

    @abstractmethod
    def has_raw(self, connection: KeptConnection) -> bool:
        """Whether anything waits to be sealed."""

    @abstractmethod
    def lock_sealing(self, connection: KeptConnection) -> None:
        """Wait until nobody else seals; until the end of the transaction."""

    @abstractmethod
    def lock_writers(self, connection: KeptConnection, tables: Sequence[str]) -> None:
        """Wait for whoever writes these tables, keep others from it; until the end."""

    @abstractmethod
    def take_raw(
        self,
        connection: KeptConnection,
        shapes: Mapping[int, TableShape],
        *,
        limit: int,
        going_on: str,
    ) -> list[RawGroup]:
        """Take at most ``limit`` committed raw rows away, as groups in the order of their commits.

        The last one may go on in the next call; ``going_on`` is its key then, empty otherwise.
        Rows of tables that have no shape are dropped.
        """
