"""Job executions: insert, find, and the parameters and context that belong to them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from sqlalchemy import Select, bindparam, insert, literal_column, select, text, update

from stepwell.database.prepared import Prepared
from stepwell.database.tables import (
    RUNNING,
    RUNNING_AND_OWNED,
    batch_job_execution,
    batch_job_execution_context,
    batch_job_execution_params,
    batch_job_instance,
)
from stepwell.database.transaction import Reader, Transaction
from stepwell.errors import NoSuchJobExecution
from stepwell.execution.parameters import JobParameter
from stepwell.execution.records import JobExecution
from stepwell.execution.status import BatchStatus, Result
from stepwell.repository.requests import stop_requested
from stepwell.repository.rows import JOB_COLUMNS, job_execution
from stepwell.repository.zero_rows import missing_row

QUEUE = "queue"  # What is announced when an execution waits for a worker.

_e = batch_job_execution.c
_p = batch_job_execution_params.c
_c = batch_job_execution_context.c


def _select() -> Select[Any]:
    return select(*JOB_COLUMNS).select_from(batch_job_execution.join(batch_job_instance))


_INSERTED = (
    "job_instance_id",
    "create_time",
    "status",
    "last_updated",
    "owner_id",
    "fence",
    "trigger_source",
    "triggered_by",
    "run_lock_key",
    "trial",
    "priority",
    "run_after",
    "after_id",
    "recoveries",
    "max_recoveries",
    "idempotency_key",
)
INSERT_EXECUTION = Prepared(
    insert(batch_job_execution)
    .values({_e[name]: bindparam(name) for name in _INSERTED} | {_e.version: text("0")})
    .returning(_e.job_execution_id)
)
INSERT_PARAMETER = Prepared(
    insert(batch_job_execution_params).values(
        job_execution_id=bindparam("job_execution_id"),
        parameter_name=bindparam("parameter_name"),
        parameter_type=bindparam("parameter_type"),
        parameter_value=bindparam("parameter_value"),
        identifying=bindparam("identifying"),
    )
)
LIST_PARAMETERS = Prepared(
    select(_p.parameter_name, _p.parameter_type, _p.parameter_value, _p.identifying)
    .where(_p.job_execution_id == bindparam("id_"))
    .order_by(_p.parameter_name)
)
INSERT_CONTEXT = Prepared(
    insert(batch_job_execution_context).values(
        job_execution_id=bindparam("id_"), serialized_context=bindparam("context_")
    )
)
UPDATE_CONTEXT = Prepared(
    update(batch_job_execution_context)
    .where(_c.job_execution_id == bindparam("id_"))
    .values(serialized_context=bindparam("context_"))
)
GET_CONTEXT = Prepared(select(_c.serialized_context).where(_c.job_execution_id == bindparam("id_")))
GET_EXECUTION = Prepared(_select().where(_e.job_execution_id == bindparam("id_")))
FIND_BY_KEY = Prepared(_select().where(_e.idempotency_key == bindparam("key_")))
# Whoever decides by the status of an execution that is not his own locks the row first, so that
# nobody ends it in between; SQLite's writers are alone anyhow.
LOCK_EXECUTION = Prepared(
    select(_e.job_execution_id).where(_e.job_execution_id == bindparam("id_")).with_for_update()
)
LAST_OF_INSTANCE = Prepared(
    _select()
    .where(_e.job_instance_id == bindparam("instance_id_"))
    .order_by(_e.job_execution_id.desc())
    .limit(literal_column("1"))
)
PREVIOUS_OF_INSTANCE = Prepared(
    _select()
    .where(
        _e.job_instance_id == bindparam("instance_id_"),
        _e.job_execution_id < bindparam("before_"),
    )
    .order_by(_e.job_execution_id.desc())
    .limit(literal_column("1"))
)
LIST_OF_INSTANCE = Prepared(
    _select().where(_e.job_instance_id == bindparam("instance_id_")).order_by(_e.job_execution_id)
)
HOLDER_OF_RUN_LOCK = Prepared(
    _select().where(_e.run_lock_key == bindparam("run_lock_key_"), text(RUNNING_AND_OWNED))
)
# `end_time IS NULL` is what the partial index of the few running rows says.
RUNNING_EXECUTIONS = Prepared(
    _select().where(text("end_time IS NULL"), text(RUNNING)).order_by(_e.job_execution_id)
)

# Not sorted here: for the order of the ids SQLite would read the whole history.
OWNED_EXECUTIONS = Prepared(_select().where(text(RUNNING_AND_OWNED)))


def insert_execution(
    transaction: Transaction, record: JobExecution, *, idempotency_key: str | None = None
) -> JobExecution:
    """Add the row of ``record`` with its parameters and an empty context; its id is the answer's.

    Raises:
        ConstraintViolation: the instance or the run lock has an execution that has not ended; on
            SQLite the caller has looked before in the same transaction, so it cannot happen there.
    """
    row = transaction.fetch_one(
        INSERT_EXECUTION,
        {
            "job_instance_id": record.instance_id,
            "create_time": record.create_time,
            "status": record.batch_status,
            "last_updated": record.last_updated,
            "owner_id": record.owner_id,
            "fence": record.fence,
            "trigger_source": record.trigger_source,
            "triggered_by": record.triggered_by,
            "run_lock_key": record.run_lock_key,
            "trial": record.trial,
            "priority": record.priority,
            "run_after": record.run_after,
            "after_id": record.after_id,
            "recoveries": record.recoveries,
            "max_recoveries": record.max_recoveries,
            "idempotency_key": idempotency_key,
        },
    )
    assert row is not None
    execution_id = int(row[0])
    if record.owner_id is None:
        transaction.announce(QUEUE)  # Workers look at once, where they can be told.
    if record.parameters:
        transaction.execute_many(INSERT_PARAMETER, _parameter_rows(execution_id, record.parameters))
    return replace(record, execution_id=execution_id)


def find_by_key(reader: Reader, idempotency_key: str) -> JobExecution | None:
    """The execution that was asked for with this key, with its parameters; None: no one was."""
    row = reader.fetch_one(FIND_BY_KEY, {"key_": idempotency_key})
    if row is None:
        return None
    found = job_execution(row)
    return replace(found, parameters=list_parameters(reader, found.execution_id))


def _parameter_rows(
    execution_id: int, parameters: Iterable[JobParameter]
) -> list[dict[str, object]]:
    return [
        {
            "job_execution_id": execution_id,
            "parameter_name": parameter.name,
            "parameter_type": parameter.type,
            "parameter_value": parameter.value,
            "identifying": parameter.identifying,
        }
        for parameter in parameters
    ]


def list_parameters(reader: Reader, execution_id: int) -> tuple[JobParameter, ...]:
    """The parameters that an execution runs with, by name (S9)."""
    rows = reader.fetch_all(LIST_PARAMETERS, {"id_": execution_id})
    return tuple(JobParameter(name, kind, value, bool(mark)) for name, kind, value, mark in rows)


def insert_context(transaction: Transaction, execution_id: int, context: str) -> None:
    """Add the row that holds the JobContext's persistent user data."""
    transaction.execute(INSERT_CONTEXT, {"id_": execution_id, "context_": context})


