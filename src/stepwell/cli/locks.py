"""``lock``: who has what since when, and a lock taken from whoever cannot let go of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from stepwell.cli.session import Session
    from stepwell.looks.holdings import Held

commands = typer.Typer(no_args_is_help=True)

WantsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@commands.callback()
def lock() -> None:
    """Look at locks, and release what nobody can release any more."""


@commands.command("list")
def list_locks(context: typer.Context, wants_json: WantsJson = False) -> None:
    """List run locks, resources and named locks: who has them, since when, whether it lives."""
    from stepwell.cli.output import Output, Page
    from stepwell.looks.holdings import holding_json, list_held

    session: Session = context.obj
    output = Output(wants_json=wants_json)
    with session.open_database() as database:
        found = list_held(database, at=session.clock.now())
    if wants_json:
        output.json({"locks": [holding_json(held) for held in found]})
        return
    page = Page()
    if not found:
        page.line("no locks")
    else:
        page.table(
            ["kind", "lock", "mode", "execution", "owner", "", ">age", ">fence", ""],
            [_row(held) for held in found],
        )
        if any(held.is_dead for held in found):
            page.hint(
                "`stepwell recover` settles executions whose owner is dead;"
                " a named lock is taken over by whoever asks for it next"
            )
    output.page(page)


@commands.command("release")
def release(
    context: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="A named lock.")],
    fence: Annotated[
        int | None, typer.Option(metavar="N", help="One of several that read, by its fence.")
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Although its owner lives; needs --reason.")
    ] = False,
    reason: Annotated[
        str | None, typer.Option(metavar="TEXT", help="Why; its owner is told.")
    ] = None,
    wants_json: WantsJson = False,
) -> None:
    """Release a named lock whose owner is proven dead; with `--force` also one whose owner lives.

    The owner is not stopped: when it next extends or releases the lock it is told that it has lost
    it. Run locks and resources end with their execution: `recover` it.
    """
    from stepwell.cli.output import Output
    from stepwell.errors import LockError

    session: Session = context.obj
    output = Output(wants_json=wants_json)
    if force and not reason:
        raise LockError(
            f"cannot release lock {name!r} by force: a reason is required",
            hint="add `--reason`; its owner is told",
            fields={"lock": name},
        )
    with session.open_node() as node:
        taken = node.locks.take(name, reason=reason or "", force=force, fence=fence)
    if wants_json:
        output.json({"released": [{"lock": each.name, "fence": each.fence} for each in taken]})
        return
    for each in taken:
        output.line(
            f"released lock {name!r} (fence {each.fence}) of owner {each.owner_id},"
            " which is told so at its next word"
        )


def _row(held: Held) -> list[str]:
    from stepwell.looks.text import duration, seconds_between

    holding = held.holding
    state = "waits" if holding.waits else "overdue" if holding.is_overdue else ""
    return [
        holding.kind,
        holding.name,
        holding.mode,
        "" if holding.execution_id is None else str(holding.execution_id),
        str(held.owner or f"owner {holding.owner_id}"),
        "dead" if held.is_dead else "alive",
        duration(seconds_between(holding.since, held.at)),
        "" if holding.fence is None else str(holding.fence),
        state,
    ]
