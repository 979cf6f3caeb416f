"""What anyone but the owner may do to an execution: ask for a stop or a place, close it (S30).

The owner reads requests and applies them. An execution without an owner, or one that has ended, has
nobody to read: there the caller takes it (fence + 1) and applies its own request in the same
transaction. Each function is one fact, and locks the execution's row before it decides.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from stepwell.database.transaction import Transaction
from stepwell.errors import JobExecutionIsRunning, JobExecutionNotRunning
from stepwell.execution.records import JobExecution
from stepwell.execution.status import BatchStatus
from stepwell.repository import requests
from stepwell.repository.executions import lock_execution
from stepwell.repository.history import Because
from stepwell.repository.versioned import change_job_execution


def request_stop(
    transaction: Transaction, execution_id: int, because: Because, *, at: datetime
) -> JobExecution:
    """Ask an execution to stop; one without an owner is STOPPED here.

    Raises:
        NoSuchJobExecution: no execution has this id.
        JobExecutionNotRunning: it has ended.
    """
    record = lock_execution(transaction, execution_id)
    if not record.batch_status.is_running:
        raise JobExecutionNotRunning(execution_id, record.batch_status)
    now = max(at, record.last_updated)
    requests.insert_request(transaction, execution_id, "stop", because, at=now)
    if record.owner_id is not None:
        return replace(record, stop_requested=True)
    requests.take_requests(transaction, execution_id, at=now)
    return change_job_execution(
        transaction,
        replace(record, stop_requested=True),
        at=now,
        because=because,
        fence=record.fence + 1,
        batch_status=BatchStatus.STOPPED,
        end_time=now,
        exit_status="STOPPED",
    )


def request_priority(
    transaction: Transaction, execution_id: int, value: int, because: Because, *, at: datetime
) -> JobExecution:
    """Change the place of what is not handed out; one without an owner is moved here (S32).

    Raises:
        NoSuchJobExecution: no execution has this id.
        JobExecutionNotRunning: it has ended.
    """
    record = lock_execution(transaction, execution_id)
    if not record.batch_status.is_running:
        raise JobExecutionNotRunning(execution_id, record.batch_status, "set the priority of")
    now = max(at, record.last_updated)
    requests.insert_request(transaction, execution_id, "priority", because, at=now, value=value)
    if record.owner_id is not None:
        return record
    requests.set_priority(transaction, execution_id, record.version, value)
    requests.take_requests(transaction, execution_id, at=now)
    return replace(record, version=record.version + 1, priority=value)


def abandon(
    transaction: Transaction, execution_id: int, because: Because, *, at: datetime
) -> JobExecution:
    """Close an ended execution for ever; a second time changes nothing.

    Raises:
        NoSuchJobExecution: no execution has this id.
        JobExecutionIsRunning: it has not ended.
    """
    record = lock_execution(transaction, execution_id)
    if record.batch_status is BatchStatus.ABANDONED:
        return record
    if record.batch_status.is_running:
        raise JobExecutionIsRunning(
            f"cannot abandon execution {execution_id}: it is {record.batch_status}",
            hint=f"`stepwell stop {execution_id}`, then abandon",
            fields={"execution_id": execution_id, "status": str(record.batch_status)},
        )
    now = max(at, record.last_updated)
    requests.insert_request(transaction, execution_id, "abandon", because, at=now)
    requests.take_requests(transaction, execution_id, at=now)
    return change_job_execution(
        transaction,
        record,
        at=now,
        because=because,
        fence=record.fence + 1,
        batch_status=BatchStatus.ABANDONED,
    )
