"""``sync row``: which run of which job, on which node, has written a row."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from stepwell.cli.output import Page
    from stepwell.cli.session import Session
    from stepwell.sync.provenance import Provenance


def row(
    context: typer.Context,
    table: Annotated[str, typer.Argument(metavar="TABLE", help="A tracked one.")],
    key: Annotated[
        list[str], typer.Argument(metavar="NAME=VALUE …", help="The columns of the row's key.")
    ],
    wants_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show a row, and the node, job, execution, step and chunk that have written it last."""
    from stepwell.cli.output import Output

    session: Session = context.obj
    output = Output(wants_json=wants_json)
    asked = _asked(key)
    with session.open_node() as node:
        found = node.sync.provenance(table, asked)
    if wants_json:
        output.json(_json(found))
    else:
        output.page(_page(found))


def _asked(key: list[str]) -> dict[str, str]:
    from stepwell.errors import InvalidKey

    pairs = [text.partition("=") for text in key]
    for name, equals, _ in pairs:
        if not name or not equals:
            raise InvalidKey(
                f"cannot find a row: its key must be given as NAME=VALUE, got {name + equals!r}",
                hint="for example `stepwell sync row visit_daily store_id=1 day=2026-11-20`",
            )
    return {name: value for name, _, value in pairs}


def _page(found: Provenance) -> Page:
    from stepwell.cli.output import Page
    from stepwell.looks.text import local_time
    from stepwell.sync.change import encode_values, moment_of

    page, version, change = Page(), found.version, found.change
    state = "" if version.is_alive else " is deleted"
    page.line(f"row {found.key.pk_json} of table {found.key.table_name!r}{state}")
    values = found.values or {}
    page.facts(
        {name: encode_values({"": value}).decode("utf-8")[4:-1] for name, value in values.items()}
    )
    page.heading("Written by")
    lineage = change.lineage if change is not None else None
    facts = {
        "node": f"{version.origin}, epoch {version.epoch}, group {version.seq}",
        "at": local_time(moment_of(version.hlc)),
    }
    if lineage is not None:
        facts |= {
            "job": lineage.job_name,
            "execution": str(lineage.execution_id or ""),
            "step": lineage.step_name,
            "chunk": lineage.chunk,
            "partition": "" if lineage.partition is None else str(lineage.partition),
            "actor": lineage.actor,
        }
    if change is not None:
        facts |= {"log": f"LSN {change.lsn} here, from {change.source_node}"}
    page.facts(facts)
    if change is None:
        page.hint("the log does not have this change any more: `stepwell sync prune` took it away")
    elif lineage is None:
        page.hint("no job of Stepwell's wrote it: another program, or a statement by hand")
    return page


def _json(found: Provenance) -> dict[str, Any]:
    import json

    import msgspec

    from stepwell.looks.text import iso_utc
    from stepwell.sync.change import encode_values, moment_of

    version, change = found.version, found.change
    lineage = change.lineage if change is not None else None
    return {
        "table": found.key.table_name,
        "pk_json": json.loads(found.key.pk_json),
        "is_deleted": not version.is_alive,
        "values": None if found.values is None else json.loads(encode_values(found.values)),
        "origin": version.origin,
        "epoch": version.epoch,
        "seq": version.seq,
        "at": iso_utc(moment_of(version.hlc)),
        "lsn": None if change is None else change.lsn,
        "source_node": None if change is None else change.source_node,
        "lineage": None if lineage is None else msgspec.structs.asdict(lineage),
    }
