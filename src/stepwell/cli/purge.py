"""``purge``: old executions shown, or deleted, a few at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from stepwell.cli.completion import complete_job_names

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from stepwell.cli.output import Output, Page
    from stepwell.cli.session import Session
    from stepwell.database.connect import Database
    from stepwell.execution.status import BatchStatus
    from stepwell.repository.purge import Purgeable, PurgeRule


def purge(
    context: typer.Context,
    older_than: Annotated[
        str | None, typer.Option(metavar="AGE", help="Ended longer ago: 90d, 12h, 2w.")
    ] = None,
    keep: Annotated[
        int | None, typer.Option(metavar="N", help="The newest N instances of each job stay.")
    ] = None,
    job: Annotated[
        str | None,
        typer.Option(metavar="JOB", autocompletion=complete_job_names, help="Only of this job."),
    ] = None,
    status: Annotated[
        list[str] | None,
        typer.Option(
            metavar="STATUS",
            help="Only what has ended so; several times for several. Without it: COMPLETED and"
            " ABANDONED. FAILED and STOPPED could still be restarted.",
        ),
    ] = None,
    delete: Annotated[
        bool, typer.Option("--delete", help="Delete them; without it they are only shown.")
    ] = False,
    wants_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show, or delete, instances that have ended long ago, with all that was recorded of them.

    Whole instances go, in small transactions, while others work. What is gone is forgotten: the
    same parameters make a new instance.
    """
    from stepwell.cli.age import age
    from stepwell.cli.output import Output
    from stepwell.repository.purge import CLOSED, PurgeRule

    session: Session = context.obj
    output = Output(wants_json=wants_json)
    rule = PurgeRule(
        older_than=age("--older-than", older_than),
        keep_newest=keep,
        job_name=job,
        statuses=tuple(_status(name) for name in status) if status else CLOSED,
    )
    with session.open_database() as database:
        if delete:
            _delete(output, database, rule, session.clock.now())
        else:
            _show(output, database, rule, session.clock.now())


def _delete(output: Output, database: Database, rule: PurgeRule, now: datetime) -> None:
    from stepwell.looks.text import count, how_many
    from stepwell.repository.purge import purge_some

    instances = executions = rows = after = 0
    while (some := purge_some(database, rule, now=now, after_id=after)) is not None:
        instances += some.instance_count
        executions += some.execution_count
        rows += some.row_count
        after = some.seen_id
    if output.wants_json:
        output.json(
            {"deleted": True, "instances": instances, "executions": executions, "rows": rows}
        )
        return
    output.line(
        f"deleted {how_many(instances, 'instance')} with {how_many(executions, 'execution')},"
        f" {count(rows)} rows in all"
    )


def _show(output: Output, database: Database, rule: PurgeRule, now: datetime) -> None:
    from stepwell.cli.output import Page
    from stepwell.looks.text import how_many
    from stepwell.repository.purge import RESTARTABLE, list_purgeable

    with database.read(what="look for old executions") as reader:
        by_job = _by_job(list_purgeable(reader, rule, now=now))
    instances = sum(row[1] for row in by_job.values())
    executions = sum(row[2] for row in by_job.values())
    if output.wants_json:
        output.json(
            {"deleted": False, "instances": instances, "executions": executions, "rows": None}
        )
        return
    page = Page()
    _tell_jobs(page, by_job)
    if instances:
        page.line(
            f"{how_many(instances, 'instance')} with {how_many(executions, 'execution')} would be"
            " deleted"
        )
        if set(rule.statuses) & set(RESTARTABLE):
            page.line("FAILED and STOPPED ones could still be restarted")
        page.hint("`--delete` deletes them; `stepwell backup create` first keeps a copy")
    else:
        page.line("nothing to delete: all are kept")
    output.page(page)


def _status(name: str) -> BatchStatus:
    """One of the statuses, in any case; the rule knows which ones may be purged."""
    from stepwell.errors import InvalidSetting
    from stepwell.execution.status import BatchStatus

    try:
        return BatchStatus(name.upper())
    except ValueError:
        raise InvalidSetting(
            f"--status must be a status, got {name!r}",
            hint="COMPLETED, ABANDONED, FAILED or STOPPED",
            fields={"option": "--status"},
        ) from None


def _by_job(found: Iterable[Purgeable]) -> dict[tuple[str, str], tuple[str, int, int, str]]:
    from stepwell.looks.text import local_time

    jobs: dict[tuple[str, str], tuple[str, int, int, str]] = {}
    for one in found:
        key = (one.job_name, one.status)
        oldest, instances, executions, _ = jobs.get(key, (local_time(one.ended_at), 0, 0, ""))
        jobs[key] = (
            oldest,
            instances + 1,
            executions + one.execution_count,
            local_time(one.ended_at),
        )
    return jobs


def _tell_jobs(page: Page, by_job: dict[tuple[str, str], tuple[str, int, int, str]]) -> None:
    from stepwell.looks.text import count

    if by_job:
        page.table(
            ["JOB", "STATUS", ">INSTANCES", ">EXECUTIONS", "FIRST ENDED", "LAST ENDED"],
            [
                [name, status, count(instances), count(executions), first, last]
                for (name, status), (first, instances, executions, last) in by_job.items()
            ],
        )
        page.line()
