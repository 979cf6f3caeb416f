"""A plan written down as SQL: for a migration, or for whoever may not let a program repair.

Executed in one transaction it does what ``stepwell doctor --repair`` would do in its first turn,
history and record included. Executed a second time, or after something has changed, a repair
changes nothing: each proves first that what was found is still there.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from stepwell.database.literal import with_literals
from stepwell.database.types import utc_text
from stepwell.doctor.repair import LATER, in_turn
from stepwell.finding import Finding, Repair, Statement
from stepwell.repository.repair_log import recording_statement

WITHOUT_RECORD = ("no_tables", "schema_old", "schema_too_new", "schema_drift")


def as_sql(findings: Iterable[Finding], *, location: str, now: datetime) -> str:
    """The text of the file; what is no SQL stands in it as a comment."""
    lines = [
        f"-- Repairs of {_comment(location)}, planned at {utc_text(now)} by `stepwell doctor`.",
        "-- Make a copy of the database first, and execute this in one transaction.",
        "-- It changes nothing a second time. Then run the doctor again: a repair may bring",
        "-- to light what was hidden behind it.",
    ]
    findings = list(findings)
    # Where there is no table for it, nothing is recorded; the rows are mended all the same.
    records = not any(finding.code in WITHOUT_RECORD for finding in findings)
    for finding in in_turn(findings):
        lines += ["", f"-- {finding.code}, {_comment(finding.where)}: {_comment(finding.what)}"]
        repair = finding.repair
        if not isinstance(repair, Repair):
            lines.append(f"-- by hand: {_comment(finding.hint)}")
        elif repair.operation == LATER:
            lines.append(f"-- {_comment(repair.does)}")
        elif repair.operation:
            lines.append(f"-- `stepwell doctor --repair` alone: {_comment(repair.does)}")
        else:
            lines += _repair(finding, repair, now, records=records)
    return "\n".join(lines) + "\n"


def _repair(finding: Finding, repair: Repair, now: datetime, *, records: bool) -> list[str]:
    lines = [f"-- {_comment(repair.does)}"]
    if repair.cannot_know:
        lines.append(f"-- it cannot know {_comment(repair.cannot_know)}")
    statements: list[Statement] = []
    if repair.guard is not None and records:
        statements.append(recording_statement(finding, repair.does, repair.guard))
    statements += repair.statements
    return lines + [_text(statement, now) for statement in statements]


def _text(statement: Statement, now: datetime) -> str:
    return f"{with_literals(statement.sql, {**statement.values, 'now': utc_text(now)})};"


def _comment(text: str) -> str:
    return " ".join(text.split())
