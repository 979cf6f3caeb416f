"""Read-only pages for the faces: one page at a time, by key, never everything."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import (
    BindParameter,
    ColumnElement,
    Select,
    bindparam,
    case,
    func,
    or_,
    select,
    text,
)

from stepwell.database.prepared import Prepared
from stepwell.database.tables import (
    batch_job_execution,
    batch_job_instance,
    batch_partition,
    batch_partition_execution,
    batch_step_execution,
)
from stepwell.database.transaction import Reader
from stepwell.database.types import Elapsed
from stepwell.execution.records import JobExecution, PartitionExecution
from stepwell.execution.status import BatchStatus
from stepwell.repository.executions import RUNNING_EXECUTIONS
from stepwell.repository.instances import LIST_NAMES
from stepwell.repository.rows import (
    JOB_COLUMNS,
    PARTITION_COLUMNS,
    job_execution,
    partition_execution,
)
from stepwell.repository.steps import COUNT_SKIPS

# "Lately" ends here too, so that a long history does not make a look longer.
LOOK_BACK_EXECUTIONS = 10_000
# So far a page of one job, or of some statuses, is looked for one by one.
WALKED_EXECUTIONS = LOOK_BACK_EXECUTIONS
FEW_MAX = 1_000  # Instances of a job that are looked at all the same.

_e = batch_job_execution.c
_i = batch_job_instance.c
_p = batch_partition_execution.c

TRACKING = Prepared(
    select(
        text("execution_id, job_name, status, result, completed_subtasks, total_subtasks"),
        text("progress_percent"),
    )
    .select_from(text("batch_job_execution_tracking"))
    .where(text("execution_id = :id_").bindparams(bindparam("id_")))
)
COUNT_BY_STATUS = Prepared(
    select(_i.job_name, _e.status, func.count())
    .select_from(batch_job_execution.join(batch_job_instance))
    .where(
        _e.job_execution_id
        > select(func.coalesce(func.max(_e.job_execution_id), 0)).scalar_subquery()
        - LOOK_BACK_EXECUTIONS
    )
    .group_by(_i.job_name, _e.status)
    .order_by(_i.job_name, _e.status)
)


def _lately(*conditions: ColumnElement[bool]) -> Select[Any]:
    newest = select(func.coalesce(func.max(_e.job_execution_id), 0)).scalar_subquery()
    return (
        select(*JOB_COLUMNS)
        .select_from(batch_job_execution.join(batch_job_instance))
        .where(
            _e.job_execution_id > newest - LOOK_BACK_EXECUTIONS,
            _e.create_time >= bindparam("since_"),
            *conditions,
        )
        .order_by(_e.job_execution_id.desc())
        .limit(bindparam("count_"))
    )


_later = batch_job_execution.alias("later")
_IS_LAST_OF_INSTANCE = ~(
    select(_later.c.job_execution_id)
    .where(
        _later.c.job_instance_id == _e.job_instance_id,
        _later.c.job_execution_id > _e.job_execution_id,
    )
    .exists()
)
FAILED_LATELY = Prepared(
    _lately(_e.status.in_([BatchStatus.FAILED, BatchStatus.STOPPED]), _IS_LAST_OF_INSTANCE)
)
COMPLETED_LATELY = Prepared(_lately(_e.status == BatchStatus.COMPLETED))
NEWEST_EXECUTION = Prepared(select(func.max(_e.job_execution_id)))
COUNT_RESULTS = Prepared(
    select(func.count()).where(_p.step_execution_id == bindparam("id_"), _p.result.is_not(None))
)
TROUBLED_PARTITIONS = Prepared(
    select(*PARTITION_COLUMNS)
    .select_from(
        batch_partition_execution.join(
            batch_partition,
            (batch_partition.c.plan_id == _p.plan_id)
            & (batch_partition.c.partition_number == _p.partition_number),
        )
    )
    .where(
        _p.step_execution_id == bindparam("id_"),
        or_(_p.status == "FAILED", _p.result == "PARTIAL"),
    )
    .order_by(_p.partition_number)
    .limit(bindparam("count_"))
)
_took = Elapsed(_p.start_time, _p.end_time)
# What a person looks for: what is late, what went wrong, then what took long.
STRAGGLERS = Prepared(
    select(*PARTITION_COLUMNS)
    .select_from(
        batch_partition_execution.join(
            batch_partition,
            (batch_partition.c.plan_id == _p.plan_id)
            & (batch_partition.c.partition_number == _p.partition_number),
        )
    )
    .where(_p.step_execution_id == bindparam("id_"))
    .order_by(
        case(
            (_p.status == "STARTED", 0),
            (_p.status == "FAILED", 1),
            (_p.result == "PARTIAL", 2),
            (_p.end_time.is_not(None), 3),
            else_=4,
        ),
        case((_p.status == "STARTED", _p.start_time)),
        case((_p.end_time.is_not(None), _took)).desc(),
        _p.partition_number,
    )
    .limit(bindparam("count_"))
)
PARTITION_STATES = Prepared(
    select(_p.partition_number, _p.status, _p.result)
    .where(_p.step_execution_id == bindparam("id_"))
    .order_by(_p.partition_number)
)
# Of each step the four attempts that stand for all: nothing is read into Python that is not shown.
_timed = (
    select(
        _p.step_execution_id,
        _p.start_time,
        _p.end_time,
        func.row_number()
        .over(partition_by=_p.step_execution_id, order_by=Elapsed(_p.start_time, _p.end_time))
        .label("place"),
        func.count().over(partition_by=_p.step_execution_id).label("total"),
    )
    .where(
        _p.step_execution_id.in_(
            select(batch_step_execution.c.step_execution_id).where(
                batch_step_execution.c.job_execution_id == bindparam("id_")
            )
        ),
        _p.result.is_not(None),
    )
    .subquery()
)
PARTITION_TIMES = Prepared(
    select(
        _timed.c.step_execution_id,
        _timed.c.start_time,
        _timed.c.end_time,
        _timed.c.place,
        _timed.c.total,
    ).where(
        or_(
            _timed.c.place == 1,
            _timed.c.place == text("(total + 1) / 2"),
            _timed.c.place == text("(95 * total + 99) / 100"),
            _timed.c.place == _timed.c.total,
        )
    )
)


_job_name: BindParameter[str] = bindparam("job_name_")
FEW_INSTANCES = Prepared(
    select(func.count()).select_from(
        select(_i.job_instance_id)
        .where(_i.job_name == _job_name)
        .limit(bindparam("count_"))
        .subquery()
    )
)
# So that it is asked of each execution in turn, and not of all executions of the job first.
_named = batch_job_instance.alias("named")
_HAS_NAME = (
    select(_named.c.job_name)
    .where(_named.c.job_instance_id == _e.job_instance_id)
    .correlate(batch_job_execution)
    .scalar_subquery()
    == _job_name
)


class PartitionTimes(NamedTuple):
    """How long the partitions of one step execution took that have a result, in seconds.

    The percentiles are times of partitions: the shortest that at least 50 or 95 in 100 of them did
    not exceed.
    """

    measured: int
    min_s: float
    p50_s: float
    p95_s: float
    max_s: float


def list_executions(
    reader: Reader,
    *,
    job_name: str | None = None,
    statuses: Iterable[str] = (),
    since: datetime | None = None,
    until: datetime | None = None,
    before_id: int | None = None,
    after_id: int | None = None,
    count: int = 20,
) -> list[JobExecution]:
    """One page of executions, newest first, behind ``before_id`` and no older than ``after_id``.

    Those of one job are looked for among the last ``WALKED_EXECUTIONS`` first: of a job that runs
    often they are there. All its instances are looked at when they are few, and else when it has
    not run often lately. ``since`` and ``until`` are of when they were recorded, the latter not
    among.
    """
    narrowed: dict[str, Any] = {"statuses": tuple(statuses), "since": since, "until": until}
    narrowed["count"] = count
    if job_name is not None and has_many_instances(reader, job_name):
        newest = newest_execution_id(reader) + 1 if before_id is None else before_id
        end = after_id or 0
        oldest = max(newest - WALKED_EXECUTIONS - 1, end)
        walked = _page(reader, _HAS_NAME, job_name, newest, oldest, **narrowed)
        if len(walked) == count or oldest == end:
            return walked
    return _page(reader, _i.job_name == _job_name, job_name, before_id, after_id, **narrowed)


def has_many_instances(reader: Reader, job_name: str) -> bool:
    """Whether a job has so many that they are not looked at one by one."""
    row = reader.fetch_one(FEW_INSTANCES, {"job_name_": job_name, "count_": FEW_MAX})
    return row is not None and int(row[0]) >= FEW_MAX


def _page(
    reader: Reader,
    is_of_job: ColumnElement[bool],
    job_name: str | None,
    before_id: int | None,
    after_id: int | None,
    *,
    statuses: tuple[str, ...],
    since: datetime | None,
    until: datetime | None,
    count: int,
) -> list[JobExecution]:
    statement = select(*JOB_COLUMNS).select_from(batch_job_execution.join(batch_job_instance))
    values: dict[str, Any] = {"count_": count}
    if job_name is not None:
        statement = statement.where(is_of_job)
        values["job_name_"] = job_name
    if after_id is not None:
        statement = statement.where(_e.job_execution_id > bindparam("after_"))
        values["after_"] = after_id
    if statuses:
        names = [f"status_{index}" for index in range(len(statuses))]
        statement = statement.where(_e.status.in_([bindparam(name) for name in names]))
        values.update(zip(names, statuses, strict=True))
    if since is not None:
        statement = statement.where(_e.create_time >= bindparam("since_"))
        values["since_"] = since
    if until is not None:
        statement = statement.where(_e.create_time < bindparam("until_"))
        values["until_"] = until
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
    found = {}
    for (name,) in reader.fetch_all(LIST_NAMES):
        for last in list_executions(reader, job_name=name, count=1):
            found[name] = last.execution_id
    return found


def newest_execution_id(reader: Reader) -> int:
    """The highest id of a job execution; 0 when there is none."""
    row = reader.fetch_one(NEWEST_EXECUTION)
    return int(row[0] or 0) if row else 0


def count_by_status(reader: Reader) -> list[tuple[str, str, int]]:
    """How many of the last ``LOOK_BACK_EXECUTIONS`` each job has with each status."""
    return [(row[0], row[1], int(row[2])) for row in reader.fetch_all(COUNT_BY_STATUS)]


def tracking(reader: Reader, execution_id: int) -> tuple[Any, ...] | None:
    """The tracking view's row: id, job, status, result, completed, total, percent; or None."""
    return reader.fetch_one(TRACKING, {"id_": execution_id})


