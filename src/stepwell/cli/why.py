"""``why``: what keeps an execution from running, or from having ended."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from stepwell.cli.output import Page
    from stepwell.cli.session import Session
    from stepwell.repository.why import Reason, Why


def why(
    context: typer.Context,
    execution_id: Annotated[int, typer.Argument(metavar="ID", help="An execution.")],
    wants_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Say why an execution does not run, or has not ended: who holds what, since when.

    Time, predecessor, run lock, pool, files, those in front, dead owners, missing workers; or that
    nothing holds it. It imports none of your job modules and writes nothing.
    """
    from stepwell.cli.output import Output
    from stepwell.looks.representation import why_json
    from stepwell.repository.why import explain

    session: Session = context.obj
    output = Output(wants_json=wants_json)
    with session.open_database() as database:
        answer = explain(database, execution_id, at=session.clock.now())
    if wants_json:
        output.json(why_json(answer))
    else:
        output.page(why_page(answer))


def why_page(answer: Why) -> Page:
    """The reasons, each with its way out."""
    from stepwell.cli.output import Page
    from stepwell.looks.text import duration, seconds_between
    from stepwell.looks.wording import status_text

    execution = answer.execution
    page = Page()
    waits = execution.batch_status.is_running and execution.owner_id is None
    status = "waits" if waits else f"is {status_text(execution)}"
    since_s = seconds_between(execution.start_time or execution.create_time, answer.at)
    for_ = f", for {duration(since_s)}" if execution.batch_status.is_running else ""
    page.line(f"execution {execution.execution_id} of job {execution.job_name!r} {status}{for_}")
    for reason in answer.reasons:
        page.line(f"- {_line(reason)}")
        if reason.hint:
            page.hint(reason.hint)
    return page


def _line(reason: Reason) -> str:
    from stepwell.looks.text import local_time

    if reason.since is None:
        return reason.fact
    if reason.code == "scheduled_later":
        return f"{reason.fact}: {local_time(reason.since)}"
    return f"{reason.fact}, since {local_time(reason.since)}"
