"""D10 on SQLite, which keeps any value in any column: those that Stepwell could not read back."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sqlalchemy import BigInteger, Boolean, Column, Integer, Table

from stepwell.database.tables import (
    batch_job_execution_context,
    batch_partition,
    batch_partition_execution,
    batch_status_history,
    batch_step_execution,
    batch_step_execution_context,
    metadata,
)
from stepwell.database.types import UtcTimestamp
from stepwell.finding import Finding, Repair, Severity, Statement

EXPLANATIONS = {
    "unreadable_value": "SQLite keeps whatever it is given. A value of another kind, written by"
    " another program, stops whatever reads the row."
}
_p = batch_partition_execution.c
_s = batch_step_execution.c
# What JSON becomes that is none; a context NULL, where the column allows it.
_JSON: dict[Column[Any], str] = {
    batch_job_execution_context.c.serialized_context: "'{}'",
    batch_step_execution_context.c.serialized_context: "'{}'",
    batch_partition.c.partition_input: "'null'",
    **dict.fromkeys([_p.counts, _p.errors, _p.context], "NULL"),
    **dict.fromkeys([_p.reader_checkpoint, _p.writer_checkpoint], "NULL"),
    **dict.fromkeys([_s.reader_checkpoint, _s.writer_checkpoint], "NULL"),
}


def unreadable_values(raw: Any) -> Iterator[Finding]:
    """One finding for each column that has such values."""
    for table in metadata.sorted_tables:
        there = {row[1] for row in raw.execute(f"PRAGMA table_info({table.name})").fetchall()}
        columns = {column: _fault(column) for column in table.columns if column.name in there}
        if not columns:
            continue
        counts = ", ".join(f"COALESCE(SUM({fault[0]}), 0)" for fault in columns.values())
        row = raw.execute(f"SELECT {counts} FROM {table.name}").fetchall()[0]
        for (column, (bad, instead)), count in zip(columns.items(), row, strict=True):
            if count:
                yield _finding(table, column, count, bad, instead)


def _fault(column: Column[Any]) -> tuple[str, str]:
    """The condition of a value that cannot be read, and what to put in its place."""
    name, kind = column.name, column.type
    if isinstance(kind, UtcTimestamp):
        moment = f"substr({name}, 1, 19)"
        bad = (
            f"typeof({name}) <> 'text' OR length({name}) <> 27 OR {name} NOT GLOB '*.[0-9]*Z'"
            f" OR strftime('%Y-%m-%dT%H:%M:%S', {moment}) IS NOT {moment}"
        )
        instead = ":now"
    elif isinstance(kind, Boolean):
        bad, instead = f"{name} NOT IN (0, 1)", "0"
    elif isinstance(kind, Integer | BigInteger):
        bad, instead = f"typeof({name}) <> 'integer'", f"CAST({name} AS INTEGER)"
    elif column in _JSON:
        bad, instead = f"typeof({name}) <> 'text' OR NOT json_valid({name})", _JSON[column]
    else:
        bad, instead = f"typeof({name}) = 'blob'", f"hex({name})"
    return f"({name} IS NOT NULL AND ({bad}))", instead


def _finding(table: Table, column: Column[Any], count: int, bad: str, instead: str) -> Finding:
    of_key = column.primary_key or bool(column.foreign_keys)
    repair = None
    if not of_key and table is not batch_status_history:
        repair = Repair(
            f"put {'the time of the repair' if instead == ':now' else instead} in its place",
            "what it said",
            Statement(f"SELECT 1 FROM {table.name} WHERE {bad}"),
            (Statement(f"UPDATE {table.name} SET {column.name} = {instead} WHERE {bad}"),),
        )
    return Finding(
        "unreadable_value",
        Severity.ERROR,
        f"column {table.name}.{column.name}",
        f"{count} values are not of its type",
        "`stepwell doctor --repair` replaces them" if repair else "correct or delete the rows",
        "D10",
        EXPLANATIONS["unreadable_value"],
        repair,
    )
