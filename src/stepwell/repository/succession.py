"""What an execution leaves to the queue when it ends: its successor, and the jobs that follow it.

Guarantee: whoever writes the terminal status inserts what it calls for in the same transaction, so
nothing is forgotten by a crash between the two, and nothing is registered twice (S26, S191).

- A registered execution that a shutdown ended STOPPED goes on in a successor, and so does one that
  recovery set to FAILED, ``max_recoveries`` times an instance (S191).
- One that FAILED by itself is tried again, up to ``attempts`` times an instance, each after its
  backoff (S186).
- One that COMPLETED registers the jobs of ``on_completion``.

A successor has the place in the queue of what it goes on from: the one that was asked for last,
while that ran too (S32).

A foreground ``run`` has no successor: its ``max_recoveries`` is None.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from sqlalchemy import bindparam, exists, func, select

from stepwell.database.liveness import Liveness
from stepwell.database.prepared import Prepared
from stepwell.database.tables import batch_job_execution, batch_request
from stepwell.database.transaction import Reader, Transaction
from stepwell.errors import BatchError, ConstraintViolation
from stepwell.execution.records import JobExecution
from stepwell.execution.status import BatchStatus
from stepwell.repository.blockers import copy_declared
from stepwell.repository.creation import NewExecution, create_execution
from stepwell.repository.executions import (
    get_context,
    get_execution,
    insert_context,
    insert_execution,
)
from stepwell.repository.history import Because, record_change
from stepwell.repository.requests import take_priority

logger = logging.getLogger("stepwell.repository")

_e = batch_job_execution.c
_q = batch_request.c

COUNT_FAILED = Prepared(
    select(func.count()).where(
        _e.job_instance_id == bindparam("instance_id_"), _e.status == BatchStatus.FAILED
    )
)
# A shutdown asks as the runner; anybody else means that it shall end (S191).
STOPPED_BY_SOMEBODY = Prepared(
    select(
        exists().where(
            _q.kind == bindparam("kind_"),
            _q.job_execution_id == bindparam("id_"),
            _q.actor != bindparam("actor_"),
        )
    )
)


def _at_once(_failures: int) -> float:
    return 0.0


@dataclass(frozen=True)
class Succession:
    """What the job says about what comes after one of its executions.

    Attributes:
        attempts: How often an instance may fail by itself before nobody tries it again (S186).
        backoff_s: Seconds before the next attempt, by the number of failures so far.
        followers: What is registered when the execution is COMPLETED.
    """

    attempts: int = 1
    backoff_s: Callable[[int], float] = _at_once
    followers: tuple[NewExecution, ...] = ()


def follow(
    transaction: Transaction,
    ended: JobExecution,
    succession: Succession,
    *,
    is_shutdown: bool,
    liveness: Liveness,
    at: datetime,
) -> None:
    """Insert what the terminal status of ``ended``, written in this transaction, calls for.

    ``is_shutdown`` says that a STOPPED one was stopped because its process ends.
    """
    match ended.batch_status:
        case BatchStatus.COMPLETED:
            for follower in succession.followers:
                _register(transaction, ended, follower, liveness, at=at)
        case BatchStatus.STOPPED if is_shutdown:
            _succeed(transaction, ended, "its process was shut down", at=at)
        case BatchStatus.FAILED if ended.max_recoveries is not None and succession.attempts > 1:
            failures = count_failures(transaction, ended)
            if failures < succession.attempts:
                backoff_s = succession.backoff_s(failures)
                attempt = f"attempt {failures + 1} of {succession.attempts}"
                _succeed(transaction, ended, attempt, at=at, backoff_s=backoff_s)


def follow_death(transaction: Transaction, recovered: JobExecution, *, at: datetime) -> None:
    """Insert the successor of an execution that recovery has set to FAILED in this transaction.

    ``recovered.recoveries`` counts this death already.
    """
    if recovered.max_recoveries is None:
        return
    count = f"{recovered.recoveries} of {recovered.max_recoveries}"
    if recovered.recoveries <= recovered.max_recoveries:
        _succeed(transaction, recovered, f"recovery {count}", at=at)
        return
    logger.error(
        "execution %s of job %r is not tried again: its instance has died %s times,"
        " max_recoveries is %s",
        recovered.execution_id,
        recovered.job_name,
        recovered.recoveries,
        recovered.max_recoveries,
    )


def count_failures(reader: Reader, ended: JobExecution) -> int:
    """How often the instance of ``ended`` has failed by itself, not by a death (S186)."""
    row = reader.fetch_one(COUNT_FAILED, {"instance_id_": ended.instance_id})
    return (int(row[0]) if row else 0) - ended.recoveries


def _succeed(
    transaction: Transaction,
    ended: JobExecution,
    why: str,
    *,
    at: datetime,
    backoff_s: float = 0.0,
) -> None:
    """Register the same instance with the same parameters again; its run is a restart."""
    if ended.max_recoveries is None or _stopped_by_somebody(transaction, ended):
        return
    same = get_execution(transaction, ended.execution_id)
    successor = JobExecution.fresh(
        same.instance_id,
        same.job_name,
        owner_id=None,
        at=at,
        trigger_source="system",
        triggered_by=f"execution {ended.execution_id}",
        trial=same.trial,
        run_lock_key=same.run_lock_key,
        priority=take_priority(transaction, same, at=at),
        run_after=at + timedelta(seconds=backoff_s) if backoff_s > 0 else None,
        recoveries=same.recoveries,
        max_recoveries=same.max_recoveries,
        parameters=same.parameters,
    )
    successor = insert_execution(transaction, successor)
    context = get_context(transaction, ended.execution_id)
    insert_context(transaction, successor.execution_id, context)
    copy_declared(transaction, ended.execution_id, successor.execution_id)
    because = Because("runner", f"goes on from execution {ended.execution_id}: {why}")
    record_change(transaction, successor, None, because)


def _stopped_by_somebody(reader: Reader, ended: JobExecution) -> bool:
    """Whether a person has asked it to stop: then it shall not go on by itself (S191)."""
    values = {"id_": ended.execution_id, "kind_": "stop", "actor_": "runner"}
    row = reader.fetch_one(STOPPED_BY_SOMEBODY, values)
    return bool(row and row[0])


def _register(
    transaction: Transaction,
    ended: JobExecution,
    follower: NewExecution,
    liveness: Liveness,
    *,
    at: datetime,
) -> None:
    """Register what follows; one that is there already is no fault: twice is once."""
    by = f"execution {ended.execution_id}"
    because = Because("runner", f"follows {by} of job {ended.job_name!r}")
    follower = replace(follower, trigger_source="system", triggered_by=by, because=because)
    try:
        with transaction.savepoint():
            create_execution(transaction, follower, liveness=liveness, at=at)
    except (BatchError, ConstraintViolation) as refusal:
        logger.warning("what follows %s is not registered: %s", by, refusal)
