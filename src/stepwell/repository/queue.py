"""The queue: which registered execution runs next, and how a worker takes it (S29, S184).

There is no table of the queue: a registered execution is a row of ``batch_job_execution`` like any
other, STARTING and without an owner, so there is no second state that could disagree.

Guarantees: the highest priority goes first, among equals the oldest; what cannot run now is passed
over and holds nobody back, but for the resources that it waits for itself: they are kept for it, so
that nobody starves. Of many who take one execution one gets it, and whoever looks at the queue
takes no turn at writing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import and_, bindparam, func, literal_column, or_, select, text, update

from stepwell.database.prepared import Prepared
from stepwell.database.tables import (
    RUNNING_AND_OWNED,
    WAITING,
    batch_job_execution,
    batch_job_instance,
    batch_owner,
)
from stepwell.database.transaction import Reader, Transaction
from stepwell.execution.records import JobExecution
from stepwell.execution.status import BatchStatus, check_transition
from stepwell.job.resource import Declared
from stepwell.repository.blockers import (
    Blocker,
    list_declarations,
    list_declared,
    read_occupancy,
    take_claim_turn,
)
from stepwell.repository.executions import find_execution, holder_of_run_lock, list_parameters
from stepwell.repository.history import record_change
from stepwell.repository.rows import JOB_COLUMNS, job_execution

PAGE = 100  # Read at once; mostly the first one can run.
PRIORITY_MAX = 1_000_000  # Both ways from 0; beyond it a number is a mistake.

_e = batch_job_execution.c
_i = batch_job_instance.c
_o = batch_owner.c
_holder = batch_job_execution.alias("holder")
_awaited = batch_job_execution.alias("awaited")
_completed = batch_job_execution.alias("completed")
_running = batch_job_execution.alias("running")

# That a run lock is held, and that what is waited for has completed, the database tells at once for
# any number of rows.
RUN_LOCK_IS_HELD = (
    select(_holder.c.job_execution_id)
    .where(_holder.c.run_lock_key == _e.run_lock_key, text(RUNNING_AND_OWNED))
    .exists()
)
AWAITED_HAS_COMPLETED = (
    select(_completed.c.job_execution_id)
    .select_from(
        _awaited.join(_completed, _completed.c.job_instance_id == _awaited.c.job_instance_id)
    )
    .where(_awaited.c.job_execution_id == _e.after_id, _completed.c.status == BatchStatus.COMPLETED)
    .exists()
)
AWAITED_RUNS = (
    select(_running.c.job_execution_id)
    .select_from(_awaited.join(_running, _running.c.job_instance_id == _awaited.c.job_instance_id))
    .where(
        _awaited.c.job_execution_id == _e.after_id,
        _running.c.end_time.is_(None),
        _running.c.owner_id.is_not(None),
    )
    .exists()
)
DUE_EXECUTIONS = (
    select(
        _e.job_execution_id,
        _i.job_name,
        _e.priority,
        func.coalesce(_e.run_after, _e.create_time),
    )
    .select_from(batch_job_execution.join(batch_job_instance))
    .where(text(WAITING), or_(_e.run_after.is_(None), _e.run_after <= bindparam("now_")))
)
WAITING_EXECUTIONS = Prepared(
    DUE_EXECUTIONS.where(
        or_(
            _e.priority < bindparam("priority_"),
            and_(_e.priority == bindparam("priority_"), _e.job_execution_id > bindparam("id_")),
        ),
        or_(_e.after_id.is_(None), AWAITED_HAS_COMPLETED),
        ~RUN_LOCK_IS_HELD,
    )
    .order_by(_e.priority.desc(), _e.job_execution_id)
    .limit(literal_column(str(PAGE)))
)
# For people: also what is not due, or waits for another one.
LIST_WAITING = Prepared(
    select(*JOB_COLUMNS)
    .select_from(batch_job_execution.join(batch_job_instance))
    .where(
        text(WAITING),
        or_(
            _e.priority < bindparam("priority_"),
            and_(_e.priority == bindparam("priority_"), _e.job_execution_id > bindparam("id_")),
        ),
    )
    .order_by(_e.priority.desc(), _e.job_execution_id)
    .limit(bindparam("count_"))
)
COUNT_WAITING = Prepared(select(func.count()).select_from(batch_job_execution).where(text(WAITING)))
# Whoever comes second passes it by instead of waiting for the first.
LOCK_WAITING = Prepared(
    select(*JOB_COLUMNS)
    .select_from(batch_job_execution.join(batch_job_instance))
    .where(_e.job_execution_id == bindparam("id_"), text(WAITING))
    .with_for_update(of=batch_job_execution, skip_locked=True)
)
CLAIM = Prepared(
    update(batch_job_execution)
    .where(
        _e.job_execution_id == bindparam("id_"),
        _e.version == bindparam("version_"),
        _e.fence == bindparam("fence_"),
        text(WAITING),
        # A process that slept and was taken for dead takes nothing before it is another owner.
        select(_o.owner_id)
        .where(_o.owner_id == bindparam("owner_"), text("ended_at IS NULL"))
        .exists(),
    )
    .values(
        owner_id=bindparam("owner_"),
        status=BatchStatus.STARTED,
        start_time=bindparam("start_"),
        last_updated=bindparam("start_"),
        fence=literal_column("fence + 1"),
        version=literal_column("version + 1"),
    )
)


# What waits only because of something that runs: it will move when that ends.
WAITING_FOR_RUNNING = Prepared(DUE_EXECUTIONS.where(or_(RUN_LOCK_IS_HELD, AWAITED_RUNS)))


class Waiting(NamedTuple):
    """A registered execution that is due, in the order of the queue."""

    execution_id: int
    job_name: str
    priority: int
    since: datetime


@dataclass(frozen=True)
class Wanted:
    """What a worker runs: these jobs and, unless there are none, only what declares these pools."""

    jobs: frozenset[str]
    pools: frozenset[str] = frozenset()

    def has(self, waiting: Waiting, declared: Declared) -> bool:
        """Whether a worker that wants this runs it."""
        in_pools = not self.pools or not self.pools.isdisjoint(declared.pools)
        return waiting.job_name in self.jobs and in_pools


def waiting_executions(reader: Reader, *, at: datetime) -> Iterator[tuple[Waiting, Declared]]:
    """What is due, whose run lock is free and which waits for no other execution, in order.

    With what each declares; a page is read at a time.
    """
    priority, after = PRIORITY_MAX + 1, 0
    while True:
        values = {"now_": at, "priority_": priority, "id_": after}
        page = [Waiting(*row) for row in reader.fetch_all(WAITING_EXECUTIONS, values)]
        declarations = list_declarations(reader, [waiting.execution_id for waiting in page])
        for waiting in page:
            yield waiting, declarations.get(waiting.execution_id, Declared())
        if len(page) < PAGE:
            return
        after, priority = page[-1].execution_id, page[-1].priority


def list_waiting(reader: Reader, *, after_id: int | None, count: int) -> list[JobExecution]:
    """A page of everything that waits for a worker, in the order of the queue, behind one of it."""
    last = None if after_id is None else find_execution(reader, after_id)
    priority, last_id = (PRIORITY_MAX + 1, 0) if last is None else (last.priority, after_id)
    values = {"priority_": priority, "id_": last_id, "count_": count}
    found = [job_execution(row) for row in reader.fetch_all(LIST_WAITING, values)]
    return [replace(e, parameters=list_parameters(reader, e.execution_id)) for e in found]


def count_waiting(reader: Reader) -> int:
    """How many executions wait for a worker."""
    row = reader.fetch_one(COUNT_WAITING)
    return int(row[0]) if row else 0


def find_startable(reader: Reader, wanted: Wanted, *, at: datetime, count: int) -> list[int]:
    """The first ``count`` executions that may start now, in the order of the queue.

    A claim looks once more.
    """
    occupancy = read_occupancy(reader)
    found: list[int] = []
    for waiting, declared in waiting_executions(reader, at=at):
        if not wanted.has(waiting, declared):
            occupancy.keep(
                waiting.execution_id, declared
            )  # What waits longest goes first, whoever will run it.
        elif occupancy.let_in(waiting.execution_id, declared):
            found.append(waiting.execution_id)
            if len(found) == count:
                break
    return found


@dataclass(frozen=True)
class Place:
    """Where a waiting execution stands.

    Attributes:
        number: Its place among those that could start now, from 1; None when it could not.
        first_ahead: The first of those in front of it.
        blockers: What pools and resources forbid, and who waits in front for the same resource.
    """

    number: int | None
    first_ahead: int | None
    blockers: tuple[Blocker, ...]


def places_in_queue(
    reader: Reader, waiting_: Sequence[JobExecution], *, at: datetime
) -> dict[int, Place]:
    """The places of waiting executions, as a worker for all jobs would see them now.

    The queue is walked once, up to the last of them.
    """
    wanted = {execution.execution_id for execution in waiting_}
    last = max((_rank(each.priority, each.execution_id) for each in waiting_), default=(0, 0))
    occupancy = read_occupancy(reader)
    number, first_ahead = 0, None
    found: dict[int, Place] = {}
    for waiting, declared in waiting_executions(reader, at=at):
        if _rank(waiting.priority, waiting.execution_id) > last:
            break
        blockers = occupancy.blockers(declared)
        if waiting.execution_id in wanted:
            place = Place(None if blockers else number + 1, first_ahead, blockers)
            found[waiting.execution_id] = place
        if not blockers:
            number, first_ahead = number + 1, first_ahead or waiting.execution_id
        occupancy.keep(waiting.execution_id, declared)
        if len(found) == len(wanted):
            break
    if wanted - found.keys():
        # They are not due, or their run locks are held: what else would be in their way?
        occupancy = read_occupancy(reader)
        for execution_id in sorted(wanted - found.keys()):
            blockers = occupancy.blockers(list_declared(reader, execution_id))
            found[execution_id] = Place(None, None, blockers)
    return found


def _rank(priority: int, execution_id: int) -> tuple[int, int]:
    """The order of the queue."""
    return -priority, execution_id


def may_still_start(reader: Reader, wanted: Wanted, *, at: datetime) -> bool:
    """Whether something could start now, or as soon as what runs now has ended.

    What is due later, or waits for what does not run, is not meant.
    """
    for row in reader.fetch_all(WAITING_FOR_RUNNING, {"now_": at}):
        waiting = Waiting(*row)
        if wanted.has(waiting, list_declared(reader, waiting.execution_id)):
            return True
    occupancy = read_occupancy(reader)
    for waiting, declared in waiting_executions(reader, at=at):
        held_by_what_runs = (b.holder_execution_id for b in occupancy.blockers(declared))
        if wanted.has(waiting, declared) and all(held_by_what_runs):
            return True
    return False


def claim_execution(
    transaction: Transaction, execution_id: int, owner_id: int, *, at: datetime
) -> JobExecution | None:
    """Take a registered execution: owner, fence + 1, STARTED, in one UPDATE with its history (S29).

    None when somebody else was first, when something forbids it now, or when the owner was taken
    for dead.

    Raises:
        ConstraintViolation: on PostgreSQL, somebody took the run lock at the same moment (S184).
    """
    declared = list_declared(transaction, execution_id)
    if declared:
        take_claim_turn(transaction)
    row = transaction.fetch_one(LOCK_WAITING, {"id_": execution_id})
    if row is None:
        return None
    record = job_execution(row)
    if record.run_lock_key and holder_of_run_lock(transaction, record.run_lock_key) is not None:
        return None
    if declared and read_occupancy(transaction).blockers(declared):
        return None
    claimed = replace(
        record,
        batch_status=BatchStatus.STARTED,
        owner_id=owner_id,
        version=record.version + 1,
        fence=record.fence + 1,
        start_time=max(at, record.last_updated),
        last_updated=max(at, record.last_updated),
    )
    check_transition("job", execution_id, record.batch_status, claimed.batch_status)
    values = {
        "id_": execution_id,
        "version_": record.version,
        "fence_": record.fence,
        "owner_": owner_id,
        "start_": claimed.start_time,
    }
    if transaction.execute(CLAIM, values) != 1:
        return None
    record_change(transaction, claimed, record.batch_status)
    return claimed
