"""``run`` and ``restart``: a job in the foreground, watched while it runs, stopped by Ctrl-C."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, cast

import typer

from stepwell.cli.completion import complete_job_names

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from stepwell.cli.output import Output
    from stepwell.cli.session import Session
    from stepwell.execution.records import JobExecution
    from stepwell.job.step import ExecutorName
    from stepwell.node import Node


def run(
    context: typer.Context,
    job: Annotated[
        str, typer.Argument(metavar="JOB", autocompletion=complete_job_names, help="Its name.")
    ],
    parameters: Annotated[
        list[str] | None,
        typer.Argument(metavar="NAME=VALUE", help="Parameters, in snake_case or camelCase."),
    ] = None,
    again: Annotated[
        bool,
        typer.Option("--again", help="A new instance, although this one is already COMPLETED."),
    ] = False,
    limit: Annotated[
        int | None,
        typer.Option(
            "--limit",
            metavar="N",
            min=1,
            help="A trial of the first N items or partitions, an instance of its own.",
        ),
    ] = None,
    executor: Annotated[
        str | None,
        typer.Option(
            "--executor",
            metavar="NAME",
            help="Where partitions run this time: inline, threads, processes or dask.",
        ),
    ] = None,
    wants_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Run a job here and now, and show how far it is.

    Executions whose process is proven dead are recovered first. A failed or stopped instance goes
    on where it stopped. Ctrl-C stops after the current chunk, twice ends at once.
    """
    from stepwell.cli.asking import require_job, user
    from stepwell.cli.output import Output
    from stepwell.cli.words import read_parameters

    session: Session = context.obj
    output = Output(wants_json=wants_json)
    given = read_parameters(f"start job {job!r}", f"stepwell run {job}", parameters or [])
    require_job(session, job)
    with session.open_node(create=True, purpose="run") as node:
        node.load_jobs()
        recovered = node.operator.recover_dead()
        for execution in recovered:
            _tell_recovered(output, execution)
        code = in_the_foreground(
            session,
            node,
            output,
            lambda: node.operator.start(
                job,
                given,
                again=again,
                limit=limit,
                executor=cast("ExecutorName | None", executor),  # What is none is refused there.
                triggered_by=user(),
            ),
            recovered=recovered,
        )
    raise typer.Exit(code)


def restart(
    context: typer.Context,
    execution_id: Annotated[int, typer.Argument(metavar="ID", help="A FAILED or STOPPED one.")],
    parameters: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="NAME=VALUE",
            help="Replace all parameters; without any those of the execution are used again.",
        ),
    ] = None,
    reason: Annotated[
        str | None, typer.Option(metavar="TEXT", help="Why; goes to the history.")
    ] = None,
    wants_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Run a failed or stopped execution's instance again, from where it stopped.

    What is COMPLETED is not done again: steps, chunks and partitions. Ctrl-C as in `run`.
    """
    from stepwell.cli.output import Output
    from stepwell.cli.words import read_parameters

    session: Session = context.obj
    output = Output(wants_json=wants_json)
    command = f"stepwell restart {execution_id}"
    given = read_parameters(f"restart execution {execution_id}", command, parameters or [])
    with session.open_node(purpose="restart") as node:
        node.load_jobs()
        code = in_the_foreground(
            session,
            node,
            output,
            lambda: node.operator.restart(execution_id, given or None, reason=reason),
        )
    raise typer.Exit(code)


def _tell_recovered(output: Output, execution: JobExecution) -> None:
    if not output.wants_json:
        why = execution.failure.message if execution.failure else "its owner died"
        output.line(
            f"recovered execution {execution.execution_id} of job {execution.job_name!r}: {why}"
        )


def in_the_foreground(
    session: Session,
    node: Node,
    output: Output,
    start: Callable[[], int],
    *,
    recovered: Sequence[JobExecution] = (),
) -> int:
    """Start, show, wait, sum up; answers the exit status."""
    import contextlib
    import sys

    from stepwell.cli.foreground import Foreground
    from stepwell.cli.output import exit_status_of_execution
    from stepwell.looks.representation import execution_json

    with contextlib.ExitStack() as stack:
        if output.wants_json:
            # A job may print; stdout belongs to the one document.
            stack.enter_context(contextlib.redirect_stdout(sys.stderr))
        foreground = stack.enter_context(Foreground(node, output, session.clock))
        look = foreground.watch(start())
        if output.wants_json:
            extra = {"recovered": [execution_json(execution) for execution in recovered]}
            foreground.print_json(look, extra)
        else:
            foreground.print_summary(look)
    return exit_status_of_execution(look.execution)
