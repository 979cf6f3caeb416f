"""``import-state``: the work of an older program, taken over once."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from stepwell.cli.completion import complete_job_names

if TYPE_CHECKING:
    from stepwell.cli.session import Session
    from stepwell.state_import.run import Imported


def import_state(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="An old state.json.")],
    job: Annotated[
        str | None,
        typer.Option(
            metavar="JOB",
            autocompletion=complete_job_names,
            help="The job of items that name none.",
        ),
    ] = None,
    wants_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Take over the work items of an old state.json, once.

    What was pending or running is registered for `stepwell work`; what was done or failed is
    recorded as such. Every item is checked before anything is recorded. The file is not changed,
    and never read again.
    """
    from stepwell.cli.asking import user
    from stepwell.cli.output import Output, Page
    from stepwell.state_import.run import import_state as take_over

    session: Session = context.obj
    output = Output(wants_json=wants_json)
    session.load_jobs()  # Before a database is made for it.
    with session.open_node(create=True, purpose="import-state") as node:
        node.load_jobs()
        node.operator.recover_dead()
        imported = take_over(node.operator, file, job=job, triggered_by=user())
    if wants_json:
        output.json(
            {
                "execution_id": imported.execution.execution_id,
                "status": imported.execution.batch_status,
                "counts": {name: imported.counts.get(name, 0) for name in _COUNTS},
            }
        )
        return
    page = Page()
    execution_id = imported.execution.execution_id
    page.line(f"imported {str(file)!r} (execution {execution_id}): {_told(imported)}")
    if imported.counts.get("waiting"):
        page.hint("`stepwell work` runs what is registered; the file is not read again")
    output.page(page)


_COUNTS = {
    "waiting": "registered",
    "completed": "recorded as COMPLETED",
    "failed": "recorded as FAILED",
    "abandoned": "recorded as ABANDONED",
    "kept": "here already",
}


def _told(imported: Imported) -> str:
    from stepwell.looks.text import count

    parts = [
        f"{count(imported.counts[name])} {words}"
        for name, words in _COUNTS.items()
        if imported.counts.get(name)
    ]
    return ", ".join(parts) or "no items"
