"""The birth of an execution: instance, execution, parameters and history in one transaction.

Guarantees: an instance has at most one execution that has not ended (S7), a run lock at most one
owned one (S184), and what may not start leaves no row.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from stepwell.database.liveness import Liveness
from stepwell.database.transaction import Reader, Transaction
from stepwell.errors import (
    IdempotencyKeyUsed,
    JobExecutionAlreadyComplete,
    JobExecutionAlreadyRunning,
    JobExecutionBlocked,
    JobExecutionNotMostRecent,
    JobInstanceAlreadyComplete,
    JobRestartError,
    JobStartError,
)
from stepwell.execution.parameters import JobParameter, describe_parameters, job_key
from stepwell.execution.records import JobExecution, JobInstance
from stepwell.execution.status import BatchStatus, check_transition
from stepwell.job.resource import NOTHING, Declared
from stepwell.repository.blockers import insert_declared, read_occupancy, take_claim_turn
from stepwell.repository.executions import (
    find_by_key,
    find_execution,
    get_context,
    get_execution,
    holder_of_run_lock,
    insert_context,
    insert_execution,
    last_of_instance,
)
from stepwell.repository.history import RUNNER, Because, record_change
from stepwell.repository.instances import (
    LOCK_INSTANCE,
    find_instance,
    insert_instance,
    look_up_instance,
)


@dataclass(frozen=True)
class NewExecution:
    """What ``start``, ``run``, ``register`` and ``restart`` ask for.

    Attributes:
        owner_id: This process; None leaves the execution to the workers (S29).
        unique_key: The job key of an each-start instance (S5); None: made of the parameters.
        run_lock_key: The key that excludes others while this runs; None: no lock (S184).
        again: Make a new instance of a COMPLETED one.
        restart_of: The execution that ``restart`` names; None for a start.
        declared: What it needs for itself while it runs (S197).
        reuses: A restart with the parameters of that execution, as today's definition reads them;
            given ones must yield its job key (S10).
        priority, run_after, after_id: The place of a registered execution in the queue.
        max_recoveries: How many deaths of its owners the instance survives by itself (S191).
        because: Who asks and why, for the history.
        context: The JobContext's JSON that a new instance begins with.
        idempotency_key: A second request with this key is answered with the first one's execution.
    """

    job_name: str
    parameters: tuple[JobParameter, ...]
    owner_id: int | None
    unique_key: str | None = None
    run_lock_key: str | None = None
    restartable: bool = True
    again: bool = False
    restart_of: int | None = None
    reuses: bool = False
    trial: int | None = None
    declared: Declared = NOTHING
    trigger_source: str = "user"
    triggered_by: str | None = None
    priority: int = 0
    run_after: datetime | None = None
    after_id: int | None = None
    max_recoveries: int | None = None
    because: Because = RUNNER
    context: str = "{}"
    idempotency_key: str | None = None


@dataclass(frozen=True)
class CreatedExecution:
    """The new execution, and what it goes on from: the last one of its instance, if any.

    ``is_earlier``: nothing was recorded, an earlier request had the same idempotency key.
    """

    execution: JobExecution
    previous: JobExecution | None
    context: str
    is_earlier: bool = False


def create_execution(
    transaction: Transaction, new: NewExecution, *, liveness: Liveness, at: datetime
) -> CreatedExecution:
    """Insert an execution, STARTING (S22): owned with fence 1, or waiting with fence 0 (S29).

    What waits for a worker waits for its run lock too (S184).

    Raises:
        JobInstanceAlreadyComplete, JobExecutionAlreadyRunning, JobRestartError: what the
            instance's last execution forbids (S6, section 7).
        JobStartError: it names a pool that has no size (S197), or ``after_id`` one that never
            completes.
        JobExecutionBlocked: it would run at once, and a pool is full or a resource is held; to
            be registered it may wait.
        NoSuchJobExecution: ``after_id`` names none.
        IdempotencyKeyUsed: an earlier request had the same key and asked for something else.
    """
    earlier = find_earlier(transaction, new)
    if earlier is not None:
        return earlier
    if new.after_id is not None:
        _refuse_hopeless(transaction, new)
    if new.declared and new.owner_id is not None:
        take_claim_turn(transaction)
    if new.restart_of is None:
        instance, previous = _instance_to_start(transaction, new, liveness, at=at)
    else:
        instance, previous = _instance_to_restart(transaction, new, liveness)
    if new.run_lock_key is not None and new.owner_id is not None:
        _refuse_held_lock(transaction, new, liveness)
    if new.declared:
        _refuse_blocked(transaction, new, liveness)
    context = new.context if previous is None else get_context(transaction, previous.execution_id)
    check_transition("job", None, None, BatchStatus.STARTING)
    record = _new_record(new, instance, previous, at=at)
    execution = insert_execution(transaction, record, idempotency_key=new.idempotency_key)
    insert_context(transaction, execution.execution_id, context)
    insert_declared(transaction, execution.execution_id, new.declared)
    record_change(transaction, execution, None, new.because)
    return CreatedExecution(execution, previous, context)


def find_earlier(reader: Reader, new: NewExecution) -> CreatedExecution | None:
    """What an earlier request with the same idempotency key has recorded; None without one.

    Raises:
        IdempotencyKeyUsed: it asked for something else.
    """
    key = new.idempotency_key
    earlier = None if key is None else find_by_key(reader, key)
    if earlier is None:
        return None
    same = {(p.name, p.type, p.value) for p in earlier.parameters} == {
        (p.name, p.type, p.value) for p in new.parameters
    }
    if earlier.job_name != new.job_name or not same:
        raise IdempotencyKeyUsed(new.job_name, earlier.execution_id)
    return CreatedExecution(earlier, None, "{}", is_earlier=True)


def refuse_restart(
    record: JobExecution, last: JobExecution, liveness: Liveness, *, restartable: bool
) -> None:
    """Conditions 2 to 5 of section 7, in their order.

    Raises:
        JobExecutionNotMostRecent, JobExecutionAlreadyComplete, JobRestartError: see there.
    """
    if last.execution_id != record.execution_id:
        raise JobExecutionNotMostRecent(record.execution_id, last.execution_id)
    if record.batch_status is BatchStatus.COMPLETED:
        raise JobExecutionAlreadyComplete(record.execution_id)
    if not record.batch_status.is_restartable:
        dead = record.owner_id is not None and liveness.is_dead(record.owner_id)
        verb = "recover" if dead else "status"
        raise JobRestartError(
            f"cannot restart execution {record.execution_id}: it is {record.batch_status}"
            + (", its owner is dead" if dead else ""),
            hint=f"`stepwell {verb} {record.execution_id}`",
            fields={"execution_id": record.execution_id, "status": str(record.batch_status)},
        )
    _refuse_not_restartable(record, restartable=restartable)


def find_previous(reader: Reader, new: NewExecution, liveness: Liveness) -> JobExecution | None:
    """What a start would go on from; None: it would make an instance. For who only looks.

    Raises:
        JobInstanceAlreadyComplete, JobExecutionAlreadyRunning, JobRestartError: as the start would
            be refused (S6).
    """
    return _found_to_start(
        reader, new, liveness, lambda key: look_up_instance(reader, new.job_name, key)
    )[2]


def _instance_to_start(
    transaction: Transaction, new: NewExecution, liveness: Liveness, *, at: datetime
) -> tuple[JobInstance, JobExecution | None]:
    key, instance, previous = _found_to_start(
        transaction, new, liveness, lambda key: find_instance(transaction, new.job_name, key)
    )
    if instance is None:
        instance = insert_instance(transaction, new.job_name, key, create_time=at)
    return instance, previous


def _found_to_start(
    reader: Reader,
    new: NewExecution,
    liveness: Liveness,
    find: Callable[[str], JobInstance | None],
) -> tuple[str, JobInstance | None, JobExecution | None]:
    """The key of the instance to start, the instance and its last execution where they exist."""
    run_number = 1
    while True:
        key = new.unique_key or job_key(new.parameters, mark=_mark(new, run_number))
        instance = find(key)
        previous = None if instance is None else last_of_instance(reader, instance.instance_id)
        if previous is None:
            return key, instance, None
        if not (new.again and previous.batch_status is BatchStatus.COMPLETED):
            _refuse_start(new, previous, liveness)
            return key, instance, previous
        run_number += 1


def _mark(new: NewExecution, run_number: int) -> str:
    trial = f"trial {new.trial}" if new.trial is not None else ""
    again = f"run {run_number}" if run_number > 1 else ""
    return ", ".join(part for part in (trial, again) if part)


def _refuse_start(new: NewExecution, previous: JobExecution, liveness: Liveness) -> None:
    match previous.batch_status:
        case BatchStatus.COMPLETED:
            raise JobInstanceAlreadyComplete(
                new.job_name, previous.execution_id, describe_parameters(new.parameters)
            )
        case BatchStatus.ABANDONED:
            raise JobRestartError(
                f"cannot start job {new.job_name!r}: its execution {previous.execution_id}"
                " is ABANDONED, which closes the instance",
                hint="change an identifying parameter",
                fields={"execution_id": previous.execution_id},
            )
        case status if status.is_running:
            raise _already_running(new.job_name, previous, liveness)
    _refuse_not_restartable(previous, restartable=new.restartable)


def _refuse_not_restartable(previous: JobExecution, *, restartable: bool) -> None:
    if not restartable:
        raise JobRestartError(
            f"cannot restart execution {previous.execution_id}:"
            f" job {previous.job_name!r} says restartable=False",
            hint="start it with other identifying parameters",
            fields={"execution_id": previous.execution_id},
        )


def _instance_to_restart(
    transaction: Transaction, new: NewExecution, liveness: Liveness
) -> tuple[JobInstance, JobExecution]:
    assert new.restart_of is not None
    record = get_execution(transaction, new.restart_of)
    row = transaction.fetch_one(LOCK_INSTANCE, {"id_": record.instance_id})
    last = last_of_instance(transaction, record.instance_id)
    assert row is not None
    assert last is not None
    refuse_restart(record, last, liveness, restartable=new.restartable)
    given = new.unique_key is None and not new.reuses
    if given and job_key(new.parameters) != job_key(record.parameters):
        raise JobRestartError(
            f"cannot restart execution {record.execution_id}: it ran with"
            f" {describe_parameters(record.parameters) or 'no identifying parameters'}",
            hint="leave the parameters out, or start a new instance with `stepwell run`",
            fields={"execution_id": record.execution_id},
        )
    return JobInstance(*row), last


def _refuse_held_lock(transaction: Transaction, new: NewExecution, liveness: Liveness) -> None:
    assert new.run_lock_key is not None
    holder = holder_of_run_lock(transaction, new.run_lock_key)
    if holder is not None:
        raise _already_running(new.job_name, holder, liveness)


def _refuse_blocked(transaction: Transaction, new: NewExecution, liveness: Liveness) -> None:
    occupancy = read_occupancy(transaction)
    for pool in new.declared.pools:
        if pool not in occupancy.sizes:
            raise JobStartError(
                f"cannot start job {new.job_name!r}: its pool {pool!r} has no size",
                hint=f"`stepwell pool set {pool} 1` gives it one; `stepwell pool list` lists all",
                fields={"job": new.job_name, "pool": pool},
            )
    found = occupancy.blockers(new.declared) if new.owner_id is not None else ()
    if found:
        holder_id = found[0].holder_execution_id
        holder = None if holder_id is None else find_execution(transaction, holder_id)
        owner_id = None if holder is None else holder.owner_id
        raise JobExecutionBlocked(
            new.job_name,
            "; ".join(blocker.detail for blocker in found),
            holder_id,
            is_dead=owner_id is not None and liveness.is_dead(owner_id),
        )


def _refuse_hopeless(transaction: Transaction, new: NewExecution) -> None:
    """An abandoned instance never completes, so what waits for it would wait for ever."""
    assert new.after_id is not None
    awaited = get_execution(transaction, new.after_id)
    last = last_of_instance(transaction, awaited.instance_id)
    if last is not None and last.batch_status is BatchStatus.ABANDONED:
        raise JobStartError(
            f"cannot register job {new.job_name!r} after execution {new.after_id}: it is"
            " ABANDONED, its instance never completes",
            hint="register it without waiting, or after another execution",
            fields={"job": new.job_name, "execution_id": new.after_id},
        )


def _already_running(
    job_name: str, record: JobExecution, liveness: Liveness
) -> JobExecutionAlreadyRunning:
    owner_id = record.owner_id
    return JobExecutionAlreadyRunning(
        job_name,
        record.execution_id,
        owner_is_dead=owner_id is not None and liveness.is_dead(owner_id),
        waits=owner_id is None,
    )


def _new_record(
    new: NewExecution, instance: JobInstance, previous: JobExecution | None, *, at: datetime
) -> JobExecution:
    return JobExecution.fresh(
        instance.instance_id,
        instance.job_name,
        owner_id=new.owner_id,
        at=at,
        trigger_source=new.trigger_source,
        triggered_by=new.triggered_by,
        trial=new.trial if new.restart_of is None or previous is None else previous.trial,
        run_lock_key=new.run_lock_key,
        priority=new.priority,
        run_after=new.run_after,
        after_id=new.after_id,
        recoveries=0 if previous is None else previous.recoveries,
        max_recoveries=new.max_recoveries,
        parameters=new.parameters,
    )
