"""Row to record and record to row, for every table that has a record: one place for both ways.

The column lists here are the SELECT lists of the statements, in the order in which the functions
beside them unpack a row.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Column

from stepwell.database.tables import (
    batch_job_execution,
    batch_job_instance,
    batch_partition,
    batch_partition_execution,
    batch_step_execution,
)
from stepwell.execution.json import from_json, to_json
from stepwell.execution.records import (
    JobExecution,
    Metrics,
    PartitionExecution,
    StepExecution,
)
from stepwell.execution.result import Failure, PartitionError
from stepwell.execution.status import BatchStatus, PartitionOutcome, Result

Row = tuple[Any, ...]

METRICS = (
    "read_count",
    "write_count",
    "filter_count",
    "commit_count",
    "rollback_count",
    "read_skip_count",
    "process_skip_count",
    "write_skip_count",
)
FAILURE = ("failure_type", "exit_message", "failure_trace")

# What an UPDATE of the owner may set; everything else is settled by the INSERT.
JOB_MUTABLE = (
    "status",
    "start_time",
    "end_time",
    "exit_code",
    *FAILURE,
    "last_updated",
    "result",
    "current_step",
    "last_step",
    "restart_position",
)
STEP_MUTABLE = (
    "status",
    "end_time",
    *METRICS,
    "exit_code",
    *FAILURE,
    "last_updated",
    "result",
    "chunk_number",
    "reader_checkpoint",
    "writer_checkpoint",
    "plan_id",
    "partition_total",
    "partition_completed",
    "partition_failed",
    "partition_partial",
    "progress_label",
    "progress_done",
    "progress_total",
)

_e = batch_job_execution.c
JOB_COLUMNS: list[Column[Any]] = [
    _e.job_execution_id,
    _e.job_instance_id,
    batch_job_instance.c.job_name,
    _e.status,
    _e.version,
    _e.fence,
    _e.owner_id,
    _e.create_time,
    _e.start_time,
    _e.end_time,
    _e.last_updated,
    _e.exit_code,
    _e.result,
    _e.failure_type,
    _e.exit_message,
    _e.failure_trace,
    _e.current_step,
    _e.last_step,
    _e.restart_position,
    _e.trigger_source,
    _e.triggered_by,
    _e.trial,
    _e.run_lock_key,
    _e.priority,
    _e.run_after,
    _e.after_id,
    _e.recoveries,
    _e.max_recoveries,
]

_s = batch_step_execution.c
STEP_COLUMNS: list[Column[Any]] = [
    _s.step_execution_id,
    _s.job_execution_id,
    _s.step_name,
    _s.status,
    _s.version,
    _s.fence,
    _s.create_time,
    _s.start_time,
    _s.end_time,
    _s.last_updated,
    _s.exit_code,
    _s.result,
    _s.failure_type,
    _s.exit_message,
    _s.failure_trace,
    *(_s[name] for name in METRICS),
    _s.chunk_number,
    _s.reader_checkpoint,
    _s.writer_checkpoint,
    _s.plan_id,
    _s.partition_total,
    _s.partition_completed,
    _s.partition_failed,
    _s.partition_partial,
    _s.progress_label,
    _s.progress_done,
    _s.progress_total,
]

_p = batch_partition_execution.c
PARTITION_COLUMNS: list[Column[Any]] = [
    _p.step_execution_id,
    _p.partition_number,
    batch_partition.c.partition_name,
    batch_partition.c.partition_input,
    _p.status,
    _p.fence,
    _p.start_time,
    _p.end_time,
    _p.result,
    _p.exit_code,
    _p.message,
    _p.counts,
    _p.errors,
    *(_p[name] for name in METRICS),
]


def job_execution(row: Row) -> JobExecution:
    """The record of a row of ``JOB_COLUMNS``."""
    return JobExecution(
        execution_id=row[0],
        instance_id=row[1],
        job_name=row[2],
        batch_status=BatchStatus(row[3]),
        version=row[4],
        fence=row[5],
        owner_id=row[6],
        create_time=row[7],
        start_time=row[8],
        end_time=row[9],
        last_updated=row[10],
        exit_status=row[11],
        result=_result(row[12]),
        failure=_failure(*row[13:16]),
        current_step=row[16],
        last_step=row[17],
        restart_position=row[18],
        trigger_source=row[19],
        triggered_by=row[20],
        trial=row[21],
        run_lock_key=row[22],
        priority=row[23],
        run_after=row[24],
        after_id=row[25],
        recoveries=row[26],
        max_recoveries=row[27],
    )


def job_values(record: JobExecution) -> dict[str, Any]:
    """The values of ``JOB_MUTABLE``, and the id, version and fence that must still match."""
    return {
        "id_": record.execution_id,
        "version_": record.version,
        "fence_": record.fence,
        "status": record.batch_status,
        "start_time": record.start_time,
        "end_time": record.end_time,
        "exit_code": record.exit_status,
        **_failure_values(record.failure),
        "last_updated": record.last_updated,
        "result": record.result,
        "current_step": record.current_step,
        "last_step": record.last_step,
        "restart_position": record.restart_position,
    }


def step_execution(row: Row) -> StepExecution:
    """The record of a row of ``STEP_COLUMNS``."""
    return StepExecution(
        step_execution_id=row[0],
        execution_id=row[1],
        step_name=row[2],
        batch_status=BatchStatus(row[3]),
        version=row[4],
        fence=row[5],
        create_time=row[6],
        start_time=row[7],
        end_time=row[8],
        last_updated=row[9],
        exit_status=row[10],
        result=_result(row[11]),
        failure=_failure(*row[12:15]),
        metrics=Metrics(*row[15:23]),
        chunk_number=row[23],
        reader_checkpoint=row[24],
        writer_checkpoint=row[25],
        plan_id=row[26],
        partition_total=row[27],
        partition_completed=row[28],
        partition_failed=row[29],
        partition_partial=row[30],
        progress_label=row[31],
        progress_done=row[32],
        progress_total=row[33],
    )


def step_values(record: StepExecution) -> dict[str, Any]:
    """The values of ``STEP_MUTABLE``, and the id, version and fence that must still match."""
    metrics = record.metrics
    return {
        "id_": record.step_execution_id,
        "version_": record.version,
        "fence_": record.fence,
        "status": record.batch_status,
        "end_time": record.end_time,
        "read_count": metrics.read_count,
        "write_count": metrics.write_count,
        "filter_count": metrics.filter_count,
        "commit_count": metrics.commit_count,
        "rollback_count": metrics.rollback_count,
        "read_skip_count": metrics.read_skip_count,
        "process_skip_count": metrics.process_skip_count,
        "write_skip_count": metrics.write_skip_count,
        "exit_code": record.exit_status,
        **_failure_values(record.failure),
        "last_updated": record.last_updated,
        "result": record.result,
        "chunk_number": record.chunk_number,
        "reader_checkpoint": record.reader_checkpoint,
        "writer_checkpoint": record.writer_checkpoint,
        "plan_id": record.plan_id,
        "partition_total": record.partition_total,
        "partition_completed": record.partition_completed,
        "partition_failed": record.partition_failed,
        "partition_partial": record.partition_partial,
        "progress_label": record.progress_label,
        "progress_done": record.progress_done,
        "progress_total": record.progress_total,
    }


def partition_execution(row: Row) -> PartitionExecution:
    """The record of a row of ``PARTITION_COLUMNS``."""
    return PartitionExecution(
        step_execution_id=row[0],
        number=row[1],
        name=row[2],
        input=row[3],
        batch_status=BatchStatus(row[4]),
        fence=row[5],
        start_time=row[6],
        end_time=row[7],
        outcome=None if row[8] is None else PartitionOutcome(row[8]),
        exit_status=row[9],
        message=row[10],
        counts=_counts(row[11]),
        errors=errors_from_json(row[12]),
        metrics=Metrics(*row[13:21]),
    )


def errors_to_json(errors: tuple[PartitionError, ...]) -> str | None:
    """The stored form of a partition's errors; None when there are none."""
    if not errors:
        return None
    return to_json(
        [
            {
                "key": e.key,
                "type": e.failure.type,
                "message": e.failure.message,
                "trace": e.failure.trace,
            }
            for e in errors
        ],
        what="the errors of a partition",
        bytes_max=1024 * 1024,
    )


def errors_from_json(stored: str | None) -> tuple[PartitionError, ...]:
    """What :func:`errors_to_json` stored."""
    rows = from_json(stored)
    if not isinstance(rows, list):
        return ()
    return tuple(
        PartitionError(r["key"], Failure(r["type"], r["message"], r["trace"])) for r in rows
    )


def _counts(stored: str | None) -> dict[str, int | float]:
    counts = from_json(stored)
    return dict(counts) if isinstance(counts, Mapping) else {}


def _result(stored: str | None) -> Result | None:
    return None if stored is None else Result(stored)


def _failure(kind: str | None, message: str | None, trace: str | None) -> Failure | None:
    return None if kind is None else Failure(kind, message or "", trace)


def _failure_values(failure: Failure | None) -> dict[str, str | None]:
    if failure is None:
        return {"failure_type": None, "exit_message": None, "failure_trace": None}
    return {
        "failure_type": failure.type,
        "exit_message": failure.message,
        "failure_trace": failure.trace,
    }
