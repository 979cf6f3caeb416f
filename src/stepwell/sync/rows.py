"""Rows of tracked tables, read and written exactly, by name and kind of their columns.

Statements are made once for each shape. Foreign keys, uniques and checks are the database's own and
are never turned off. Whoever applies foreign rows is inside ``capture.echo``.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from functools import lru_cache
from typing import Any

from stepwell.database.application import ApplicationTables
from stepwell.database.shape import (
    Column,
    ForeignKey,
    Kind,
    TableShape,
    Unique,
    columns_in,
    listed,
    qualified,
    quoted,
)
from stepwell.database.transaction import Reader, Transaction
from stepwell.sync.change import InvalidText, Value, Values

SHAPES_KEPT = 256


class CannotHold(ValueError):
    """A column of this database cannot hold a value; the message says which and why."""


# --- reading ----------------------------------------------------------------------------------


def read_row(reader: Reader, shape: TableShape, key: Mapping[str, Value]) -> Values | None:
    """The row of this key, or None."""
    rows = _select(reader, shape, "WHERE " + _key_is(reader, shape), _bound(reader, shape, key))
    return rows[0] if rows else None


def read_rows_after(
    reader: Reader, shape: TableShape, key: Mapping[str, Value] | None, limit: int
) -> list[Values]:
    """At most ``limit`` rows in the order of their key, behind ``key`` (None: from the first)."""
    order = f"ORDER BY {listed(shape.key)} LIMIT {int(limit)}"
    if key is None:
        return _select(reader, shape, order, {})
    application = reader.application
    parameters = [
        application.written(shape.column(name), f":{_name(shape, name)}") for name in shape.key
    ]
    behind = f"WHERE ({listed(shape.key)}) > ({', '.join(parameters)})"
    return _select(reader, shape, f"{behind} {order}", _bound(reader, shape, key))


def rows_blocking(
    reader: Reader, shape: TableShape, values: Mapping[str, Value]
) -> list[tuple[Unique, Values]]:
    """Every row that a new row with these values would collide with, by which unique index.

    All unique indexes and all blockers, the row with the same key included. ``values`` has every
    column that an index names; an index of which it lacks one is not looked at.

    Raises:
        CannotHold: a column cannot hold its value.
    """
    found = []
    for unique in shape.uniques:
        sql = _blocking_sql(reader.application, shape, unique, tuple(sorted(values)))
        if sql is not None:
            names = _names_of(shape, unique)
            parameters = _bound(reader, shape, {name: values[name] for name in names})
            found += [(unique, row) for row in _rows(reader, shape, sql, parameters)]
    return found


def children_of(
    reader: Reader,
    child: TableShape,
    foreign_key: ForeignKey,
    parent_values: Mapping[str, Value],
    *,
    limit: int = 100,
) -> list[Values]:
    """Rows of ``child`` that name the parent's row by this foreign key, at most ``limit``."""
    pairs = list(zip(foreign_key.columns, foreign_key.parent_columns, strict=True))
    if any(parent_values.get(there) is None for _, there in pairs):
        return []
    application = reader.application
    where = " AND ".join(
        f"{quoted(here)} = {application.written(child.column(here), f':{_name(child, here)}')}"
        for here, _ in pairs
    )
    values = {here: parent_values[there] for here, there in pairs}
    return _select(
        reader, child, f"WHERE {where} LIMIT {int(limit)}", _bound(reader, child, values)
    )


def broken_foreign_keys(reader: Reader, shapes: Iterable[TableShape]) -> list[tuple[str, str]]:
    """Table and parent of each foreign key that names no row; what is deferred is checked now.

    Raises:
        ConstraintViolation: on PostgreSQL, which answers so.
    """
    application = reader.application
    found: dict[tuple[str, str], None] = {}
    for shape in shapes:
        if shape.foreign_keys:
            for parent, *_ in reader.ask(
                lambda connection, shape=shape: application.broken_foreign_keys(  # type: ignore[misc]
                    connection, shape
                )
            ):
                found[shape.name, str(parent)] = None
    return list(found)


# --- writing ----------------------------------------------------------------------------------


