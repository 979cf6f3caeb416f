"""``sync export`` and its kin: files of changes, carried by jobs that run in the foreground."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from stepwell.cli.output import Output
    from stepwell.cli.reading import Look
    from stepwell.cli.session import Session
    from stepwell.node import Node

WantsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
PartMb = Annotated[
    float | None,
    typer.Option(metavar="N", help="Cut into parts of about N MB, before compression."),
]


def export(
    context: typer.Context,
    to: Annotated[
        Path, typer.Option("--to", metavar="FILE", help="NAME.jsonl, NAME.jsonl.gz or .jsonl.zst.")
    ],
    client: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="The peer that it is for; without: for anybody."),
    ] = None,
    since: Annotated[
        int | None,
        typer.Option(metavar="LSN", help="Behind which to begin; else what the client has."),
    ] = None,
    part_mb: PartMb = None,
    wants_json: WantsJson = False,
) -> None:
    """Write the changes that a peer lacks to a file, whole or not at all.

    The file may be carried in any way, and be imported twice. What a client has acknowledged is
    known from its own files, so a file that is lost is contained in the next one.
    """
    from stepwell.cli.output import Output
    from stepwell.sync.jobs import EXPORT

    session: Session = context.obj
    output = Output(wants_json=wants_json)
    with session.open_node(purpose="sync export") as node:
        # Everything that can be refused is, before anything is recorded.
        node.sync.prepare_export(client=client, since=since, to=to)
        parameters = {"to": str(to.absolute()), "client": client or "", "since": since}
        look = in_the_foreground(session, node, output, EXPORT, parameters | {"part_mb": part_mb})
        show_export(output, look, context_of(node, look, "write"))


def show_export(output: Output, look: Look, done: Mapping[str, Any]) -> None:
    """What was written, and where."""
    from stepwell.cli.output import Page
    from stepwell.cli.text import count, how_many

    if output.wants_json:
        shown = {name: value for name, value in done.items() if name != "file_id"}
        output.json({"execution_id": look.execution_id, **shown})
        return
    page = Page()
    groups = how_many(done["groups"], "group")
    page.line(f"exported {how_many(done['rows'], 'change')} in {groups}")
    if done["to_lsn"] >= done["from_lsn"]:
        page.block(f"LSN {count(done['from_lsn'])} to {count(done['to_lsn'])}")
    for file in done["files"]:
        page.block(file)
    output.page(page)


def context_of(node: Node, look: Look, step_name: str) -> dict[str, Any]:
    """What a step of an execution has left in its context."""
    import json

    from stepwell.repository.steps import get_context

    [step] = [p.step for p in look.steps if p.step.step_name == step_name]
    with node.database.read() as reader:
        found: dict[str, Any] = json.loads(get_context(reader, step.step_execution_id))
    return found


def in_the_foreground(
    session: Session, node: Node, output: Output, job: str, parameters: Mapping[str, object]
) -> Look:
    """Run a built-in job and show how far it is; the last look at it when it is COMPLETED.

    Raises:
        typer.Exit: it was stopped, or has failed; that is told.
    """
    from stepwell.cli.asking import user
    from stepwell.cli.foreground import Foreground
    from stepwell.cli.output import exit_status_of_execution
    from stepwell.execution.status import BatchStatus

    node.add_sync_jobs()
    node.operator.recover_dead()
    given = {name: value for name, value in parameters.items() if value is not None}
    with Foreground(node, output, session.clock) as foreground:
        look = foreground.watch(node.operator.start(job, given, triggered_by=user()))
        if look.execution.batch_status is BatchStatus.COMPLETED:
            return look
        if output.wants_json:
            foreground.print_json(look, {})
        else:
            foreground.print_summary(look)
    raise typer.Exit(exit_status_of_execution(look.execution))
