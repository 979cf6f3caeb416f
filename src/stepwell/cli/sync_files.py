"""``sync export`` and its kin: files of changes, carried by jobs that run in the foreground."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from stepwell.cli.sync_http import pull_over_http, push_over_http

if TYPE_CHECKING:
    from stepwell.cli.output import Output
    from stepwell.cli.session import Session
    from stepwell.looks.reading import Look
    from stepwell.node import Node
    from stepwell.sync.bundle import Meta
    from stepwell.sync.preflight import Preflight

WantsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
BatchSize = Annotated[int, typer.Option(metavar="N", min=1, help="Changes a transaction, about.")]
Url = Annotated[
    str | None, typer.Option("--url", metavar="URL", help="Of the hub; else the setting sync_url.")
]
TokenFile = Annotated[
    Path | None,
    typer.Option("--token-file", metavar="FILE", help="Its token; else STEPWELL_SYNC_TOKEN."),
]
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


def import_file(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Of several parts, the first one.")],
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Read it through and say what it would do.")
    ] = False,
    batch_size: BatchSize = 1_000,
    wants_json: WantsJson = False,
) -> None:
    """Apply a file of changes: each transaction whole, once, whatever is delivered twice.

    It is read through before anything is written. A transaction that cannot be applied is parked
    alone, with what depends on it, and told in FILE.errors.jsonl: exit status 3. A kill loses
    nothing; `stepwell restart ID` goes on behind the last batch, and so does importing it again.
    """
    session: Session = context.obj
    _import(session, file, "import", batch_size, dry_run=dry_run, wants_json=wants_json)


def push(
    context: typer.Context,
    file: Annotated[
        Path | None,
        typer.Option("--file", metavar="FILE", help="The file to be carried to the main."),
    ] = None,
    url: Url = None,
    token_file: TokenFile = None,
    client: Annotated[
        str | None, typer.Option(metavar="NAME", help="To another peer than the main.")
    ] = None,
    part_mb: PartMb = None,
    wants_json: WantsJson = False,
) -> None:
    """Give the main what it lacks, by a file or over HTTP; say so when a pull is due first.

    Over HTTP it goes piece by piece. What has come there is not sent again: after a kill, or when
    the connection is lost, `stepwell restart ID` or another push goes on.
    """
    from stepwell.cli.output import Output, note
    from stepwell.sync.hub_jobs import PUSH

    session: Session = context.obj
    output = Output(wants_json=wants_json)
    if file is None:
        push_over_http(session, output, url, token_file, client)
        return
    refuse_both("push", url, token_file)
    with session.open_node(purpose="sync push") as node:
        to_node = client if client is not None else node.sync.find_main()
        node.sync.prepare_export(client=to_node, to=file)
        due = node.sync.pull_is_due(to_node)
        if due and not wants_json:
            note(due)
            note(
                f"hint: have {to_node} export, and `stepwell sync pull --file FILE`", indented=True
            )
        parameters = {"to": str(file.absolute()), "client": to_node, "part_mb": part_mb}
        look = in_the_foreground(session, node, output, PUSH, parameters)
        done = context_of(node, look, "write")
        show_export(output, look, {**done, "client": to_node, "pull_is_due": bool(due)})


def pull(
    context: typer.Context,
    file: Annotated[
        Path | None,
        typer.Option("--file", metavar="FILE", help="The file that the main has exported."),
    ] = None,
    url: Url = None,
    token_file: TokenFile = None,
    client: Annotated[
        str | None, typer.Option(metavar="NAME", help="With a URL: the node that must answer.")
    ] = None,
    batch_size: BatchSize = 1_000,
    wants_json: WantsJson = False,
) -> None:
    """Apply what the main has for this node, by a file or over HTTP, as `sync import` does.

    Over HTTP all of it is fetched first. It may be asked for again: twice is once.
    """
    session: Session = context.obj
    if file is None:
        pull_over_http(session, url, token_file, client, batch_size, wants_json=wants_json)
        return
    refuse_both("pull", url, token_file)
    _import(session, file, "pull", batch_size, dry_run=False, wants_json=wants_json)


def refuse_both(verb: str, url: str | None, token_file: Path | None) -> None:
    """A file goes without HTTP."""
    from stepwell.errors import InvalidPeerUrl

    if url is not None or token_file is not None:
        raise InvalidPeerUrl(
            f"cannot {verb} by file and over HTTP at once",
            hint=f"give `--file`, or `--url` and `--token-file`, not both; then {verb} again",
        )


def _import(
    session: Session, file: Path, verb: str, batch_size: int, *, dry_run: bool, wants_json: bool
) -> None:
    from stepwell.cli.output import DONE, STOPPED, Output, exit_status_of
    from stepwell.sync.bundle_reader import open_bundle
    from stepwell.sync.hub_jobs import PULL
    from stepwell.sync.import_job import IMPORT

    output = Output(wants_json=wants_json)
    with session.open_node(purpose=f"sync {verb}") as node:
        found = node.sync.preflight(file)
        meta = open_bundle(file).meta
        if dry_run:
            _show_preflight(output, found, meta)
            if found.refusals and not wants_json:
                found.require()
            raise typer.Exit(exit_status_of(found.refusals[0]) if found.refusals else DONE)
        found.require()
        if not wants_json:
            for note in found.notes:
                output.line(note.what)
        parameters: dict[str, object] = {
            "file": str(file.absolute()),
            "batch_size": batch_size,
            "checked": meta.tx_id,
        }
        look = in_the_foreground(
            session, node, output, IMPORT if verb == "import" else PULL, parameters
        )
        done = context_of(node, look, "finish")
    show_import(output, look, done, file)
    # One that was parked may have been released by a later one of the same file.
    raise typer.Exit(STOPPED if done["parked"] and done["waiting"] else DONE)


def show_import(output: Output, look: Look, done: Mapping[str, Any], file: Path) -> None:
    """What became of its groups."""
    from stepwell.cli.output import Page
    from stepwell.looks.text import count, how_many

    if output.wants_json:
        output.json({"execution_id": look.execution_id, **done})
        return
    page = Page()
    new = done["applied"] + done["conflict"]
    page.line(f"imported {how_many(new, 'group')} of {done['source_node']}")
    if done["to_lsn"] >= done["from_lsn"]:
        page.block(f"LSN {count(done['from_lsn'])} to {count(done['to_lsn'])}")
    if done["skipped"]:
        page.block(f"{how_many(done['skipped'], 'group')} skipped: here already")
    if done["conflicts"]:
        page.block(f"{how_many(done['conflicts'], 'conflict')} decided")
        page.hint("`stepwell sync conflicts list` shows who won")
    if done["released"]:
        page.block(f"{how_many(done['released'], 'group')} of the quarantine applied")
    if done["parked"] and done["waiting"]:
        page.block(f"{how_many(done['parked'], 'group')} parked: {file}.errors.jsonl")
        page.hint("`stepwell sync quarantine list` shows why")
    output.page(page)


def _show_preflight(output: Output, found: Preflight, meta: Meta) -> None:
    from stepwell.cli.output import Page
    from stepwell.looks.text import how_many

    if output.wants_json:
        output.json(
            {
                "source_node": meta.source_node,
                "from_lsn": meta.from_lsn,
                "to_lsn": meta.to_lsn,
                "new": found.new,
                "skipped": found.skipped,
                "will_park": found.will_park,
                "notes": [note.what for note in found.notes],
                "refusals": [error.message for error in found.refusals],
            }
        )
        return
    page = Page()
    page.line(
        f"{how_many(found.new, 'group')} of {meta.source_node} would be applied,"
        f" {found.skipped:,} are here already, {found.will_park:,} would be parked"
    )
    for note in found.notes:
        page.block(note.what)
    output.page(page)


def show_export(output: Output, look: Look, done: Mapping[str, Any]) -> None:
    """What was written, and where."""
    from stepwell.cli.output import Page
    from stepwell.looks.text import count, how_many

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
        typer.Exit: it was stopped, or has failed; that is told, with the status of its error.
    """
    from stepwell.cli.asking import user
    from stepwell.cli.foreground import Foreground
    from stepwell.cli.output import exit_status_of, exit_status_of_execution
    from stepwell.execution.status import BatchStatus

    node.add_sync_jobs()
    node.operator.recover_dead()
    given = {name: value for name, value in parameters.items() if value is not None}
    with Foreground(node, output, session.clock) as foreground:
        look = foreground.watch(node.operator.start(job, given, triggered_by=user()))
        if look.execution.batch_status is BatchStatus.COMPLETED:
            return look
        error = foreground.error
        hint = "" if error is None else error.hint
        if output.wants_json:
            foreground.print_json(look, {"hint": hint} if hint else {})
        else:
            foreground.print_summary(look)
            if hint:
                output.hint(hint)
    if error is not None and look.execution.batch_status is BatchStatus.FAILED:
        raise typer.Exit(exit_status_of(error))
    raise typer.Exit(exit_status_of_execution(look.execution))
