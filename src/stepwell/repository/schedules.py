"""Schedules as they are recorded, and the one moment at which a due time becomes an execution.

Guarantees: the due time is moved on and its execution registered in one transaction, by a versioned
UPDATE that one of any number of workers wins; a due time is run once, whatever the clocks do,
because it is an identifying parameter (S4).
"""

from __future__ import annotations

import logging
from collections.abc import Container, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from sqlalchemy import bindparam, delete, insert, literal_column, select, update

from stepwell.database.liveness import Liveness
from stepwell.database.prepared import Prepared
from stepwell.database.tables import batch_schedule
from stepwell.database.transaction import Reader, Transaction
from stepwell.errors import (
    InvalidSchedule,
    JobExecutionAlreadyRunning,
    JobInstanceAlreadyComplete,
    JobRestartError,
    NoSuchSchedule,
    OptimisticLockingFailure,
    ScheduleAlreadyExists,
)
from stepwell.execution.json import from_json, to_json
from stepwell.job.schedule import CatchUp, Schedule, Turn
from stepwell.repository.creation import NewExecution, create_execution
from stepwell.repository.zero_rows import report_zero_rows

logger = logging.getLogger("stepwell.repository")

OPERATOR, SETTINGS = "operator", "settings"

_s = batch_schedule.c
_DEFINITION = ("job_name", "cron", "time_zone", "parameters", "catch_up", "defined_by")
_POSITION = ("last_due_at", "skipped_due_at", "next_due_at", "paused_at")


@dataclass(frozen=True)
class RecordedSchedule:
    """A schedule, who defined it, and how far it has come.

    Attributes:
        defined_by: ``settings`` or ``operator``.
        last_due_at: The last due time whose execution was registered.
        skipped_due_at: The last due time that was let go since then; None when none was.
        next_due_at: When it is due next; None when it never is.
        paused_at: Since when it is not fired; None when it is.
    """

    schedule_id: int
    version: int
    schedule: Schedule
    defined_by: str
    last_due_at: datetime | None = None
    skipped_due_at: datetime | None = None
    next_due_at: datetime | None = None
    paused_at: datetime | None = None

    @property
    def name(self) -> str:
        """The schedule's name."""
        return self.schedule.name


_SELECT = select(
    _s.schedule_id,
    _s.version,
    _s.schedule_name,
    *(_s[name] for name in _DEFINITION),
    *(_s[name] for name in _POSITION),
)
LIST_SCHEDULES = Prepared(_SELECT.order_by(_s.schedule_name))
# Whoever changes a schedule that he has looked at locks it first; SQLite's writers are alone.
LOCK_SCHEDULES = Prepared(_SELECT.order_by(_s.schedule_name).with_for_update())
LOCK_SCHEDULE = Prepared(_SELECT.where(_s.schedule_name == bindparam("name_")).with_for_update())
GET_SCHEDULE = Prepared(_SELECT.where(_s.schedule_name == bindparam("name_")))
LIST_DUE = Prepared(
    _SELECT.where(_s.paused_at.is_(None), _s.next_due_at <= bindparam("now_")).order_by(
        _s.next_due_at, _s.schedule_id
    )
)
INSERT_SCHEDULE = Prepared(
    insert(batch_schedule)
    .values(
        schedule_name=bindparam("schedule_name"),
        version=literal_column("0"),
        **{name: bindparam(name) for name in (*_DEFINITION, *_POSITION)},
    )
    .returning(_s.schedule_id)
)
UPDATE_SCHEDULE = Prepared(
    update(batch_schedule)
    .where(_s.schedule_id == bindparam("id_"), _s.version == bindparam("version_"))
    .values(
        version=literal_column("version + 1"),
        **{name: bindparam(name) for name in (*_DEFINITION, *_POSITION)},
    )
)
MOVE_ON = Prepared(
    update(batch_schedule)
    .where(
        _s.schedule_id == bindparam("id_"),
        _s.version == bindparam("version_"),
        _s.paused_at.is_(None),
    )
    .values(
        version=literal_column("version + 1"),
        last_due_at=bindparam("last_due_at"),
        skipped_due_at=bindparam("skipped_due_at"),
        next_due_at=bindparam("next_due_at"),
    )
)
DELETE_SCHEDULE = Prepared(
    delete(batch_schedule).where(
        _s.schedule_id == bindparam("id_"), _s.version == bindparam("version_")
    )
)


def list_schedules(reader: Reader) -> list[RecordedSchedule]:
    """Every schedule, by name; there are as many as people have written."""
    return [_recorded(row) for row in reader.fetch_all(LIST_SCHEDULES)]