def insert_row(transaction: Transaction, shape: TableShape, values: Mapping[str, Value]) -> None:
    """Insert a row; a column without a value gets its default.

    Raises:
        CannotHold: a column cannot hold its value.
        ConstraintViolation: the database's own answer.
    """
    names = _known(shape, values)
    application = transaction.application
    parameters = [_written(application, shape, name, values[name]) for name in names]
    overriding = application.overriding
    sql = (
        f"INSERT INTO {quoted(shape.name)} ({listed(names)}) {overriding}"
        f"VALUES ({', '.join(parameters)})"
    )
    transaction.connection.execute(sql, _bound(transaction, shape, values, names))


def update_row(
    transaction: Transaction,
    shape: TableShape,
    key: Mapping[str, Value],
    values: Mapping[str, Value],
) -> bool:
    """Set columns of the row of this key, also the key's own; False when there is no such row.

    Raises:
        CannotHold, ConstraintViolation: as ``insert_row``.
    """
    names = _known(shape, values)
    application = transaction.application
    if not names:
        return read_row(transaction, shape, key) is not None
    sets = ", ".join(
        f"{quoted(name)} = {_written(application, shape, name, values[name])}" for name in names
    )
    sql = f"UPDATE {quoted(shape.name)} SET {sets} WHERE {_key_is(transaction, shape, prefix='k')}"
    parameters = _bound(transaction, shape, values, names)
    parameters |= _bound(transaction, shape, key, shape.key, prefix="k")
    return transaction.connection.execute(sql, parameters).rowcount > 0


def delete_row(transaction: Transaction, shape: TableShape, key: Mapping[str, Value]) -> bool:
    """Delete the row of this key; False when there is none."""
    sql = f"DELETE FROM {quoted(shape.name)} WHERE {_key_is(transaction, shape)}"
    return transaction.connection.execute(sql, _bound(transaction, shape, key)).rowcount > 0


# --- statements -------------------------------------------------------------------------------


def _name(shape: TableShape, column: str, prefix: str = "c") -> str:
    return f"{prefix}{shape.names.index(column)}"


def _known(shape: TableShape, values: Mapping[str, Value]) -> list[str]:
    return [name for name in shape.names if name in values]


def _written(
    application: ApplicationTables, shape: TableShape, name: str, value: Value = None
) -> str:
    return application.written(shape.column(name), f":{_name(shape, name)}", value)


def _key_is(reader: Reader, shape: TableShape, prefix: str = "c") -> str:
    return _key_is_sql(reader.application, shape, prefix)


@lru_cache(maxsize=SHAPES_KEPT)
def _key_is_sql(application: ApplicationTables, shape: TableShape, prefix: str) -> str:
    return " AND ".join(
        f"{quoted(name)} = "
        + application.written(shape.column(name), f":{_name(shape, name, prefix)}")
        for name in shape.key
    )


def _bound(
    reader: Reader,
    shape: TableShape,
    values: Mapping[str, Value],
    names: Sequence[str] = (),
    prefix: str = "c",
) -> dict[str, Any]:
    application = reader.application
    parameters: dict[str, Any] = {}
    for name in names or values:
        column = shape.column(name)
        try:
            parameters[_name(shape, name, prefix)] = application.bound(column, values[name])
        except ValueError as error:
            raise CannotHold(
                f"column {name!r} of table {shape.name!r} cannot hold the value: {error}"
            ) from None
    return parameters


@lru_cache(maxsize=SHAPES_KEPT)
def _selected(application: ApplicationTables, shape: TableShape, prefix: str = "") -> str:
    return ", ".join(application.selected(column, prefix) for column in shape.columns)


def _select(
    reader: Reader, shape: TableShape, tail: str, parameters: Mapping[str, Any]
) -> list[Values]:
    columns = _selected(reader.application, shape)
    return _rows(reader, shape, f"SELECT {columns} FROM {quoted(shape.name)} {tail}", parameters)


def _rows(
    reader: Reader, shape: TableShape, sql: str, parameters: Mapping[str, Any]
) -> list[Values]:
    application = reader.application
    read = application.reading(shape.columns)
    connection = reader.connection  # Before the driver's connection is changed for a moment.

    def fetch(kept: Any) -> list[tuple[Any, ...]]:
        with application.exactly(kept):
            return connection.execute(sql, parameters).fetchall()

    return [dict(zip(shape.names, read(row), strict=True)) for row in reader.ask(fetch)]


