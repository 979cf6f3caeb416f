"""Partitions: the frozen plan, and the attempts that ran it (S155).

Rows of attempts are guarded by fence and status, not by a version: an UPDATE that hits fewer rows
than it names raises LostOwnership (S194).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import bindparam, func, select, text, update

from stepwell.database.prepared import Prepared
from stepwell.database.tables import batch_partition, batch_partition_execution
from stepwell.database.transaction import Reader, Transaction
from stepwell.errors import LostOwnership
from stepwell.execution.records import (
    Metrics,
    Partition,
    PartitionExecution,
    PartitionPosition,
    StepExecution,
)
from stepwell.execution.result import MESSAGE_CHARACTERS_MAX, Failure, PartitionError, cut
from stepwell.execution.status import PartitionOutcome
from stepwell.repository.rows import METRICS, PARTITION_COLUMNS, errors_to_json, partition_execution
from stepwell.repository.zero_rows import report_zero_rows

_b = batch_partition.c
_p = batch_partition_execution.c

_UNFINISHED = text("status IN ('STARTING', 'STARTED')")

# The attempt that this owner holds.
_HELD = (
    _p.step_execution_id == bindparam("id_"),
    _p.partition_number == bindparam("number_"),
    _p.fence == bindparam("fence_"),
)
HAND_OUT = Prepared(
    update(batch_partition_execution)
    .where(*_HELD, _p.status == text("'STARTING'"))
    .values(status=text("'STARTED'"), start_time=bindparam("start_time"))
)
_RESULT = (
    *("status", "start_time", "end_time", "result", "exit_code"),
    *("message", "counts", "errors"),
)
RECORD_RESULT = Prepared(
    update(batch_partition_execution)
    .where(*_HELD, _p.status == text("'STARTED'"))
    .values({_p[name]: bindparam(name) for name in (*_RESULT, "context")})
)
RECORD_KEEPING_CONTEXT = Prepared(
    update(batch_partition_execution)
    .where(*_HELD, _p.status == text("'STARTED'"))
    .values({_p[name]: bindparam(name) for name in _RESULT})
)
IS_HELD = Prepared(select(text("1")).where(*_HELD, _p.status == text("'STARTED'")))
COUNTED = Prepared(select(*(_p[name] for name in METRICS)).where(*_HELD))
COUNTED_BY_ALL = Prepared(
    select(*(func.coalesce(func.sum(_p[name]), 0) for name in METRICS)).where(
        _p.step_execution_id == bindparam("id_")
    )
)
RECORD_ROLLBACKS = Prepared(
    update(batch_partition_execution)
    .where(*_HELD, _p.status == text("'STARTED'"))
    .values(rollback_count=bindparam("rollback_count"))
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
# An executor may run one attempt twice at a time: the first commit behind a position counts.
_AT_POSITION = (
    *_HELD,
    _p.status == text("'STARTED'"),
    _p.chunk_number == bindparam("from_chunk_"),
    _p.commit_count == bindparam("from_commits_"),
)
HOLD_POSITION = Prepared(
    update(batch_partition_execution).where(*_AT_POSITION).values(status=text("'STARTED'"))
)
SAVE_POSITION = Prepared(
    update(batch_partition_execution)
    .where(*_AT_POSITION)
    .values(
        {
            _p[name]: bindparam(name)
            for name in (
                "context",
                "chunk_number",
                "reader_checkpoint",
                "writer_checkpoint",
                *METRICS,
            )
        }
    )
)
FAIL_UNFINISHED = Prepared(
    update(batch_partition_execution)
    .where(
        _p.step_execution_id == bindparam("id_"),
        _UNFINISHED,
    )
    .values(status=text("'FAILED'"), end_time=bindparam("end_time"), fence=bindparam("new_fence_"))
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


# Of a LostOwnership: only to another run of the same attempt. Go on where that one is (S194).
OVERTAKEN = "overtaken"


class PartitionEnd(NamedTuple):
    """How one attempt at a partition ended, as the owner has received it.

    ``outcome`` None: it was stopped and has no result (S146). ``counts`` and ``context`` are JSON
    or None; with ``keeps_context`` the row keeps the context that it has. ``metrics`` None: what
    it has counted is what its row says.
    """

    number: int
    outcome: PartitionOutcome | None
    start_time: datetime
    end_time: datetime
    exit_status: str | None = None
    message: str | None = None
    counts: str | None = None
    errors: tuple[PartitionError, ...] = ()
    context: str | None = None
    metrics: Metrics | None = Metrics()
    keeps_context: bool = False


def unanswered(
    partition: Partition, failure: Failure, *, started_at: datetime, at: datetime
) -> PartitionEnd:
    """The FAILURE of a partition whose worker ended without an answer (S160).

    What it has committed, rows with their position, stays as it is: a restart goes on from there.
    """
    return PartitionEnd(
        partition.number,
        PartitionOutcome.FAILURE,
        started_at,
        at,
        "FAILED",
        f"{failure.type}: {failure.message}",
        errors=(PartitionError(partition.name, failure),),
        metrics=None,
        keeps_context=True,
    )


_STATUS = {
    None: "STOPPED",
    PartitionOutcome.SUCCESS: "COMPLETED",
    PartitionOutcome.PARTIAL: "COMPLETED",
    PartitionOutcome.FAILURE: "FAILED",
}


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
            "end_time": max(end.start_time, end.end_time),  # A clock may run backwards (S13).
            "result": end.outcome,
            "exit_code": end.exit_status,
            "message": end.message and cut(end.message, MESSAGE_CHARACTERS_MAX),
            "counts": end.counts,
            "errors": errors_to_json(end.errors),
            "context": end.context,
        }
        for end in ends
    ]
    _record_rollbacks(transaction, step, ends)
    kept = [row for row, end in zip(rows, ends, strict=True) if end.keeps_context]
    if kept:
        rows = [row for row, end in zip(rows, ends, strict=True) if not end.keeps_context]
        _expect(transaction.execute_many(RECORD_KEEPING_CONTEXT, kept), len(kept), step)
    if rows:
        _expect(transaction.execute_many(RECORD_RESULT, rows), len(rows), step)


def counted(reader: Reader, step: StepExecution, number: int) -> Metrics:
    """What a partition of this step execution had counted with its last commit."""
    row = reader.fetch_one(
        COUNTED, {"id_": step.step_execution_id, "number_": number, "fence_": step.fence}
    )
    return Metrics() if row is None else Metrics(*row)


def counted_by_all(reader: Reader, step_execution_id: int) -> Metrics:
    """What all partitions of a step execution have counted with their last commits (S134)."""
    row = reader.fetch_one(COUNTED_BY_ALL, {"id_": step_execution_id})
    return Metrics() if row is None else Metrics(*map(int, row))


def _record_rollbacks(
    transaction: Transaction, step: StepExecution, ends: Sequence[PartitionEnd]
) -> None:
    """The rollbacks of chunk partitions that no commit has stored any more (S133)."""
    rows = [
        {
            "id_": step.step_execution_id,
            "number_": end.number,
            "fence_": step.fence,
            "rollback_count": end.metrics.rollback_count,
        }
        for end in ends
        if end.metrics is not None and end.metrics.rollback_count
    ]
    if rows:
        _expect(transaction.execute_many(RECORD_ROLLBACKS, rows), len(rows), step)


def hold_partition(
    transaction: Transaction, step: StepExecution, number: int, *, behind: PartitionPosition
) -> None:
    """Before anything is written: nobody has gone on from here, nor does until the commit.

    Else the user's own statements would meet the rows of the other run first.

    Raises:
        LostOwnership: as ``save_partition``.
    """
    updated = transaction.execute(HOLD_POSITION, _at_position(step, number, behind))
    _expect_held(transaction, updated, step, number)


def save_partition(
    transaction: Transaction,
    step: StepExecution,
    number: int,
    position: PartitionPosition,
    context: str | None,
    *,
    behind: PartitionPosition,
) -> None:
    """Store a partition's position and context inside its own transaction (S145, S185).

    ``behind`` is the position that the transaction has begun at.

    Raises:
        LostOwnership: the attempt is not STARTED under this fence any more; the caller's
            transaction rolls back with everything in it. Or it is, but it has gone on from
            ``behind`` without this caller; the fields then have ``OVERTAKEN``.
    """
    updated = transaction.execute(
        SAVE_POSITION,
        {
            **_at_position(step, number, behind),
            "context": context,
            "chunk_number": position.chunk_number,
            "reader_checkpoint": position.reader_checkpoint,
            "writer_checkpoint": position.writer_checkpoint,
            **{name: getattr(position.metrics, name) for name in METRICS},
        },
    )
    _expect_held(transaction, updated, step, number)


def _at_position(step: StepExecution, number: int, behind: PartitionPosition) -> dict[str, Any]:
    return {
        "id_": step.step_execution_id,
        "number_": number,
        "fence_": step.fence,
        "from_chunk_": behind.chunk_number,
        "from_commits_": behind.metrics.commit_count,
    }


def _expect_held(reader: Reader, updated: int, step: StepExecution, number: int) -> None:
    if updated != 1 and _is_held(reader, step, number):
        raise LostOwnership(
            f"cannot record partition {number} of step {step.step_name!r}"
            f" (execution {step.execution_id}): another run of it has committed meanwhile",
            fields={"execution_id": step.execution_id, OVERTAKEN: number},
        )
    _expect(updated, 1, step)


def _is_held(reader: Reader, step: StepExecution, number: int) -> bool:
    held = {"id_": step.step_execution_id, "number_": number, "fence_": step.fence}
    return reader.fetch_one(IS_HELD, held) is not None


def stop_rest(transaction: Transaction, step: StepExecution, *, at: datetime) -> None:
    """End the attempts that never ran with the end of their step (S155)."""
    end_time = max(at, step.last_updated)  # Not before the hand-out, which it came with (S13).
    transaction.execute(
        STOP_REST, {"id_": step.step_execution_id, "fence_": step.fence, "end_time": end_time}
    )


def fail_unfinished(
    transaction: Transaction, step_execution_id: int, *, new_fence: int, at: datetime
) -> None:
    """Recovery: unfinished attempts become FAILED without a result, under the new fence (S34)."""
    transaction.execute(
        FAIL_UNFINISHED, {"id_": step_execution_id, "new_fence_": new_fence, "end_time": at}
    )


def list_partition_executions(
    reader: Reader, step_execution_id: int, *, after_number: int = -1, count: int = 1_000
) -> list[PartitionExecution]:
    """One page of a step's attempts by number, behind ``after_number``."""
    rows = reader.fetch_all(
        LIST_ATTEMPTS, {"id_": step_execution_id, "after_number_": after_number, "count_": count}
    )
    return [partition_execution(row) for row in rows]


def no_longer_held(step: StepExecution, number: int) -> LostOwnership:
    """What a run of a partition is told that somebody else has ended."""
    return LostOwnership(
        f"cannot record partition {number} of step {step.step_name!r}"
        f" (execution {step.execution_id}): it is no longer held under fence {step.fence}",
        hint=f"it was recovered meanwhile, see `stepwell status {step.execution_id}`",
        fields={"execution_id": step.execution_id, "fence": step.fence},
    )


def _expect(updated: int, expected: int, step: StepExecution) -> None:
    if updated != expected:
        report_zero_rows(
            f"{expected - updated} partitions of execution {step.execution_id}",
            status=step.batch_status,
            stage=step.step_name,
        )
        raise LostOwnership(
            f"cannot record partitions of step {step.step_name!r} (execution {step.execution_id}):"
            f" {expected - updated} of {expected} are no longer held under fence {step.fence}",
            hint=f"it was recovered meanwhile, see `stepwell status {step.execution_id}`",
            fields={"execution_id": step.execution_id, "fence": step.fence},
        )
