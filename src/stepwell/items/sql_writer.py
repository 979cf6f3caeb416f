"""SqlWriter: items as rows of a table, in the chunk's own transaction."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from stepwell.errors import ItemError
from stepwell.items.rows import Rows, checked_names
from stepwell.items.sql_text import listed, quoted, quoted_table


class SqlWriter:
    """Inserts items into a table, or updates the rows that have their key.

    The rows are written through the step's connection and commit together with the checkpoint:
    **exactly once** (S91), on SQLite and PostgreSQL alike. Tuples reach the driver as they are and
    are the fastest; a dict or an object costs the making of one tuple. The statement is built
    once; its identifiers are always quoted, so upper and lower case matter on PostgreSQL.

    >>> SqlWriter("flight")                                        # insert
    >>> SqlWriter("flight", key=["id"])                            # insert, or update by id
    >>> SqlWriter("flight", key=["id"], on_conflict="ignore")      # insert, or leave what is there
    >>> SqlWriter("sales.line", columns=["order_id", "line", "price"], key=["order_id", "line"])

    Args:
        table: ``table`` or ``schema.table``. It must be there: see ``MigrationTasklet``.
        columns: What of an item is written. By default all of the first item, and then every item
            must have the same. Tuples and lists without names need it, and are in its order.
        key: The columns of a primary key or unique index. Without it a row whose key is there
            already is a ConstraintViolation.
        on_conflict: What happens to a row whose key is there: ``"update"`` sets all its other
            columns that are written, ``"ignore"`` leaves it as it is. Needs ``key``.

    Items are mappings, tuples or lists in the order of the columns, or objects that have the
    columns as attributes (dataclasses, named tuples, msgspec and pydantic models).

    Raises:
        MalformedItem: an item lacks a column, or has one too many.
        ItemError: the columns or the key do not fit together.
        DatabaseError: what the database answers, such as ConstraintViolation.
    """

    def __init__(
        self,
        table: str,
        *,
        columns: Sequence[str] | None = None,
        key: Sequence[str] | None = None,
        on_conflict: Literal["update", "ignore"] = "update",
    ) -> None:
        self.table = table
        self.columns = None if columns is None else checked_names("columns", columns)
        self.key = () if key is None else checked_names("key", key)
        self.on_conflict = on_conflict
        if on_conflict not in ("update", "ignore"):
            raise ItemError(f"on_conflict must be 'update' or 'ignore', got {on_conflict!r}")
        if on_conflict == "ignore" and not self.key:
            raise ItemError("on_conflict='ignore' must have a key, got none")
        if self.columns is not None:
            self._statement_for(self.columns)  # A name that does not fit is refused here and now.

    def open(self, checkpoint: Any = None) -> None:
        """Forget the columns of an earlier execution; there is no position to take."""
        del checkpoint
        self._rows = Rows(self.columns, f"table {self.table!r}")
        self._statement: str | None = None

    def write(self, items: Sequence[Any], step: Any) -> None:
        """Insert or update one row an item, through ``step.connection``."""
        rows = self._rows.of(items)
        if self._statement is None:
            self._statement = self._statement_for(self._rows.columns or ())
        step.connection.executemany(self._statement, rows)

    def checkpoint(self) -> None:
        """Nothing: the rows are in the same commit as the reader's checkpoint."""
        return

    def close(self) -> None:
        """Nothing to give back: the connection is the engine's."""

    def _statement_for(self, columns: Sequence[str]) -> str:
        for name in self.key:
            if name not in columns:
                raise ItemError(
                    f"cannot write table {self.table!r} by its key: column {name!r} is not among"
                    f" the columns {', '.join(map(repr, columns))}",
                    hint="the key's columns are written too",
                )
        markers = ", ".join(f":c{number}" for number in range(len(columns)))
        insert = f"INSERT INTO {quoted_table(self.table)} ({listed(columns)}) VALUES ({markers})"
        if not self.key:
            return insert
        others = [name for name in columns if name not in self.key]
        if self.on_conflict == "ignore" or not others:
            return f"{insert} ON CONFLICT ({listed(self.key)}) DO NOTHING"
        changes = ", ".join(f"{quoted(name)} = excluded.{quoted(name)}" for name in others)
        return f"{insert} ON CONFLICT ({listed(self.key)}) DO UPDATE SET {changes}"
