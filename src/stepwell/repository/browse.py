"""Read-only pages for the faces: one page at a time, by key, never everything."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from sqlalchemy import bindparam, func, select, text

from stepwell.database.prepared import Prepared
from stepwell.database.tables import batch_job_execution, batch_job_instance
from stepwell.database.transaction import Reader
from stepwell.execution.records import JobExecution
from stepwell.repository.executions import RUNNING_EXECUTIONS
from stepwell.repository.rows import JOB_COLUMNS, job_execution

_e = batch_job_execution.c
_i = batch_job_instance.c

TRACKING = Prepared(
    select(
        text("execution_id, job_name, status, result, completed_subtasks, total_subtasks"),
        text("progress_percent"),
    )
    .select_from(text("batch_job_execution_tracking"))
    .where(text("execution_id = :id_").bindparams(bindparam("id_")))
)
LAST_STARTS = Prepared(
    select(_i.job_name, func.max(_e.job_execution_id))
    .select_from(batch_job_execution.join(batch_job_instance))
    .group_by(_i.job_name)
)


def list_executions(
    reader: Reader,
    *,
    job_name: str | None = None,
    statuses: Iterable[str] = (),
    since: datetime | None = None,
    before_id: int | None = None,
    count: int = 20,
) -> list[JobExecution]:
    """One page of executions, newest first, behind ``before_id``."""
    statement = select(*JOB_COLUMNS).select_from(batch_job_execution.join(batch_job_instance))
    values: dict[str, Any] = {"count_": count}
    if job_name is not None:
        statement = statement.where(_i.job_name == bindparam("job_name_"))
        values["job_name_"] = job_name
    wanted = list(statuses)
    if wanted:
        names = [f"status_{index}" for index in range(len(wanted))]
        statement = statement.where(_e.status.in_([bindparam(name) for name in names]))
        values.update(zip(names, wanted, strict=True))
    if since is not None:
        statement = statement.where(_e.create_time >= bindparam("since_"))
        values["since_"] = since
    if before_id is not None:
        statement = statement.where(_e.job_execution_id < bindparam("before_"))
        values["before_"] = before_id
    statement = statement.order_by(_e.job_execution_id.desc()).limit(bindparam("count_"))
    return [job_execution(row) for row in reader.fetch_all(Prepared(statement), values)]


def list_running(reader: Reader) -> list[JobExecution]:
    """Every execution that has not ended, oldest first."""
    return [job_execution(row) for row in reader.fetch_all(RUNNING_EXECUTIONS)]


def last_execution_ids(reader: Reader) -> dict[str, int]:
    """For each job name that has run, the id of its most recent execution."""
    return dict(reader.fetch_all(LAST_STARTS))


def tracking(reader: Reader, execution_id: int) -> tuple[Any, ...] | None:
    """The tracking view's row: id, job, status, result, completed, total, percent; or None."""
    return reader.fetch_one(TRACKING, {"id_": execution_id})
