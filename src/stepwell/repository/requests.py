"""Requests: what everyone but the owner writes, and when the owner has taken it (S30)."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

from sqlalchemy import bindparam, exists, insert, literal_column, select, true, update

from stepwell.database.prepared import Prepared
from stepwell.database.tables import batch_job_execution, batch_request
from stepwell.database.transaction import Reader, Transaction
from stepwell.execution.records import JobExecution
from stepwell.repository.history import Because
from stepwell.repository.zero_rows import missing_row

_r = batch_request.c
_e = batch_job_execution.c


class Request(NamedTuple):
    """An open request: kind ``stop`` or ``priority``, who asks, and why."""

    request_id: int
    execution_id: int
    kind: str
    actor: str
    reason: str | None

    @property
    def because(self) -> Because:
        """What goes to the history when the request is applied (S175)."""
        return Because(self.actor, self.reason)


INSERT_REQUEST = Prepared(
    insert(batch_request).values(
        job_execution_id=bindparam("job_execution_id"),
        kind=bindparam("kind"),
        value=bindparam("value"),
        actor=bindparam("actor"),
        reason=bindparam("reason"),
        requested_at=bindparam("requested_at"),
    )
)
_OPEN = select(_r.request_id, _r.job_execution_id, _r.kind, _r.actor, _r.reason).where(
    _r.taken_at.is_(None)
)
OPEN_REQUESTS = Prepared(
    _OPEN.where(_r.job_execution_id == bindparam("job_execution_id")).order_by(_r.request_id)
)
ALL_OPEN_REQUESTS = Prepared(_OPEN.order_by(_r.job_execution_id, _r.request_id))
TAKE_REQUESTS = Prepared(
    update(batch_request)
    .where(_r.job_execution_id == bindparam("job_execution_id"), _r.taken_at.is_(None))
    .values(taken_at=bindparam("taken_at"))
)
MARK_LATE = Prepared(
    update(batch_request)
    .where(_r.job_execution_id == bindparam("job_execution_id"), _r.taken_at.is_(None))
    .values(taken_at=bindparam("taken_at"), late=true())
)
# Of an execution without an owner: nobody else could apply the request (S30).
SET_PRIORITY = Prepared(
    update(batch_job_execution)
    .where(_e.job_execution_id == bindparam("id_"), _e.version == bindparam("version_"))
    .values(priority=bindparam("priority_"), version=literal_column("version + 1"))
)
LAST_PRIORITY = Prepared(
    select(_r.value)
    .where(_r.job_execution_id == bindparam("job_execution_id"), _r.kind == bindparam("kind"))
    .order_by(_r.request_id.desc())
    .limit(literal_column("1"))
)
TAKE_KIND = Prepared(
    update(batch_request)
    .where(
        _r.job_execution_id == bindparam("job_execution_id"),
        _r.kind == bindparam("kind"),
        _r.taken_at.is_(None),
    )
    .values(taken_at=bindparam("taken_at"))
)
STOP_REQUESTED = Prepared(
    select(
        exists().where(
            _r.job_execution_id == bindparam("job_execution_id"), _r.kind == bindparam("kind")
        )
    )
)


def insert_request(
    transaction: Transaction,
    execution_id: int,
    kind: str,
    because: Because,
    *,
    at: datetime,
    value: int | None = None,
) -> None:
    """Ask the owner of an execution for something; ``value`` is the new priority."""
    transaction.execute(
        INSERT_REQUEST,
        {
            "job_execution_id": execution_id,
            "kind": kind,
            "value": value,
            "actor": because.actor,
            "reason": because.reason,
            "requested_at": at,
        },
    )


def open_stop_request(reader: Reader, execution_id: int) -> Request | None:
    """The oldest stop request that nobody has taken, or None."""
    rows = reader.fetch_all(OPEN_REQUESTS, {"job_execution_id": execution_id})
    return next((Request(*row) for row in rows if row[2] == "stop"), None)


def all_open_requests(reader: Reader) -> list[Request]:
    """Every request that nobody has taken, of all executions; there are few."""
    return [Request(*row) for row in reader.fetch_all(ALL_OPEN_REQUESTS)]


def set_priority(transaction: Transaction, execution_id: int, version: int, value: int) -> None:
    """Change the place of an execution that waits without an owner; its row is locked (S32)."""
    values = {"id_": execution_id, "version_": version, "priority_": value}
    if transaction.execute(SET_PRIORITY, values) != 1:
        raise missing_row(f"the priority of job execution {execution_id}")


def take_priority(transaction: Transaction, ended: JobExecution, *, at: datetime) -> int:
    """The place of what goes on from ``ended``: the one that was asked for last, or its own (S32).

    It cannot be moved itself any more; the requests are recorded as applied.
    """
    asked = {"job_execution_id": ended.execution_id, "kind": "priority"}
    row = transaction.fetch_one(LAST_PRIORITY, asked)
    if row is None:
        return ended.priority
    transaction.execute(TAKE_KIND, {**asked, "taken_at": at})
    return int(row[0])


def take_requests(transaction: Transaction, execution_id: int, *, at: datetime) -> None:
    """Record that the owner has applied what was asked of this execution."""
    transaction.execute(TAKE_REQUESTS, {"job_execution_id": execution_id, "taken_at": at})


def mark_late(transaction: Transaction, execution_id: int, *, at: datetime) -> None:
    """Mark what nobody has read when the execution ends: it changes nothing any more (S12)."""
    transaction.execute(MARK_LATE, {"job_execution_id": execution_id, "taken_at": at})


def stop_requested(reader: Reader, execution_id: int) -> bool:
    """Whether anyone has ever asked this execution to stop (S178)."""
    row = reader.fetch_one(STOP_REQUESTED, {"job_execution_id": execution_id, "kind": "stop"})
    return bool(row and row[0])
