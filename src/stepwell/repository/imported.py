"""Executions that another program has run: recorded as they ended there, in one transaction."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from stepwell.database.liveness import Liveness
from stepwell.database.transaction import Transaction
from stepwell.execution.parameters import job_key
from stepwell.execution.records import JobExecution
from stepwell.execution.result import Failure
from stepwell.execution.status import BatchStatus, Result
from stepwell.repository.creation import NewExecution, create_execution
from stepwell.repository.executions import last_of_instance
from stepwell.repository.history import Because
from stepwell.repository.instances import find_instance
from stepwell.repository.versioned import change_job_execution

EXIT_STATUS = "IMPORTED"


def find_last(transaction: Transaction, new: NewExecution) -> JobExecution | None:
    """The last execution of the instance that ``new`` would belong to, or None."""
    key = new.unique_key or job_key(new.parameters)
    instance = find_instance(transaction, new.job_name, key)
    return None if instance is None else last_of_instance(transaction, instance.instance_id)


def record_ended(
    transaction: Transaction,
    new: NewExecution,
    status: BatchStatus,
    because: Because,
    *,
    failure: Failure | None,
    liveness: Liveness,
    at: datetime,
) -> JobExecution:
    """Insert an execution and end it at once: COMPLETED, FAILED with its failure, or ABANDONED.

    Its history has every change, each with ``because``. No step ran here, so it has none.
    """
    record = create_execution(transaction, new, liveness=liveness, at=at).execution
    for changes in _changes(status, failure, at):
        record = change_job_execution(transaction, record, at=at, because=because, **changes)
    return record


def _changes(
    status: BatchStatus, failure: Failure | None, at: datetime
) -> Iterator[dict[str, Any]]:
    """The legal way from STARTING to ``status`` (section 3.1)."""
    ended = {"end_time": at, "exit_status": EXIT_STATUS}
    if status is BatchStatus.ABANDONED:
        yield {"batch_status": BatchStatus.STOPPED, **ended}
        yield {"batch_status": BatchStatus.ABANDONED}
        return
    yield {"batch_status": BatchStatus.STARTED, "start_time": at}
    result = Result.COMPLETED if status is BatchStatus.COMPLETED else Result.FAILED
    yield {"batch_status": status, "result": result, "failure": failure, **ended}
