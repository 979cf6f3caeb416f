"""``sync peers`` and ``sync prune``: the other nodes, and what is kept for them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from stepwell.cli.session import Session
    from stepwell.sync.peers import Peer
    from stepwell.sync.prune import Pruning

peer_commands = typer.Typer(no_args_is_help=True)

WantsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Name = Annotated[str, typer.Argument(metavar="NAME", help="The node's name.")]


@peer_commands.callback()
def peers() -> None:
    """The other nodes: whom changes are kept for."""


@peer_commands.command("list")
def list_peers(context: typer.Context, wants_json: WantsJson = False) -> None:
    """List the nodes that are known here, by name; `sync status` shows how far each is."""
    from stepwell.cli.output import Output, Page
    from stepwell.looks.text import local_time

    session: Session = context.obj
    output = Output(wants_json=wants_json)
    with session.open_node() as node:
        found = node.sync.list_peers()
    if wants_json:
        output.json({"peers": [peer_json(peer) for peer in found]})
        return
    page = Page()
    if found:
        page.table(
            ["PEER", "KIND", ">EPOCH", "ADDED", "SEEN", "RETIRED"],
            [
                [
                    peer.node_id,
                    "main" if peer.is_main else "client",
                    str(peer.epoch),
                    local_time(peer.added_at),
                    local_time(peer.seen_at),
                    local_time(peer.retired_at),
                ]
                for peer in found
            ],
        )
    else:
        page.line("no peers are known")
        page.hint("`stepwell sync peers add NAME`; the first import makes its source known, too")
    output.page(page)


@peer_commands.command("add")
def add_peer(
    context: typer.Context,
    name: Name,
    main: Annotated[
        bool, typer.Option("--main", help="Its word counts for master tables.")
    ] = False,
    wants_json: WantsJson = False,
) -> None:
    """Make another node known, so that changes are kept for it; a retired one is back."""
    from stepwell.cli.output import Output

    session: Session = context.obj
    output = Output(wants_json=wants_json)
    with session.open_node() as node:
        found = node.sync.add_peer(name, is_main=main)
    if wants_json:
        output.json(peer_json(found))
    else:
        output.line(f"{'main' if found.is_main else 'client'} node {name!r} is a peer")


@peer_commands.command("retire")
def retire_peer(context: typer.Context, name: Name, wants_json: WantsJson = False) -> None:
    """Keep nothing for a node any longer; `peers add` takes it back while its changes are kept."""
    from stepwell.cli.output import Output

    session: Session = context.obj
    output = Output(wants_json=wants_json)
    with session.open_node() as node:
        node.sync.retire_peer(name)
        [found] = [peer for peer in node.sync.list_peers() if peer.node_id == name]
    if wants_json:
        output.json(peer_json(found))
    else:
        output.line(f"peer {name!r} is retired; `stepwell sync prune` passes it")


def prune(
    context: typer.Context,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would be taken away.")
    ] = False,
    wants_json: WantsJson = False,
) -> None:
    """Take away the changes that every live peer has acknowledged; say who holds the rest.

    A peer acknowledges by its own files: they tell how far it has come. Versions, tombstones,
    conflicts and the audit stay for ever.
    """
    from stepwell.cli.output import Output

    session: Session = context.obj
    output = Output(wants_json=wants_json)
    with session.open_node() as node:
        found = node.sync.prune(dry_run=dry_run)
    if wants_json:
        output.json(
            {
                "dry_run": dry_run,
                "below_lsn": found.below_lsn,
                "changes": found.changes,
                "holders": [
                    {
                        "node": holder.node_id or None,
                        "after_lsn": holder.after_lsn,
                        "changes": holder.changes,
                    }
                    for holder in found.holders
                ],
            }
        )
        return
    output.page(_pruning_page(found, dry_run=dry_run))


def _pruning_page(found: Pruning, *, dry_run: bool) -> Any:
    from stepwell.cli.output import Page
    from stepwell.looks.text import count, how_many

    page = Page()
    changes = how_many(found.changes, "change")
    if found.changes:
        page.line(f"{changes} below LSN {count(found.below_lsn)} {_done(found, dry_run)} pruned")
    else:
        page.line("nothing to prune")
    if found.holders:
        page.table(
            ["KEPT FOR", ">HAS ALL TO LSN", ">CHANGES KEPT"],
            [
                [h.node_id or "(quarantine)", count(h.after_lsn), count(h.changes)]
                for h in found.holders
            ],
        )
        if dry_run and found.changes:
            page.hint("without `--dry-run` they are pruned")
    else:
        page.hint("no peer is known: `stepwell sync peers add NAME`")
    return page


def _done(found: Pruning, dry_run: bool) -> str:
    if dry_run:
        return "would be"
    return "is" if found.changes == 1 else "are"


def peer_json(peer: Peer) -> dict[str, Any]:
    """A peer for programs."""
    from stepwell.looks.text import iso_utc

    return {
        "node": peer.node_id,
        "is_main": peer.is_main,
        "epoch": peer.epoch,
        "added_at": iso_utc(peer.added_at),
        "seen_at": iso_utc(peer.seen_at),
        "retired_at": iso_utc(peer.retired_at),
    }
