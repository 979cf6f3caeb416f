"""Recovery: what a dead owner left running becomes FAILED, under a higher fence (S33, S34).

Guarantees: death is proven and not guessed; job, steps and partitions change in one transaction,
which also registers the successor that the execution calls for (S191); an owner that wakes up later
finds every fence moved and can commit nothing (S35).
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from sqlalchemy import ColumnClause, bindparam, literal_column, select, text, update

from stepwell.database.liveness import Liveness
from stepwell.database.prepared import Prepared
from stepwell.database.tables import batch_job_execution, batch_step_execution
from stepwell.database.transaction import Reader, Transaction
from stepwell.errors import JobExecutionIsRunning, OptimisticLockingFailure
from stepwell.execution.records import JobExecution, StepExecution
from stepwell.execution.result import Failure
from stepwell.execution.status import BatchStatus, Result, check_transition
from stepwell.repository.executions import lock_execution, owned_executions
from stepwell.repository.history import Because, record_change
from stepwell.repository.locks import end_locks_of_execution
from stepwell.repository.owners import find_owner
from stepwell.repository.partitions import counted_by_all, fail_unfinished
from stepwell.repository.requests import mark_late
from stepwell.repository.rows import JOB_MUTABLE, STEP_MUTABLE, job_values, step_values
from stepwell.repository.steps import list_steps
from stepwell.repository.succession import follow_death
from stepwell.repository.versioned import versioned_update
from stepwell.repository.zero_rows import report_zero_rows

_s = batch_step_execution.c
_RAISED: ColumnClause[int] = literal_column("fence + 1")

RECOVER_JOB = versioned_update(
    batch_job_execution,
    batch_job_execution.c.job_execution_id,
    JOB_MUTABLE,
    fence=_RAISED,
    recoveries=literal_column("recoveries + 1"),
)
RECOVER_STEP = versioned_update(
    batch_step_execution, _s.step_execution_id, STEP_MUTABLE, fence=_RAISED
)
LOCK_STEPS = Prepared(
    select(_s.step_execution_id)
    .where(_s.job_execution_id == bindparam("id_"))
    .order_by(_s.step_execution_id)
    .with_for_update()
)
RAISE_ENDED_STEPS = Prepared(
    update(batch_step_execution)
    .where(_s.job_execution_id == bindparam("id_"), text("end_time IS NOT NULL"))
    .values(fence=bindparam("new_fence_"))
)


def recover_execution(
    transaction: Transaction,
    execution_id: int,
    because: Because,
    *,
    liveness: Liveness,
    force: bool,
    at: datetime,
    failure: Failure | None = None,
    of_owner: int | None = None,
) -> JobExecution:
    """Settle one execution whose owner is dead; return it as it now is.

    One that has ended, or that waits for a worker, is returned unchanged (S34). ``force`` takes it
    without proof; the late write of a living owner then raises LostOwnership (S189). ``failure`` is
    what is recorded; by default that the owner died, or that it was taken by force. With
    ``of_owner`` one that belongs to somebody else is returned unchanged.

    Raises:
        NoSuchJobExecution: no execution has this id.
        JobExecutionIsRunning: the owner is not proven dead; it is named.
    """
    record = lock_execution(transaction, execution_id)
    if not record.batch_status.is_running or record.owner_id is None:
        return record
    if of_owner is not None and record.owner_id != of_owner:
        return record
    if not force and not liveness.is_dead(record.owner_id):
        raise _owner_lives(transaction, record)
    # A chunk of a living owner locks its step's row alone; wait for it, then read what it left.
    transaction.fetch_all(LOCK_STEPS, {"id_": execution_id})
    steps = list_steps(transaction, execution_id)
    heard = max([record.last_updated, *(step.last_updated for step in steps)])
    failure = failure or _failure(transaction, record, because, heard, force=force)
    because = Because(because.actor, because.reason or failure.message)
    at = max(at, heard)
    for step in steps:
        if step.batch_status.is_running:
            _fail_step(transaction, step, failure, because, at=at)
    new_fence = record.fence + 1
    transaction.execute(RAISE_ENDED_STEPS, {"id_": execution_id, "new_fence_": new_fence})
    end_locks_of_execution(transaction, execution_id, failure.message, at=at)
    failed = _fail_job(transaction, record, failure, because, at=at)
    follow_death(transaction, failed, at=at)
    mark_late(transaction, execution_id, at=at)  # Behind it: a successor takes a priority (S32).
    return failed


def dead_executions(reader: Reader, liveness: Liveness) -> list[JobExecution]:
    """Running executions whose owner is proven dead, oldest first; each owner is tried once."""
    owned = owned_executions(reader)
    dead = {owner: liveness.is_dead(owner) for owner in {e.owner_id for e in owned} if owner}
    return [e for e in owned if e.owner_id is not None and dead[e.owner_id]]


def _fail_step(
    transaction: Transaction,
    step: StepExecution,
    failure: Failure,
    because: Because,
    *,
    at: datetime,
) -> None:
    check_transition("step", step.step_execution_id, step.batch_status, BatchStatus.FAILED)
    fail_unfinished(transaction, step.step_execution_id, new_fence=step.fence + 1, at=at)
    metrics = step.metrics
    if step.partition_total is not None:
        # Behind the line above, which waits for a partition that is just committing (S134).
        metrics = counted_by_all(transaction, step.step_execution_id)
    failed = replace(
        step,
        metrics=metrics,
        batch_status=BatchStatus.FAILED,
        end_time=at,
        last_updated=at,
        exit_status=step.exit_status or "FAILED",
        result=Result.FAILED,
        failure=failure,
    )
    _one_row(transaction.execute(RECOVER_STEP, step_values(failed)), failed, step.step_name)
    record_change(transaction, failed, step.batch_status, because)


def _fail_job(
    transaction: Transaction,
    record: JobExecution,
    failure: Failure,
    because: Because,
    *,
    at: datetime,
) -> JobExecution:
    check_transition("job", record.execution_id, record.batch_status, BatchStatus.FAILED)
    failed = replace(
        record,
        batch_status=BatchStatus.FAILED,
        end_time=at,
        last_updated=at,
        exit_status=record.exit_status or "FAILED",
        result=Result.FAILED,
        failure=failure,
        current_step=None,  # It has ended in this same transaction (S51).
        recoveries=record.recoveries + 1,
    )
    _one_row(transaction.execute(RECOVER_JOB, job_values(failed)), failed, record.current_step)
    record_change(transaction, failed, record.batch_status, because)
    return replace(failed, version=record.version + 1, fence=record.fence + 1)


def _one_row(updated: int, failed: JobExecution | StepExecution, stage: str | None) -> None:
    # The row was read in this same transaction; on PostgreSQL its owner may have written between.
    if updated != 1:
        execution_id = failed.execution_id
        report_zero_rows(
            f"execution {execution_id} to be recovered",
            job=getattr(failed, "job_name", None),
            status=failed.batch_status,
            stage=stage,
        )
        raise OptimisticLockingFailure(
            f"cannot recover execution {execution_id}: it changed while it was recovered",
            hint=f"see `stepwell status {execution_id}`, then recover it again",
            fields={"execution_id": execution_id},
        )


def _failure(
    reader: Reader, record: JobExecution, because: Because, heard: datetime, *, force: bool
) -> Failure:
    assert record.owner_id is not None
    owner = find_owner(reader, record.owner_id) or f"owner {record.owner_id}"
    if force:
        return Failure("RecoveredByForce", f"taken from {owner} by force: {because.reason}")
    last = heard.isoformat(timespec="seconds")
    return Failure("OwnerDied", f"{owner} died; its last record is of {last}")


def _owner_lives(reader: Reader, record: JobExecution) -> JobExecutionIsRunning:
    assert record.owner_id is not None
    owner = find_owner(reader, record.owner_id) or f"owner {record.owner_id}"
    return JobExecutionIsRunning(
        f"cannot recover execution {record.execution_id}: {owner} is alive",
        hint=f"`stepwell stop {record.execution_id}`,"
        f" or `stepwell recover {record.execution_id} --force --reason …` if it hangs",
        fields={"execution_id": record.execution_id, "owner_id": record.owner_id},
    )
