"""``schedule``: what starts by itself, and when."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from stepwell.cli.completion import complete_job_names
from stepwell.looks.timetable import PREVIEWED

if TYPE_CHECKING:
    from datetime import datetime

    from stepwell.cli.output import Output
    from stepwell.cli.session import Session
    from stepwell.job.schedule import Schedule
    from stepwell.node import Node
    from stepwell.repository.schedules import RecordedSchedule

commands = typer.Typer(no_args_is_help=True)

Name = Annotated[str, typer.Argument(metavar="NAME", help="The schedule's; mostly the job's.")]
WantsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@commands.callback()
def schedule() -> None:
    """Start jobs by themselves: cron with a time zone. Workers do it while they run."""


@commands.command("list")
def list_schedules(context: typer.Context, wants_json: WantsJson = False) -> None:
    """List the schedules: job, times, what is next, what was last.

    It imports none of your job modules and writes nothing.
    """
    from stepwell.cli.output import Output, Page
    from stepwell.looks.representation import schedule_json
    from stepwell.repository import schedules

    session: Session = context.obj
    output = Output(wants_json=wants_json)
    with session.open_database() as database, database.read() as reader:
        recorded = schedules.list_schedules(reader)
    names = {each.name for each in recorded}
    missing = [name for name in _in_settings(session) if name not in names]
    if wants_json:
        output.json({"schedules": [schedule_json(s) for s in recorded], "not_recorded": missing})
        return
    page = Page()
    if recorded:
        page.table(
            ["NAME", "JOB", "CRON", "ZONE", "NEXT", "LAST", "MISSED", "STATE"],
            [_row(each, session.clock.now()) for each in recorded],
        )
    else:
        page.line("no schedules")
        page.hint('`stepwell schedule add JOB "0 2 * * *"` starts a job every night at two')
    for name in missing:
        page.line(f"{name}: in the settings, recorded when a worker starts")
    output.page(page)


@commands.command("add")
def add(
    context: typer.Context,
    job: Annotated[
        str, typer.Argument(metavar="JOB", autocompletion=complete_job_names, help="Its name.")
    ],
    cron: Annotated[
        str,
        typer.Argument(
            metavar="CRON", help='Minute, hour, day, month, weekday: "0 2 * * *" is every night.'
        ),
    ],
    parameters: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="NAME=VALUE",
            help="Parameters; {due}, {today}, {yesterday}, {month_start} stand for times.",
        ),
    ] = None,
    name: Annotated[
        str | None, typer.Option(metavar="NAME", help="Instead of the job's name.")
    ] = None,
    zone: Annotated[
        str | None,
        typer.Option(metavar="ZONE", help="Say Europe/Berlin; without it this machine's."),
    ] = None,
    catch_up: Annotated[
        str,
        typer.Option(
            metavar="POLICY", help="Of runs that no worker was there for: skip, last or all."
        ),
    ] = "last",
    wants_json: WantsJson = False,
) -> None:
    """Start a job whenever a cron expression is due.

    The due time is part of the run's identity, so that a nightly job runs every night.
    """
    from stepwell.cli.output import Output
    from stepwell.cli.words import read_parameters

    session: Session = context.obj
    output = Output(wants_json=wants_json)
    command = f'stepwell schedule add {job} "{cron}"'
    given = read_parameters(f"schedule job {job!r}", command, parameters or [])
    with session.open_node() as node:
        node.load_jobs()
        added = node.schedules.add(job, cron, given, name=name, time_zone=zone, catch_up=catch_up)
    _say(output, added, f"schedule {added.name!r} starts job {job!r}")


@commands.command("pause")
def pause(context: typer.Context, name: Name, wants_json: WantsJson = False) -> None:
    """Start nothing by this schedule until it is resumed."""
    from stepwell.cli.output import Output

    session: Session = context.obj
    output = Output(wants_json=wants_json)
    with session.open_node() as node:
        _record_settings(session, node, name)
        paused = node.schedules.pause(name)
    _say(output, paused, f"schedule {name!r} is paused")


@commands.command("resume")
def resume(context: typer.Context, name: Name, wants_json: WantsJson = False) -> None:
    """Go on with a paused schedule; what was due meanwhile is not caught up."""
    from stepwell.cli.output import Output

    session: Session = context.obj
    output = Output(wants_json=wants_json)
    with session.open_node() as node:
        _record_settings(session, node, name)
        resumed = node.schedules.resume(name)
    _say(output, resumed, f"schedule {name!r} goes on")


@commands.command("remove")
def remove(context: typer.Context, name: Name, wants_json: WantsJson = False) -> None:
    """Take a schedule away; what it has started stays.

    One that stepwell.toml defines is deleted there.
    """
    from stepwell.cli.output import Output
    from stepwell.looks.representation import schedule_json

    session: Session = context.obj
    output = Output(wants_json=wants_json)
    with session.open_node() as node:
        removed = node.schedules.remove(name)
    if wants_json:
        output.json(schedule_json(removed))
    else:
        output.line(f"schedule {name!r} is gone; what it has started stays")


@commands.command("preview")
def preview(
    context: typer.Context,
    name: Name,
    since: Annotated[
        str | None,
        typer.Option("--from", metavar="TIME", help="Say 2027-03-27, instead of now."),
    ] = None,
    count: Annotated[int, typer.Option(min=1, max=1000, help="How many.")] = PREVIEWED,
    wants_json: WantsJson = False,
) -> None:
    """Show the next times of a schedule, and those around the next change of the clocks.

    They are shown in the schedule's own time zone, whether it is paused or not.
    """
    from itertools import pairwise

    from stepwell.cli.output import Output, Page
    from stepwell.looks.timetable import next_times, timetable_json

    session: Session = context.obj
    output = Output(wants_json=wants_json)
    found = _find(session, name)
    after = session.clock.now() if since is None else _read_time(since, found)
    if wants_json:
        output.json(timetable_json(found, after, count))
        return
    times, around = next_times(found, after, count)
    page = Page()
    page.line(f"schedule {found.name!r} of job {found.job_name!r}: {found.cron}, {found.time_zone}")
    for heading, shown in (("", times), ("Around the next change of the clocks", around)):
        if heading and shown:
            page.heading(heading)
        changed = {b for a, b in pairwise(shown) if a.utcoffset() != b.utcoffset()}
        note = "the clocks were changed before it"
        rows = [
            [f"{at:%Y-%m-%d %H:%M:%S} {at.tzname()}", f"{at:%a}", note if at in changed else ""]
            for at in shown
        ]
        if shown:
            page.table(["TIME", "DAY", "NOTE"], rows)
    output.page(page)


def _say(output: Output, recorded: RecordedSchedule, what: str) -> None:
    from stepwell.cli.output import Page
    from stepwell.looks.representation import schedule_json
    from stepwell.looks.text import local_time

    if output.wants_json:
        output.json(schedule_json(recorded))
        return
    page = Page()
    page.line(f"{what}: {times_text(recorded)}")
    if recorded.paused_at is None:
        page.line(f"next: {local_time(recorded.next_due_at)}")
    output.page(page)


def times_text(recorded: RecordedSchedule) -> str:
    """``0 2 * * *, Europe/Berlin``."""
    return f"{recorded.schedule.cron}, {recorded.schedule.time_zone}"


def schedules_text(recorded: list[RecordedSchedule], now: datetime) -> str:
    """The schedules of one job on one line."""
    from stepwell.looks.schedules import state_text
    from stepwell.looks.text import local_time

    told = []
    for each in recorded:
        named = "" if each.name == each.schedule.job_name else f"{each.name!r} "
        state = state_text(each, now) or f"next {local_time(each.next_due_at)}"
        told.append(f"{named}{times_text(each)}, {state}")
    return "; ".join(told)


def _row(recorded: RecordedSchedule, now: datetime) -> list[str]:
    from stepwell.looks.schedules import state_text
    from stepwell.looks.text import local_time

    schedule = recorded.schedule
    return [
        schedule.name,
        schedule.job_name,
        schedule.cron,
        schedule.time_zone,
        "" if recorded.paused_at else local_time(recorded.next_due_at),
        local_time(recorded.last_due_at),
        local_time(recorded.skipped_due_at),
        state_text(recorded, now),
    ]


def _in_settings(session: Session) -> list[str]:
    return [name for name, job in session.settings.job.items() if job.schedule is not None]


def _record_settings(session: Session, node: Node, name: str) -> None:
    """Record a schedule of the settings that no worker has recorded yet; else do nothing.

    To pause one the job modules are then not needed.
    """
    from stepwell.errors import NoSuchSchedule

    if name not in _in_settings(session):
        return
    try:
        node.schedules.get(name)
    except NoSuchSchedule:
        node.load_jobs()
        node.schedules.reconcile()


def _find(session: Session, name: str) -> Schedule:
    """The schedule as it is recorded, else as the settings say."""
    from stepwell.errors import NoSuchSchedule
    from stepwell.repository.schedules import get_schedule
    from stepwell.schedules import schedule_of_settings

    try:
        with session.open_database() as database, database.read() as reader:
            return get_schedule(reader, name).schedule
    except NoSuchSchedule:
        found = schedule_of_settings(session.settings, name, session.clock)
        if found is None:
            raise
        return found


def _read_time(text: str, schedule: Schedule) -> datetime:
    """A date or a time; without an offset it is one of the schedule's zone."""
    from datetime import UTC, datetime

    from stepwell.errors import InvalidSchedule

    try:
        at = datetime.fromisoformat(text)
        return (at if at.tzinfo else at.replace(tzinfo=schedule.times.zone)).astimezone(UTC)
    except (ValueError, OverflowError):
        raise InvalidSchedule(
            f"cannot preview schedule {schedule.name!r}: the time must be ISO 8601, got {text!r}",
            hint="for example `--from 2027-03-27` or `--from 2027-03-27T12:00`",
            fields={"from": text},
        ) from None
