"""``sync quarantine``: transactions that could not be applied, and those that wait behind them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from stepwell.cli.session import Session
    from stepwell.sync.apply import Applied

quarantine_commands = typer.Typer(no_args_is_help=True)

WantsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
QuarantineId = Annotated[int, typer.Argument(metavar="ID", help="As `quarantine list` shows it.")]


@quarantine_commands.callback()
def quarantine() -> None:
    """Transactions that are received and cannot be applied yet."""


@quarantine_commands.command("list")
def list_quarantine(
    context: typer.Context,
    all_: Annotated[bool, typer.Option("--all", help="Also those that are closed.")] = False,
    limit: Annotated[int, typer.Option(min=1, help="How many, the newest first.")] = 100,
    before: Annotated[
        int | None, typer.Option(metavar="ID", help="Those before this one: the next page.")
    ] = None,
    wants_json: WantsJson = False,
) -> None:
    """List the transactions that wait, the newest first."""
    from stepwell.cli.output import Output, Page
    from stepwell.looks.conflicts import quarantined_json
    from stepwell.looks.text import local_time

    session: Session = context.obj
    output = Output(wants_json=wants_json)
    with session.open_node() as node:
        found = node.sync.list_quarantine(
            is_open=None if all_ else True, limit=limit, before=before
        )
    if wants_json:
        output.json({"quarantine": [quarantined_json(each) for each in found]})
        return
    page = Page()
    if not found:
        page.line("nothing is in quarantine")
    else:
        page.table(
            [">ID", "PARKED", "GROUP", "REASON", "TABLE", "KEY", ">WAITS FOR", "OUTCOME"],
            [
                [
                    str(each.quarantine_id),
                    local_time(each.parked_at),
                    f"{each.origin}.{each.epoch}.{each.seq}",
                    each.reason,
                    each.table_name or "",
                    each.pk_json or "",
                    str(each.waits_for or ""),
                    each.outcome or "",
                ]
                for each in found
            ],
        )
        page.hint("`stepwell sync quarantine show ID` shows the changes, `retry ID` tries again")
    output.page(page)


@quarantine_commands.command("show")
def show(
    context: typer.Context, quarantine_id: QuarantineId, wants_json: WantsJson = False
) -> None:
    """Show why a transaction waits, and its first changes."""
    from stepwell.cli.output import Output, Page
    from stepwell.looks.conflicts import quarantined_json
    from stepwell.looks.text import local_time

    session: Session = context.obj
    output = Output(wants_json=wants_json)
    with session.open_node() as node:
        found = node.sync.get_quarantined(quarantine_id)
        changes = node.sync.changes_in_quarantine(quarantine_id)
    if wants_json:
        output.json(quarantined_json(found, changes))
        return
    page = Page()
    is_open = "waits" if found.closed_at is None else f"was {found.outcome}"
    page.line(f"group {found.origin}.{found.epoch}.{found.seq} {is_open}: {found.message}")
    page.facts(
        {
            "reason": found.reason,
            "line": str(found.line or ""),
            "row": f"{found.table_name} {found.pk_json}" if found.table_name else "",
            "waits for": str(found.waits_for or ""),
            "came from": found.source_node,
            "parked": local_time(found.parked_at),
            "closed": local_time(found.closed_at),
        }
    )
    page.heading("Changes")
    page.table(
        ["OP", "TABLE", "KEY", "NEW"],
        [
            [c.op, c.table_name, c.key.pk_json, "" if c.op == "D" else bytes(c.payload).decode()]
            for c in changes
        ],
    )
    output.page(page)


@quarantine_commands.command("retry")
def retry(
    context: typer.Context,
    quarantine_id: Annotated[
        int | None, typer.Argument(metavar="ID", help="Without one: all that wait.")
    ] = None,
    wants_json: WantsJson = False,
) -> None:
    """Try transactions again, after their cause is mended. Exit status 3: some still wait."""
    from stepwell.cli.asking import user
    from stepwell.cli.output import DONE, STOPPED, Output
    from stepwell.looks.conflicts import applied_json
    from stepwell.looks.text import how_many

    session: Session = context.obj
    output = Output(wants_json=wants_json)
    with session.open_node() as node:
        if quarantine_id is None:
            applied = node.sync.retry_all(actor=user() or "")
        else:
            applied = [node.sync.retry(quarantine_id, actor=user() or "")]
        waiting = node.sync.count_quarantine()
    if wants_json:
        output.json({"tried": [applied_json(each) for each in applied], "waiting": waiting})
    else:
        for each in applied:
            output.line(_applied_text(each))
        if not applied:
            output.line("none could be applied" if waiting else "nothing is in quarantine")
        if waiting:
            output.line(f"{how_many(waiting, 'group')} in quarantine")
    still = waiting if quarantine_id is None else applied[0].result == "parked"
    raise typer.Exit(STOPPED if still else DONE)


@quarantine_commands.command("drop")
def drop(
    context: typer.Context, quarantine_id: QuarantineId, wants_json: WantsJson = False
) -> None:
    """Give a transaction up: its effect never comes here. What waited behind it is tried."""
    from stepwell.cli.asking import user
    from stepwell.cli.output import Output
    from stepwell.looks.conflicts import applied_json

    session: Session = context.obj
    output = Output(wants_json=wants_json)
    with session.open_node() as node:
        dropped = node.sync.drop(quarantine_id, actor=user() or "")
    if wants_json:
        output.json(applied_json(dropped))
    else:
        output.line(_applied_text(dropped))


def _applied_text(applied: Applied) -> str:
    from stepwell.looks.text import how_many

    name = f"group {applied.origin}.{applied.epoch}.{applied.seq}"
    if applied.result == "parked":
        return f"{name} still waits: {applied.message}"
    released = len(applied.released)
    behind = f", and {how_many(released, 'group')} behind it" if released else ""
    return f"{name} is {'dropped' if applied.result == 'dropped' else 'applied'}{behind}"
