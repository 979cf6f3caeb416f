"""A job made ready: definition loaded, parameters resolved, settings applied, all of it checked.

Guarantee: whatever can be refused is refused here, before anything is recorded (S8, S183).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from stepwell.clock import Clock
from stepwell.errors import JobRestartError, JobStartError, NoSuchJob
from stepwell.execution.parameters import DUE, JobParameter, job_key, parse_parameters
from stepwell.execution.records import JobExecution
from stepwell.job.check import check_job
from stepwell.job.job import Job
from stepwell.job.parameters import ResolvedParameters, resolve_parameters, restore_parameters
from stepwell.job.registry import JobRegistry
from stepwell.job.resource import Declared, declare
from stepwell.job.step import ExecutorName
from stepwell.repository.creation import CreatedExecution, NewExecution
from stepwell.repository.history import Because
from stepwell.repository.succession import Succession
from stepwell.runner.placement import WHEREVER, Placement
from stepwell.runner.runner import Work
from stepwell.settings import JobSettings, Settings


@dataclass(frozen=True)
class ReadyJob:
    """A job with its parameters, of which an execution can be recorded and run."""

    job: Job
    resolved: ResolvedParameters
    unique_key: str | None
    run_lock_key: str | None
    declared: Declared
    priority: int
    timeout_s: float | None
    max_recoveries: int | None
    succession: Succession
    placement: Placement = WHEREVER

    def owned(self, owner_id: int, **origin: Any) -> NewExecution:
        """An execution that belongs to this process from its birth (S29)."""
        executor = self.placement.executor
        if executor is not None:  # The history says what the definition does not.
            origin["because"] = Because("runner", f"run with executor {executor}")
        return self._new(owner_id=owner_id, **origin)

    def as_trial(self, limit: int) -> ReadyJob:
        """A trial never blocks the real instance, and nothing follows it (S198).

        Raises:
            JobStartError: the limit is not 1 or more.
        """
        if limit < 1:
            raise JobStartError(
                f"cannot start job {self.job.name!r}: limit must be 1 or more, got {limit}",
                hint="a trial takes the first items or partitions",
                fields={"job": self.job.name, "limit": limit},
            )
        return replace(self, run_lock_key=None, succession=alone(self.succession))

    def registered(self, *, priority: int | None = None, **origin: Any) -> NewExecution:
        """An execution for the workers, which goes on by itself when a worker dies (S191)."""
        return self._new(
            owner_id=None,
            priority=self.priority if priority is None else priority,
            max_recoveries=self.max_recoveries if self.job.restartable else None,
            **origin,
        )

    def work(self, created: CreatedExecution) -> Work:
        """What it takes to run the execution that was recorded."""
        is_trial = created.execution.trial is not None
        return Work(
            created,
            self.job,
            self.resolved.value,
            alone(self.succession) if is_trial else self.succession,
            self.timeout_s,
            self.placement,
        )

    def _new(self, **origin: Any) -> NewExecution:
        return NewExecution(
            job_name=self.job.name,
            parameters=self.resolved.recorded,
            unique_key=self.unique_key,
            run_lock_key=self.run_lock_key,
            declared=self.declared,
            restartable=self.job.restartable,
            **origin,
        )


def alone(succession: Succession) -> Succession:
    """The same without anything that comes by itself."""
    return replace(succession, attempts=1, followers=())


@contextmanager
def restarting() -> Iterator[None]:
    """What is wrong with a definition or with parameters has a name of its own here (S8, S183)."""
    try:
        yield
    except (JobStartError, NoSuchJob) as error:
        raise JobRestartError(
            re.sub("cannot (start|find)", "cannot restart", error.message, count=1),
            hint=error.hint,
            fields=error.fields,
        ) from error


class ReadyJobs:
    """Makes jobs ready: finds them in the registry, and applies the operators' settings."""

    def __init__(self, registry: JobRegistry, settings: Settings, clock: Clock) -> None:
        self._registry = registry
        self._settings = settings
        self._clock = clock

    def prepare(
        self,
        job: str | Job,
        parameters: Mapping[str, object],
        *,
        scheduled_like: tuple[JobParameter, ...] = (),
        executor: ExecutorName | None = None,
    ) -> ReadyJob:
        """The definition as it now is (S63), and the parameters that it takes (S8).

        ``scheduled_like`` are recorded parameters whose due time it shares, if they have one.
        ``executor`` replaces that of its partitioned steps.

        Raises:
            NoSuchJob, JobStartError: every fault is named.
        """
        definition, resolved = self._resolve(job, parameters, executor)
        ready = self._ready(definition, resolved.scheduled_like(scheduled_like))
        return replace(ready, placement=ready.placement._replace(executor=executor))

    def parameter_names(self, job: str) -> frozenset[str] | None:
        """The names that a job's model takes, in both spellings; None: it has none and takes any.

        Raises:
            NoSuchJob: nobody knows it.
        """
        model = self._registry.get(job).parameters
        if model is None:
            return None
        aliases = (field.alias for field in model.model_fields.values())
        return frozenset(model.model_fields) | {alias for alias in aliases if alias}

    def prepare_again(
        self, record: JobExecution, parameters: Mapping[str, object] | None = None
    ) -> ReadyJob:
        """The same for a restart of ``record``: with its own parameters, unless others are given.

        A restart of a Jakarta Batch job without parameters has none (S10).
        """
        source = self._registry.find(record.job_name).source
        if parameters is not None or (source is not None and not source.reuses_parameters):
            given = parameters or {}
            return self.prepare(record.job_name, given, scheduled_like=record.parameters)
        return self.prepare_recorded(record)

    def prepare_recorded(self, record: JobExecution) -> ReadyJob:
        """The same with exactly the parameters that ``record`` has (S9)."""
        definition = self._registry.load(record.job_name, parse_parameters(record.parameters))
        check_job(definition)
        restored = restore_parameters(definition.name, definition.parameters, record.parameters)
        return self._ready(definition, restored)

    def _resolve(
        self,
        job: str | Job,
        parameters: Mapping[str, object],
        executor: ExecutorName | None = None,
    ) -> tuple[Job, ResolvedParameters]:
        definition = self._registry.load(job, parameters) if isinstance(job, str) else job
        check_job(definition, executor)
        return definition, resolve_parameters(definition.name, definition.parameters, parameters)

    def _ready(self, job: Job, resolved: ResolvedParameters, *, follows: bool = False) -> ReadyJob:
        section = self._settings.job.get(job.name) or JobSettings()
        recoveries = section.max_recoveries
        backoff = job.backoff
        return ReadyJob(
            job=job,
            resolved=resolved,
            unique_key=self._clock.new_id() if job.identity == "each-start" else None,
            run_lock_key=_run_lock_key(job, resolved, section),
            declared=self._declared(job, resolved.value, section),
            priority=section.priority or 0,
            timeout_s=section.timeout_s or job.timeout_s,
            max_recoveries=self._settings.max_recoveries if recoveries is None else recoveries,
            placement=Placement(None, self._settings.dask_scheduler, str(self._settings.folder)),
            succession=Succession(
                attempts=section.attempts or job.attempts,
                backoff_s=backoff if callable(backoff) else lambda _failures: float(backoff),
                followers=()
                if follows  # What follows a follower is for its own run to say.
                else tuple(self._follower(job, resolved, name) for name in job.on_completion),
            ),
        )

    def _declared(self, job: Job, parameters: object, section: JobSettings) -> Declared:
        """What it needs for itself, the settings before the job's own (S197)."""
        resources = job.resources if section.resources is None else section.resources
        pool = job.pool if section.pool is None else section.pool
        return declare(job.name, resources, pool, parameters, self._settings.folder)

    def _follower(self, job: Job, resolved: ResolvedParameters, name: str) -> NewExecution:
        try:
            model = self._registry.get(name).parameters
            taken = {
                key: value
                for key, value in parse_parameters(resolved.recorded).items()
                if model is None or key in model.model_fields
            }
            follower, given = self._resolve(name, taken)
            given = given.scheduled_like(resolved.recorded)
            return self._ready(follower, given, follows=True).registered()
        except (NoSuchJob, JobStartError) as error:
            raise JobStartError(
                f"cannot start job {job.name!r}: {name!r} of its on_completion could not be"
                f" registered: {error.message}",
                hint=error.hint,
                fields={**error.fields, "job": job.name, "on_completion": name},
            ) from error


def _run_lock_key(job: Job, resolved: ResolvedParameters, section: JobSettings) -> str | None:
    """What excludes other executions while this one has not ended (S184)."""
    run_lock = section.run_lock or job.run_lock
    if run_lock == "job":
        return job.name
    if run_lock == "parameters":
        # Two nights of the same job with the same parameters do not overlap either.
        return f"{job.name}:{job_key(p for p in resolved.recorded if p.name != DUE)}"
    return None