def list_due_schedules(reader: Reader, now: datetime) -> list[RecordedSchedule]:
    """What is to be fired, the longest due first; a row that cannot be read holds up no other."""
    due = []
    for row in reader.fetch_all(LIST_DUE, {"now_": now}):
        try:
            due.append(_recorded(row))
        except InvalidSchedule as error:
            logger.error("%s", error)
    return due


def get_schedule(reader: Reader, name: str) -> RecordedSchedule:
    """One schedule.

    Raises:
        NoSuchSchedule: none has this name.
    """
    return _one(reader, GET_SCHEDULE, name)


def lock_schedules(transaction: Transaction) -> list[RecordedSchedule]:
    """Every schedule, and nobody else changes one of them before this transaction ends."""
    return [_recorded(row) for row in transaction.fetch_all(LOCK_SCHEDULES)]


def lock_schedule(transaction: Transaction, name: str) -> RecordedSchedule:
    """One schedule, locked.

    Raises:
        NoSuchSchedule: none has this name.
    """
    return _one(transaction, LOCK_SCHEDULE, name)


def add_schedule(
    transaction: Transaction, schedule: Schedule, *, next_due: datetime
) -> RecordedSchedule:
    """Record an operator's new schedule.

    Raises:
        ScheduleAlreadyExists: there is one of this name.
        ConstraintViolation: another process was first with it; the caller looks again.
    """
    for found in lock_schedules(transaction):
        if found.name == schedule.name:
            there = found.schedule
            raise ScheduleAlreadyExists(there.name, there.job_name, there.cron)
    return _insert(transaction, schedule, OPERATOR, next_due)


def pause_schedule(transaction: Transaction, name: str, *, at: datetime) -> RecordedSchedule:
    """Have it fired no more; a second time changes nothing.

    Raises:
        NoSuchSchedule: none has this name.
    """
    held = lock_schedule(transaction, name)
    if held.paused_at is not None:
        return held
    return _update(transaction, held, paused_at=at)


def resume_schedule(transaction: Transaction, name: str, *, now: datetime) -> RecordedSchedule:
    """Have it fired from now on; one that is not paused is never moved to a later time.

    Raises:
        NoSuchSchedule: none has this name.
    """
    held = lock_schedule(transaction, name)
    next_due = held.schedule.times.due_after(now)
    if held.paused_at is None and not _is_before(next_due, held.next_due_at):
        return held
    return _update(transaction, held, paused_at=None, skipped_due_at=None, next_due_at=next_due)


def remove_schedule(transaction: Transaction, name: str) -> RecordedSchedule:
    """Take a schedule away; what it has started stays.

    Raises:
        NoSuchSchedule: none has this name.
    """
    held = lock_schedule(transaction, name)
    _delete(transaction, held)
    return held


@dataclass(frozen=True)
class Reconciled:
    """What reading the settings has changed, by names of schedules; mostly nothing."""

    added: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()


def reconcile_schedules(
    transaction: Transaction,
    wanted: Mapping[str, tuple[Schedule, datetime]],
    known_jobs: Container[str],
) -> Reconciled:
    """Record what the settings define, by name, each with when it is due first; twice is once.

    What they define no more is taken away, where its job is one of ``known_jobs``. A pause stays,
    and so does a due time unless the times themselves have changed.

    Raises:
        ConstraintViolation: another process does the same; the caller looks again.
    """
    found = {each.name: each for each in lock_schedules(transaction)}
    added, changed, removed = [], [], []
    for name, (schedule, due) in wanted.items():
        held = found.get(name)
        if held is None:
            _insert(transaction, schedule, SETTINGS, due)
            added.append(name)
        elif (held.schedule, held.defined_by) != (schedule, SETTINGS):
            times = (schedule.cron, schedule.time_zone)
            same = times == (held.schedule.cron, held.schedule.time_zone)
            _update(
                transaction,
                held,
                schedule=schedule,
                defined_by=SETTINGS,
                next_due_at=held.next_due_at if same else due,
            )
            changed.append(name)
    for name, held in found.items():
        is_ours = held.defined_by == SETTINGS and held.schedule.job_name in known_jobs
        if is_ours and name not in wanted:
            _delete(transaction, held)
            removed.append(name)
    return Reconciled(tuple(added), tuple(changed), tuple(removed))


def _insert(
    transaction: Transaction, schedule: Schedule, defined_by: str, next_due: datetime
) -> RecordedSchedule:
    new = RecordedSchedule(0, 0, schedule, defined_by, next_due_at=next_due)
    row = transaction.fetch_one(INSERT_SCHEDULE, _values(new))
    assert row is not None
    return replace(new, schedule_id=int(row[0]))


