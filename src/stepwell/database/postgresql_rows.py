"""Many rows from and to a PostgreSQL server: a cursor that the server keeps, and COPY."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import sqlalchemy

from stepwell.database.dialect import KeptConnection
from stepwell.database.rows import Rows
from stepwell.database.shape import listed, quoted

_numbers = itertools.count(1)


class ServerRows(Rows):
    """A cursor of the transaction at hand; several may be open in it."""

    def __init__(self, connection: KeptConnection, sql: str, bound: Sequence[Any]) -> None:
        self._cursor = connection.cursor
        self._name = f"stepwell_rows_{next(_numbers)}"
        # Whoever takes them may do much between two fetches.
        self._cursor.execute("SET LOCAL idle_in_transaction_session_timeout = 0")
        self._cursor.execute(f"DECLARE {self._name} NO SCROLL CURSOR FOR {sql}", bound)

    def take(self, count: int) -> list[tuple[Any, ...]]:
        """FETCH."""
        self._cursor.execute(f"FETCH FORWARD {count} FROM {self._name}")
        taken: list[tuple[Any, ...]] = self._cursor.fetchall()
        return taken

    def close(self) -> None:
        """Let the server forget them."""
        self._cursor.execute(f"CLOSE {self._name}")


def copy_rows(
    connection: KeptConnection, table: sqlalchemy.Table, rows: Sequence[Sequence[Any]]
) -> None:
    """COPY … FROM STDIN, inside the transaction at hand."""
    columns = listed(column.name for column in table.columns)
    with connection.cursor.copy(f"COPY {quoted(table.name)} ({columns}) FROM STDIN") as copy:
        for row in rows:
            copy.write_row(row)
