"""Retention: old instances are deleted with everything that belongs to them, a few at a time.

Guarantees: an instance goes whole, with all its executions, or stays whole; a kill between two
transactions leaves the rest for the next time. Nothing that has not ended is deleted, nor what
something registered waits for, nor, unless it is asked for, what could be restarted. The history is
append-only but for this (S27): the executions stand in ``batch_purge`` while the transaction
deletes them.

Why whole instances and not single executions: a restart looks for the last execution of each step
in the whole instance, and its partition plan may be that of an earlier one (S65, S156).

An instance that is gone is forgotten: the same parameters make a new one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Select, bindparam, delete, func, insert, literal_column, select, text

from stepwell.database.connect import Database
from stepwell.database.prepared import Prepared
from stepwell.database.tables import (
    batch_job_execution,
    batch_job_instance,
    batch_purge,
    batch_step_execution,
    metadata,
)
from stepwell.database.transaction import Reader, Transaction
from stepwell.errors import JobStartError
from stepwell.execution.status import BatchStatus
from stepwell.repository.instances import LIST_NAMES, LOCK_INSTANCE

CLOSED = (BatchStatus.COMPLETED, BatchStatus.ABANDONED)
RESTARTABLE = (BatchStatus.FAILED, BatchStatus.STOPPED)

PAGE_INSTANCES = 200
# A transaction that deletes so many rows takes some milliseconds; one instance may have more.
ROWS_A_TRANSACTION = 2_000

_i = batch_job_instance.c
_e = batch_job_execution.c
_s = batch_step_execution.c


@dataclass(frozen=True)
class Purgeable:
    """An instance that a rule gives up.

    Attributes:
        last_execution_id: Its most recent execution, whose status and end decide.
    """

    instance_id: int
    job_name: str
    last_execution_id: int
    status: BatchStatus
    ended_at: datetime
    execution_count: int


@dataclass(frozen=True)
class PurgeRule:
    """Which instances are given up; what is not given allows it, all that is given must.

    Attributes:
        older_than: Their last execution has ended longer ago than this.
        keep_newest: The newest instances of each job, that many, stay whatever their age.
        job_name: Only those of this job.
        statuses: Only those whose last execution has ended so.
    """

    older_than: timedelta | None = None
    keep_newest: int | None = None
    job_name: str | None = None
    statuses: tuple[BatchStatus, ...] = CLOSED

    def __post_init__(self) -> None:
        fact = ""
        wrong = [status for status in self.statuses if status not in CLOSED + RESTARTABLE]
        if self.older_than is None and self.keep_newest is None:
            fact = "neither an age nor a number says what is kept"
        elif self.older_than is not None and self.older_than <= timedelta(0):
            fact = f"the age must be above 0, got {self.older_than}"
        elif self.keep_newest is not None and self.keep_newest < 0:
            fact = f"the number must be 0 or more, got {self.keep_newest}"
        elif wrong or not self.statuses:
            named = wrong[0] if wrong else "none"
            fact = f"the status must be one of an end, such as COMPLETED, got {named}"
        if fact:
            raise JobStartError(
                f"cannot purge: {fact}", hint="for example `stepwell purge --older-than 90d`"
            )


@dataclass(frozen=True)
class Purged:
    """What one transaction has deleted.

    Attributes:
        row_count: Rows of all tables.
        seen_id: The last instance that was looked at; the next transaction begins behind it.
    """

    instance_count: int
    execution_count: int
    row_count: int
    seen_id: int


def _candidates() -> Select[Any]:
    x = batch_job_execution.alias("x")
    last = select(func.max(x.c.job_execution_id)).where(x.c.job_instance_id == _i.job_instance_id)
    y = batch_job_execution.alias("y")
    count = select(func.count()).where(y.c.job_instance_id == _i.job_instance_id)
    waiting, awaited = batch_job_execution.alias("w"), batch_job_execution.alias("a")
    is_awaited: Select[Any] = (
        select(literal_column("1"))
        .select_from(waiting.join(awaited, awaited.c.job_execution_id == waiting.c.after_id))
        .where(text("w.end_time IS NULL"), awaited.c.job_instance_id == _i.job_instance_id)
    )
    return (
        select(
            _i.job_instance_id,
            _i.job_name,
            _e.job_execution_id,
            _e.status,
            _e.end_time,
            count.scalar_subquery(),
        )
        .select_from(batch_job_instance.join(batch_job_execution))
        .where(
            _e.job_execution_id == last.scalar_subquery(),
            _e.end_time.is_not(None),
            ~is_awaited.exists(),
        )
    )


PAGE = Prepared(
    _candidates()
    .where(_i.job_instance_id > bindparam("after_"))
    .order_by(_i.job_instance_id)
    .limit(bindparam("count_"))
)
ONE = Prepared(_candidates().where(_i.job_instance_id == bindparam("id_")))
# The oldest instance that is still among the newest of its job.
NEWEST = Prepared(
    select(_i.job_instance_id)
    .where(_i.job_name == bindparam("job_name_"))
    .order_by(_i.job_instance_id.desc())
    .limit(literal_column("1"))
    .offset(bindparam("skipped_"))
)


def _deletes() -> tuple[Prepared, ...]:
    """A DELETE for each reference to an execution or a step, those who refer before the referred.

    Derived from the definition of the tables, so that none is forgotten when one is added. Each
    is found by the index that the reference has.
    """
    executions = select(_e.job_execution_id).where(_e.job_instance_id == bindparam("id_"))
    steps = select(_s.step_execution_id).where(_s.job_execution_id.in_(executions))
    belonging = {_e.job_execution_id: executions, _s.step_execution_id: steps}
    return tuple(
        Prepared(delete(table).where(column.in_(belonging[key.column])))
        for table in reversed(metadata.sorted_tables)
        if table is not batch_job_execution
        for column in table.columns
        for key in column.foreign_keys
        if key.column in belonging
    )


NAME_PURGED = Prepared(
    insert(batch_purge).from_select(
        ["job_execution_id"],
        select(_e.job_execution_id).where(_e.job_instance_id == bindparam("id_")),
    )
)
DELETE_BELONGING = _deletes()
DELETE_EXECUTIONS = Prepared(
    delete(batch_job_execution).where(_e.job_instance_id == bindparam("id_"))
)
DELETE_INSTANCE = Prepared(delete(batch_job_instance).where(_i.job_instance_id == bindparam("id_")))
FORGET_PURGED = Prepared(delete(batch_purge))


def list_purgeable(reader: Reader, rule: PurgeRule, *, now: datetime) -> Iterator[Purgeable]:
    """Every instance that the rule gives up, oldest first; the reader stays open meanwhile."""
    floors = _floors(reader, rule)
    after = 0
    while True:
        rows = reader.fetch_all(PAGE, {"after_": after, "count_": PAGE_INSTANCES})
        if not rows:
            return
        yield from (found for row in rows if _gives_up(rule, found := _purgeable(row), floors, now))
        after = rows[-1][0]


def purge_some(
    database: Database, rule: PurgeRule, *, now: datetime, after_id: int = 0
) -> Purged | None:
    """Delete some of the instances that the rule gives up, in one transaction of its own.

    It looks at the instances behind ``after_id``; None when there are no more. Whoever restarts one
    of them meanwhile keeps it: the rule is asked again behind the lock of the instance.
    """
    with database.read() as reader:
        floors = _floors(reader, rule)
        rows = reader.fetch_all(PAGE, {"after_": after_id, "count_": PAGE_INSTANCES})
    if not rows:
        return None
    seen = [_purgeable(row) for row in rows]

    def fact(transaction: Transaction) -> Purged:
        instances = executions = deleted = 0
        seen_id = after_id
        for found in seen:
            if deleted >= ROWS_A_TRANSACTION:
                break
            seen_id = found.instance_id
            if _gives_up(rule, found, floors, now):
                again = _locked(transaction, found.instance_id)
                if again is not None and _gives_up(rule, again, floors, now):
                    instances += 1
                    executions += again.execution_count
                    deleted += _delete_instance(transaction, found.instance_id)
        return Purged(instances, executions, deleted, seen_id)

    if not any(_gives_up(rule, found, floors, now) for found in seen):
        return Purged(0, 0, 0, seen[-1].instance_id)
    return database.run(fact, what="purge old executions")


def _floors(reader: Reader, rule: PurgeRule) -> dict[str, int] | None:
    """For each job the oldest instance that its number keeps; None without such a rule."""
    if not rule.keep_newest:
        return None
    floors = {}
    for (job_name,) in reader.fetch_all(LIST_NAMES):
        values = {"job_name_": job_name, "skipped_": rule.keep_newest - 1}
        row = reader.fetch_one(NEWEST, values)
        floors[job_name] = int(row[0]) if row else 0
    return floors


def _gives_up(
    rule: PurgeRule, found: Purgeable, floors: dict[str, int] | None, now: datetime
) -> bool:
    return (
        found.status in rule.statuses
        and (rule.job_name is None or found.job_name == rule.job_name)
        and (rule.older_than is None or now - found.ended_at > rule.older_than)
        and (floors is None or found.instance_id < floors.get(found.job_name, 0))
    )


def _locked(transaction: Transaction, instance_id: int) -> Purgeable | None:
    """The instance as it is and stays: whoever starts or restarts it locks the same row (S7)."""
    if transaction.fetch_one(LOCK_INSTANCE, {"id_": instance_id}) is None:
        return None
    row = transaction.fetch_one(ONE, {"id_": instance_id})
    return None if row is None else _purgeable(row)


def _delete_instance(transaction: Transaction, instance_id: int) -> int:
    values = {"id_": instance_id}
    transaction.execute(NAME_PURGED, values)
    statements = (*DELETE_BELONGING, DELETE_EXECUTIONS, DELETE_INSTANCE)
    deleted = sum(transaction.execute(statement, values) for statement in statements)
    transaction.execute(FORGET_PURGED)
    return deleted


def _purgeable(row: tuple[Any, ...]) -> Purgeable:
    instance_id, job_name, execution_id, status, ended_at, count = row
    return Purgeable(instance_id, job_name, execution_id, BatchStatus(status), ended_at, count)
