"""``sync bootstrap``, ``rejoin`` and ``verify``: all rows of a node, taken over or compared."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from stepwell.cli.session import Session
    from stepwell.sync.bootstrap import Bootstrapped
    from stepwell.sync.digest import Verified

SHOWN_MAX = 20

WantsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
ToFile = Annotated[Path | None, typer.Option("--to", metavar="FILE", help="Write it.")]
FromFile = Annotated[Path | None, typer.Option("--from", metavar="FILE", help="Take it.")]


def bootstrap(
    context: typer.Context,
    to: ToFile = None,
    from_file: FromFile = None,
    wants_json: WantsJson = False,
) -> None:
    """Write all rows with their versions, or begin anew with those of another node.

    `--to` on a node that has everything; then `init`, `track --baseline none` and `--from` on the
    new one: its tracked rows are replaced, all or nothing, and it goes on with the next change.
    """
    from stepwell.cli.output import Output
    from stepwell.looks.text import how_many

    session: Session = context.obj
    output = Output(wants_json=wants_json)
    _require_one("bootstrap", to, from_file)
    with session.open_node() as node:
        if from_file is not None:
            _show_begun(output, node.sync.bootstrap(from_file))
            return
        assert to is not None
        head = node.sync.write_snapshot(to)
    if wants_json:
        output.json({"file": str(to), "lsn": head.lsn, "tables": sorted(head.schemas)})
    else:
        output.line(
            f"wrote the rows of {how_many(len(head.schemas), 'table')} as of LSN {head.lsn}"
        )
        output.line(f"  {to}")


def rejoin(
    context: typer.Context, from_file: FromFile = None, wants_json: WantsJson = False
) -> None:
    """Go on after a restore: in a new epoch, because numbers of the old one have been used.

    With `--from` a file of another node's `bootstrap --to` brings back what was lost; what was
    written here since the restore is given up, so do it at once.
    """
    from stepwell.cli.output import Output

    session: Session = context.obj
    output = Output(wants_json=wants_json)
    with session.open_node() as node:
        if from_file is not None:
            _show_begun(output, node.sync.bootstrap(from_file, new_epoch=True))
            return
        found = node.sync.rejoin()
    if wants_json:
        output.json({"node": found.node_id, "epoch": found.epoch})
    else:
        output.line(f"node {found.node_id!r} goes on in epoch {found.epoch}")


def verify(
    context: typer.Context,
    peer: Annotated[str, typer.Argument(metavar="PEER", help="The other node's name.")],
    to: ToFile = None,
    from_file: FromFile = None,
    wants_json: WantsJson = False,
) -> None:
    """Compare the rows of two nodes by hashes of key ranges, and list those that differ.

    `--to` writes the hashes of this node for PEER, `--from` compares with a file of PEER. Rows that
    wait for a person are left out. Exit status 5: rows differ.
    """
    from stepwell.cli.output import DONE, FINDINGS, Output

    session: Session = context.obj
    output = Output(wants_json=wants_json)
    _require_one(f"verify {peer}", to, from_file)
    with session.open_node() as node:
        node.sync.get_peer(peer, "verify")
        if from_file is None:
            assert to is not None
            head = node.sync.write_digest(to)
            if wants_json:
                output.json({"file": str(to), "tables": sorted(head.tables)})
            else:
                output.line(f"wrote {to}")
                output.line(f"  on {peer}: `stepwell sync verify {head.source_node} --from FILE`")
            return
        found = node.sync.verify(from_file, peer=peer)
    if wants_json:
        output.json(_verified_json(found))
    else:
        output.page(_verified_page(found, peer))
    raise typer.Exit(FINDINGS if found.different else DONE)


def _require_one(command: str, to: Path | None, from_file: Path | None) -> None:
    from stepwell.errors import SettingsError

    if (to is None) == (from_file is None):
        raise SettingsError(
            f"{command.split(maxsplit=1)[0]} must be given one of --to and --from,"
            f" got {'none' if to is None else 'both'}",
            hint=f"`stepwell sync {command} --to FILE` writes a file, `--from FILE` takes one",
        )


def _show_begun(output: Any, done: Bootstrapped) -> None:
    from stepwell.looks.text import how_many

    if output.wants_json:
        output.json(
            {
                "source_node": done.head.source_node,
                "lsn": done.head.lsn,
                "rows": done.rows,
                "tombstones": done.tombstones,
                "epoch": done.epoch,
            }
        )
        return
    output.line(
        f"begun with {how_many(done.rows, 'row')} of {done.head.source_node} as of LSN"
        f" {done.head.lsn}, in epoch {done.epoch}"
    )


def _verified_page(found: Verified, peer: str) -> Any:
    from stepwell.cli.output import Page
    from stepwell.looks.text import how_many

    page = Page()
    if not found.different:
        page.line(f"{how_many(found.rows, 'row')} are the same here and on {peer}")
    else:
        page.line(
            f"{found.different:,} of {how_many(found.rows, 'row')} differ, in"
            f" {found.ranges_different} of {how_many(found.ranges, 'key range')}"
        )
        page.table(
            ["TABLE", "KEY", f"ON {peer.upper()}"],
            [[d.table_name, d.pk_json, d.what] for d in found.differences[:SHOWN_MAX]],
        )
        if found.different > SHOWN_MAX:
            page.line(f"and {found.different - SHOWN_MAX:,} more; `--json` lists them")
    if found.behind:
        page.hint(
            f"not both have all changes of {', '.join(found.behind)}: exchange files, then verify"
            " again"
        )
    return page


def _verified_json(found: Verified) -> dict[str, Any]:
    return {
        "peer": found.head.source_node,
        "made_at": found.head.made_at,
        "rows": found.rows,
        "ranges": found.ranges,
        "ranges_different": found.ranges_different,
        "different": found.different,
        "differences": [
            {"table": d.table_name, "pk_json": d.pk_json, "what": d.what} for d in found.differences
        ],
        "behind": list(found.behind),
    }
