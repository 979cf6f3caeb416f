"""The append-only history: one row per change of a job or step execution (S27)."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

from sqlalchemy import bindparam, func, insert, select

from stepwell.database.prepared import Prepared, Row
from stepwell.database.tables import batch_status_history, batch_step_execution
from stepwell.database.transaction import Reader, Transaction
from stepwell.execution.records import JobExecution, StatusChange, StepExecution
from stepwell.execution.result import MESSAGE_CHARACTERS_MAX, cut
from stepwell.execution.status import BatchStatus

_h = batch_status_history.c

INSERT_CHANGE = Prepared(
    insert(batch_status_history).values(
        job_execution_id=bindparam("job_execution_id"),
        step_execution_id=bindparam("step_execution_id"),
        from_status=bindparam("from_status"),
        to_status=bindparam("to_status"),
        changed_at=bindparam("changed_at"),
        actor=bindparam("actor"),
        reason=bindparam("reason"),
    )
)
_CHANGES = select(
    _h.history_id,
    _h.job_execution_id,
    _h.step_execution_id,
    batch_step_execution.c.step_name,
    _h.from_status,
    _h.to_status,
    _h.changed_at,
    _h.actor,
    _h.reason,
).select_from(
    batch_status_history.outerjoin(
        batch_step_execution, _h.step_execution_id == batch_step_execution.c.step_execution_id
    )
)
LIST_CHANGES = Prepared(
    _CHANGES.where(_h.job_execution_id == bindparam("job_execution_id")).order_by(_h.history_id)
)
LIST_CHANGES_AFTER = Prepared(
    _CHANGES.where(_h.history_id > bindparam("after_"))
    .order_by(_h.history_id)
    .limit(bindparam("count_"))
)
NEWEST_CHANGE = Prepared(select(func.max(_h.history_id)))


class Because(NamedTuple):
    """Who changes a status and why: ``runner``, ``operator`` or ``doctor``, and a reason."""

    actor: str = "runner"
    reason: str | None = None


RUNNER = Because()


def record_change(
    transaction: Transaction,
    record: JobExecution | StepExecution,
    from_status: BatchStatus | None,
    because: Because = RUNNER,
    *,
    at: datetime | None = None,
) -> None:
    """Add the row for the change of ``record`` from ``from_status`` to its present status."""
    transaction.execute(
        INSERT_CHANGE,
        {
            "job_execution_id": record.execution_id,
            "step_execution_id": getattr(record, "step_execution_id", None),
            "from_status": from_status,
            "to_status": record.batch_status,
            "changed_at": at or record.last_updated,
            "actor": because.actor,
            "reason": because.reason and cut(because.reason, MESSAGE_CHARACTERS_MAX),
        },
    )


def list_changes(reader: Reader, execution_id: int) -> list[StatusChange]:
    """The history of an execution and of its steps, oldest first."""
    rows = reader.fetch_all(LIST_CHANGES, {"job_execution_id": execution_id})
    return [_change(row) for row in rows]


def list_changes_after(
    reader: Reader, history_id: int, *, count: int = 1_000
) -> list[StatusChange]:
    """Changes of all executions behind a change, the oldest first."""
    rows = reader.fetch_all(LIST_CHANGES_AFTER, {"after_": history_id, "count_": count})
    return [_change(row) for row in rows]


def newest_change_id(reader: Reader) -> int:
    """The highest id in the history; 0 when there is none."""
    row = reader.fetch_one(NEWEST_CHANGE)
    return int(row[0] or 0) if row else 0


def _change(row: Row) -> StatusChange:
    return StatusChange(
        history_id=row[0],
        execution_id=row[1],
        step_execution_id=row[2],
        step_name=row[3],
        from_status=None if row[4] is None else BatchStatus(row[4]),
        to_status=BatchStatus(row[5]),
        changed_at=row[6],
        actor=row[7],
        reason=row[8],
    )
