"""``sync conflicts``: who lost against whom, and what waits for a person: the conflict desk."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from stepwell.cli.output import Page
    from stepwell.cli.session import Session
    from stepwell.sync.change import Values
    from stepwell.sync.conflict import Conflict

conflict_commands = typer.Typer(no_args_is_help=True)

WantsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
ConflictId = Annotated[int, typer.Argument(metavar="ID", help="As `conflicts list` shows it.")]

STATUSES = ("decided", "waiting", "resolved")


@conflict_commands.callback()
def conflicts() -> None:
    """What two nodes did to one row: who won, what lost, what waits for a person."""


@conflict_commands.command("list")
def list_conflicts(
    context: typer.Context,
    status: Annotated[
        str | None, typer.Option(metavar="STATUS", help="decided, waiting or resolved.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="How many, the newest first.")] = 100,
    before: Annotated[
        int | None, typer.Option(metavar="ID", help="Those before this one: the next page.")
    ] = None,
    wants_json: WantsJson = False,
) -> None:
    """List conflicts, the newest first."""
    from stepwell.cli.output import Output, Page
    from stepwell.errors import SettingsError
    from stepwell.looks.conflicts import conflict_json
    from stepwell.looks.text import local_time

    session: Session = context.obj
    output = Output(wants_json=wants_json)
    if status is not None and status not in STATUSES:
        raise SettingsError(f"--status must be one of {', '.join(STATUSES)}, got {status!r}")
    with session.open_node() as node:
        found = node.sync.list_conflicts(status=status, limit=limit, before=before)  # type: ignore[arg-type]
    if wants_json:
        output.json({"conflicts": [conflict_json(each) for each in found]})
        return
    page = Page()
    if not found:
        page.line("no conflicts")
    else:
        page.table(
            [">ID", "DETECTED", "TABLE", "KEY", "KIND", "POLICY", "STATUS", "WINNER"],
            [
                [
                    str(each.conflict_id),
                    local_time(each.detected_at),
                    each.table_name,
                    each.pk_json,
                    each.kind,
                    each.policy,
                    each.status,
                    each.winner or "",
                ]
                for each in found
            ],
        )
        if any(each.status == "waiting" for each in found):
            page.hint("`stepwell sync conflicts show ID`, then `resolve ID --take ours|theirs`")
    output.page(page)


@conflict_commands.command("show")
def show(context: typer.Context, conflict_id: ConflictId, wants_json: WantsJson = False) -> None:
    """Show both images of a conflict, and the one that they came from."""
    from stepwell.cli.output import Output
    from stepwell.looks.conflicts import conflict_json

    session: Session = context.obj
    output = Output(wants_json=wants_json)
    with session.open_node() as node:
        found = node.sync.get_conflict(conflict_id)
    if wants_json:
        output.json(conflict_json(found))
    else:
        output.page(_page(found))


@conflict_commands.command("resolve")
def resolve(
    context: typer.Context,
    conflict_id: ConflictId,
    take: Annotated[
        str | None, typer.Option(metavar="ours|theirs", help="Whose image the row shall have.")
    ] = None,
    values: Annotated[
        list[str] | None,
        typer.Option(
            "--value", metavar="COLUMN=JSON", help="Else: the values that differ from ours."
        ),
    ] = None,
    wants_json: WantsJson = False,
) -> None:
    """Settle a conflict that waits; what is chosen travels to all nodes like any other change."""
    from stepwell.cli.asking import user
    from stepwell.cli.output import Output
    from stepwell.looks.conflicts import conflict_json

    session: Session = context.obj
    output = Output(wants_json=wants_json)
    chosen = _chosen(conflict_id, take, values)
    with session.open_node() as node:
        node.sync.resolve(
            conflict_id,
            take="values" if chosen is not None else take,  # type: ignore[arg-type]
            values=chosen,
            actor=user() or "",
        )
        found = node.sync.get_conflict(conflict_id)
    if wants_json:
        output.json(conflict_json(found))
    else:
        output.line(f"conflict {conflict_id} is {found.status}: {found.resolution}")


@conflict_commands.command("reopen")
def reopen(context: typer.Context, conflict_id: ConflictId, wants_json: WantsJson = False) -> None:
    """Have a conflict wait for a person that a policy has decided, or a person before."""
    from stepwell.cli.asking import user
    from stepwell.cli.output import Output
    from stepwell.looks.conflicts import conflict_json

    session: Session = context.obj
    output = Output(wants_json=wants_json)
    with session.open_node() as node:
        node.sync.reopen(conflict_id, actor=user() or "")
        found = node.sync.get_conflict(conflict_id)
    if wants_json:
        output.json(conflict_json(found))
    else:
        output.line(f"conflict {conflict_id} is {found.status}")
        output.hint(f"`stepwell sync conflicts resolve {conflict_id} --take ours|theirs`")


def _chosen(conflict_id: int, take: str | None, values: list[str] | None) -> Values | None:
    from stepwell.errors import SettingsError

    hint = f"`stepwell sync conflicts resolve {conflict_id} --take ours`, or `--value name=JSON`"
    if (take is None) == (not values):
        raise SettingsError("resolve must be given one of --take and --value", hint=hint)
    if take is not None:
        if take not in ("ours", "theirs"):
            raise SettingsError(f"--take must be ours or theirs, got {take!r}", hint=hint)
        return None
    found: Values = {}
    for each in values or ():
        found |= _value(each, hint)
    return found


def _value(text: str, hint: str) -> Values:
    """``amount=12``, ``name="x"``: a column and a value as files of changes write it."""
    import msgspec

    from stepwell.errors import SettingsError
    from stepwell.sync.change import decode_values

    name, equals, value = text.partition("=")
    try:
        if not equals or not name:
            raise ValueError("it has no column and no `=`")
        column = msgspec.json.encode(name)
        return decode_values(b"{" + column + b":" + value.encode("utf-8") + b"}")
    except (ValueError, RecursionError) as error:
        raise SettingsError(
            f"--value must be COLUMN=JSON, such as amount=12 or name='\"x\"', got {text!r}:"
            f" {error}",
            hint=hint,
        ) from None


def _page(found: Conflict) -> Page:
    from stepwell.cli.output import Page
    from stepwell.looks.conflicts import columns_of, value_text
    from stepwell.looks.text import local_time

    page = Page()
    page.line(f"conflict {found.conflict_id}: {found.table_name} {found.pk_json} is {found.status}")
    page.facts(
        {
            "kind": found.kind + (f", index {found.index_name}" if found.index_name else ""),
            "policy": found.policy,
            "winner": found.winner or "",
            "detected": local_time(found.detected_at),
            "came with": f"group {found.seq} of {found.origin} (epoch {found.epoch})",
            "resolved": f"{local_time(found.resolved_at)} by {found.resolved_by}"
            if found.resolved_at
            else "",
            "resolution": found.resolution or "",
        }
    )
    images = (found.base, found.ours, found.theirs)
    page.heading("Images")
    page.table(
        ["COLUMN", "BASE", "OURS", "THEIRS"],
        [
            ["(version)", "", found.our_version or "none", found.their_version or "none"],
            *([name, *(value_text(image, name) for image in images)] for name in columns_of(found)),
        ],
    )
    if found.status == "waiting":
        page.hint(f"`stepwell sync conflicts resolve {found.conflict_id} --take ours|theirs`")
    return page
