"""The rows of one query, taken some at a time: only those are in memory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


class Rows:
    """Rows that the database finds when they are asked for, through a cursor of their own."""

    def __init__(self, cursor: Any, sql: str, bound: Sequence[Any]) -> None:
        self._cursor = cursor
        cursor.execute(sql, bound)

    def take(self, count: int) -> list[tuple[Any, ...]]:
        """The next ones as the driver has them, at most so many; none at the end."""
        taken: list[tuple[Any, ...]] = self._cursor.fetchmany(count)
        return taken

    def close(self) -> None:
        """Take no more of them."""
        self._cursor.close()
