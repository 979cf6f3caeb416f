"""Schedules: add, pause, preview, and fire what is due; ``Node.schedules`` is one.

Guarantees: a due time is registered once across any number of workers (see
``repository/schedules.py``); a schedule that cannot be fired keeps its due time until it can, and
holds up no other; what the settings define is recorded however often they are read.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import TypeVar

from stepwell.clock import Clock
from stepwell.database.transaction import Transaction
from stepwell.errors import (
    BatchError,
    ConstraintViolation,
    InvalidSchedule,
    InvalidSetting,
    JobSecurityError,
    JobStartError,
    ScheduleInSettings,
    StepwellError,
)
from stepwell.job.registry import JobRegistry
from stepwell.job.schedule import CatchUp, Schedule, check_schedule, plain_parameters
from stepwell.operator import JobOperator
from stepwell.repository import schedules as table
from stepwell.repository.creation import NewExecution
from stepwell.repository.outcome import CREATE_ATTEMPTS
from stepwell.repository.questions import Access
from stepwell.repository.repository import JobRepository
from stepwell.repository.schedules import Fired, Reconciled, RecordedSchedule
from stepwell.settings import ScheduleSettings, Settings

logger = logging.getLogger("stepwell.schedules")

T = TypeVar("T")

# Of one schedule at a time: whoever catches up on a year of minutes lets others have their turn.
FIRED_MAX = 100


class Schedules:
    """The schedules of one database. Threads may share it.

    Nothing runs here: what is due is registered, and waits for a worker like all registered work.
    """

    def __init__(
        self,
        repository: JobRepository,
        registry: JobRegistry,
        operator: JobOperator,
        settings: Settings,
        *,
        access: Access | None = None,
    ) -> None:
        self._repository = repository
        self._registry = registry
        self._operator = operator
        self._settings = settings
        self._access = access
        self._clock = repository.clock
        # What was said already, so that a schedule that cannot be fired is told of once.
        self._told: dict[int, str] = {}

    # --- what people do ----------------------------------------------------------------------

    def list_schedules(self) -> list[RecordedSchedule]:
        """Every schedule, by name."""
        self._permit("list_schedules")
        with self._repository.database.read() as reader:
            return table.list_schedules(reader)

    def get(self, name: str) -> RecordedSchedule:
        """One schedule.

        Raises:
            NoSuchSchedule: none has this name.
        """
        self._permit("get_schedule", name)
        with self._repository.database.read() as reader:
            return table.get_schedule(reader, name)

    def add(
        self,
        job: str,
        cron: str,
        parameters: Mapping[str, object] | None = None,
        *,
        name: str | None = None,
        time_zone: str | None = None,
        catch_up: str = CatchUp.LAST,
    ) -> RecordedSchedule:
        """Have ``job`` started whenever ``cron`` is due; named like the job unless named.

        Without a zone it is this machine's. Texts of the parameters may use ``{due}``, ``{today}``,
        ``{yesterday}`` and ``{month_start}``; they are tried out with the first due time.

        Raises:
            InvalidSchedule: cron, zone, policy or parameters; nothing was recorded.
            NoSuchJob: the job is not known here.
            ScheduleAlreadyExists: there is one of this name.
        """
        self._permit("add_schedule", job)
        schedule = Schedule(
            name=name or job,
            job_name=job,
            cron=cron,
            time_zone=time_zone or self._clock.zone_name(),
            parameters=plain_parameters(parameters or {}),
            catch_up=_policy(catch_up, name or job),
        )
        due = self._check(schedule, f"cannot add schedule {schedule.name!r}")

        added = self._run(lambda t: table.add_schedule(t, schedule, next_due=due))
        logger.info("schedule %r of job %r is due %s", added.name, job, due)
        return added

    def pause(self, name: str) -> RecordedSchedule:
        """Fire it no more until it is resumed; a second time changes nothing.

        Raises:
            NoSuchSchedule: none has this name.
        """
        self._permit("pause_schedule", name)
        now = self._clock.now()
        return self._run(lambda t: table.pause_schedule(t, name, at=now))

    def resume(self, name: str) -> RecordedSchedule:
        """Fire it again, from now on: what was due during the pause is not caught up.

        One that is not paused stays as it is; but if a clock that was wrong has moved it on too
        far, it is due again at its next time from now.

        Raises:
            NoSuchSchedule: none has this name.
        """
        self._permit("resume_schedule", name)
        now = self._clock.now()
        return self._run(lambda t: table.resume_schedule(t, name, now=now))

    def remove(self, name: str) -> RecordedSchedule:
        """Take it away; what it has started stays. Answers what it was.

        Raises:
            NoSuchSchedule: none has this name.
            ScheduleInSettings: the settings define it, so that it would come back.
        """
        self._permit("remove_schedule", name)

        if name in self._in_settings():
            raise ScheduleInSettings(name, str(self._settings.file or "the settings"))
        return self._run(lambda t: table.remove_schedule(t, name))

    # --- the settings ------------------------------------------------------------------------

    def reconcile(self) -> Reconciled:
        """Record what the settings define: ``[job."NAME"] schedule``; twice is once.

        A schedule of theirs bears its job's name. What changed keeps its pause; one that the
        settings define no more is taken away, if its job is known here, so that programs with
        different jobs may share a database.

        Raises:
            InvalidSetting: one of them cannot work; nothing was changed.
        """
        self._permit("reconcile_schedules")
        wanted = {}
        for job_name in self._in_settings():
            try:
                wanted[job_name] = self._from_settings(job_name)
            except StepwellError as error:
                raise InvalidSetting(
                    f'[job."{job_name}"] schedule must work, got: {error.message}',
                    hint=error.hint,
                    fields={**error.fields, "setting": "schedule", "job": job_name},
                ) from error
        return self._run(lambda t: table.reconcile_schedules(t, wanted, self._registry))

    def _in_settings(self) -> list[str]:
        """The jobs to which the settings give a schedule."""
        return [name for name, job in self._settings.job.items() if job.schedule is not None]

    def _from_settings(self, job_name: str) -> tuple[Schedule, datetime]:
        schedule = schedule_of_settings(self._settings, job_name, self._clock)
        assert schedule is not None
        return schedule, self._check(schedule, f"cannot add schedule {job_name!r}")

    # --- firing ------------------------------------------------------------------------------

    def fire_due(self) -> list[Fired]:
        """Register what is due now; a worker calls this on its timer, any number of them at once.

        Schedules of jobs that are not known here are left to others. One that cannot be fired is
        logged once and stays due: as soon as it can be, its catch-up policy decides. Nothing of
        one schedule keeps another from being fired.

        Raises:
            DatabaseError: the database does not answer.
        """
        self._permit("fire_schedules")
        now = self._clock.now()
        with self._repository.database.read() as reader:
            due = table.list_due_schedules(reader, now)
        fired: list[Fired] = []
        for held in due:
            if held.schedule.job_name in self._registry:
                fired += self._fire(held, now)
        return fired

    def _fire(self, held: RecordedSchedule, now: datetime) -> list[Fired]:
        fired: list[Fired] = []
        next_due = held.next_due_at
        while next_due is not None and next_due <= now and len(fired) < FIRED_MAX:
            done = self._fire_once(held, next_due, now)
            if done is None:
                break  # Another worker was first, or it cannot be fired.
            fired.append(done)
            held, next_due = done.recorded, done.recorded.next_due_at
        return fired

    def _fire_once(self, held: RecordedSchedule, next_due: datetime, now: datetime) -> Fired | None:
        try:
            turn = held.schedule.turn(next_due, now)
            # The user's validators run here, before any transaction.
            new = None if turn.due is None else self._prepare(held.schedule, turn.due)
        except Exception as error:  # noqa: BLE001 - a validator of the user's may raise anything
            self._tell(held, f"{type(error).__name__}: {error}")
            return None
        try:
            done = self._run(
                lambda transaction: table.fire_schedule(
                    transaction,
                    held,
                    turn,
                    new,
                    liveness=self._repository.database.liveness,
                    at=self._clock.now(),
                )
            )
        except BatchError as error:  # It may not be registered so: a pool without a size, say.
            self._tell(held, f"{type(error).__name__}: {error}")
            return None
        if done is not None:
            self._told.pop(held.schedule_id, None)
            _log(done)
        return done

    def _tell(self, held: RecordedSchedule, why: str) -> None:
        if self._told.get(held.schedule_id) != why:
            self._told[held.schedule_id] = why
            logger.error(
                "schedule %r was due %s and cannot be fired: %s",
                held.name,
                held.next_due_at,
                why,
            )

    # --- how ---------------------------------------------------------------------------------

    def _check(self, schedule: Schedule, cannot: str) -> datetime:
        """Try a schedule out, with its job, before anything is recorded; when it is due first.

        Raises:
            InvalidSchedule: with ``cannot`` before the fact that decides.
            NoSuchJob: the job is not known here.
        """
        self._registry.find(schedule.job_name)
        try:
            due = check_schedule(schedule, self._clock.now())
            self._prepare(schedule, due)
        except (InvalidSchedule, JobStartError) as error:
            fact = error.message.removeprefix(f"cannot start job {schedule.job_name!r}: ")
            raise InvalidSchedule(
                f"{cannot}: {fact}", hint=error.hint, fields=error.fields
            ) from error
        return due

    def _prepare(self, schedule: Schedule, due: datetime) -> NewExecution:
        """What is registered for a due time; the job is found and its parameters are checked."""
        return self._operator.prepare_scheduled(
            schedule.job_name, schedule.parameters_at(due), due=due, schedule=schedule.name
        )

    def _run(self, fact: Callable[[Transaction], T]) -> T:
        """Run a fact; one that met another's new row looks again and finds it."""
        for _ in range(CREATE_ATTEMPTS - 1):
            try:
                return self._repository.database.run(fact)
            except ConstraintViolation:
                continue
        return self._repository.database.run(fact)

    def _permit(self, operation: str, subject: str | None = None) -> None:
        if self._access is not None and not self._access(operation, subject):
            raise JobSecurityError(operation, subject)


