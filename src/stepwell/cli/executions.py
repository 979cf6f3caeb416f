"""``stop``, ``abandon``, ``recover`` and ``history``: what people do with executions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from stepwell.cli.completion import complete_job_names

if TYPE_CHECKING:
    from stepwell.cli.output import Output
    from stepwell.cli.session import Session
    from stepwell.execution.records import JobExecution
    from stepwell.node import Node

Reason = Annotated[str | None, typer.Option(metavar="TEXT", help="Why; goes to the history.")]
WantsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def stop(
    context: typer.Context,
    execution_id: Annotated[int, typer.Argument(metavar="ID", help="One that runs or waits.")],
    reason: Reason = None,
    wants_json: WantsJson = False,
) -> None:
    """Ask an execution to stop after its current chunk; returns at once.

    One that still waits for a worker is STOPPED here and now.
    """
    from stepwell.cli.output import Output

    session: Session = context.obj
    output = Output(wants_json=wants_json)
    with session.open_node() as node:
        execution = node.operator.stop(execution_id, reason=reason)
        dead = _owner_is_dead(node, execution)
        if _printed_json(output, execution):
            return
        if not execution.batch_status.is_running:
            output.line(f"execution {execution_id} is {execution.batch_status}")
        elif dead:
            output.line(f"asked execution {execution_id} to stop, but its owner is dead")
            output.hint(f"`stepwell recover {execution_id}`")
        else:
            output.line(f"asked execution {execution_id} to stop after its current chunk")
            output.hint(f"`stepwell status {execution_id} --watch` shows it end")


def priority(
    context: typer.Context,
    execution_id: Annotated[int, typer.Argument(metavar="ID", help="One that waits or runs.")],
    number: Annotated[int, typer.Argument(metavar="N", help="A higher number goes first.")],
    reason: Reason = None,
    wants_json: WantsJson = False,
) -> None:
    """Change the place of an execution in the queue; what already runs is not interrupted.

    Of one that runs it is the place of what goes on from it. Write a negative N behind `--`.
    """
    from stepwell.cli.output import Output

    session: Session = context.obj
    output = Output(wants_json=wants_json)
    with session.open_node() as node:
        execution = node.operator.set_priority(execution_id, number, reason=reason)
    if not _printed_json(output, execution):
        waits = execution.owner_id is None
        then = "" if waits else "; it runs already, what goes on from it will have it"
        output.line(f"execution {execution_id} has priority {number}{then}")


def abandon(
    context: typer.Context,
    execution_id: Annotated[int, typer.Argument(metavar="ID", help="One that has ended.")],
    reason: Reason = None,
    wants_json: WantsJson = False,
) -> None:
    """Close an ended execution for ever: its instance never restarts."""
    from stepwell.cli.output import Output

    session: Session = context.obj
    output = Output(wants_json=wants_json)
    with session.open_node() as node:
        execution = node.operator.abandon(execution_id, reason=reason)
    if not _printed_json(output, execution):
        output.line(f"execution {execution_id} is ABANDONED, its instance never restarts")


def recover(
    context: typer.Context,
    execution_id: Annotated[
        int | None, typer.Argument(metavar="ID", help="One; without it all that are dead.")
    ] = None,
    force: Annotated[
        bool,
        typer.Option("--force", help="Take it without proof of death; needs ID and --reason."),
    ] = False,
    reason: Reason = None,
    wants_json: WantsJson = False,
) -> None:
    """Mark executions FAILED whose process is proven dead, so that they can be restarted.

    A process that is only stopped or slow is not dead. `--force` takes its execution all the same;
    when it comes back, its next write is refused and rolled back.
    """
    from stepwell.cli.output import Output
    from stepwell.errors import JobStartError

    session: Session = context.obj
    output = Output(wants_json=wants_json)
    if force and execution_id is None:
        raise JobStartError(
            "cannot recover by force: an execution must be named",
            hint="`stepwell recover ID --force --reason TEXT`; `stepwell status` lists what runs",
        )
    with session.open_node() as node:
        if execution_id is None:
            _recover_dead(node, output, reason)
        else:
            _recover_one(node, output, execution_id, force=force, reason=reason)


def history(
    context: typer.Context,
    job: Annotated[
        str, typer.Argument(metavar="JOB", autocompletion=complete_job_names, help="Its name.")
    ],
    limit: Annotated[int, typer.Option(min=1, help="How many, the newest first.")] = 20,
    before: Annotated[
        int | None, typer.Option(metavar="ID", help="Only executions before this one.")
    ] = None,
    wants_json: WantsJson = False,
) -> None:
    """List past executions of a job, the newest first."""
    from stepwell.cli.output import Output
    from stepwell.cli.pages import history_page
    from stepwell.looks.representation import execution_json
    from stepwell.repository.browse import list_executions
    from stepwell.repository.executions import get_execution

    session: Session = context.obj
    output = Output(wants_json=wants_json)
    with session.open_database() as database, database.read() as reader:
        page = list_executions(reader, job_name=job, before_id=before, count=limit)
        executions = [get_execution(reader, execution.execution_id) for execution in page]
    if not executions:
        session.load_jobs().get(job)
    if wants_json:
        output.json({"job": job, "executions": [execution_json(e) for e in executions]})
    else:
        output.page(history_page(job, executions, is_full=len(executions) == limit))


def _recover_dead(node: Node, output: Output, reason: str | None) -> None:
    from stepwell.looks.representation import execution_json
    from stepwell.repository.history import Because

    recovered = node.repository.recover_dead(Because("operator", reason))
    if output.wants_json:
        output.json({"recovered": [execution_json(execution) for execution in recovered]})
        return
    for execution in recovered:
        _tell_recovered(node, output, execution)
    if not recovered:
        output.line("nothing to recover: no execution that runs has a dead owner")


def _recover_one(
    node: Node, output: Output, execution_id: int, *, force: bool, reason: str | None
) -> None:
    from stepwell.looks.representation import execution_json

    before = node.operator.get_job_execution(execution_id)
    execution = node.operator.recover(execution_id, force=force, reason=reason)
    changed = before.batch_status is not execution.batch_status
    if output.wants_json:
        output.json({"recovered": [execution_json(execution)] if changed else []})
    elif changed:
        _tell_recovered(node, output, execution)
    elif execution.batch_status.is_running:
        output.line(f"nothing to recover: execution {execution_id} waits for a worker")
    else:
        output.line(
            f"nothing to recover: execution {execution_id} has ended, it is"
            f" {execution.batch_status}"
        )


def _tell_recovered(node: Node, output: Output, execution: JobExecution) -> None:
    from stepwell.looks.restarting import restart_in
    from stepwell.repository.executions import last_of_instance

    with_parameters = node.operator.get_job_execution(execution.execution_id)
    why = execution.failure.message if execution.failure else ""
    output.line(
        f"recovered execution {execution.execution_id} of job {execution.job_name!r}: {why}"
    )
    with node.database.read() as reader:
        last = last_of_instance(reader, execution.instance_id)
    if last is not None and last.execution_id != execution.execution_id:
        output.hint(f"execution {last.execution_id} goes on from it, `stepwell work` runs it")
        return
    output.hint(f"`{restart_in(node.settings)(with_parameters)}` goes on where it stopped")


def _printed_json(output: Output, execution: JobExecution) -> bool:
    from stepwell.looks.representation import execution_json

    if output.wants_json:
        output.json(execution_json(execution))
    return output.wants_json


def _owner_is_dead(node: Node, execution: JobExecution) -> bool:
    if execution.owner_id is None or not execution.batch_status.is_running:
        return False
    return node.database.liveness.is_dead(execution.owner_id)
