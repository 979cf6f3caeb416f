"""R22: every row that names another one finds it. What is left of a lost parent is taken away.

Foreign keys keep it, wherever they are on: the ``sqlite3`` shell has them off, and a restored table
brings its own rows. The checks are made from the tables' own definition.
"""

from __future__ import annotations

from collections.abc import Iterator

from sqlalchemy import ForeignKeyConstraint, Table

from stepwell.database.tables import (
    batch_job_execution,
    batch_job_instance,
    batch_owner,
    batch_status_history,
    batch_step_execution,
    metadata,
)
from stepwell.database.transaction import Reader
from stepwell.finding import Finding, Repair, Severity, Statement, Value
from stepwell.repository.explanations import EXPLANATIONS
from stepwell.repository.rule import FINDINGS_MAX, REPAIR_HINT

_OPEN_PURGE = (
    "INSERT INTO batch_purge (job_execution_id) SELECT DISTINCT h.job_execution_id"
    " FROM batch_status_history h WHERE h.{column} = :value AND NOT EXISTS"
    " (SELECT 1 FROM batch_purge p WHERE p.job_execution_id = h.job_execution_id)"
)
_CLOSE_PURGE = "DELETE FROM batch_purge"
_PLACEHOLDERS = {
    batch_job_instance.name: (
        "INSERT INTO batch_job_instance (job_instance_id, version, job_name, job_key, create_time)"
        " SELECT job_instance_id, 0, 'lost', :key, MIN(create_time) FROM batch_job_execution"
        " WHERE job_instance_id = :value GROUP BY job_instance_id"
    ),
    batch_owner.name: (
        "INSERT INTO batch_owner (owner_id, host, pid, purpose, started_at, ended_at, epoch)"
        " SELECT owner_id, 'lost', 0, 'lost', MIN(create_time), MAX(last_updated), 0"
        " FROM batch_job_execution WHERE owner_id = :value GROUP BY owner_id"
    ),
}


def orphans(reader: Reader) -> list[Finding]:
    """One finding for each lost parent and table that names it."""
    found = []
    for table, key in _references():
        sql = _select(table, key)
        rows = reader.connection.execute(sql).fetchmany(FINDINGS_MAX)
        found += [_finding(table, key, row[0], int(row[1])) for row in rows]
    return found


def _references() -> Iterator[tuple[Table, ForeignKeyConstraint]]:
    for table in metadata.sorted_tables:
        for key in sorted(table.foreign_key_constraints, key=_column):
            yield table, key


def _select(table: Table, key: ForeignKeyConstraint) -> str:
    """The values that name no row, each with the number of rows that have it."""
    column = _column(key)
    return (
        f"SELECT c.{column}, COUNT(*) FROM {table.name} c"
        f" WHERE c.{column} IS NOT NULL AND NOT EXISTS ({_parent_of(key, 'c')})"
        f" GROUP BY c.{column} ORDER BY c.{column}"
    )


def _parent_of(key: ForeignKeyConstraint, child: str) -> str:
    parent = key.referred_table.name
    pairs = [(element.parent.name, element.column.name) for element in key.elements]
    return f"SELECT 1 FROM {parent} p WHERE " + " AND ".join(
        f"p.{theirs} = {child}.{ours}" for ours, theirs in pairs
    )


def _column(key: ForeignKeyConstraint) -> str:
    return str(key.column_keys[0])


def _finding(table: Table, key: ForeignKeyConstraint, value: Value, count: int) -> Finding:
    parent = key.referred_table.name
    return Finding(
        code="orphan",
        severity=Severity.ERROR,
        where=f"{table.name}, {_column(key)} {value}",
        what=f"{count} rows name a row of {parent} that does not exist",
        hint=REPAIR_HINT,
        rule="R22",
        explanation=EXPLANATIONS["orphan"],
        repair=_repair(table, key, value),
    )


def _repair(table: Table, key: ForeignKeyConstraint, value: Value) -> Repair:
    values = {"value": value, "key": f"lost-{value}"}
    column = _column(key)
    guard = Statement(
        f"SELECT 1 FROM {table.name} c WHERE c.{column} = :value"
        f" AND NOT EXISTS ({_parent_of(key, 'c')})",
        values,
    )
    parent = key.referred_table
    if parent.name in _PLACEHOLDERS and table is batch_job_execution:
        sql = f"{_PLACEHOLDERS[parent.name]} HAVING EXISTS ({guard.sql})"
        does = f"put a row 'lost' into {parent.name} in its place"
        return Repair(does, "what the lost row said", guard, (Statement(sql, values),))
    if parent in (batch_job_execution, batch_step_execution):
        does = f"take away what is left of it in every table; it is in no row of {parent.name}"
        statements = _remove_all(parent, guard.sql)
    else:
        does = f"delete the rows of {table.name}"
        lost = f"NOT EXISTS ({_parent_of(key, table.name)})"
        statements = [f"DELETE FROM {table.name} WHERE {column} = :value AND {lost}"]
    return Repair(
        does,
        "what the lost row said, and who deleted it",
        guard,
        tuple(Statement(sql, values) for sql in statements),
    )


def _remove_all(parent: Table, guard: str) -> list[str]:
    """Delete whatever names the lost row, the leaves first; the history only as a purge does."""
    column = "job_execution_id" if parent is batch_job_execution else "step_execution_id"
    # The guard looks at one of the tables that are emptied, so it is asked once, at the beginning.
    opening = f"{_OPEN_PURGE.format(column=column)} AND EXISTS ({guard})"
    deletes = [
        f"DELETE FROM {table.name} WHERE {which} AND {_lost(parent)}"
        for table in reversed(metadata.sorted_tables)
        for which in _naming(table, parent)
    ]
    return [opening, *deletes, _CLOSE_PURGE]


def _lost(parent: Table) -> str:
    (key,) = parent.primary_key.columns
    return f"NOT EXISTS (SELECT 1 FROM {parent.name} q WHERE q.{key.name} = :value)"


def _naming(table: Table, parent: Table) -> Iterator[str]:
    """How rows of ``table`` name the lost row: themselves, or through a step of it."""
    of_steps = parent is batch_job_execution and table is not batch_status_history
    for key in table.foreign_key_constraints:
        if key.referred_table is parent:
            yield f"{_column(key)} = :value"
        elif of_steps and key.referred_table is batch_step_execution:
            yield (
                f"{_column(key)} IN (SELECT s.step_execution_id FROM batch_step_execution s"
                " WHERE s.job_execution_id = :value)"
            )
