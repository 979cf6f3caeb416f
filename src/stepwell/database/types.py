"""The column types that the two databases store differently, and how they subtract times."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import TIMESTAMP, BigInteger, Dialect, Float, Text
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.expression import FunctionElement
from sqlalchemy.types import TypeDecorator, TypeEngine


def utc_text(value: datetime) -> str:
    """An aware datetime as SQLite stores it: ``2026-11-20T01:02:03.123456Z``.

    The width is fixed, so that the text sorts like the time, and a person can read it in the
    ``sqlite3`` shell.

    Raises:
        ValueError: the datetime is naive; nobody can say which moment it means.
    """
    if value.tzinfo is not UTC:
        value = _as_utc(value)
    return value.isoformat(timespec="microseconds")[:26] + "Z"


def _as_utc(value: datetime) -> datetime:
    if value.tzinfo is None:
        raise ValueError(f"cannot store time {value.isoformat()}: it has no time zone")
    return value.astimezone(UTC)


def _utc_text_or_none(value: datetime | None) -> str | None:
    return None if value is None else utc_text(value)


def _as_utc_or_none(value: datetime | None) -> datetime | None:
    return None if value is None else _as_utc(value)


def _parsed_or_none(value: str | None) -> datetime | None:
    return None if value is None else datetime.fromisoformat(value).astimezone(UTC)


class UtcTimestamp(TypeDecorator[datetime]):
    """A moment in UTC with microseconds: an aware ``datetime`` in Python on both databases.

    SQLite holds the text of :func:`utc_text`, PostgreSQL a ``timestamptz``. Naive datetimes are
    refused when they are bound.
    """

    impl = Text
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """The column's type."""
        return dialect.type_descriptor(
            TIMESTAMP(timezone=True) if dialect.name == "postgresql" else Text()
        )

    # The processors are given whole, not through process_bind_param: on the hot path that would
    # be a second function call for each value.

    def bind_processor(self, dialect: Dialect) -> Callable[[datetime | None], Any]:
        """From Python to the driver."""
        return _as_utc_or_none if dialect.name == "postgresql" else _utc_text_or_none

    def result_processor(
        self,
        dialect: Dialect,
        coltype: object,
    ) -> Callable[[Any], datetime | None]:
        """From the driver to Python."""
        return _as_utc_or_none if dialect.name == "postgresql" else _parsed_or_none


class ByteOrder(FunctionElement[Any]):
    """A column of text to be ordered and compared by its UTF-8, which is SQLite's own order.

    A server orders text by a language unless it is told.
    """

    type: TypeEngine[Any] = Text()
    inherit_cache = True


@compiles(ByteOrder)
def _in_byte_order(element: ByteOrder, compiler: Any, **options: Any) -> str:
    [column] = (compiler.process(clause, **options) for clause in element.clauses)
    return f'{column} COLLATE "C"'


@compiles(ByteOrder, "sqlite")
def _in_own_order(element: ByteOrder, compiler: Any, **options: Any) -> str:
    [column] = (compiler.process(clause, **options) for clause in element.clauses)
    return str(column)


class Elapsed(FunctionElement[Any]):
    """The time between two columns of moments, to be compared and ordered by, exact to 1 µs.

    Microseconds on SQLite, an interval on PostgreSQL: whoever wants seconds selects both moments.
    """

    type: TypeEngine[Any] = BigInteger()
    inherit_cache = True


@compiles(Elapsed)
def _subtracted(element: Elapsed, compiler: Any, **options: Any) -> str:
    first, last = (compiler.process(clause, **options) for clause in element.clauses)
    return f"({last} - {first})"


@compiles(Elapsed, "sqlite")
def _subtracted_texts(element: Elapsed, compiler: Any, **options: Any) -> str:
    first, last = (compiler.process(clause, **options) for clause in element.clauses)
    # 2026-11-20T01:02:03.123456Z: whole seconds by the calendar, which rounds what is finer, then
    # the six digits.
    return (
        f"((strftime('%s', substr({last}, 1, 19)) - strftime('%s', substr({first}, 1, 19)))"
        f" * 1000000 + substr({last}, 21, 6) - substr({first}, 21, 6))"
    )


class ElapsedSeconds(Elapsed):
    """The same in seconds, to be averaged and shown."""

    type = Float()
    inherit_cache = True


@compiles(ElapsedSeconds)
def _seconds(element: ElapsedSeconds, compiler: Any, **options: Any) -> str:
    return f"CAST(EXTRACT(EPOCH FROM {_subtracted(element, compiler, **options)}) AS FLOAT)"


@compiles(ElapsedSeconds, "sqlite")
def _seconds_of_texts(element: ElapsedSeconds, compiler: Any, **options: Any) -> str:
    return f"({_subtracted_texts(element, compiler, **options)} / 1000000.0)"


class UtcDay(FunctionElement[Any]):
    """The day of a moment in UTC as text: ``2026-11-20``."""

    type = Text()
    inherit_cache = True


@compiles(UtcDay)
def _day(element: UtcDay, compiler: Any, **options: Any) -> str:
    [moment] = (compiler.process(clause, **options) for clause in element.clauses)
    return f"to_char({moment} AT TIME ZONE 'UTC', 'YYYY-MM-DD')"


@compiles(UtcDay, "sqlite")
def _day_of_text(element: UtcDay, compiler: Any, **options: Any) -> str:
    [moment] = (compiler.process(clause, **options) for clause in element.clauses)
    return f"substr({moment}, 1, 10)"
