"""Partition plans: frozen in one bulk insert, kept by a restart (S155, S156)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from sqlalchemy import bindparam, insert, literal, select, text

from stepwell.database.prepared import Prepared
from stepwell.database.tables import batch_partition, batch_partition_execution
from stepwell.database.transaction import Reader, Transaction
from stepwell.execution.records import Metrics, Partition, PartitionPosition, StepExecution
from stepwell.execution.status import PartitionOutcome
from stepwell.repository.rows import METRICS

_b = batch_partition.c
_p = batch_partition_execution.c

INSERT_PLAN = Prepared(
    insert(batch_partition).values(
        plan_id=bindparam("plan_id"),
        partition_number=bindparam("partition_number"),
        partition_name=bindparam("partition_name"),
        partition_input=bindparam("partition_input"),
    )
)
INSERT_ATTEMPT = Prepared(
    insert(batch_partition_execution).values(
        step_execution_id=bindparam("step_execution_id"),
        partition_number=bindparam("partition_number"),
        plan_id=bindparam("plan_id"),
        status=text("'STARTING'"),
        fence=bindparam("fence"),
        context=bindparam("context"),
        chunk_number=bindparam("chunk_number"),
        reader_checkpoint=bindparam("reader_checkpoint"),
        writer_checkpoint=bindparam("writer_checkpoint"),
    )
)
# A new plan's attempts are its partitions: no row travels through Python twice.
INSERT_ALL_ATTEMPTS = Prepared(
    insert(batch_partition_execution).from_select(
        ["step_execution_id", "partition_number", "plan_id", "status", "fence"],
        select(
            bindparam("step_execution_id", type_=_p.step_execution_id.type),
            _b.partition_number,
            _b.plan_id,
            literal("STARTING", literal_execute=True),
            bindparam("fence", type_=_p.fence.type),
        ).where(_b.plan_id == bindparam("plan_id")),
    )
)
LIST_PLAN = Prepared(
    select(_b.plan_id, _b.partition_number, _b.partition_name, _b.partition_input)
    .where(_b.plan_id == bindparam("plan_id"))
    .order_by(_b.partition_number)
)
KEPT_RESULTS = Prepared(
    select(_p.partition_number, _p.result).where(
        _p.plan_id == bindparam("plan_id"),
        text("result IN ('SUCCESS', 'PARTIAL')"),
    )
)
REACHED = Prepared(
    select(
        _p.partition_number,
        _p.context,
        _p.chunk_number,
        _p.reader_checkpoint,
        _p.writer_checkpoint,
    )
    .where(_p.plan_id == bindparam("plan_id"))
    .order_by(_p.step_execution_id)
)


# A task that an executor runs a second time must not begin where its first run began.
HELD = Prepared(
    select(
        _p.partition_number,
        _p.context,
        _p.chunk_number,
        _p.reader_checkpoint,
        _p.writer_checkpoint,
        *(_p[name] for name in METRICS),
    ).where(
        _p.step_execution_id == bindparam("id_"),
        _p.partition_number >= bindparam("first_"),
        _p.partition_number <= bindparam("last_"),
        _p.fence == bindparam("fence_"),
        _p.status == text("'STARTED'"),
    )
)


class Reached(NamedTuple):
    """Where an attempt left a partition: its context as JSON, and its position.

    A new attempt counts from 0; one that runs twice goes on counting where it was (S194).
    """

    context: str | None
    position: PartitionPosition


NOWHERE = Reached(None, PartitionPosition())


def freeze_plan(
    transaction: Transaction, step: StepExecution, partitions: Sequence[Partition]
) -> None:
    """Store a new plan and one attempt at each of its partitions, in bulk.

    The caller updates the step's counters in the same transaction (S155, S187).
    """
    transaction.execute_many(
        INSERT_PLAN,
        (
            {
                "plan_id": partition.plan_id,
                "partition_number": partition.number,
                "partition_name": partition.name,
                "partition_input": partition.input,
            }
            for partition in partitions
        ),
    )
    transaction.execute(
        INSERT_ALL_ATTEMPTS,
        {
            "step_execution_id": step.step_execution_id,
            "fence": step.fence,
            "plan_id": step.step_execution_id,
        },
    )


def insert_attempts(
    transaction: Transaction,
    step: StepExecution,
    partitions: Sequence[Partition],
    reached: Mapping[int, Reached],
) -> None:
    """Add new attempts at partitions of a kept plan, each where its last one had come to."""
    transaction.execute_many(
        INSERT_ATTEMPT,
        [
            {
                "step_execution_id": step.step_execution_id,
                "partition_number": partition.number,
                "plan_id": partition.plan_id,
                "fence": step.fence,
                "context": at.context,
                "chunk_number": at.position.chunk_number,
                "reader_checkpoint": at.position.reader_checkpoint,
                "writer_checkpoint": at.position.writer_checkpoint,
            }
            for partition in partitions
            for at in (reached.get(partition.number, NOWHERE),)
        ],
    )


def list_plan(reader: Reader, plan_id: int) -> list[Partition]:
    """The partitions of a frozen plan, by number."""
    return [Partition(*row) for row in reader.fetch_all(LIST_PLAN, {"plan_id": plan_id})]


def kept_results(reader: Reader, plan_id: int) -> dict[int, PartitionOutcome]:
    """The partitions of a plan that need not run again: SUCCESS and PARTIAL (S156)."""
    rows = reader.fetch_all(KEPT_RESULTS, {"plan_id": plan_id})
    return {number: PartitionOutcome(result) for number, result in rows}


def reached(reader: Reader, plan_id: int) -> dict[int, Reached]:
    """How far each partition of a plan had come in its last attempt (S156)."""
    return _by_number(reader.fetch_all(REACHED, {"plan_id": plan_id}))


def held(reader: Reader, step: StepExecution, *, first: int, last: int) -> dict[int, Reached]:
    """How far the attempts from ``first`` to ``last`` have come that are handed out (S194).

    One that the owner holds no more, or that has ended, is left out.
    """
    return _by_number(
        reader.fetch_all(
            HELD,
            {
                "id_": step.step_execution_id,
                "first_": first,
                "last_": last,
                "fence_": step.fence,
            },
        )
    )


def _by_number(rows: list[tuple[Any, ...]]) -> dict[int, Reached]:
    return {
        number: Reached(
            context, PartitionPosition(chunk_number, reader_at, writer_at, Metrics(*metrics))
        )
        for number, context, chunk_number, reader_at, writer_at, *metrics in rows
    }
