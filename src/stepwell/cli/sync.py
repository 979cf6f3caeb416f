"""``sync``: this database as a node, what it captures, where it stands, who did what."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from stepwell.cli.sync_begin import bootstrap, rejoin, verify
from stepwell.cli.sync_conflicts import conflict_commands
from stepwell.cli.sync_files import export, import_file, pull, push
from stepwell.cli.sync_peers import peer_commands, peer_json, prune
from stepwell.cli.sync_quarantine import quarantine_commands
from stepwell.cli.sync_row import row

if TYPE_CHECKING:
    from stepwell.cli.output import Page
    from stepwell.cli.session import Session
    from stepwell.sync.session import SyncStatus
    from stepwell.sync.table import TrackedTable

commands = typer.Typer(no_args_is_help=True)

WantsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Tables = Annotated[list[str], typer.Argument(metavar="TABLE …", help="Their names.")]


@commands.callback()
def sync() -> None:
    """Carry committed changes between databases, each exactly once."""


@commands.command("init")
def init(
    context: typer.Context,
    node: Annotated[
        str, typer.Option("--node", metavar="NAME", help="Its name, unlike any other's.")
    ],
    main: Annotated[
        bool, typer.Option("--main", help="Its word counts for master tables.")
    ] = False,
    wants_json: WantsJson = False,
) -> None:
    """Make this database a node; a second time changes nothing."""
    from stepwell.cli.output import Output

    session: Session = context.obj
    output = Output(wants_json=wants_json)
    with session.open_node() as opened:
        found = opened.sync.init(node, is_main=main)
    if wants_json:
        output.json(_node_json(found))
    else:
        kind = "main" if found.is_main else "client"
        output.line(f"this database is {kind} node {found.node_id!r}, epoch {found.epoch}")
        if not found.last_lsn:
            output.hint("`stepwell sync track TABLE` has its changes captured")


@commands.command("track")
def track(
    context: typer.Context,
    tables: Tables,
    policy: Annotated[
        str, typer.Option(metavar="NAME", help="What decides when two nodes change one row.")
    ] = "lww",
    baseline: Annotated[
        str, typer.Option(metavar="all|none", help="Which of the rows that are there are sent.")
    ] = "all",
    wants_json: WantsJson = False,
) -> None:
    """Have every change of a table captured, whichever program makes it.

    A second time mends its triggers after its columns have changed, and announces what they did
    not see.
    """
    from stepwell.cli.output import Output
    from stepwell.errors import CannotTrack

    session: Session = context.obj
    output = Output(wants_json=wants_json)
    if baseline not in ("all", "none"):
        raise CannotTrack(
            f"--baseline must be 'all' or 'none', got {baseline!r}",
            hint="`all` sends the rows that are there, `none` only what changes from now on",
        )
    with session.open_node() as opened:
        found = [
            opened.sync.track(table, policy=policy, with_rows=baseline == "all") for table in tables
        ]
    if wants_json:
        output.json(
            {
                "tables": [
                    {**_table_json(table, None), "uncounted": list(table.uncounted)}
                    for table in found
                ]
            }
        )
        return
    for table in found:
        output.line(f"table {table.name!r} is tracked, its key is {', '.join(table.key)}")
        for name in table.uncounted:
            output.line(
                f"  counter {name!r} had no triggers for a time: what was added to it then is not"
                " sent"
            )
            output.hint("`stepwell sync verify PEER` finds the rows that differ")


@commands.command("untrack")
def untrack(context: typer.Context, tables: Tables, wants_json: WantsJson = False) -> None:
    """Have a table captured no longer; what is logged stays."""
    from stepwell.cli.output import Output

    session: Session = context.obj
    output = Output(wants_json=wants_json)
    with session.open_node() as opened:
        for table in tables:
            opened.sync.untrack(table)
    if wants_json:
        output.json({"tables": tables})
    else:
        for table in tables:
            output.line(f"table {table!r} is not tracked any more")


@commands.command("status")
def status(context: typer.Context, wants_json: WantsJson = False) -> None:
    """Show the node, its log, its tables and how far each peer has come.

    What has been captured so far is put into the log first.
    """
    from stepwell.cli.output import FINDINGS, Output

    session: Session = context.obj
    output = Output(wants_json=wants_json)
    with session.open_node() as opened:
        found = opened.sync.status()
    if wants_json:
        output.json(_status_json(found))
    else:
        output.page(_status_page(found))
    if found.faults:
        raise typer.Exit(FINDINGS)


commands.command("export")(export)
commands.command("import")(import_file)
commands.command("push")(push)
commands.command("pull")(pull)
commands.add_typer(conflict_commands, name="conflicts")
commands.add_typer(quarantine_commands, name="quarantine")
commands.add_typer(peer_commands, name="peers")
commands.command("prune")(prune)
commands.command("bootstrap")(bootstrap)
commands.command("rejoin")(rejoin)
commands.command("verify")(verify)
commands.command("row")(row)


@commands.command("audit")
def audit(
    context: typer.Context,
    since: Annotated[
        str | None, typer.Option(metavar="TIME", help="ISO 8601; local unless it says its zone.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="How many lines, the newest first.")] = 100,
    wants_json: WantsJson = False,
) -> None:
    """Show who did what to this node and its log, the newest first."""
    from stepwell.cli.output import Output, Page
    from stepwell.looks.text import iso_utc, local_time

    session: Session = context.obj
    output = Output(wants_json=wants_json)
    moment = _moment(since)
    with session.open_node() as opened:
        lines = opened.sync.audit(since=moment, limit=limit)
    if wants_json:
        output.json(
            {
                "audit": [
                    {
                        "audit_id": line.audit_id,
                        "at": iso_utc(line.at),
                        "actor": line.actor,
                        "action": line.action,
                        "subject": line.subject,
                        "detail": line.detail,
                    }
                    for line in lines
                ]
            }
        )
        return
    page = Page()
    page.table(
        ["AT", "ACTOR", "ACTION", "SUBJECT", "DETAIL"],
        [
            [local_time(line.at), line.actor, line.action, line.subject, _facts(line.detail)]
            for line in lines
        ],
    )
    output.page(page)


def _moment(text: str | None) -> datetime | None:
    from stepwell.errors import SettingsError

    if text is None:
        return None
    try:
        return datetime.fromisoformat(text).astimezone(UTC)
    except (ValueError, OverflowError):
        raise SettingsError(
            f"--since must be a time in ISO 8601, got {text!r}",
            hint="for example `2026-11-20` or `2026-11-20T08:00:00+01:00`",
        ) from None


def _facts(detail: dict[str, object]) -> str:
    return ", ".join(f"{name}={value}" for name, value in detail.items())


def _status_page(found: SyncStatus) -> Page:
    from stepwell.cli.output import Page
    from stepwell.looks.text import local_time

    node = found.node
    page = Page()
    page.facts(
        {
            "node": f"{node.node_id} ({'main' if node.is_main else 'client'}, epoch {node.epoch})",
            "log": f"LSN {node.horizon_lsn} to {node.last_lsn}" if node.last_lsn else "empty",
            "sealed now": f"{found.sealed} changes" if found.sealed else "",
        }
    )
    faults = {fault.table_name: fault.what for fault in found.faults}
    page.heading("Tables")
    if found.tables:
        page.table(
            ["TABLE", "KEY", "POLICY", "CAPTURE"],
            [
                [t.name, ", ".join(t.key), _policy(t), faults.get(t.name, "complete")]
                for t in found.tables
            ],
        )
    else:
        page.line("none")
        page.hint("`stepwell sync track TABLE` has the changes of a table captured")
    for name in faults:
        page.hint(f"`stepwell sync track {name}` mends it and announces what was missed")
    if found.peers:
        page.heading("Peers")
        acknowledged = {s.client_id: s for s in found.states if s.direction == "out"}
        received = {s.client_id: s for s in found.states if s.direction == "in"}
        rows = []
        for peer in found.peers:
            there, here = acknowledged.get(peer.node_id), received.get(peer.node_id)
            rows.append(
                [
                    peer.node_id,
                    "main" if peer.is_main else "client",
                    str(there.last_lsn) if there else "0",
                    str(node.last_lsn - (there.last_lsn if there else 0)),
                    str(here.last_lsn) if here else "0",
                    local_time(peer.seen_at),
                    "retired" if peer.retired_at else "",
                ]
            )
        names = ["PEER", "KIND", ">HAS OURS TO", ">BEHIND", ">WE HAVE TO", "SEEN", "STATE"]
        page.table(names, rows)
    return page


def _policy(table: TrackedTable) -> str:
    import json

    return str(json.loads(table.policy).get("rows", "lww"))


def _node_json(node: Any) -> dict[str, Any]:
    return {
        "node": node.node_id,
        "is_main": node.is_main,
        "epoch": node.epoch,
        "last_lsn": node.last_lsn,
        "horizon_lsn": node.horizon_lsn,
    }


def _table_json(table: TrackedTable, fault: str | None) -> dict[str, Any]:
    return {
        "table": table.name,
        "key": list(table.key),
        "policy": _policy(table),
        "fingerprint": table.fingerprint,
        "rows_waiting": table.baseline is not None,
        "fault": fault,
    }


def _status_json(found: SyncStatus) -> dict[str, Any]:
    from stepwell.looks.text import iso_utc

    faults = {fault.table_name: fault.what for fault in found.faults}
    return {
        **_node_json(found.node),
        "sealed": found.sealed,
        "tables": [_table_json(table, faults.get(table.name)) for table in found.tables],
        "peers": [peer_json(peer) for peer in found.peers],
        "states": [
            {
                "client_id": state.client_id,
                "direction": state.direction,
                "last_lsn": state.last_lsn,
                "lag_lsn": found.node.last_lsn - state.last_lsn
                if state.direction == "out"
                else None,
                "updated_at": iso_utc(state.updated_at),
                "last_result": state.last_result,
            }
            for state in found.states
        ],
    }
