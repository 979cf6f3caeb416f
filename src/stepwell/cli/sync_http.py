"""``sync push`` and ``sync pull`` without a file: over HTTP, with the hub of the settings."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from stepwell.cli.output import Output
    from stepwell.cli.session import Session
    from stepwell.node import Node


def push_over_http(
    session: Session,
    output: Output,
    url: str | None,
    token_file: Path | None,
    client: str | None,
) -> None:
    """Send what the hub lacks, and show what became of it there.

    Raises:
        typer.Exit: 3 when something waits there in quarantine.
    """
    from stepwell.cli.output import DONE, STOPPED
    from stepwell.cli.sync_files import context_of, in_the_foreground
    from stepwell.sync.hub_jobs import PUSH

    with session.open_node(purpose="sync push") as node:
        parameters = _asked(node, url, token_file, client)
        look = in_the_foreground(session, node, output, PUSH, parameters)
        done = context_of(node, look, "write")
    if output.wants_json:
        output.json({"execution_id": look.execution_id, **done})
    else:
        _show_push(output, done)
    raise typer.Exit(STOPPED if done["quarantined"] and done["waiting"] else DONE)


def pull_over_http(
    session: Session,
    url: str | None,
    token_file: Path | None,
    client: str | None,
    batch_size: int,
    *,
    wants_json: bool,
) -> None:
    """Apply what the hub has for this node, and show what became of it.

    Raises:
        typer.Exit: 3 when something waits here in quarantine.
    """
    from stepwell.cli.output import DONE, STOPPED, Output
    from stepwell.cli.sync_files import context_of, in_the_foreground, show_import
    from stepwell.sync.hub_jobs import PULL

    output = Output(wants_json=wants_json)
    with session.open_node(purpose="sync pull") as node:
        parameters = _asked(node, url, token_file, client) | {"batch_size": batch_size}
        look = in_the_foreground(session, node, output, PULL, parameters)
        done = context_of(node, look, "finish")
    show_import(output, look, done, Path(done["file"]))
    raise typer.Exit(STOPPED if done["parked"] and done["waiting"] else DONE)


def _asked(
    node: Node, url: str | None, token_file: Path | None, client: str | None
) -> dict[str, object]:
    """The parameters; whatever can be refused is, before anything is recorded."""
    from stepwell.sync.remote import address_of

    given = {
        "url": url or "",
        "token_file": "" if token_file is None else str(token_file.absolute()),
    }
    node.sync.node()
    remote = node.sync.remote.given(**given)
    shown = address_of(remote.url).shown
    remote.read_token()
    if client is not None:
        node.sync.get_peer(client, "exchange changes with")
    return {**given, "url": shown, "client": client or ""}


def _show_push(output: Output, done: dict[str, Any]) -> None:
    from stepwell.cli.output import Page, note
    from stepwell.looks.text import count, how_many

    if done["pull_is_due"]:
        note(f"a pull is due: {done['client']} has changes that are not here")
        note("hint: `stepwell sync pull` fetches them", indented=True)
    page = Page()
    page.line(
        f"pushed {how_many(done['rows'], 'change')} in {how_many(done['groups'], 'group')}"
        f" to {done['client']}"
    )
    if done["to_lsn"] >= done["from_lsn"]:
        page.block(f"LSN {count(done['from_lsn'])} to {count(done['to_lsn'])}")
    if done["skipped"]:
        page.block(f"{how_many(done['skipped'], 'group')} skipped: there already")
    if done["conflicts"]:
        page.block(f"{how_many(done['conflicts'], 'conflict')} decided there")
    if done["quarantined"] and done["waiting"]:
        page.block(f"{how_many(done['quarantined'], 'group')} parked there")
        for error in done["errors"]:
            page.block(f"{error['table']}: {error['message']}")
        page.hint(f"on {done['client']}, `stepwell sync quarantine list` shows why")
    output.page(page)
