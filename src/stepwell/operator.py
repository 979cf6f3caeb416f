"""JobOperator: start, restart, stop, abandon, recover; the one programmatic door (section 14)."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from datetime import datetime
from typing import Any

from stepwell.clock import Clock
from stepwell.errors import (
    ConnectionLost,
    JobStartError,
    StepwellError,
)
from stepwell.execution.parameters import due_parameter
from stepwell.execution.records import JobExecution
from stepwell.execution.status import BatchStatus
from stepwell.job.job import Job
from stepwell.job.registry import JobRegistry
from stepwell.job.step import ExecutorName
from stepwell.repository import executions
from stepwell.repository.at_work import asked_to_end, request_end
from stepwell.repository.creation import CreatedExecution, NewExecution, refuse_restart
from stepwell.repository.history import Because
from stepwell.repository.imported import find_last
from stepwell.repository.owners import Owner
from stepwell.repository.questions import Access, JobQuestions
from stepwell.repository.queue import PRIORITY_MAX, Wanted
from stepwell.repository.repository import JobRepository
from stepwell.runner.ready import ReadyJob, ReadyJobs, restarting
from stepwell.runner.runner import Runner
from stepwell.settings import Settings


def _require_priority(purpose: str, priority: int) -> None:
    if abs(priority) > PRIORITY_MAX:
        raise JobStartError(
            f"cannot {purpose}: a priority must be from {-PRIORITY_MAX} to {PRIORITY_MAX},"
            f" got {priority}",
            hint="a higher number goes first, 0 is the default",
            fields={"priority": priority},
        )


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
        self._jobs = ReadyJobs(registry, settings, repository.clock)
        self._runner = Runner(repository, purpose=purpose)

    @property
    def clock(self) -> Clock:
        """The repository's clock."""
        return self._repository.clock

    @property
    def owner_id(self) -> int:
        """This process as an owner of executions and locks, registered when first needed (S33)."""
        return self._runner.owner_id

    @property
    def ready_jobs(self) -> ReadyJobs:
        """Makes jobs ready without recording anything: definition, parameters, settings."""
        return self._jobs

    # --- start, run, restart -----------------------------------------------------------------

    def start(
        self,
        job: str | Job,
        parameters: Mapping[str, object] | None = None,
        *,
        again: bool = False,
        limit: int | None = None,
        executor: ExecutorName | None = None,
        trigger_source: str = "user",
        triggered_by: str | None = None,
        idempotency_key: str | None = None,
    ) -> int:
        """Record an execution that this process owns, run it on a thread, return its id.

        Instance and execution are committed when this returns. ``wait`` gives the outcome. A second
        call with one ``idempotency_key`` starts nothing and returns the first one's id. ``limit``
        makes it a trial of the first items or partitions, an instance of its own (S198);
        ``executor`` replaces that of its partitioned steps for this run.

        Raises:
            NoSuchJob, JobStartError: nothing was recorded (S8, S183).
            JobInstanceAlreadyComplete, JobExecutionAlreadyRunning, JobRestartError: see S6.
            JobExecutionBlocked: a pool is full or a resource is held (S197).
        """
        self._permit("start", job if isinstance(job, str) else job.name)
        ready = self._jobs.prepare(job, parameters or {}, executor=executor)
        if limit is not None:
            ready = ready.as_trial(limit)
        created = self._create(
            ready,
            again=again,
            trial=limit,
            trigger_source=trigger_source,
            triggered_by=triggered_by,
            idempotency_key=idempotency_key,
        )
        if created.is_earlier:
            return created.execution.execution_id
        return self._runner.run_on_thread(ready.work(created))

    def register(
        self,
        job: str | Job,
        parameters: Mapping[str, object] | None = None,
        *,
        priority: int | None = None,
        run_after: datetime | None = None,
        after: int | None = None,
        again: bool = False,
        trigger_source: str = "user",
        triggered_by: str | None = None,
        idempotency_key: str | None = None,
    ) -> int:
        """Record an execution for a worker and return its id; ``stepwell work`` runs it.

        A higher ``priority`` goes first (default: the job's setting, else 0). It does not run
        before ``run_after`` (an aware datetime), and with ``after`` not before the instance of that
        execution is COMPLETED. Works while anything runs.

        Raises:
            what :meth:`start` raises; a held run lock only makes it wait (S184).
            NoSuchJobExecution, JobStartError: ``after`` is unknown, or never completes.
        """
        self._permit("register", job if isinstance(job, str) else job.name)
        ready = self._jobs.prepare(job, parameters or {})
        _require_priority(f"register job {ready.job.name!r}", priority or 0)
        if run_after is not None and run_after.tzinfo is None:
            raise JobStartError(
                f"cannot register job {ready.job.name!r}: run_after must have a time zone,"
                f" got {run_after.isoformat()}",
                hint="use an aware datetime",
                fields={"job": ready.job.name},
            )
        registered = ready.registered(
            priority=priority,
            run_after=run_after,
            after_id=after,
            again=again,
            trigger_source=trigger_source,
            triggered_by=triggered_by,
            idempotency_key=idempotency_key,
        )
        return self._repository.create_execution(registered).execution.execution_id

    def wanted(self, jobs: Collection[str] = (), pools: Collection[str] = ()) -> Wanted:
        """What a worker here runs: ``jobs``, by default all that are known here."""
        names = jobs or (registered.name for registered in self._registry)
        return Wanted(frozenset(names), frozenset(pools))

    def run_registered(
        self, wanted: Wanted, count: int, *, on_end: Callable[[int], None]
    ) -> Iterator[JobExecution]:
        """Claim up to ``count`` registered executions and run each on a thread; for the worker.

        ``on_end`` is called with the id when one has ended, on its thread; ``wait`` then gives the
        outcome.
        """
        self._permit("run_registered")
        owner_id = self._runner.owner_id
        for claimed in self._claimed(owner_id, wanted, count):
            try:
                work = self._jobs.prepare_recorded(claimed.execution).work(claimed)
            except StepwellError as error:
                self._runner.fail(claimed, error)
                on_end(claimed.execution.execution_id)
            else:
                self._runner.run_on_thread(work, on_end)
            yield claimed.execution

    def _claimed(self, owner_id: int, wanted: Wanted, count: int) -> Iterator[CreatedExecution]:
        try:
            yield from self._repository.claim_executions(owner_id, wanted, count)
        except ConnectionLost as lost:
            self._runner.settle_birth(lost)
            raise

    def may_still_start(self, wanted: Wanted) -> bool:
        """Whether something of the queue could start now, or when what runs now has ended."""
        return self._repository.may_still_start(wanted)

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
        ready = self._jobs.prepare(job, parameters or {})
        return self._runner.run(ready.work(self._create(ready, again=again)))

    def restart(
        self,
        execution_id: int,
        parameters: Mapping[str, object] | None = None,
        *,
        actor: str = "operator",
        reason: str | None = None,
    ) -> int:
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
        with restarting():
            ready = self._jobs.prepare_again(record, parameters)
            created = self._create(
                ready,
                restart_of=execution_id,
                reuses=parameters is None,
                because=Because(actor, reason),
            )
        return self._runner.run_on_thread(ready.work(created))

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
        ready = self._jobs.prepare(job, parameters, scheduled_like=(due_parameter(due),))
        return ready.registered(trigger_source="system", triggered_by=f"schedule {schedule}")

    def find_completed(self, job: Job, parameters: Mapping[str, object]) -> JobExecution | None:
        """The COMPLETED execution of the instance that these parameters name, if it is its last."""
        new = self._jobs.prepare(job, parameters).registered()
        last = self._repository.database.run(lambda t: find_last(t, new))
        return last if last is not None and last.batch_status is BatchStatus.COMPLETED else None

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
            JobStartError: the number is beyond every priority.
        """
        self._permit("set_priority", execution_id)
        _require_priority(f"set the priority of execution {execution_id}", priority)
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

    def stop_owner(
        self, owner_id: int, *, actor: str = "operator", reason: str | None = None
    ) -> Owner:
        """Ask a process to end: a worker gracefully, any other by a stop of what it runs.

        Raises:
            NoSuchOwner, OwnerHasEnded: nothing was asked.
        """
        self._permit("stop_owner", owner_id)
        database = self._repository.database
        return request_end(database, self.clock, owner_id, Because(actor, reason))

    def asked_to_end(self) -> str | None:
        """Why somebody has asked this process to end; None when nobody has."""
        return asked_to_end(self._repository.database, self.owner_id)

    def request_shutdown(self, reason: str = "shutdown") -> None:
        """Ask every execution that runs here to stop; safe to call in a signal handler (S38)."""
        self._runner.request_shutdown(reason)

    def close(self) -> None:
        """Stop what runs here, wait for it within the shutdown timeout, end this owner."""
        self._runner.close(timeout_s=self._settings.shutdown_timeout_s)

    def _create(self, ready: ReadyJob, **origin: Any) -> CreatedExecution:
        new = ready.owned(self._runner.owner_id, **origin)
        try:
            return self._repository.create_execution(new)
        except ConnectionLost as lost:
            self._runner.settle_birth(lost)
            raise
