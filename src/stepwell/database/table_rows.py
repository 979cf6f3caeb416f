"""All rows of one of Stepwell's tables, in the one order that both kinds of database have.

The order is that of the primary key, text by its bytes. So the rows of a table that were inserted
in this order are, at any moment, its first ones: the last key tells where to go on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Column, Table, Text, bindparam, func, select, tuple_

from stepwell.database.prepared import Prepared, Row
from stepwell.database.transaction import Reader, Transaction
from stepwell.database.types import ByteOrder

Take = Callable[[int], list[Row]]


class TableRows:
    """The statements of one table, which has a primary key or one row at most."""

    def __init__(self, table: Table) -> None:
        self.name = table.name
        self._table = table
        keys: list[Column[Any]] = list(table.primary_key.columns)
        self._places = [list(table.columns).index(key) for key in keys]
        order = [ByteOrder(key) if isinstance(key.type, Text) else key for key in keys]
        last = [bindparam(f"last_{n}", type_=key.type) for n, key in enumerate(keys)]
        every = select(*table.columns)
        self._count = Prepared(select(func.count()).select_from(table))
        self._any = Prepared(select(keys[0]).limit(1))
        self._all = Prepared(every.order_by(*order))
        self._after = Prepared(every.where(tuple_(*order) > tuple_(*last)).order_by(*order))
        self._last = Prepared(select(*keys).order_by(*(each.desc() for each in order)).limit(1))

    def key_of(self, row: Row) -> Row:
        """The primary key of a row."""
        return tuple(row[place] for place in self._places)

    def count(self, reader: Reader) -> int:
        """How many there are."""
        return int(reader.fetch_all(self._count)[0][0])

    def is_empty(self, reader: Reader) -> bool:
        """Whether there is none."""
        return reader.fetch_one(self._any) is None

    def last_key(self, reader: Reader) -> Row | None:
        """The key of the last one; None when there is none."""
        return reader.fetch_one(self._last)

    @contextmanager
    def after(self, reader: Reader, key: Row | None = None) -> Iterator[Take]:
        """A function that takes the next ones behind a key, or from the first one."""
        values = {} if key is None else {f"last_{n}": value for n, value in enumerate(key)}
        with reader.rows(self._all if key is None else self._after, values) as take:
            yield take

    def load(self, transaction: Transaction, rows: Sequence[Row]) -> None:
        """Insert them as they are."""
        transaction.load(self._table, rows)