def _update(transaction: Transaction, held: RecordedSchedule, **changes: Any) -> RecordedSchedule:
    changed = replace(held, version=held.version + 1, **changes)
    _one_row(transaction.execute(UPDATE_SCHEDULE, _values(changed, held)), held)
    return changed


def _delete(transaction: Transaction, held: RecordedSchedule) -> None:
    values = {"id_": held.schedule_id, "version_": held.version}
    _one_row(transaction.execute(DELETE_SCHEDULE, values), held)


def _is_before(one: datetime | None, other: datetime | None) -> bool:
    """Whether ``one`` comes first; None never comes."""
    return one is not None and (other is None or one < other)


@dataclass(frozen=True)
class Fired:
    """What came of a due time.

    Attributes:
        recorded: The schedule as it now is.
        due: The due time; None when the schedule was late and everything was let go.
        execution_id: The execution that was registered; None when there was one already.
    """

    recorded: RecordedSchedule
    due: datetime | None
    execution_id: int | None


def fire_schedule(
    transaction: Transaction,
    held: RecordedSchedule,
    turn: Turn,
    new: NewExecution | None,
    *,
    liveness: Liveness,
    at: datetime,
) -> Fired | None:
    """Move a schedule on and register the execution that is due, both or neither.

    None when somebody else has fired, changed, paused or removed it since it was read. A due time
    that has its instance already, whatever became of that, is not run again.

    Raises:
        ConstraintViolation: another process made the same instance; the caller begins anew.
    """
    last = held.last_due_at if turn.due is None else turn.due
    moved = replace(
        held,
        version=held.version + 1,
        last_due_at=last,
        skipped_due_at=turn.skipped,
        next_due_at=turn.next_due,
    )
    if transaction.execute(MOVE_ON, _values(moved, held)) != 1:
        return None
    if new is None:
        return Fired(moved, None, None)
    try:
        # A failed run is for people to restart: the schedule itself never goes back to one.
        created = create_execution(
            transaction, replace(new, restartable=False), liveness=liveness, at=at
        )
    except (JobInstanceAlreadyComplete, JobExecutionAlreadyRunning, JobRestartError):
        return Fired(moved, turn.due, None)
    return Fired(moved, turn.due, created.execution.execution_id)


def _one(reader: Reader, statement: Prepared, name: str) -> RecordedSchedule:
    row = reader.fetch_one(statement, {"name_": name})
    if row is None:
        raise NoSuchSchedule(name, (str(row[2]) for row in reader.fetch_all(LIST_SCHEDULES)))
    return _recorded(row)


def _recorded(row: tuple[Any, ...]) -> RecordedSchedule:
    schedule_id, version, name, job_name, cron, time_zone, parameters, catch_up, *rest = row
    try:
        policy, found = CatchUp(catch_up), dict(from_json(parameters))  # type: ignore[call-overload]
    except (ValueError, TypeError) as error:  # JSON that is none is a ValueError.
        raise InvalidSchedule(
            f"cannot read schedule {name!r}: another program wrote its row, {error}",
            hint=f"`stepwell schedule remove {name}`, and add it anew",
            fields={"schedule": name},
        ) from None
    schedule = Schedule(name, job_name, cron, time_zone, found, policy)
    return RecordedSchedule(schedule_id, version, schedule, *rest)


def _values(changed: RecordedSchedule, held: RecordedSchedule | None = None) -> dict[str, Any]:
    schedule = changed.schedule
    return {
        "id_": changed.schedule_id,
        "version_": held.version if held is not None else 0,
        "schedule_name": schedule.name,
        "job_name": schedule.job_name,
        "cron": schedule.cron,
        "time_zone": schedule.time_zone,
        "parameters": to_json(dict(schedule.parameters), what="the schedule's parameters"),
        "catch_up": str(schedule.catch_up),
        "defined_by": changed.defined_by,
        "last_due_at": changed.last_due_at,
        "skipped_due_at": changed.skipped_due_at,
        "next_due_at": changed.next_due_at,
        "paused_at": changed.paused_at,
    }


def _one_row(updated: int, held: RecordedSchedule) -> None:
    # The row was locked in this same transaction.
    if updated != 1:
        report_zero_rows(
            f"schedule {held.name!r}", job=held.schedule.job_name, status=None, stage=None
        )
        raise OptimisticLockingFailure(
            f"cannot change schedule {held.name!r}: it changed while it was looked at",
            hint="`stepwell schedule list` shows it as it is",
            fields={"schedule": held.name, "version": held.version},
        )
