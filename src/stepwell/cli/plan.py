"""``plan``: what a start would do, without starting anything."""

from __future__ import annotations

import shlex
from contextlib import ExitStack
from typing import TYPE_CHECKING, Annotated, Any

import typer

from stepwell.cli.completion import complete_job_names

if TYPE_CHECKING:
    from stepwell.cli.output import Page
    from stepwell.cli.session import Session
    from stepwell.runner.dry_run import DryRun, PlannedElement

NAME_CHARACTERS = 60


def plan(
    context: typer.Context,
    job: Annotated[
        str, typer.Argument(metavar="JOB", autocompletion=complete_job_names, help="Its name.")
    ],
    parameters: Annotated[
        list[str] | None,
        typer.Argument(metavar="NAME=VALUE", help="Parameters, in snake_case or camelCase."),
    ] = None,
    again: Annotated[
        bool,
        typer.Option("--again", help="A new instance, although this one is already COMPLETED."),
    ] = False,
    partitions: Annotated[
        bool, typer.Option("--partitions", help="Every partition, not only the first ones.")
    ] = False,
    wants_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show what `run` would do with these words: the steps, their partitions, what it leaves out.

    Nothing is started or recorded; of your code only what looks at parameters is called, such as
    the function that lists partitions. What `run` would refuse is refused here.
    """
    from stepwell.cli.asking import require_job
    from stepwell.cli.output import Output
    from stepwell.cli.words import read_parameters
    from stepwell.looks.planning import PARTITIONS_SHOWN, plan_json

    session: Session = context.obj
    output = Output(wants_json=wants_json)
    given = read_parameters(f"start job {job!r}", f"stepwell plan {job}", parameters or [])
    require_job(session, job)
    planned = _dry_run(session, job, given, again=again)
    count = None if partitions else PARTITIONS_SHOWN
    if wants_json:
        output.json(plan_json(planned, count))
    else:
        words = ["stepwell", "run", job, *(parameters or []), *["--again"] * again]
        output.page(_page(planned, shlex.join(words), count))


def _dry_run(session: Session, job: str, given: dict[str, object], *, again: bool) -> DryRun:
    from stepwell.errors import CannotOpenDatabase
    from stepwell.runner.dry_run import dry_run
    from stepwell.runner.ready import ReadyJobs

    with ExitStack() as stack:
        try:
            database = stack.enter_context(session.open_database())
        except CannotOpenDatabase:  # `run` would make it.
            ready = ReadyJobs(session.load_jobs(), session.settings, session.clock)
            return dry_run(None, None, ready.prepare(job, given))
        known = ReadyJobs(session.load_jobs(lambda: database), session.settings, session.clock)
        ready_job = known.prepare(job, given)
        return dry_run(
            stack.enter_context(database.read()), database.liveness, ready_job, again=again
        )


def _page(planned: DryRun, command: str, count: int | None) -> Page:
    from stepwell.cli.output import Page
    from stepwell.cli.running import parameters_text
    from stepwell.looks.definitions import kind_of

    page = Page()
    page.line(_headline(planned))
    page.facts(
        {
            "parameters": parameters_text(planned.ready.resolved.recorded),
            "begins at": planned.starts_at or "",
            "pools": ", ".join(planned.ready.declared.pools),
            "resources": ", ".join(planned.ready.declared.paths),
        }
    )
    page.heading("Steps")
    page.table(
        ["STEP", "IN", "KIND", "WHAT", "WHY", "FROM", "PARTITIONS"],
        [
            [
                each.element.name,
                each.within or "",
                kind_of(each.element),
                each.action,
                each.why,
                _position(each),
                _how_many(each),
            ]
            for each in planned.elements
        ],
    )
    for each in planned.elements:
        _add_partitions(page, each, count)
    if any(_leads_on(each.element) for each in planned.elements):
        page.hint("transitions decide at run time which of these are reached")
    page.hint(f"`{command}` starts it")
    return page


def _headline(planned: DryRun) -> str:
    name, previous = planned.ready.job.name, planned.previous
    if previous is None:
        return f"job {name!r} would start as a new instance"
    return (
        f"job {name!r} would go on from execution {previous.execution_id},"
        f" which is {previous.batch_status}"
    )


def _position(each: PlannedElement) -> str:
    """Where a chunk step goes on: behind what it has committed."""
    from stepwell.job.step import ChunkStep
    from stepwell.looks.text import how_many

    previous = each.previous
    if each.action != "go on" or previous is None or not isinstance(each.element, ChunkStep):
        return ""
    return f"behind {how_many(previous.chunk_number, 'chunk')}"


def _how_many(each: PlannedElement) -> str:
    from stepwell.looks.text import count, how_many

    found = each.partitions
    if found is None:
        return ""
    if found.total is None:
        return "known when it runs"
    if found.frozen:
        return f"{count(len(found.left))} of {how_many(found.total, 'partition')}"
    return how_many(found.total, "partition")


def _add_partitions(page: Page, each: PlannedElement, count: int | None) -> None:
    from stepwell.looks.text import count as number
    from stepwell.looks.text import shorten

    if each.partitions is None or not each.partitions.left:
        return
    left = each.partitions.left
    shown = left[:count]
    more = f", the first {number(len(shown))} of {number(len(left))}"
    page.heading(
        f"Partitions of step {each.element.name}" + (more if len(shown) < len(left) else "")
    )
    page.table(
        [">NO", "NAME", "INPUT"],
        [
            [
                str(one.number),
                shorten(one.name, NAME_CHARACTERS),
                "" if one.input.strip('"') == one.name else shorten(one.input, NAME_CHARACTERS),
            ]
            for one in shown
        ],
    )


def _leads_on(element: Any) -> bool:
    from stepwell.job.flow import Decision

    return isinstance(element, Decision) or bool(getattr(element, "transitions", ()))
