"""``doctor``: what is wrong, why, what would mend it, and mending it.

It is never a job itself: it must run on a database that is broken, read-only or not there.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from stepwell.cli.output import Output
    from stepwell.cli.session import Session
    from stepwell.doctor.doctor import Doctor
    from stepwell.doctor.repair import Outcome
    from stepwell.finding import Finding
    from stepwell.job.registry import JobRegistry


def doctor(
    context: typer.Context,
    plan: Annotated[
        bool, typer.Option("--plan", help="Show what would be repaired, and change nothing.")
    ] = False,
    sql: Annotated[
        Path | None,
        typer.Option("--sql", metavar="FILE", help="Write the plan as a migration, too."),
    ] = None,
    repair: Annotated[
        bool,
        typer.Option("--repair", help="Make a copy, repair what can be repaired, look again."),
    ] = False,
    only: Annotated[
        list[str] | None,
        typer.Option("--only", metavar="CODE", help="Repair nothing else; more than once."),
    ] = None,
    expect: Annotated[
        str | None,
        typer.Option("--expect", metavar="PLAN", help="Refuse unless the plan is still this one."),
    ] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="Read no whole file; only the last executions.")
    ] = False,
    history: Annotated[
        bool, typer.Option("--history", help="List the repairs that were made, and look no more.")
    ] = False,
    wants_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> int:
    """Find what is wrong with the database and its records, explain it, and repair it.

    It changes nothing without `--repair`; then it makes a copy first, and each repair is one
    transaction, with its reason in the history.
    """
    from stepwell.cli.output import Output

    session: Session = context.obj
    output = Output(wants_json=wants_json)
    _refuse_what_does_not_fit(plan or sql is not None, repair, only, expect, sql)
    if history:
        return _show_history(session, output)
    registry, complaint = _jobs(session)
    if repair:
        return _repair(session, output, registry, complaint, only, expect)
    return _look(session, output, registry, complaint, plan=plan, sql=sql, thorough=not quick)


def _refuse_what_does_not_fit(
    plan: bool, repair: bool, only: list[str] | None, expect: str | None, sql: Path | None
) -> None:
    from stepwell.errors import Kind, StepwellError

    fact = ""
    if plan and repair:
        fact = "--plan and --sql change nothing, --repair does"
    elif (only or expect) and not repair:
        fact = "--only and --expect belong to --repair"
    elif sql is not None and sql.exists():
        fact = f"{str(sql)!r} is there already"
    if fact:
        error = StepwellError(f"cannot examine: {fact}", hint="`stepwell doctor --help`")
        error.code, error.kind = "usage_error", Kind.USAGE
        raise error


def _jobs(session: Session) -> tuple[JobRegistry | None, list[Finding]]:
    """The jobs, whose evidence and invariants count; without them as much as possible is done."""
    from stepwell.doctor.examine import JOBS_NOT_LOADED
    from stepwell.errors import StepwellError
    from stepwell.finding import Finding, Severity

    settings = session.settings
    try:
        return session.load_jobs(), []
    except StepwellError as error:
        found = Finding(
            "jobs_not_loaded",
            Severity.WARNING,
            str(settings.file or settings.folder),
            error.message,
            error.hint,
            explanation=JOBS_NOT_LOADED,
        )
        return None, [found]


def _look(
    session: Session,
    output: Output,
    registry: JobRegistry | None,
    complaint: list[Finding],
    *,
    plan: bool,
    sql: Path | None,
    thorough: bool,
) -> int:
    from stepwell.doctor.copy import folder_of
    from stepwell.doctor.doctor import Doctor

    found = complaint
    database, broken = _database(session)
    if database is None:
        found = broken + found
        return _show(output, found, plan=plan)
    with database:
        of_it = Doctor(database, registry, folder=folder_of(session.settings))
        found = of_it.examine(thorough=thorough) + found
        if sql is not None:
            sql.write_text(of_it.plan_as_sql(found), encoding="utf-8")
        return _show(output, found, plan=plan or sql is not None, doctor=of_it, sql=sql)


def _database(session: Session) -> tuple[Any, list[Finding]]:
    """The database as it stands; or why it cannot even be looked at, as a finding."""
    from stepwell.doctor.examine import finding_of
    from stepwell.errors import DatabaseError

    try:
        return session.look_at_database(), []
    except DatabaseError as error:
        if "database" not in error.fields:
            raise  # The URL itself is wrong.
        return None, [finding_of(error)]


def _repair(
    session: Session,
    output: Output,
    registry: JobRegistry | None,
    complaint: list[Finding],
    only: list[str] | None,
    expect: str | None,
) -> int:
    from stepwell.doctor.copy import folder_of
    from stepwell.doctor.doctor import Doctor

    database, broken = _database(session)
    if database is None:
        return _show(output, broken + complaint)
    database.close()
    with session.open_database(migrated=False) as database:
        of_it = Doctor(database, registry, folder=folder_of(session.settings))
        outcome = of_it.repair(only=only, expected_plan=expect)
        return _show_outcome(output, outcome, complaint, of_it)


def _show(
    output: Output,
    found: list[Finding],
    *,
    plan: bool = False,
    doctor: Doctor | None = None,
    sql: Path | None = None,
) -> int:
    from stepwell.cli.findings import exit_status, findings_page
    from stepwell.doctor.doctor import fingerprint
    from stepwell.looks.findings import findings_json

    if output.wants_json:
        document = findings_json(found, doctor)
        output.json({**document, "plan": fingerprint(found), "sql": sql and str(sql)})
    else:
        page = findings_page(found, plan=fingerprint(found) if plan else None)
        if sql is not None:
            page.line(f"the plan is in {sql}; make a copy of the database before it is executed")
        output.page(page)
    return exit_status(found)


def _show_outcome(
    output: Output,
    outcome: Outcome,
    complaint: list[Finding],
    doctor: Doctor,
) -> int:
    from stepwell.cli.findings import exit_status, outcome_page
    from stepwell.looks.findings import outcome_json

    left = outcome.after + complaint
    if output.wants_json:
        output.json(outcome_json(outcome, left, doctor))
    else:
        output.page(outcome_page(outcome, left))
    return exit_status(left)


def _show_history(session: Session, output: Output) -> int:
    from stepwell.cli.findings import repairs_page
    from stepwell.looks.findings import repairs_json
    from stepwell.repository.repair_log import list_repairs

    with session.open_database() as database, database.read() as reader:
        repairs = list_repairs(reader)
    if output.wants_json:
        output.json({"repairs": repairs_json(repairs)})
    else:
        output.page(repairs_page(repairs))
    return 0
