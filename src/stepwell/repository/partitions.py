"""Partitions: the frozen plan, and the attempts that ran it (S155).

Rows of attempts are guarded by fence and status, not by a version: an UPDATE that hits fewer rows
than it names raises LostOwnership (S194).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import bindparam, func, insert, literal, select, text, update

from stepwell.database.prepared import Prepared
from stepwell.database.tables import batch_partition, batch_partition_execution
from stepwell.database.transaction import Reader, Transaction
from stepwell.errors import LostOwnership
from stepwell.execution.json import to_json
from stepwell.execution.records import Partition, PartitionExecution, StepExecution
from stepwell.execution.result import MESSAGE_CHARACTERS_MAX, PartitionError, cut
from stepwell.execution.status import PartitionOutcome
from stepwell.repository.rows import PARTITION_COLUMNS, errors_to_json, partition_execution

_b = batch_partition.c
_p = batch_partition_execution.c

_UNFINISHED = text("status IN ('STARTING', 'STARTED')")

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
HAND_OUT = Prepared(
    update(batch_partition_execution)
    .where(
        _p.step_execution_id == bindparam("id_"),
        _p.partition_number == bindparam("number_"),
        _p.fence == bindparam("fence_"),
        _p.status == text("'STARTING'"),
    )
    .values(status=text("'STARTED'"), start_time=bindparam("start_time"))
)
RECORD_RESULT = Prepared(
    update(batch_partition_execution)
    .where(
        _p.step_execution_id == bindparam("id_"),
        _p.partition_number == bindparam("number_"),
        _p.fence == bindparam("fence_"),
        _p.status == text("'STARTED'"),
    )
    .values(
        {
            _p[name]: bindparam(name)
            for name in (
                "status",
                "start_time",
                "end_time",
                "result",
                "exit_code",
                "message",
                "counts",
                "errors",
                "context",
            )
        }
    )
)
STOP_REST = Prepared(
    update(batch_partition_execution)
    .where(
        _p.step_execution_id == bindparam("id_"),
        _p.fence == bindparam("fence_"),
        _UNFINISHED,
    )
    .values(status=text("'STOPPED'"), end_time=bindparam("end_time"))
)
SAVE_CONTEXT = Prepared(
    update(batch_partition_execution)
    .where(
        _p.step_execution_id == bindparam("id_"),
        _p.partition_number == bindparam("number_"),
        _p.fence == bindparam("fence_"),
        _p.status == text("'STARTED'"),
    )
    .values(context=bindparam("context"))
)
FAIL_UNFINISHED = Prepared(
    update(batch_partition_execution)
    .where(
        _p.step_execution_id == bindparam("id_"),
        _UNFINISHED,
    )
    .values(status=text("'FAILED'"), end_time=bindparam("end_time"), fence=bindparam("new_fence_"))
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
KEPT_CONTEXTS = Prepared(
    select(_p.partition_number, _p.context)
    .where(_p.plan_id == bindparam("plan_id"), _p.context.is_not(None))
    .order_by(_p.step_execution_id)
)
LIST_ATTEMPTS = Prepared(
    select(*PARTITION_COLUMNS)
    .select_from(
        batch_partition_execution.join(
            batch_partition,
            (_b.plan_id == _p.plan_id) & (_b.partition_number == _p.partition_number),
        )
    )
    .where(
        _p.step_execution_id == bindparam("id_"), _p.partition_number > bindparam("after_number_")
    )
    .order_by(_p.partition_number)
    .limit(bindparam("count_"))
)
COUNT_BY_RESULT = Prepared(
    select(_p.result, func.count())
    .where(_p.step_execution_id == bindparam("id_"))
    .group_by(_p.result)
)


class PartitionEnd(NamedTuple):
    """How one attempt at a partition ended, as the owner has received it.

    ``outcome`` None: it was stopped and has no result (S146). ``context`` is JSON or None.
    """

    number: int
    outcome: PartitionOutcome | None
    start_time: datetime
    end_time: datetime
    exit_status: str | None = None
    message: str | None = None
    counts: dict[str, int | float] | None = None
    errors: tuple[PartitionError, ...] = ()
    context: str | None = None


_STATUS = {
    None: "STOPPED",
    PartitionOutcome.SUCCESS: "COMPLETED",
    PartitionOutcome.PARTIAL: "COMPLETED",
    PartitionOutcome.FAILURE: "FAILED",
}


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
    contexts: dict[int, str],
) -> None:
    """Add new attempts at partitions of a kept plan, each with the context it had reached."""
    transaction.execute_many(
        INSERT_ATTEMPT,
        [
            {
                "step_execution_id": step.step_execution_id,
                "partition_number": partition.number,
                "plan_id": partition.plan_id,
                "fence": step.fence,
                "context": contexts.get(partition.number),
            }
            for partition in partitions
        ],
    )


def hand_out(
    transaction: Transaction, step: StepExecution, numbers: Sequence[int], *, at: datetime
) -> None:
    """Mark attempts STARTED before they reach the executor (law 1).

    Raises:
        LostOwnership: one of them is not STARTING under this fence any more.
    """
    rows = [
        {
            "id_": step.step_execution_id,
            "number_": number,
            "fence_": step.fence,
            "start_time": at,
        }
        for number in numbers
    ]
    _expect(transaction.execute_many(HAND_OUT, rows), len(rows), step)


def record_results(
    transaction: Transaction, step: StepExecution, ends: Sequence[PartitionEnd]
) -> None:
    """Store the results that the owner has received; it updates the counters with them (S161).

    Raises:
        LostOwnership: one of the attempts is not STARTED under this fence any more.
    """
    rows = [
        {
            "id_": step.step_execution_id,
            "number_": end.number,
            "fence_": step.fence,
            "status": _STATUS[end.outcome],
            "start_time": end.start_time,
            "end_time": end.end_time,
            "result": end.outcome,
            "exit_code": end.exit_status,
            "message": end.message and cut(end.message, MESSAGE_CHARACTERS_MAX),
            "counts": to_json(end.counts, what="the counts of a partition") if end.counts else None,
            "errors": errors_to_json(end.errors),
            "context": end.context,
        }
        for end in ends
    ]
    _expect(transaction.execute_many(RECORD_RESULT, rows), len(rows), step)


def save_partition_context(
    transaction: Transaction, step: StepExecution, number: int, context: str
) -> None:
    """Store a partition's context inside its own transaction, which proves the fence (S185).

    Raises:
        LostOwnership: the attempt is not STARTED under this fence any more; the caller's
            transaction rolls back with everything in it.
    """
    updated = transaction.execute(
        SAVE_CONTEXT,
        {
            "id_": step.step_execution_id,
            "number_": number,
            "fence_": step.fence,
            "context": context,
        },
    )
    _expect(updated, 1, step)


def stop_rest(transaction: Transaction, step: StepExecution, *, at: datetime) -> None:
    """End the attempts that never ran with the end of their step (S155)."""
    transaction.execute(
        STOP_REST, {"id_": step.step_execution_id, "fence_": step.fence, "end_time": at}
    )


def fail_unfinished(
    transaction: Transaction, step_execution_id: int, *, new_fence: int, at: datetime
) -> None:
    """Recovery: unfinished attempts become FAILED without a result, under the new fence (S34)."""
    transaction.execute(
        FAIL_UNFINISHED, {"id_": step_execution_id, "new_fence_": new_fence, "end_time": at}
    )


def list_plan(reader: Reader, plan_id: int) -> list[Partition]:
    """The partitions of a frozen plan, by number."""
    return [Partition(*row) for row in reader.fetch_all(LIST_PLAN, {"plan_id": plan_id})]


def kept_results(reader: Reader, plan_id: int) -> dict[int, PartitionOutcome]:
    """The partitions of a plan that need not run again: SUCCESS and PARTIAL (S156)."""
    rows = reader.fetch_all(KEPT_RESULTS, {"plan_id": plan_id})
    return {number: PartitionOutcome(result) for number, result in rows}


def kept_contexts(reader: Reader, plan_id: int) -> dict[int, str]:
    """The context that each partition of a plan had reached in its last attempt."""
    return dict(reader.fetch_all(KEPT_CONTEXTS, {"plan_id": plan_id}))


def list_partition_executions(
    reader: Reader, step_execution_id: int, *, after_number: int = -1, count: int = 1_000
) -> list[PartitionExecution]:
    """One page of a step's attempts by number, behind ``after_number``."""
    rows = reader.fetch_all(
        LIST_ATTEMPTS, {"id_": step_execution_id, "after_number_": after_number, "count_": count}
    )
    return [partition_execution(row) for row in rows]


def _expect(updated: int, expected: int, step: StepExecution) -> None:
    if updated != expected:
        raise LostOwnership(
            f"cannot record partitions of step {step.step_name!r} (execution {step.execution_id}):"
            f" {expected - updated} of {expected} are no longer held under fence {step.fence}",
            hint=f"it was recovered meanwhile, see `stepwell status {step.execution_id}`",
            fields={"execution_id": step.execution_id, "fence": step.fence},
        )
