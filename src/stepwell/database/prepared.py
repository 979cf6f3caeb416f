"""SQLAlchemy Core statements at the driver's speed.

A :class:`Prepared` is compiled once for each dialect, to SQL text and the order of its parameters,
and is executed from then on by the driver's own cursor. The definition stays one for both
databases; the price of an execution is a dictionary lookup and a tuple. Conversions run only
for the parameters and columns whose type has one.

A value that the statement itself holds (``values(version=0)``, ``status == "STARTED"``) becomes a
literal in the text: partial indexes match only literals, and it need not be bound again.

SQLAlchemy compiles, but has no public door to parameters and conversions without its own execution;
the private names used here are pinned by ``tests/unit/database/test_prepared.py``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain
from operator import itemgetter
from threading import Lock
from typing import Any

from sqlalchemy import ClauseElement, Dialect, Insert
from sqlalchemy.exc import CompileError
from sqlalchemy.sql.compiler import SQLCompiler

Row = tuple[Any, ...]
Values = Mapping[str, Any]
Convert = Callable[[Any], Any]

# The type that a PostgreSQL driver would report with a row; of all types only SQLAlchemy's Numeric
# asks for it, and what it does for a decimal is right for the others.
_DECIMAL_OID = 1700

ROWS_A_STATEMENT = 100  # Of an INSERT; with the widest table some 2,400 parameters.
_VALUES = re.compile(r" VALUES (\([^()]*\))")

_compiling = Lock()


@dataclass(frozen=True, slots=True)
class Plan:
    """A statement compiled for one dialect.

    Attributes:
        sql: The text, with the driver's positional markers.
        names: The key of the value for each marker, in order; a name may stand twice.
        bind: Makes the driver's tuple from a mapping; ``KeyError`` names a missing value.
        conversions: Position and function of the result columns that need one.
    """

    sql: str
    names: tuple[str, ...]
    bind: Callable[[Values], Row]
    conversions: tuple[tuple[int, Convert], ...]

    def inserting(self, rows: Sequence[Row]) -> Iterator[tuple[str, list[Row]]]:
        """Texts of an INSERT with the driver's tuples for each: many rows a statement, then one.

        ``rows`` are in the order of ``names``; nothing is converted.
        """
        whole = len(rows) - len(rows) % ROWS_A_STATEMENT
        if whole:
            parts = (rows[at : at + ROWS_A_STATEMENT] for at in range(0, whole, ROWS_A_STATEMENT))
            yield _several(self.sql), [tuple(chain.from_iterable(part)) for part in parts]
        if whole < len(rows):
            yield self.sql, list(rows[whole:])

    def convert(self, row: Sequence[Any]) -> Row:
        """A row from the driver as Python values; only for a plan that has conversions."""
        values = list(row)
        for position, function in self.conversions:
            values[position] = function(values[position])
        return tuple(values)


class Prepared:
    """A Core statement as a module-level constant, shared by all threads.

    >>> from sqlalchemy import bindparam, column, table, update
    >>> item = table("item", column("id"), column("name"))
    >>> rename = Prepared(
    ...     update(item).where(item.c.id == bindparam("item_id")).values(name=bindparam("to"))
    ... )

    ``bindparam("name")`` names a key of the mapping that ``Transaction.execute`` receives; keys
    that the statement does not name are ignored. A parameter with a value of its own is a
    constant. An ``expanding`` parameter without one is refused, because its text would change with
    each call: execute once for each value, or join a table. ``ON CONFLICT`` is written with
    ``sqlalchemy.dialects.postgresql.insert``, which both dialects compile.
    """

    __slots__ = ("_plans", "statement")

    def __init__(self, statement: ClauseElement) -> None:
        self.statement = statement
        self._plans: dict[Dialect, Plan] = {}

    def __repr__(self) -> str:
        return f"Prepared({' '.join(str(self.statement).split())})"

    def plan(self, dialect: Dialect) -> Plan:
        """The statement compiled for ``dialect``; the first call compiles it."""
        plan = self._plans.get(dialect)
        if plan is None:
            with _compiling:
                plan = self._plans.get(dialect) or compile_plan(self.statement, dialect)
                self._plans[dialect] = plan
        return plan


def compile_plan(statement: ClauseElement, dialect: Dialect) -> Plan:
    """Compile a Core statement to the driver's text, parameter order and conversions."""
    # Without it an INSERT on PostgreSQL would get a RETURNING that nobody asked for.
    only_asked_returning = isinstance(statement, Insert) and not statement._returning  # noqa: SLF001
    compiled = _inlining_compiler(dialect)(dialect, statement, for_executemany=only_asked_returning)
    for expanding in compiled.post_compile_params:
        raise CompileError(
            f"cannot prepare a statement with the expanding parameter {expanding.key!r}"
        )
    names = tuple(compiled.positiontup or ())
    return Plan(
        sql=compiled.string,
        names=names,
        bind=_binder(compiled, names),
        conversions=_conversions(compiled, dialect),
    )


@lru_cache(maxsize=64)
def _several(sql: str) -> str:
    """The text of an INSERT of one row, for many."""
    [row] = _VALUES.findall(sql)
    return sql.replace(f" VALUES {row}", f" VALUES {', '.join([row] * ROWS_A_STATEMENT)}")


def _binder(compiled: SQLCompiler, names: tuple[str, ...]) -> Callable[[Values], Row]:
    processors: Mapping[str, Any] = compiled._bind_processors  # noqa: SLF001
    constants = {
        name: bind.value if name not in processors else processors[name](bind.value)
        for name, bind in compiled.binds.items()
        if name in names and not bind.required
    }
    converted = tuple(
        (position, processors[name])
        for position, name in enumerate(names)
        if name in processors and name not in constants
    )
    pick = _picker(names)
    if not constants and not converted:
        return pick

    def bind(values: Values) -> Row:
        row = list(pick({**values, **constants} if constants else values))
        for position, function in converted:
            row[position] = function(row[position])
        return tuple(row)

    return bind


def _picker(names: tuple[str, ...]) -> Callable[[Values], Row]:
    """``itemgetter`` answers a tuple only for two names and more."""
    if not names:
        return lambda _values: ()
    if len(names) == 1:
        (name,) = names
        return lambda values: (values[name],)
    return itemgetter(*names)


def _conversions(compiled: SQLCompiler, dialect: Dialect) -> tuple[tuple[int, Convert], ...]:
    found = []
    for position, column in enumerate(compiled._result_columns or ()):  # noqa: SLF001
        function = column.type.dialect_impl(dialect).result_processor(dialect, _DECIMAL_OID)
        if function is not None:
            found.append((position, function))
    return tuple(found)


def _has_one_literal_form(value: object) -> bool:
    """Whether both databases write it alike; times and bytes stay bound, by `_binder`."""
    values = value if isinstance(value, list | tuple) else [value]
    return all(isinstance(each, str | int | float) for each in values)


def _inlining_compiler(dialect: Dialect) -> type[SQLCompiler]:
    """The dialect's own compiler, but that constants become literals in the text."""
    parent: Any = dialect.statement_compiler

    class InliningCompiler(parent):  # type: ignore[misc]
        def visit_bindparam(self, bindparam: Any, **kw: Any) -> Any:
            if not bindparam.required and _has_one_literal_form(bindparam.value):
                kw["literal_binds"] = True
            return super().visit_bindparam(bindparam, **kw)

    return InliningCompiler
