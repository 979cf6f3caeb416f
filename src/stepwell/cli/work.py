"""``register`` and ``work``: record an execution for later, and run what is recorded."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from stepwell.cli.completion import complete_job_names

if TYPE_CHECKING:
    from stepwell.cli.session import Session

WantsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def register(
    context: typer.Context,
    job: Annotated[
        str, typer.Argument(metavar="JOB", autocompletion=complete_job_names, help="Its name.")
    ],
    parameters: Annotated[
        list[str] | None,
        typer.Argument(metavar="NAME=VALUE", help="Parameters, in snake_case or camelCase."),
    ] = None,
    priority: Annotated[
        int | None, typer.Option(metavar="N", help="A higher number goes first; 0 by default.")
    ] = None,
    at: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="Not before: 2026-11-20T03:00, or 03:00."),
    ] = None,
    after: Annotated[
        int | None, typer.Option(metavar="ID", help="Not before this execution is COMPLETED.")
    ] = None,
    again: Annotated[
        bool,
        typer.Option("--again", help="A new instance, although this one is already COMPLETED."),
    ] = False,
    wants_json: WantsJson = False,
) -> None:
    """Record an execution for `stepwell work` and return at once, while anything runs.

    It waits in the queue until a worker is free. A failed or stopped instance goes on where it
    stopped.
    """
    from stepwell.cli.asking import read_time, require_job, user
    from stepwell.cli.output import Output
    from stepwell.cli.words import read_parameters
    from stepwell.looks.representation import execution_json

    session: Session = context.obj
    output = Output(wants_json=wants_json)
    purpose = f"register job {job!r}"
    given = read_parameters(purpose, f"stepwell register {job}", parameters or [])
    run_after = None if at is None else read_time(purpose, at, session.clock.now())
    require_job(session, job)
    with session.open_node(create=True, purpose="register") as node:
        node.load_jobs()
        execution_id = node.operator.register(
            job,
            given,
            priority=priority,
            run_after=run_after,
            after=after,
            again=again,
            triggered_by=user(),
        )
        execution = node.operator.get_job_execution(execution_id)
    if wants_json:
        output.json(execution_json(execution))
    else:
        output.line(f"registered execution {execution_id} of job {job!r}")
        output.hint("`stepwell work` runs it")


def work(
    context: typer.Context,
    parallel: Annotated[
        int, typer.Option(min=1, metavar="N", help="How many executions at a time.")
    ] = 1,
    jobs: Annotated[
        list[str] | None,
        typer.Option(
            "--job",
            metavar="JOB",
            autocompletion=complete_job_names,
            help="Only this one; may stand several times. By default all that are known here.",
        ),
    ] = None,
    pools: Annotated[
        list[str] | None,
        typer.Option(
            "--pool",
            metavar="POOL",
            help="Only what declares this pool; may stand several times.",
        ),
    ] = None,
    drain: Annotated[
        bool, typer.Option("--drain", help="End when nothing is left that could run.")
    ] = False,
    wants_json: Annotated[
        bool, typer.Option("--json", help="Print JSON, a document a line for what happens.")
    ] = False,
) -> None:
    """Run registered executions, N at a time, until Ctrl-C; in any number of processes.

    The highest priority goes first, then the oldest; what cannot run yet holds nobody back. What
    dead processes have left is recovered all the time. Ctrl-C and SIGTERM end it after the current
    chunks, and what they stop goes on in the next worker; a second one ends it at once. With
    --drain the exit status is 1 when something failed.
    """
    from stepwell.cli.at_work import AtWork
    from stepwell.cli.output import Output

    session: Session = context.obj
    output = Output(wants_json=wants_json)
    _require_jobs(session, jobs or [])
    with session.open_node(create=True, purpose="work") as node:
        node.load_jobs()
        code = AtWork(node, output, session.clock).run(
            parallel=parallel, jobs=tuple(jobs or ()), pools=tuple(pools or ()), drain=drain
        )
    raise typer.Exit(code)


def _require_jobs(session: Session, names: list[str]) -> None:
    """Refuse to work for nothing: every name is known, or there is a job beside the built-in ones.

    Raises:
        NoSuchJob: with the nearest name, or where the settings are missing.
    """
    from stepwell.cli.asking import require_job
    from stepwell.errors import NoSuchJob

    for name in names:
        require_job(session, name)
    if not names and all(found.is_built_in for found in session.load_jobs()):
        settings = session.settings
        where = str(settings.file) if settings.file else f"no stepwell.toml in {settings.folder}"
        raise NoSuchJob(
            f"cannot work: no job is known here ({where})",
            hint="`stepwell init` makes a first one; `jobs = [...]` in stepwell.toml names them",
            fields={"known": []},
        )
