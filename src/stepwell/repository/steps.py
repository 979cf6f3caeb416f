"""Step executions: inserted before any code of the step runs (S22), then updated."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from sqlalchemy import bindparam, func, insert, select, text, update

from stepwell.database.prepared import Prepared
from stepwell.database.tables import (
    batch_job_execution,
    batch_skip,
    batch_step_execution,
    batch_step_execution_context,
)
from stepwell.database.transaction import Reader, Transaction
from stepwell.execution.records import SkippedItem, StepExecution
from stepwell.repository.rows import STEP_COLUMNS, step_execution
from stepwell.repository.zero_rows import missing_row

_s = batch_step_execution.c
_c = batch_step_execution_context.c
_e = batch_job_execution.c
_k = batch_skip.c

_INSERTED = (
    "step_name",
    "job_execution_id",
    "create_time",
    "start_time",
    "status",
    "last_updated",
    "fence",
    "chunk_number",
    "reader_checkpoint",
    "writer_checkpoint",
    "plan_id",
)
INSERT_STEP = Prepared(
    insert(batch_step_execution)
    .values({_s[name]: bindparam(name) for name in _INSERTED} | {_s.version: text("0")})
    .returning(_s.step_execution_id)
)
INSERT_CONTEXT = Prepared(
    insert(batch_step_execution_context).values(
        step_execution_id=bindparam("id_"), serialized_context=bindparam("context_")
    )
)
UPDATE_CONTEXT = Prepared(
    update(batch_step_execution_context)
    .where(_c.step_execution_id == bindparam("id_"))
    .values(serialized_context=bindparam("context_"))
)
GET_CONTEXT = Prepared(
    select(_c.serialized_context).where(_c.step_execution_id == bindparam("id_"))
)
LIST_STEPS = Prepared(
    select(*STEP_COLUMNS)
    .where(_s.job_execution_id == bindparam("job_execution_id"))
    .order_by(_s.step_execution_id)
)
STEPS_OF_INSTANCE = Prepared(
    select(*STEP_COLUMNS)
    .select_from(batch_step_execution.join(batch_job_execution))
    .where(_e.job_instance_id == bindparam("instance_id_"))
    .order_by(_s.step_execution_id)
)
GET_STEP = Prepared(select(*STEP_COLUMNS).where(_s.step_execution_id == bindparam("id_")))
INSERT_SKIP = Prepared(
    insert(batch_skip).values(
        {
            _k[name]: bindparam(name)
            for name in (
                "step_execution_id",
                "partition_number",
                "phase",
                "position",
                "item",
                "error_type",
                "error_message",
                "skipped_at",
            )
        }
    )
)
_SKIPS = (
    select(
        _k.skip_id,
        _k.step_execution_id,
        _s.step_name,
        _k.phase,
        _k.position,
        _k.item,
        _k.error_type,
        _k.error_message,
        _k.skipped_at,
        _k.partition_number,
    )
    .select_from(batch_skip.join(batch_step_execution))
    .where(_s.job_execution_id == bindparam("job_execution_id"))
)
LIST_SKIPS = Prepared(
    _SKIPS.where(_k.skip_id > bindparam("after_")).order_by(_k.skip_id).limit(bindparam("count_"))
)
COUNT_SKIPS = Prepared(
    select(func.count())
    .select_from(batch_skip.join(batch_step_execution))
    .where(_s.job_execution_id == bindparam("job_execution_id"))
)


def insert_step(transaction: Transaction, record: StepExecution, context: str) -> StepExecution:
    """Add the row of ``record`` at version 0, with its context; its id is the answer's (S22)."""
    row = transaction.fetch_one(
        INSERT_STEP,
        {
            "step_name": record.step_name,
            "job_execution_id": record.execution_id,
            "create_time": record.create_time,
            "start_time": record.start_time,
            "status": record.batch_status,
            "last_updated": record.last_updated,
            "fence": record.fence,
            "chunk_number": record.chunk_number,
            "reader_checkpoint": record.reader_checkpoint,
            "writer_checkpoint": record.writer_checkpoint,
            "plan_id": record.plan_id,
        },
    )
    assert row is not None
    step_execution_id = int(row[0])
    transaction.execute(INSERT_CONTEXT, {"id_": step_execution_id, "context_": context})
    return replace(record, step_execution_id=step_execution_id)


def update_context(transaction: Transaction, step_execution_id: int, context: str) -> None:
    """Store the StepContext's persistent user data over what was there (S72)."""
    if transaction.execute(UPDATE_CONTEXT, {"id_": step_execution_id, "context_": context}) != 1:
        raise missing_row(f"the context of step execution {step_execution_id}")


def get_context(reader: Reader, step_execution_id: int) -> str:
    """The stored JSON of a StepContext; ``{}`` when the step execution has none."""
    row = reader.fetch_one(GET_CONTEXT, {"id_": step_execution_id})
    return str(row[0]) if row else "{}"


def list_steps(reader: Reader, execution_id: int) -> list[StepExecution]:
    """The step executions of a job execution, in order of their start."""
    rows = reader.fetch_all(LIST_STEPS, {"job_execution_id": execution_id})
    return [step_execution(row) for row in rows]


def find_step(reader: Reader, step_execution_id: int) -> StepExecution | None:
    """The step execution of this id, or None."""
    row = reader.fetch_one(GET_STEP, {"id_": step_execution_id})
    return None if row is None else step_execution(row)


def steps_of_instance(reader: Reader, instance_id: int) -> list[StepExecution]:
    """Every step execution of an instance, oldest first, whichever attempt it is in (S49, S65)."""
    rows = reader.fetch_all(STEPS_OF_INSTANCE, {"instance_id_": instance_id})
    return [step_execution(row) for row in rows]


def insert_skips(
    transaction: Transaction, skips: Iterable[SkippedItem], *, partition: int | None = None
) -> None:
    """Record skipped items; they commit with their chunk (S117)."""
    transaction.execute_many(
        INSERT_SKIP,
        [
            {
                "step_execution_id": skip.step_execution_id,
                "partition_number": partition,
                "phase": skip.phase,
                "position": skip.position,
                "item": skip.item,
                "error_type": skip.error_type,
                "error_message": skip.error_message,
                "skipped_at": skip.skipped_at,
            }
            for skip in skips
        ],
    )


def list_skips(
    reader: Reader, execution_id: int, *, count: int, after: int = 0
) -> list[SkippedItem]:
    """The first ``count`` skipped items of an execution, behind the one of the id ``after``."""
    values = {"job_execution_id": execution_id, "count_": count, "after_": after}
    rows = reader.fetch_all(LIST_SKIPS, values)
    return [SkippedItem(*row) for row in rows]