def schedule_of_settings(settings: Settings, job_name: str, clock: Clock) -> Schedule | None:
    """The schedule that the settings give to a job, unchecked; None when they give it none."""
    section = settings.job.get(job_name)
    if section is None or section.schedule is None:
        return None
    said = section.schedule
    if isinstance(said, str):
        said = ScheduleSettings(cron=said)
    return Schedule(
        name=job_name,
        job_name=job_name,
        cron=said.cron,
        time_zone=said.zone or clock.zone_name(),
        parameters=plain_parameters(said.parameters),
        catch_up=CatchUp(said.catch_up),
    )


def _policy(text: str, name: str) -> CatchUp:
    try:
        return CatchUp(text)
    except ValueError:
        raise InvalidSchedule(
            f"cannot add schedule {name!r}: catch_up must be 'skip', 'last' or 'all', got {text!r}",
            hint="`last` runs the last missed one, `all` each of them, `skip` none",
            fields={"catch_up": text},
        ) from None


def _log(done: Fired) -> None:
    name, job_name = done.recorded.name, done.recorded.schedule.job_name
    if done.due is None:
        logger.warning(
            "schedule %r of job %r: no worker was there at %s, this run is skipped",
            name,
            job_name,
            done.recorded.skipped_due_at,
        )
    elif done.execution_id is None:
        logger.warning("schedule %r of job %r: %s has its run already", name, job_name, done.due)
    else:
        logger.info(
            "schedule %r of job %r: execution %s for %s",
            name,
            job_name,
            done.execution_id,
            done.due,
        )
