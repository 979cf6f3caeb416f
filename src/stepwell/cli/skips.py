"""``skips``: the items that an execution has left out; shown, written to a file, run again."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from collections.abc import Iterable

    from stepwell.cli.session import Session
    from stepwell.errors import StepwellError
    from stepwell.execution.records import SkippedItem

commands = typer.Typer(no_args_is_help=True)

Id = Annotated[int, typer.Argument(metavar="ID", help="The execution that has skipped them.")]
WantsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]

ITEM_CHARACTERS = 60
ERROR_CHARACTERS = 120


@commands.callback()
def skips() -> None:
    """Look at the items that an execution has left out, and run them again."""


@commands.command("list")
def list_skipped(
    context: typer.Context,
    execution_id: Id,
    limit: Annotated[int, typer.Option(min=1, help="How many.")] = 100,
    after: Annotated[
        int, typer.Option(metavar="SKIP", min=0, help="Only those behind this one.")
    ] = 0,
    wants_json: WantsJson = False,
) -> None:
    """List the skipped items of an execution: step, phase, place, item and error."""
    from stepwell.cli.output import Output, Page
    from stepwell.looks.representation import skip_json
    from stepwell.looks.text import count, shorten
    from stepwell.repository.browse import count_skips
    from stepwell.repository.executions import get_execution
    from stepwell.repository.steps import list_skips

    session: Session = context.obj
    output = Output(wants_json=wants_json)
    with session.open_database() as database, database.read() as reader:
        get_execution(reader, execution_id)
        found = list_skips(reader, execution_id, count=limit, after=after)
        total = count_skips(reader, execution_id)
    if wants_json:
        documents = [skip_json(skip) for skip in found]
        output.json({"execution_id": execution_id, "skip_count": total, "skips": documents})
        return
    page = Page()
    page.table(
        [">SKIP", "STEP", ">PARTITION", "PHASE", ">POSITION", "ITEM", "ERROR"],
        [
            [
                str(skip.skip_id),
                skip.step_name,
                "" if skip.partition_number is None else str(skip.partition_number),
                skip.phase,
                count(skip.position),
                shorten(skip.item or "", ITEM_CHARACTERS),
                shorten(f"{skip.error_type}: {skip.error_message}", ERROR_CHARACTERS),
            ]
            for skip in found
        ],
    )
    if not total:
        page = Page()
        page.line(f"execution {execution_id} has skipped nothing")
    elif len(found) == limit:
        page.hint(f"`--after {found[-1].skip_id}` shows those behind, of {count(total)} in all")
    else:
        page.hint(f"`stepwell skips retry {execution_id}` runs them again, once mended")
    output.page(page)


@commands.command("export")
def export(
    context: typer.Context,
    execution_id: Id,
    to: Annotated[Path, typer.Option("--to", metavar="FILE", help="A file that is not there yet.")],
    wants_json: WantsJson = False,
) -> None:
    """Write every skipped item of an execution to a file of JSON lines."""
    from stepwell.cli.output import Output
    from stepwell.looks.text import how_many
    from stepwell.runner.skipped import every_skip

    session: Session = context.obj
    output = Output(wants_json=wants_json)
    with session.open_database() as database:
        database_skips = every_skip(database, execution_id)
        written = _write(to, database_skips, f"export what execution {execution_id} has skipped")
    if wants_json:
        output.json({"execution_id": execution_id, "file": str(to), "written": written})
    else:
        output.line(f"wrote {how_many(written, 'skipped item')} to {str(to)!r}")


@commands.command("retry")
def retry(
    context: typer.Context,
    execution_id: Id,
    reason: Annotated[
        str | None, typer.Option(metavar="TEXT", help="Why; stands beside who started it.")
    ] = None,
    wants_json: WantsJson = False,
) -> None:
    """Run the skipped items of an execution again, through the steps that have skipped them.

    As a job of its own, `stepwell.skips`, with the parameters of the execution: once that is
    COMPLETED, the same items are not retried a second time. Ctrl-C as in `run`.
    """
    from stepwell.cli.asking import user
    from stepwell.cli.output import Output, note
    from stepwell.cli.run import in_the_foreground
    from stepwell.looks.text import how_many
    from stepwell.runner.skipped import NAME, every_skip, parameters_of_retry, reasons_to_keep

    session: Session = context.obj
    output = Output(wants_json=wants_json)
    with session.open_node(purpose="retry") as node:
        node.load_jobs()
        execution = node.operator.get_job_execution(execution_id)
        skipped = every_skip(node.database, execution_id)
        kept = reasons_to_keep(skipped, node.registry, execution)
        by = ": ".join(filter(None, [user(), reason]))

        def start() -> int:
            started = node.operator.start(
                NAME, parameters_of_retry(execution), triggered_by=by or None
            )
            for why, number in kept.items():
                note(f"{how_many(number, 'item')} not retried, {why}")
            return started

        code = in_the_foreground(session, node, output, start)
    raise typer.Exit(code)


def _write(file: Path, skips: Iterable[SkippedItem], purpose: str) -> int:
    """Write a line an item; nothing is left of a file that could not be written whole.

    Raises:
        StepwellError: it is there already, or cannot be written; a usage error.
    """
    import json

    from stepwell.database.durable import move_into_place, sync_file
    from stepwell.looks.representation import skip_json

    if file.exists():
        raise _refused(purpose, f"{str(file)!r} is there already")
    part = file.with_name(f".{file.name}.part")
    written = 0
    try:
        with part.open("w", encoding="utf-8") as lines:
            for skip in skips:
                lines.write(json.dumps(skip_json(skip), ensure_ascii=False) + "\n")
                written += 1
        sync_file(part)
        move_into_place(part, file)
    except OSError as error:
        raise _refused(purpose, f"{str(file)!r} cannot be written, {error.strerror}") from error
    finally:
        part.unlink(missing_ok=True)
    return written


def _refused(purpose: str, fact: str) -> StepwellError:
    from stepwell.errors import Kind, StepwellError

    error = StepwellError(f"cannot {purpose}: {fact}", hint="name another file with `--to`")
    error.code, error.kind = "usage_error", Kind.USAGE
    return error
