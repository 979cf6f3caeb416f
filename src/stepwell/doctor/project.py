"""A project's own invariants as checks: its rows, its words, its repairs, our way to do them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from stepwell.database.guarded import GuardedConnection
from stepwell.database.transaction import Reader
from stepwell.finding import Finding, Repair, Severity, Statement
from stepwell.job.function import with_arguments
from stepwell.job.invariant import Invariant, When
from stepwell.repository.invariants import Check
from stepwell.repository.rule import FINDINGS_MAX, REPAIR_HINT

EXPLANATION = "An invariant of this project's own tables, in one of the modules of the settings."

Breach = Mapping[str, Any]


def project_checks(invariants: Iterable[Invariant]) -> dict[str, Check]:
    """One check for each invariant, by its code."""
    return {f"of invariant {invariant.code}": _check(invariant) for invariant in invariants}


def metrics(invariants: Iterable[Invariant], findings: Iterable[Finding]) -> dict[str, int]:
    """How many rows break the invariants that name a metric, by that name; 0 where none does."""
    codes = [finding.code for finding in findings]
    return {each.metric: codes.count(each.code) for each in invariants if each.metric}


def _check(invariant: Invariant) -> Check:
    def check(reader: Reader) -> list[Finding]:
        result = reader.connection.execute(invariant.sql)
        columns = result.columns
        rows = [dict(zip(columns, row, strict=True)) for row in result.fetchmany(FINDINGS_MAX)]
        return [_finding(invariant, breach, reader.connection) for breach in rows]

    return check


def _finding(invariant: Invariant, breach: Breach, connection: GuardedConnection) -> Finding:
    repair = _repair(invariant, breach, connection)
    name, value = next(iter(breach.items()))
    return Finding(
        code=invariant.code,
        severity=Severity(invariant.severity),
        where=f"{name} {value}",
        what=invariant.explain.format_map(breach),
        hint=REPAIR_HINT if repair is not None else invariant.hint or "see the module that says so",
        explanation=EXPLANATION,
        repair=repair,
    )


def _repair(invariant: Invariant, breach: Breach, connection: GuardedConnection) -> Repair | None:
    for when, sql in invariant.repairs:
        if _holds(when, breach, connection):
            return Repair(
                does=f"{_one_line(sql)}{_because(when)}",
                cannot_know=invariant.cannot_know,
                guard=_still_there(invariant, breach),
                statements=(Statement(sql.strip().rstrip(";"), breach),),
            )
    return None


def _holds(when: When, breach: Breach, connection: GuardedConnection) -> bool:
    if when is None:
        return True
    if isinstance(when, str):
        return connection.execute(when.strip().rstrip(";"), breach).fetchone() is not None
    return bool(with_arguments(when, 2)(dict(breach), connection))


def _because(when: When) -> str:
    if when is None:
        return ""
    said = _one_line(when) if isinstance(when, str) else getattr(when, "__name__", "a function")
    return f", because {said} answers {'a row' if isinstance(when, str) else 'yes'}"


def _still_there(invariant: Invariant, breach: Breach) -> Statement:
    """The row is found again, with every value that it had."""
    conditions = [
        f'b."{name}" IS NULL' if value is None else f'b."{name}" = :{name}'
        for name, value in breach.items()
    ]
    return Statement(f"SELECT 1 FROM ({invariant.sql}) b WHERE {' AND '.join(conditions)}", breach)


def _one_line(sql: str) -> str:
    return " ".join(sql.split()).rstrip(";")
