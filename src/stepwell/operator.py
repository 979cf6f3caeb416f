"""JobOperator: start, restart, stop, abandon, recover; the one programmatic door (section 14)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from typing import Any

from stepwell.clock import Clock
from stepwell.errors import ConnectionLost, JobRestartError, JobStartError
from stepwell.execution.parameters import (
    DUE,
    JobParameter,
    due_parameter,
    job_key,
    parse_parameters,
)
from stepwell.execution.records import JobExecution
from stepwell.job.check import check_job
from stepwell.job.job import Job
from stepwell.job.parameters import ResolvedParameters, resolve_parameters, restore_parameters
from stepwell.job.registry import JobRegistry
from stepwell.job.resource import Declared, declare
from stepwell.repository import executions
from stepwell.repository.creation import CreatedExecution, NewExecution, refuse_restart
from stepwell.repository.history import Because
from stepwell.repository.questions import Access, JobQuestions
from stepwell.repository.repository import JobRepository
from stepwell.runner.runner import Runner
from stepwell.settings import Settings


@contextmanager
def _restarting() -> Iterator[None]:
    """What is wrong with a definition or with parameters has a name of its own here (S8, S183)."""
    try:
        yield
    except JobStartError as error:
        raise JobRestartError(
            error.message.replace("cannot start", "cannot restart", 1),
            hint=error.hint,
            fields=error.fields,
        ) from error


class JobOperator(JobQuestions):
    """The verbs, on one database. Threads may share it; ``Node.operator`` is one.

    Every verb that changes something takes the actor and the reason that go to the history (S175).
    The host's ``access`` hook is asked before each operation; a refusal is a JobSecurityError,
    and nothing was read or written (S176).
    """

    def __init__(
        self,
        repository: JobRepository,
        registry: JobRegistry,
        settings: Settings,
        *,
        purpose: str = "library",
        access: Access | None = None,
    ) -> None:
        super().__init__(repository, registry, access)
        self._settings = settings
        self._runner = Runner(repository, purpose=purpose)

    @property
    def clock(self) -> Clock:
        """The repository's clock."""
        return self._repository.clock

    @property
    def owner_id(self) -> int:
        """This process as an owner of executions and locks, registered when first needed (S33)."""
        return self._runner.owner_id

    # --- start, run, restart -----------------------------------------------------------------

    def start(
        self,
        job: str | Job,
        parameters: Mapping[str, object] | None = None,
        *,
        again: bool = False,
        trigger_source: str = "user",
        triggered_by: str | None = None,
    ) -> int:
        """Record an execution that this process owns, run it on a thread, return its id.

        Instance and execution are committed when this returns. ``wait`` gives the outcome.

        Raises:
            NoSuchJob, JobStartError: nothing was recorded (S8, S183).
            JobInstanceAlreadyComplete, JobExecutionAlreadyRunning, JobRestartError: see S6.
            JobExecutionBlocked: a pool is full or a resource is held (S197).
        """
        self._permit("start", job if isinstance(job, str) else job.name)
        definition, resolved = self._resolve(job, parameters or {})
        created = self._create(
            definition,
            resolved,
            again=again,
            trigger_source=trigger_source,
            triggered_by=triggered_by,
        )
        return self._runner.run_on_thread(created, definition, resolved.value)

    def run(
        self,
        job: str | Job,
        parameters: Mapping[str, object] | None = None,
        *,
        again: bool = False,
    ) -> JobExecution:
        """Start a job and wait: the execution as it ended, run on the calling thread.

        A job that fails is no exception here: look at ``batch_status``, ``failure`` and
        ``exception``.

        Raises:
            what :meth:`start` raises, and LostOwnership or a DatabaseError when the end could not
            be recorded; the row is then settled by recovery (S190).
        """
        self._permit("run", job if isinstance(job, str) else job.name)
        definition, resolved = self._resolve(job, parameters or {})
        created = self._create(definition, resolved, again=again)
        return self._runner.run(created, definition, resolved.value)

    def restart(self, execution_id: int, parameters: Mapping[str, object] | None = None) -> int:
        """Run a FAILED or STOPPED execution's instance again, on a thread; return the new id.

        Without parameters those of the execution are used again, by a Jakarta Batch job none; given
        ones must yield the same job key (S10).

        Raises:
            NoSuchJobExecution, JobExecutionNotMostRecent, JobExecutionAlreadyComplete,
            JobRestartError: in the order of section 7; nothing was recorded.
        """
        self._permit("restart", execution_id)
        with self._repository.database.read() as reader:
            record = executions.get_execution(reader, execution_id)
            last = executions.last_of_instance(reader, record.instance_id) or record
            known = record.job_name in self._registry
            restartable = self._registry.get(record.job_name).restartable if known else True
            refuse_restart(
                record, last, self._repository.database.liveness, restartable=restartable
            )
        with _restarting():
            definition, resolved = self._resolve_again(record, parameters)
            created = self._create(
                definition, resolved, restart_of=execution_id, reuses=parameters is None
            )
        return self._runner.run_on_thread(created, definition, resolved.value)

    def wait(self, execution_id: int, timeout_s: float | None = None) -> JobExecution | None:
        """Wait for an execution that this operator runs; None when the time ran out first.

        One that it does not run is returned as it is recorded, and so, without its exception, is
        one that it ran long ago: of those that nobody waits for, only the latest ends are kept.

        Raises:
            what the run raised, see :meth:`run`.
        """
        return self._runner.wait(execution_id, timeout_s)

    def prepare_scheduled(
        self, job: str, parameters: Mapping[str, object], *, due: datetime, schedule: str
    ) -> NewExecution:
        """The execution that a schedule registers for a due time, checked and not yet recorded.

        Raises:
            NoSuchJob, JobStartError: the job cannot be started so (S8, S183).
        """
        definition, resolved = self._resolve(job, parameters)
        return self._new_execution(
            definition,
            resolved.scheduled_like((due_parameter(due),)),
            None,
            trigger_source="system",
            triggered_by=f"schedule {schedule}",
        )

    # --- stop, abandon, recover --------------------------------------------------------------

    def stop(
        self, execution_id: int, *, actor: str = "operator", reason: str | None = None
    ) -> JobExecution:
        """Ask an execution to stop; returns at once, its owner finishes the chunk first (S31).

        Raises:
            NoSuchJobExecution, JobExecutionNotRunning: nothing was asked.
        """
        self._permit("stop", execution_id)
        record = self._repository.request_stop(execution_id, Because(actor, reason))
        self._runner.wake()
        return record

    def abandon(
        self, execution_id: int, *, actor: str = "operator", reason: str | None = None
    ) -> JobExecution:
        """Close an ended execution for ever: its instance never restarts.

        Raises:
            NoSuchJobExecution, JobExecutionIsRunning: nothing was changed.
        """
        self._permit("abandon", execution_id)
        return self._repository.abandon(execution_id, Because(actor, reason))

    def set_priority(
        self,
        execution_id: int,
        priority: int,
        *,
        actor: str = "operator",
        reason: str | None = None,
    ) -> JobExecution:
        """Change the place of work that is not handed out yet: a higher number goes first (S32).

        What already runs is not interrupted.

        Raises:
            NoSuchJobExecution, JobExecutionNotRunning: nothing was asked.
        """
        self._permit("set_priority", execution_id)
        return self._repository.request_priority(execution_id, priority, Because(actor, reason))

    def recover(
        self,
        execution_id: int,
        *,
        force: bool = False,
        actor: str = "operator",
        reason: str | None = None,
    ) -> JobExecution:
        """Mark an execution FAILED whose owner is dead; ``force`` does without the proof (S34).

        Raises:
            JobStartError: ``force`` without a reason (S189).
            NoSuchJobExecution, JobExecutionIsRunning: nothing was changed.
        """
        self._permit("recover", execution_id)
        if force and not reason:
            raise JobStartError(
                f"cannot recover execution {execution_id} by force: a reason is required",
                hint="add `--reason`; it goes to the history",
            )
        return self._repository.recover(execution_id, Because(actor, reason), force=force)

    def recover_dead(self) -> list[JobExecution]:
        """Mark every execution FAILED whose owner is proven dead (S188)."""
        self._permit("recover")
        return self._repository.recover_dead(Because("runner"))

    def request_shutdown(self, reason: str = "shutdown") -> None:
        """Ask every execution that runs here to stop; safe to call in a signal handler (S38)."""
        self._runner.request_shutdown(reason)

    def close(self) -> None:
        """Stop what runs here, wait for it within the shutdown timeout, end this owner."""
        self._runner.close(timeout_s=self._settings.shutdown_timeout_s)

    # --- how ---------------------------------------------------------------------------------

    def _resolve(
        self, job: str | Job, parameters: Mapping[str, object]
    ) -> tuple[Job, ResolvedParameters]:
        """The definition as it now is (S63), and the parameters that it takes (S8)."""
        definition = self._registry.load(job, parameters) if isinstance(job, str) else job
        check_job(definition)
        return definition, resolve_parameters(definition.name, definition.parameters, parameters)

    def _resolve_again(
        self, record: JobExecution, parameters: Mapping[str, object] | None
    ) -> tuple[Job, ResolvedParameters]:
        source = self._registry.find(record.job_name).source
        if parameters is not None or (source is not None and not source.reuses_parameters):
            definition, resolved = self._resolve(record.job_name, parameters or {})
            return definition, resolved.scheduled_like(record.parameters)
        definition = self._registry.load(record.job_name, parse_parameters(record.parameters))
        check_job(definition)
        return definition, restore_parameters(
            definition.name, definition.parameters, record.parameters
        )

    def _create(self, job: Job, resolved: ResolvedParameters, **origin: Any) -> CreatedExecution:
        new = self._new_execution(job, resolved, self._runner.owner_id, **origin)
        try:
            return self._repository.create_execution(new)
        except ConnectionLost as lost:
            self._runner.settle_birth(lost)
            raise

    def _new_execution(
        self, job: Job, resolved: ResolvedParameters, owner_id: int | None, **origin: Any
    ) -> NewExecution:
        return NewExecution(
            job_name=job.name,
            parameters=resolved.recorded,
            owner_id=owner_id,
            unique_key=self.clock.new_id() if job.identity == "each-start" else None,
            run_lock_key=self._run_lock_key(job, resolved.recorded),
            declared=self._declared(job, resolved.value),
            restartable=job.restartable,
            **origin,
        )

    def _run_lock_key(self, job: Job, parameters: tuple[JobParameter, ...]) -> str | None:
        """What excludes other executions while this one has not ended (S184)."""
        section = self._settings.job.get(job.name)
        run_lock = section.run_lock if section and section.run_lock else job.run_lock
        if run_lock == "job":
            return job.name
        if run_lock == "parameters":
            # Two nights of the same job with the same parameters do not overlap either.
            return f"{job.name}:{job_key(p for p in parameters if p.name != DUE)}"
        return None

    def _declared(self, job: Job, parameters: object) -> Declared:
        """What it needs for itself, the settings before the job's own (S197)."""
        section = self._settings.job.get(job.name)
        resources, pool = job.resources, job.pool
        if section is not None and section.resources is not None:
            resources = section.resources
        if section is not None and section.pool is not None:
            pool = section.pool
        return declare(job.name, resources, pool, parameters, self._settings.folder)