def update_context(transaction: Transaction, execution_id: int, context: str) -> None:
    """Store the JobContext's persistent user data over what was there."""
    if transaction.execute(UPDATE_CONTEXT, {"id_": execution_id, "context_": context}) != 1:
        raise missing_row(f"the context of job execution {execution_id}")


def get_context(reader: Reader, execution_id: int) -> str:
    """The stored JSON of the JobContext; ``{}`` when the execution has none."""
    row = reader.fetch_one(GET_CONTEXT, {"id_": execution_id})
    return str(row[0]) if row else "{}"


def find_execution(reader: Reader, execution_id: int) -> JobExecution | None:
    """The execution without its parameters, or None."""
    row = reader.fetch_one(GET_EXECUTION, {"id_": execution_id})
    return None if row is None else job_execution(row)


def get_execution(reader: Reader, execution_id: int) -> JobExecution:
    """The execution with its parameters and whether it was asked to stop.

    Raises:
        NoSuchJobExecution: no execution has this id.
    """
    found = find_execution(reader, execution_id)
    if found is None:
        raise NoSuchJobExecution(execution_id)
    return replace(
        found,
        parameters=list_parameters(reader, execution_id),
        stop_requested=stop_requested(reader, execution_id),
    )


def get_readable_execution(reader: Reader, execution_id: int) -> JobExecution:
    """The execution with its parameters, also when its status or result is none that is known.

    It is then UNKNOWN, or without a result: for whoever must look at what somebody else wrote.

    Raises:
        NoSuchJobExecution: no execution has this id.
    """
    row = reader.fetch_one(GET_EXECUTION, {"id_": execution_id})
    if row is None:
        raise NoSuchJobExecution(execution_id)
    values = list(row)
    status, result = JOB_COLUMNS.index(_e.status), JOB_COLUMNS.index(_e.result)
    if values[status] not in tuple(BatchStatus):
        values[status] = BatchStatus.UNKNOWN
    if values[result] not in (None, *Result):
        values[result] = None
    found = job_execution(tuple(values))
    return replace(found, parameters=list_parameters(reader, execution_id))


def lock_execution(transaction: Transaction, execution_id: int) -> JobExecution:
    """The execution as it is and stays until the transaction ends.

    In a transaction the row of a job execution is always locked before those of its steps.

    Raises:
        NoSuchJobExecution: no execution has this id.
    """
    transaction.fetch_one(LOCK_EXECUTION, {"id_": execution_id})
    return get_execution(transaction, execution_id)


def last_of_instance(reader: Reader, instance_id: int) -> JobExecution | None:
    """The most recent execution of an instance, or None."""
    row = reader.fetch_one(LAST_OF_INSTANCE, {"instance_id_": instance_id})
    return None if row is None else job_execution(row)


def previous_of_instance(reader: Reader, execution: JobExecution) -> JobExecution | None:
    """The execution of the same instance before this one, or None."""
    values = {"instance_id_": execution.instance_id, "before_": execution.execution_id}
    row = reader.fetch_one(PREVIOUS_OF_INSTANCE, values)
    return None if row is None else job_execution(row)


def list_of_instance(reader: Reader, instance_id: int) -> list[JobExecution]:
    """The executions of an instance, oldest first."""
    rows = reader.fetch_all(LIST_OF_INSTANCE, {"instance_id_": instance_id})
    return [job_execution(row) for row in rows]


def holder_of_run_lock(reader: Reader, run_lock_key: str) -> JobExecution | None:
    """The owned execution under this run lock that has not ended, or None (S184)."""
    row = reader.fetch_one(HOLDER_OF_RUN_LOCK, {"run_lock_key_": run_lock_key})
    return None if row is None else job_execution(row)


def owned_executions(reader: Reader) -> list[JobExecution]:
    """Every execution at work, oldest first; what waits for a worker is not read."""
    return sorted(
        (job_execution(row) for row in reader.fetch_all(OWNED_EXECUTIONS)),
        key=lambda execution: execution.execution_id,
    )


def running_executions(reader: Reader) -> list[JobExecution]:
    """Every execution that has not ended, oldest first."""
    return [job_execution(row) for row in reader.fetch_all(RUNNING_EXECUTIONS)]
