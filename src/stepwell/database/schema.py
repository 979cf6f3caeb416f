"""Whether the tables are still what ``tables.py`` says: what is missing, and the DDL that adds it.

What others have added is theirs and is left alone. What has been changed into something else, such
as the type of a column, is told and not repaired: its values may not fit.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import sqlalchemy
from sqlalchemy import Column, Index, Inspector, Table
from sqlalchemy.schema import AddConstraint, CreateColumn, CreateIndex, CreateTable

from stepwell.database.dialect import Dialect, KeptConnection
from stepwell.database.tables import (
    HISTORY_TRIGGERS_POSTGRESQL,
    HISTORY_TRIGGERS_SQLITE,
    TRACKING_VIEW,
    batch_status_history,
    metadata,
)
from stepwell.finding import Finding, Repair, Severity, Statement

LOOK = "SELECT COUNT(*) FROM batch_schema_version"
VIEW = "batch_job_execution_tracking"

EXPLANATIONS = {
    "missing_index": "Without it a statement that runs all the time reads whole tables; without a"
    " unique one two executions of an instance can run at once.",
    "missing_trigger": "The history is append-only because triggers refuse UPDATE and DELETE."
    " Without them it can be changed unseen.",
    "missing_constraint": "Without it a row can say what no row may say.",
    "missing_view": "Programs that read progress through the view find nothing.",
    "schema_drift": "The tables are not those of this release, although their version says so:"
    " somebody has changed them, or a copy was put together by hand.",
}

_HINT = "`stepwell doctor --repair` adds it"
_BY_HAND = "put it back by hand, or restore a copy of the database"


def drift(dialect: Dialect, connection: KeptConnection) -> list[Finding]:
    """Every table, column, constraint, index, trigger and view that is missing or different.

    The connection is used outside of a transaction: SQLAlchemy begins and ends its own.
    """
    with dialect.engine_upon(connection).connect() as bind:
        inspector = sqlalchemy.inspect(bind)
        there = _Catalogue(inspector)
        found: list[Finding] = []
        for table in metadata.sorted_tables:
            if table.name in there.columns:
                found += _columns(dialect, there, table)
                found += _indexes(dialect, there, table)
                found += _constraints(dialect, there, table)
            else:
                found.append(_missing_table(dialect, table))
        if VIEW not in inspector.get_view_names():
            found.append(_missing("missing_view", f"view {VIEW}", TRACKING_VIEW))
        return [*found, *_triggers(bind)]


class _Catalogue:
    """What the database says of its tables, by name; asked for all of them at once."""

    def __init__(self, inspector: Inspector) -> None:
        names = [table.name for table in metadata.sorted_tables]
        self.columns = _by_table(inspector.get_multi_columns(filter_names=names))
        self.indexes = _by_table(inspector.get_multi_indexes(filter_names=names))
        self.checks = _by_table(inspector.get_multi_check_constraints(filter_names=names))
        self.uniques = _by_table(inspector.get_multi_unique_constraints(filter_names=names))
        self.foreign_keys = _by_table(inspector.get_multi_foreign_keys(filter_names=names))


def _by_table(found: Mapping[Any, Any]) -> dict[str, Any]:
    return {name: rows or [] for (_, name), rows in found.items()}


def _indexes(dialect: Dialect, catalogue: _Catalogue, table: Table) -> Iterator[Finding]:
    indexes = {index["name"]: index for index in catalogue.indexes.get(table.name, ())}
    for index in sorted(table.indexes, key=lambda index: str(index.name)):
        yield from _index(dialect, indexes.get(index.name), index)


def _columns(dialect: Dialect, catalogue: _Catalogue, table: Table) -> Iterator[Finding]:
    there = {column["name"]: column for column in catalogue.columns[table.name]}
    for column in table.columns:
        where = f"column {table.name}.{column.name}"
        if column.name not in there:
            yield _missing_column(dialect, where, column)
            continue
        wanted = _type(dialect, column.type), bool(column.nullable)
        actual = _type(dialect, there[column.name]["type"]), bool(there[column.name]["nullable"])
        if wanted != actual:
            yield _different(where, f"it is {_shown(*actual)}, not {_shown(*wanted)}")


def _type(dialect: Dialect, kind: Any) -> str:
    return str(kind.compile(dialect=dialect.core))


def _shown(kind: str, nullable: bool) -> str:  # noqa: FBT001 - half of a pair
    return kind if nullable else f"{kind} NOT NULL"


def _index(dialect: Dialect, actual: Any, index: Index) -> Iterator[Finding]:
    columns = [column.name for column in index.columns]
    where = f"index {index.name}"
    create = _create_index(dialect, index)
    if actual is None:
        yield _missing("missing_index", where, create)
        return
    is_partial = any(name.endswith("_where") for name in actual.get("dialect_options", {}))
    name = dialect.core.name
    wanted = (columns, bool(index.unique), index.dialect_options[name]["where"] is not None)
    if (actual["column_names"], bool(actual["unique"]), is_partial) != wanted:
        drop = f"DROP INDEX {index.name}"
        yield _missing("missing_index", where, drop, create, what="an index of this name differs")


def _constraints(dialect: Dialect, catalogue: _Catalogue, table: Table) -> Iterator[Finding]:
    """By name, but foreign keys by what they say: most have no name."""
    checks = {check["name"] for check in catalogue.checks.get(table.name, ())}
    uniques = {tuple(u["column_names"]) for u in catalogue.uniques.get(table.name, ())}
    keys = {
        (tuple(key["constrained_columns"]), key["referred_table"])
        for key in catalogue.foreign_keys.get(table.name, ())
    }
    for constraint in sorted(table.constraints, key=lambda each: type(each).__name__):
        if isinstance(constraint, sqlalchemy.CheckConstraint):
            missing = constraint.name not in checks
        elif isinstance(constraint, sqlalchemy.UniqueConstraint):
            missing = tuple(column.name for column in constraint.columns) not in uniques
        elif isinstance(constraint, sqlalchemy.ForeignKeyConstraint):
            missing = (tuple(constraint.column_keys), constraint.referred_table.name) not in keys
        else:
            continue
        if missing:
            columns = ", ".join(column.name for column in constraint.columns)
            where = f"constraint {constraint.name or f'on {columns}'} of {table.name}"
            # SQLite cannot add one to a table that exists.
            if dialect.core.name == "sqlite":
                yield _different(where, "it is missing", "missing_constraint")
            else:
                # Without isolation it would be left out of every later CREATE TABLE.
                add = AddConstraint(constraint, isolate_from_table=False)
                ddl = str(add.compile(dialect=dialect.core))
                yield _missing("missing_constraint", where, ddl)


def _triggers(bind: sqlalchemy.Connection) -> Iterator[Finding]:
    if bind.dialect.name == "sqlite":
        rows = bind.exec_driver_sql(
            "SELECT name, sql FROM sqlite_master WHERE type = 'trigger'"
        ).fetchall()
        there = {name: " ".join((sql or "").split()) for name, sql in rows}
        for sql in HISTORY_TRIGGERS_SQLITE:
            name = sql.split()[2]
            if there.get(name) != " ".join(sql.split()):
                yield _missing(
                    "missing_trigger", f"trigger {name}", f"DROP TRIGGER IF EXISTS {name}", sql
                )
        return
    rows = bind.exec_driver_sql(
        "SELECT tgname FROM pg_trigger WHERE NOT tgisinternal AND tgenabled <> 'D'"
        f" AND tgrelid = '{batch_status_history.name}'::regclass"
    ).fetchall()
    enabled = {str(row[0]) for row in rows}
    function, *triggers = HISTORY_TRIGGERS_POSTGRESQL
    for sql in triggers:
        name = sql.split()[2]
        if name not in enabled:
            drop = f"DROP TRIGGER IF EXISTS {name} ON {batch_status_history.name}"
            yield _missing("missing_trigger", f"trigger {name}", function, drop, sql)


def _missing_table(dialect: Dialect, table: Table) -> Finding:
    create = CreateTable(table, if_not_exists=True)
    statements = [str(create.compile(dialect=dialect.core)).strip()]
    indexes = sorted(table.indexes, key=lambda index: str(index.name))
    statements += [_create_index(dialect, index) for index in indexes]
    return _missing("schema_drift", f"table {table.name}", *statements, cannot_know="what it held")


def _create_index(dialect: Dialect, index: Index) -> str:
    create = CreateIndex(index, if_not_exists=True)
    return str(create.compile(dialect=dialect.core)).strip()


def _missing_column(dialect: Dialect, where: str, column: Column[Any]) -> Finding:
    if not column.nullable and column.server_default is None:
        return _different(where, "it is missing, and its values cannot be made up")
    definition = str(CreateColumn(column).compile(dialect=dialect.core)).strip()
    for key in column.foreign_keys:
        definition += f" REFERENCES {key.column.table.name} ({key.column.name})"
    add = f"ALTER TABLE {column.table.name} ADD COLUMN {definition}"
    return _missing("schema_drift", where, add, cannot_know="what it held")


def _missing(
    code: str, where: str, *ddl: str, what: str = "it is missing", cannot_know: str = ""
) -> Finding:
    return Finding(
        code,
        Severity.ERROR,
        where,
        what,
        _HINT,
        "D9",
        EXPLANATIONS[code],
        Repair(
            f"add {where}",
            cannot_know or "who took it away, and what was written meanwhile",
            # A connection may believe that what others have dropped is there, until it looks.
            statements=(Statement(LOOK), *(Statement(sql) for sql in ddl)),
        ),
    )


def _different(where: str, what: str, code: str = "schema_drift") -> Finding:
    return Finding(code, Severity.ERROR, where, what, _BY_HAND, "D9", EXPLANATIONS[code])
