"""``owners``: the processes at work, and a request to one to end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from stepwell.cli.session import Session

commands = typer.Typer(no_args_is_help=True)

WantsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@commands.callback()
def owners() -> None:
    """Look at the processes at work, and ask one to end."""


@commands.command("list")
def list_owners(context: typer.Context, wants_json: WantsJson = False) -> None:
    """List the processes that run executions: since when, whether they live, what they run."""
    from stepwell.cli.output import Output, Page
    from stepwell.looks.holdings import at_work_json
    from stepwell.looks.text import local_time
    from stepwell.repository.at_work import list_at_work

    session: Session = context.obj
    output = Output(wants_json=wants_json)
    with session.open_database() as database:
        at_work = list_at_work(database)
    if wants_json:
        output.json({"owners": [at_work_json(each) for each in at_work]})
        return
    page = Page()
    page.table(
        [">ID", "PURPOSE", "HOST", ">PID", "SINCE", "STATE", "RUNS", "ASKED TO END"],
        [
            [
                str(each.owner.owner_id),
                each.owner.purpose,
                each.owner.host,
                str(each.owner.pid),
                local_time(each.owner.started_at),
                "dead" if each.is_dead else "alive",
                ", ".join(map(str, each.execution_ids)),
                each.owner.stop_reason or "",
            ]
            for each in at_work
        ],
    )
    if not at_work:
        page = Page()
        page.line("no process is at work")
        page.hint("`stepwell work` starts a worker")
    elif any(each.is_dead for each in at_work):
        page.hint("`stepwell recover` settles what the dead have left")
    output.page(page)


@commands.command("stop")
def stop_owner(
    context: typer.Context,
    owner_id: Annotated[int, typer.Argument(metavar="ID", help="As `owners list` shows it.")],
    reason: Annotated[
        str | None, typer.Option(metavar="TEXT", help="Why; goes to the history.")
    ] = None,
    wants_json: WantsJson = False,
) -> None:
    """Ask a process to end; returns at once.

    A worker ends as with SIGTERM: after its current chunks, and what it stops goes on in the next
    one. Any other process is asked to stop what it runs.
    """
    from stepwell.cli.output import Output
    from stepwell.looks.representation import owner_json

    session: Session = context.obj
    output = Output(wants_json=wants_json)
    with session.open_node() as node:
        owner = node.operator.stop_owner(owner_id, reason=reason)
    if wants_json:
        output.json(owner_json(owner, is_dead=False) or {})
    else:
        output.line(f"asked {owner} to end")
        output.hint("`stepwell owners list` shows when it has gone")