def list_failed_lately(reader: Reader, *, since: datetime, count: int) -> list[JobExecution]:
    """FAILED and STOPPED executions that nobody has restarted yet, newest first.

    Among the last ``LOOK_BACK_EXECUTIONS`` only.
    """
    rows = reader.fetch_all(FAILED_LATELY, {"since_": since, "count_": count})
    return [job_execution(row) for row in rows]


def list_completed_lately(reader: Reader, *, since: datetime, count: int) -> list[JobExecution]:
    """COMPLETED executions, newest first, among the last ``LOOK_BACK_EXECUTIONS``."""
    rows = reader.fetch_all(COMPLETED_LATELY, {"since_": since, "count_": count})
    return [job_execution(row) for row in rows]


def count_results(reader: Reader, step_execution_id: int) -> int:
    """How many partitions this step execution has recorded itself; kept results are not among."""
    row = reader.fetch_one(COUNT_RESULTS, {"id_": step_execution_id})
    return int(row[0]) if row else 0


def count_skips(reader: Reader, execution_id: int) -> int:
    """How many items an execution has left out."""
    row = reader.fetch_one(COUNT_SKIPS, {"job_execution_id": execution_id})
    return int(row[0]) if row else 0


def list_troubled_partitions(
    reader: Reader, step_execution_id: int, *, count: int
) -> list[PartitionExecution]:
    """The first ``count`` attempts of a step that failed or were partial, by number."""
    rows = reader.fetch_all(TROUBLED_PARTITIONS, {"id_": step_execution_id, "count_": count})
    return [partition_execution(row) for row in rows]


