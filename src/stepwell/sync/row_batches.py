"""Many rows of one table with one statement each kind; for the import's fast way.

Rows are tuples in the order of ``names``. Each is a statement's execution of its own, one behind
the other, so what a constraint or a trigger sees is what it would see of single statements.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from operator import itemgetter
from typing import Any

from stepwell.database.application import ApplicationTables
from stepwell.database.shape import TableShape, listed, quoted
from stepwell.database.transaction import Transaction
from stepwell.sync.change import Value
from stepwell.sync.rows import SHAPES_KEPT, CannotHold

Names = tuple[str, ...]
Rows = Sequence[Sequence[Value]]


def insert_rows(transaction: Transaction, shape: TableShape, names: Names, rows: Rows) -> int:
    """Insert rows; answers how many.

    Raises:
        CannotHold: a column cannot hold its value, or only by a statement of its own.
        ConstraintViolation: the database's own answer.
    """
    sql = _insert_sql(transaction.application, shape, names)
    return transaction.connection.executemany(sql, _bound(transaction, shape, names, rows))


def update_rows(transaction: Transaction, shape: TableShape, names: Names, rows: Rows) -> int:
    """Set all columns but the key; answers how many rows there were.

    Raises:
        CannotHold, ConstraintViolation: as ``insert_rows``.
    """
    changed = tuple(name for name in names if name not in shape.key)
    if not changed:
        return len(rows)
    sql = _update_sql(transaction.application, shape, changed)
    order = (*changed, *shape.key)
    return transaction.connection.executemany(
        sql, _bound(transaction, shape, order, _picked(names, order, rows))
    )


def delete_rows(transaction: Transaction, shape: TableShape, names: Names, keys: Rows) -> int:
    """Delete rows; answers how many there were."""
    sql = _delete_sql(transaction.application, shape)
    picked = _picked(names, shape.key, keys)
    return transaction.connection.executemany(sql, _bound(transaction, shape, shape.key, picked))


def _picked(names: Names, order: Names, rows: Rows) -> Rows:
    if names == order:
        return rows
    if len(order) == 1:
        place = names.index(order[0])
        return [(row[place],) for row in rows]
    return list(map(itemgetter(*map(names.index, order)), rows))


def _bound(
    transaction: Transaction, shape: TableShape, names: Names, rows: Rows
) -> list[Sequence[Any]]:
    bound_row = transaction.application.bound_row
    columns = [shape.column(name) for name in names]
    try:
        return [bound_row(columns, row) for row in rows]
    except ValueError as error:
        raise CannotHold(f"a column of table {shape.name!r} cannot hold a value: {error}") from None


def _marked(
    application: ApplicationTables, shape: TableShape, names: Sequence[str]
) -> dict[str, str]:
    """Column → its parameter, in the order in which they are bound."""
    return {n: application.written(shape.column(n), f":c{i}") for i, n in enumerate(names)}


@lru_cache(maxsize=SHAPES_KEPT)
def _insert_sql(application: ApplicationTables, shape: TableShape, names: Names) -> str:
    marked = _marked(application, shape, names)
    return (
        f"INSERT INTO {quoted(shape.name)} ({listed(names)}) {application.overriding}"
        f"VALUES ({', '.join(marked.values())})"
    )


@lru_cache(maxsize=SHAPES_KEPT)
def _update_sql(application: ApplicationTables, shape: TableShape, changed: Names) -> str:
    marked = _marked(application, shape, (*changed, *shape.key))
    sets = ", ".join(f"{quoted(name)} = {marked[name]}" for name in changed)
    where = " AND ".join(f"{quoted(name)} = {marked[name]}" for name in shape.key)
    return f"UPDATE {quoted(shape.name)} SET {sets} WHERE {where}"


@lru_cache(maxsize=SHAPES_KEPT)
def _delete_sql(application: ApplicationTables, shape: TableShape) -> str:
    marked = _marked(application, shape, shape.key)
    where = " AND ".join(f"{quoted(name)} = {marked[name]}" for name in shape.key)
    return f"DELETE FROM {quoted(shape.name)} WHERE {where}"
