"""What metrics are added up from: executions and steps in the order of their ids, a page at a time.

Whoever reads goes on behind the last id that he has seen, so that what a look costs depends on what
has come since the look before and not on the history.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import BindParameter, ColumnElement, Select, bindparam, func, select, text

from stepwell.database.prepared import Prepared
from stepwell.database.tables import (
    RUNNING_AND_OWNED,
    WAITING,
    batch_job_execution,
    batch_job_instance,
    batch_partition_execution,
    batch_step_execution,
)
from stepwell.database.transaction import Reader
from stepwell.database.types import ElapsedSeconds

_e = batch_job_execution.c
_i = batch_job_instance.c
_p = batch_partition_execution.c
_s = batch_step_execution.c


class Tallied(NamedTuple):
    """An execution, or a step execution with its job's name before its own.

    Attributes:
        labels: The job's name; of a step its own too.
        seconds: From start to end; None while it has not ended, or when it never began.
        items: Of a step: read, written, filtered, skipped.
        partition_total: Of a partitioned step.
    """

    id: int
    labels: tuple[str, ...]
    has_ended: bool
    seconds: float | None
    items: tuple[int, int, int, int] = (0, 0, 0, 0)
    partition_total: int | None = None


class Queue(NamedTuple):
    """How much runs and waits.

    Attributes:
        due: Registered, and nothing but a worker is waited for.
        oldest_due_at: Since when the one that was due first is due.
    """

    running: int
    due: int
    oldest_due_at: datetime | None


def _executions(*conditions: ColumnElement[bool]) -> Select[Any]:
    return (
        select(_e.job_execution_id, _i.job_name, _e.start_time, _e.end_time)
        .select_from(batch_job_execution.join(batch_job_instance))
        .where(*conditions)
    )


def _steps(*conditions: ColumnElement[bool]) -> Select[Any]:
    return (
        select(
            _s.step_execution_id,
            _i.job_name,
            _s.step_name,
            _s.start_time,
            _s.end_time,
            _s.read_count,
            _s.write_count,
            _s.filter_count,
            _s.read_skip_count + _s.process_skip_count + _s.write_skip_count,
            _s.partition_total,
        )
        .select_from(batch_step_execution.join(batch_job_execution).join(batch_job_instance))
        .where(*conditions)
    )


_id: BindParameter[Any] = bindparam("id_")
_after: BindParameter[Any] = bindparam("after_")
_count: BindParameter[Any] = bindparam("count_")
EXECUTION = Prepared(_executions(_e.job_execution_id == _id))
EXECUTIONS_AFTER = Prepared(
    _executions(_e.job_execution_id > _after).order_by(_e.job_execution_id).limit(_count)
)
STEP = Prepared(_steps(_s.step_execution_id == _id))
STEPS_AFTER = Prepared(
    _steps(_s.step_execution_id > _after).order_by(_s.step_execution_id).limit(_count)
)
_newest_step = select(func.coalesce(func.max(_s.step_execution_id), 0)).scalar_subquery()
NEWEST_STEPS = Prepared(
    select(_s.step_execution_id, _s.partition_total)
    .where(_s.step_execution_id > _newest_step - _count)
    .order_by(_s.step_execution_id.desc())
)
PARTITIONS_OF_STEP = Prepared(
    select(func.count(), func.sum(ElapsedSeconds(_p.start_time, _p.end_time))).where(
        _p.step_execution_id == _id, _p.end_time.is_not(None)
    )
)
# Both by the partial indexes of what has not ended.
COUNT_RUNNING = Prepared(
    select(func.count()).select_from(batch_job_execution).where(text(RUNNING_AND_OWNED))
)
_due_at = func.coalesce(_e.run_after, _e.create_time)
COUNT_DUE = Prepared(
    select(func.count(), func.min(_due_at)).where(text(WAITING), _due_at <= bindparam("now_"))
)


def executions_after(reader: Reader, after: int, count: int) -> list[Tallied]:
    """A page of executions behind an id."""
    rows = reader.fetch_all(EXECUTIONS_AFTER, {"after_": after, "count_": count})
    return [_execution(row) for row in rows]


def find_execution(reader: Reader, execution_id: int) -> Tallied | None:
    """One of them, unless it was purged."""
    row = reader.fetch_one(EXECUTION, {"id_": execution_id})
    return None if row is None else _execution(row)


def steps_after(reader: Reader, after: int, count: int) -> list[Tallied]:
    """A page of step executions behind an id."""
    return [_step(row) for row in reader.fetch_all(STEPS_AFTER, {"after_": after, "count_": count})]


def find_step(reader: Reader, step_execution_id: int) -> Tallied | None:
    """One of them, unless it was purged."""
    row = reader.fetch_one(STEP, {"id_": step_execution_id})
    return None if row is None else _step(row)


def newest_steps(reader: Reader, count: int) -> list[tuple[int, int]]:
    """The newest step executions, at most so many, each with the number of its partitions."""
    rows = reader.fetch_all(NEWEST_STEPS, {"count_": count})
    return [(row[0], row[1] or 0) for row in rows]


def partition_seconds(reader: Reader, step_execution_id: int) -> tuple[int, float]:
    """How many partitions of a step have ended, and how long they took together."""
    row = reader.fetch_one(PARTITIONS_OF_STEP, {"id_": step_execution_id})
    return (0, 0.0) if row is None else (int(row[0]), float(row[1] or 0.0))


def queue(reader: Reader, now: datetime) -> Queue:
    """How much runs and waits at this moment."""
    running = reader.fetch_one(COUNT_RUNNING)
    due = reader.fetch_one(COUNT_DUE, {"now_": now})
    assert running is not None
    assert due is not None
    return Queue(int(running[0]), int(due[0]), due[1])


def _execution(row: tuple[Any, ...]) -> Tallied:
    execution_id, job, start, end = row
    return Tallied(execution_id, (job,), end is not None, _seconds(start, end))


def _step(row: tuple[Any, ...]) -> Tallied:
    step_id, job, step, start, end, *items, total = row
    seconds = _seconds(start, end)
    read, written, filtered, skipped = map(int, items)
    return Tallied(
        step_id, (job, step), end is not None, seconds, (read, written, filtered, skipped), total
    )


def _seconds(start: datetime | None, end: datetime | None) -> float | None:
    return None if start is None or end is None else max(0.0, (end - start).total_seconds())
