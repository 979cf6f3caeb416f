"""``jobs``: what the settings define, with parameters, steps and the last execution of each."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from stepwell.cli.completion import complete_job_names

if TYPE_CHECKING:
    from stepwell.cli.session import Session
    from stepwell.execution.records import JobExecution
    from stepwell.looks.definitions import Definition
    from stepwell.repository.schedules import RecordedSchedule

commands = typer.Typer()


@commands.callback(invoke_without_command=True)
def list_jobs(
    context: typer.Context,
    wants_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List the jobs: parameters, number of steps, where defined, last execution.

    They come from the modules that stepwell.toml names. `jobs show JOB` shows one in full.
    """
    if context.invoked_subcommand is not None:
        return
    from stepwell.cli.output import Output, Page
    from stepwell.looks.definitions import Definition, definition_json
    from stepwell.looks.representation import execution_json, schedule_json

    session: Session = context.obj
    output = Output(wants_json=wants_json)
    known = list(session.load_jobs())
    definitions = [Definition.of(found) for found in known]
    last, schedules, missing = _recorded(session, [d.job.name for d in definitions])
    if wants_json:
        output.json(
            {
                "jobs": [
                    {
                        **definition_json(definition),
                        "schedules": [
                            schedule_json(s) for s in schedules.get(definition.job.name, ())
                        ],
                        "last_execution": execution_json(last[definition.job.name])
                        if definition.job.name in last
                        else None,
                    }
                    for definition in definitions
                ]
            }
        )
        return
    page = Page()
    page.table(
        ["JOB", "PARAMETERS", ">STEPS", "DEFINED IN", "LAST EXECUTION", "DESCRIPTION"],
        [_row(definition, last.get(definition.job.name)) for definition in definitions],
    )
    if all(found.is_built_in for found in known):
        page.line()
        page.line(f"no jobs of your own: {_where(session)}")
        page.hint("`stepwell init` writes a first one, `jobs = [...]` in stepwell.toml names them")
    elif missing:
        page.line()
        page.line(f"nothing has run yet: {missing}")
        page.hint("`stepwell run JOB` makes the database and runs one")
    output.page(page)


@commands.command("show")
def show_job(
    context: typer.Context,
    job: Annotated[
        str, typer.Argument(metavar="JOB", autocompletion=complete_job_names, help="Its name.")
    ],
    wants_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show one job in full, wherever it is defined, as a YAML job file that makes the same job.

    Schedules, and what YAML cannot say of a job in Python, stand in comments on top.
    """
    from stepwell.cli.output import Output
    from stepwell.cli.schedules import schedules_text
    from stepwell.cli.shown import shown, shown_text
    from stepwell.looks.definitions import Definition, definition_json
    from stepwell.looks.representation import execution_json, schedule_json

    session: Session = context.obj
    output = Output(wants_json=wants_json)
    registry = session.load_jobs()
    found = registry.find(job)
    as_file = shown(found, registry)
    definition = Definition.of(found)
    executions, schedules, _ = _recorded(session, [job])
    last, own = executions.get(job), schedules.get(job, [])
    if wants_json:
        output.json(
            {
                **definition_json(definition),
                "schedules": [schedule_json(schedule) for schedule in own],
                "last_execution": execution_json(last) if last else None,
                "document": as_file.document,
                "not_in_document": list(as_file.losses),
            }
        )
    else:
        recorded = {
            "schedule": schedules_text(own, session.clock.now()),
            "last execution": _last_text(last),
        }
        output.text(shown_text(found, as_file, session.settings, recorded))


@commands.command("check")
def check_jobs(
    context: typer.Context,
    file: Annotated[
        Path | None,
        typer.Argument(metavar="FILE", help="XML or YAML; without it all of `job_files`."),
    ] = None,
    parameters: Annotated[
        list[str] | None,
        typer.Argument(metavar="NAME=VALUE", help="Check it as a start with these would."),
    ] = None,
    wants_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Tell everything that is wrong with a job file, each with its line and a hint.

    Nothing is started or recorded. Without parameters their defaults are taken, and what depends on
    the others is not looked at. Ends with 5 when the job cannot start; what is deprecated, and
    other warnings, refuse nothing.
    """
    from stepwell.cli.job_files import check_files, checked_code, checked_json, checked_page
    from stepwell.cli.output import Output
    from stepwell.cli.words import read_parameters

    session: Session = context.obj
    output = Output(wants_json=wants_json)
    command = f"stepwell jobs check {file}"
    given = read_parameters(f"check {str(file)!r}", command, parameters or [])
    checked = check_files(session, file, given)
    if wants_json:
        output.json(checked_json(checked))
    else:
        output.page(checked_page(checked))
    raise typer.Exit(checked_code(checked))


def _recorded(
    session: Session, names: list[str]
) -> tuple[dict[str, JobExecution], dict[str, list[RecordedSchedule]], str]:
    """Each job's last execution and its schedules; and why there are none, if no database is."""
    from stepwell.errors import CannotOpenDatabase
    from stepwell.repository.browse import last_execution_ids
    from stepwell.repository.executions import get_execution
    from stepwell.repository.schedules import list_schedules

    try:
        database = session.open_database()
    except CannotOpenDatabase as error:
        return {}, {}, error.message
    schedules: dict[str, list[RecordedSchedule]] = {}
    with database, database.read() as reader:
        ids = last_execution_ids(reader)
        last = {name: get_execution(reader, ids[name]) for name in names if name in ids}
        for schedule in list_schedules(reader):
            schedules.setdefault(schedule.schedule.job_name, []).append(schedule)
    return last, schedules, ""


def _row(definition: Definition, last: JobExecution | None) -> list[str]:
    from stepwell.looks.definitions import parameter_text

    return [
        definition.job.name,
        ", ".join(map(parameter_text, definition.parameters)),
        str(definition.step_count),
        definition.origin,
        _last_text(last),
        definition.job.description,
    ]


def _last_text(last: JobExecution | None) -> str:
    from stepwell.looks.text import local_time
    from stepwell.looks.wording import status_text

    if last is None:
        return ""
    return f"{last.execution_id} {status_text(last)} {local_time(last.end_time or last.start_time)}"


def _where(session: Session) -> str:
    settings = session.settings
    if settings.file is None:
        return f"there is no stepwell.toml in {str(settings.folder)!r}"
    return f"{str(settings.file)!r} names {'no module' if not settings.jobs else 'none with a job'}"
