"""Versioned, fenced updates that must hit exactly one row (law 2, S23).

Every UPDATE of a job or step execution by its owner goes through here. Zero rows is never silent:
it is logged once with job, status and stage, counted, and raised under its name.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Any, TypeVar

from sqlalchemy import Column, Table, bindparam, literal_column, select, update

from stepwell.database.prepared import Prepared
from stepwell.database.tables import batch_job_execution, batch_step_execution
from stepwell.database.transaction import Transaction
from stepwell.errors import BatchError, LostOwnership, OptimisticLockingFailure
from stepwell.execution.records import JobExecution, StepExecution
from stepwell.execution.status import check_transition
from stepwell.repository.history import RUNNER, Because, record_change
from stepwell.repository.rows import JOB_MUTABLE, STEP_MUTABLE, job_values, step_values
from stepwell.repository.zero_rows import report_zero_rows

Record = TypeVar("Record", JobExecution, StepExecution)


def versioned_update(
    table: Table, key: Column[Any], names: tuple[str, ...], **constants: Any
) -> Prepared:
    """An UPDATE of one row by id, version and fence that raises the version by one."""
    return Prepared(
        update(table)
        .where(
            key == bindparam("id_"),
            table.c.version == bindparam("version_"),
            table.c.fence == bindparam("fence_"),
        )
        .values(
            {
                **{table.c[name]: bindparam(name) for name in names},
                **{table.c[name]: value for name, value in constants.items()},
                table.c.version: literal_column("version + 1"),
            }
        )
    )


UPDATE_JOB = versioned_update(
    batch_job_execution, batch_job_execution.c.job_execution_id, JOB_MUTABLE
)
# Whoever applies his own request takes the execution first (S30).
TAKE_JOB = versioned_update(
    batch_job_execution,
    batch_job_execution.c.job_execution_id,
    JOB_MUTABLE,
    fence=literal_column("fence + 1"),
)
UPDATE_STEP = versioned_update(
    batch_step_execution, batch_step_execution.c.step_execution_id, STEP_MUTABLE
)

_j = batch_job_execution.c
_s = batch_step_execution.c
READ_JOB_GUARD = Prepared(
    select(_j.version, _j.fence).where(_j.job_execution_id == bindparam("id_"))
)
READ_STEP_GUARD = Prepared(
    select(_s.version, _s.fence).where(_s.step_execution_id == bindparam("id_"))
)


def _update_job(transaction: Transaction, changed: JobExecution, held: JobExecution) -> None:
    values = job_values(changed)
    values["version_"], values["fence_"] = held.version, held.fence
    statement = UPDATE_JOB if changed.fence == held.fence else TAKE_JOB
    if transaction.execute(statement, values) != 1:
        raise why_no_row(
            transaction.fetch_one(READ_JOB_GUARD, {"id_": held.execution_id}),
            what=f"job execution {held.execution_id}",
            record=changed,
            held_version=held.version,
            stage=changed.current_step,
        )


def _update_step(transaction: Transaction, changed: StepExecution, held: StepExecution) -> None:
    values = step_values(changed)
    values["version_"] = held.version
    if transaction.execute(UPDATE_STEP, values) != 1:
        raise why_no_row(
            transaction.fetch_one(READ_STEP_GUARD, {"id_": held.step_execution_id}),
            what=f"step execution {held.step_execution_id} of execution {held.execution_id}",
            record=changed,
            held_version=held.version,
            stage=changed.step_name,
        )


def why_no_row(
    found: tuple[Any, ...] | None,
    *,
    what: str,
    record: JobExecution | StepExecution,
    held_version: int,
    stage: str | None,
) -> BatchError:
    """The error of an UPDATE that hit no row: logged once, counted, and to be raised (S23)."""
    execution_id = record.execution_id
    report_zero_rows(
        what, job=getattr(record, "job_name", None), status=record.batch_status, stage=stage
    )
    fields = {"execution_id": execution_id, "version": held_version, "fence": record.fence}
    if found is None:
        return OptimisticLockingFailure(
            f"cannot update {what}: no such row exists, this owner holds version {held_version}",
            hint="it was deleted meanwhile; `stepwell status` shows what is there",
            fields=fields,
        )
    version, fence = found
    if fence != record.fence:
        return LostOwnership(
            f"cannot update {what}: its fence is {fence}, this owner holds {record.fence}",
            hint=f"it was recovered meanwhile, see `stepwell status {execution_id}`",
            fields={**fields, "current_fence": fence},
        )
    return OptimisticLockingFailure(
        f"cannot update {what}: its version is {version}, this owner holds {held_version}",
        hint=f"another program wrote the row; see `stepwell status {execution_id}`",
        fields={**fields, "current_version": version},
    )


def change_job_execution(
    transaction: Transaction,
    record: JobExecution,
    *,
    at: datetime,
    because: Because = RUNNER,
    **changes: Any,
) -> JobExecution:
    """Store ``record`` with ``changes`` over its row; answer it with its version raised by one.

    A change of status has its history row beside it. The caller owns the transaction, nothing is
    committed here (S26). ``at`` is clamped so that create ≤ start ≤ end, whatever the clock does
    (S13).

    Raises:
        IllegalTransition: the tables of section 3.1 do not hold the change; nothing is written.
        LostOwnership: the fence has moved, another process has recovered the execution (S35).
        OptimisticLockingFailure: the version has moved under the same fence, or the row is gone.
    """
    changed = _changed(record, at, changes)
    if changed.batch_status is record.batch_status:
        _update_job(transaction, changed, record)
    else:
        check_transition("job", record.execution_id, record.batch_status, changed.batch_status)
        _update_job(transaction, changed, record)
        record_change(transaction, changed, record.batch_status, because)
    return changed


def change_step_execution(
    transaction: Transaction,
    record: StepExecution,
    *,
    at: datetime,
    because: Because = RUNNER,
    **changes: Any,
) -> StepExecution:
    """The same for a step execution: what a writer wrote becomes visible with it (S26, S91).

    Source: Spring Batch reference, "Chunk-oriented Processing", "The Commit Interval".
    """
    changed = _changed(record, at, changes)
    if changed.batch_status is record.batch_status:
        _update_step(transaction, changed, record)
    else:
        check_transition(
            "step", record.step_execution_id, record.batch_status, changed.batch_status
        )
        _update_step(transaction, changed, record)
        record_change(transaction, changed, record.batch_status, because)
    return changed


def _changed(record: Record, at: datetime, changes: dict[str, Any]) -> Record:
    # The version rises here, in a new record; the old one stays what the row must still hold.
    return replace(
        record, version=record.version + 1, last_updated=max(at, record.last_updated), **changes
    )