def _names_of(shape: TableShape, unique: Unique) -> tuple[str, ...]:
    return tuple(dict.fromkeys((*unique.columns, *columns_in(unique.where, shape.names))))


@lru_cache(maxsize=SHAPES_KEPT)
def _blocking_sql(
    application: ApplicationTables, shape: TableShape, unique: Unique, there: tuple[str, ...]
) -> str | None:
    """Rows ``t`` that have the value of a unique index that the new row ``n`` would have."""
    names = _names_of(shape, unique)
    if not set(names) <= set(there):
        return None
    new = ", ".join(
        f"{application.written(shape.column(name), f':{_name(shape, name)}')} AS {quoted(name)}"
        for name in names
    )
    tests = []
    for term, collation in zip(unique.terms, unique.collations, strict=True):
        equals = "IS NOT DISTINCT FROM" if unique.nulls_equal else "="
        collate = f" COLLATE {quoted(collation)}" if collation else ""
        ours, theirs = (qualified(term, shape.names, prefix) for prefix in ("t", "n"))
        tests.append(f"({ours}){collate} {equals} ({theirs})")
    if unique.where:
        tests += [f"({qualified(unique.where, shape.names, prefix)})" for prefix in ("t", "n")]
    return (
        f"SELECT {_selected(application, shape, 't')} FROM {quoted(shape.name)} t,"
        f" (SELECT {new}) n WHERE {' AND '.join(tests)}"
    )


# --- the same value, on another node ----------------------------------------------------------


def same_value(column: Column, one: Value, other: Value) -> bool:
    """Whether two nodes whose tables have this column hold the same.

    2 and 2.00 in a number's column, 1 and true, a moment in two notations; NULL equals only NULL.
    """
    if one is None or other is None:
        return one is other
    return canonical(column.kind, one) == canonical(column.kind, other)


def same_row(shape: TableShape, one: Mapping[str, Value], other: Mapping[str, Value]) -> bool:
    """Whether two images are the same in every column that both have, and have the same ones."""
    return one.keys() == other.keys() and all(
        name in other and same_value(shape.column(name), one[name], other[name])
        for name in one
        if name in shape.names
    )


def holds(
    shape: TableShape, row: Mapping[str, Value] | None, values: Mapping[str, Value] | None
) -> bool:
    """Whether a row is so already, in the columns that are spoken of; None is no row."""
    if row is None or values is None:
        return row is None and values is None
    return all(same_value(shape.column(name), row[name], values[name]) for name in values)


def canonical(kind: Kind, value: Value) -> tuple[str, object]:
    """A form that is the same for what is the same, whatever database holds it; for hashes, too."""
    if isinstance(value, bytes):
        return ("x" if isinstance(value, InvalidText) else "b"), bytes(value)
    if isinstance(value, bool):
        value = int(value)
    if isinstance(value, str):
        if kind in ("timestamp", "date", "time"):
            return _moment(value)
        if kind == "decimal":
            return _number(value)
        if kind == "uuid":
            return "s", value.lower()
        return "s", value
    assert value is not None
    return _number(value)


def _number(value: float | Decimal | str) -> tuple[str, object]:
    if isinstance(value, float):
        if math.isnan(value):
            return "n", "nan"
        if value == 0:
            return "n", "0"
    try:
        number = Decimal(repr(value) if isinstance(value, float) else value)
    except InvalidOperation:
        return "s", value
    if not number.is_finite():
        return "n", str(number).lower().replace("infinity", "inf")
    if number == 0:
        return "n", "0"
    sign, digits, exponent = number.as_tuple()
    text = "".join(map(str, digits)).rstrip("0")
    exponent = int(exponent) + len(digits) - len(text)
    return "n", f"{'-' if sign else ''}{text}e{exponent}"


def _moment(value: str) -> tuple[str, object]:
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        return "s", value
    if moment.tzinfo is not None:
        return "t", moment.astimezone(UTC).isoformat()
    return "t", moment.isoformat()