def list_stragglers(
    reader: Reader, step_execution_id: int, *, count: int
) -> list[PartitionExecution]:
    """Attempts of a step: the longest at work first, then failed, partial, slow, waiting ones."""
    rows = reader.fetch_all(STRAGGLERS, {"id_": step_execution_id, "count_": count})
    return [partition_execution(row) for row in rows]


def list_partition_states(
    reader: Reader, step_execution_id: int
) -> list[tuple[int, str, str | None]]:
    """Number, status and outcome of every attempt of a step, and nothing else of it."""
    rows = reader.fetch_all(PARTITION_STATES, {"id_": step_execution_id})
    return [(int(row[0]), str(row[1]), row[2]) for row in rows]


def partition_times(reader: Reader, execution_id: int) -> dict[int, PartitionTimes]:
    """Of each step execution of an execution that has recorded results, by its id."""
    seconds: dict[int, dict[int, float]] = {}
    totals: dict[int, int] = {}
    for step_id, start, end, place, total in reader.fetch_all(
        PARTITION_TIMES, {"id_": execution_id}
    ):
        seconds.setdefault(step_id, {})[place] = (end - start).total_seconds()
        totals[step_id] = total
    return {
        step_id: PartitionTimes(
            measured=total,
            min_s=seconds[step_id][1],
            p50_s=seconds[step_id][(total + 1) // 2],
            p95_s=seconds[step_id][(95 * total + 99) // 100],
            max_s=seconds[step_id][total],
        )
        for step_id, total in totals.items()
    }
