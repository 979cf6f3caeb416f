"""JobRepository: whole facts, one transaction each (law 2, S26).

A method here opens its transaction, stores one fact and returns the records as they now stand.
Versions in memory rise only after the commit, because the new record is the method's answer (S23).
Methods that say "inside a transaction" join the one that the caller has opened.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

from stepwell.clock import Clock
from stepwell.database.connect import Database
from stepwell.database.transaction import Transaction
from stepwell.errors import BatchError, ConnectionLost, ConstraintViolation
from stepwell.execution.records import JobExecution, SkippedItem, StepExecution
from stepwell.execution.result import Failure
from stepwell.execution.status import BatchStatus, check_transition
from stepwell.repository import executions, owners, queue, recovery, requests, steps, verbs
from stepwell.repository.acquire import Locks
from stepwell.repository.creation import (
    CreatedExecution,
    NewExecution,
    create_execution,
    find_earlier,
)
from stepwell.repository.history import RUNNER, Because, record_change
from stepwell.repository.outcome import create_and_settle, of_unknown, run_and_settle
from stepwell.repository.succession import Succession, follow
from stepwell.repository.versioned import change_job_execution, change_step_execution

CLAIMS_LOST_MAX = 8  # Workers that look at the same moment see the same; each takes another one.


class JobRepository:
    """Remembers executions on one database; any number of threads and processes may have one."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self.database = database
        self.clock = clock
        self.locks = Locks(database, clock)

    # --- owners and births -------------------------------------------------------------------

    def register_owner(self, purpose: str) -> int:
        """Record this process as an owner, with its proof of life held (S33)."""
        return self.database.run(
            lambda t: owners.register_owner(t, self.database.liveness, self.clock, purpose)
        )

    def end_owner(self, owner_id: int) -> None:
        """Record that this owner runs nothing any more, then let go of its proof of life."""
        self.database.run(lambda t: owners.end_owner(t, owner_id, at=self.clock.now()))
        self.database.liveness.release(owner_id)

    def create_execution(self, new: NewExecution) -> CreatedExecution:
        """Insert an execution with its instance, parameters and history (S22).

        Raises:
            JobInstanceAlreadyComplete, JobExecutionAlreadyRunning, JobRestartError,
            JobExecutionNotMostRecent, JobExecutionAlreadyComplete, NoSuchJobExecution: nothing
            was recorded (S6, section 7).
            ConnectionLost: see ``create_and_settle`` (S37).
        """
        try:
            return create_and_settle(
                self.database,
                lambda t: create_execution(
                    t, new, liveness=self.database.liveness, at=self.clock.now()
                ),
            )
        except BatchError:
            # What forbids it may be the same request, which was first at the same moment.
            with self.database.read() as reader:
                earlier = find_earlier(reader, new)
            if earlier is None:
                raise
            return earlier

    def claim_executions(
        self, owner_id: int, wanted: queue.Wanted, count: int
    ) -> Iterator[CreatedExecution]:
        """Take up to ``count`` registered executions, one after the other (S29).

        Each is STARTED and owned when it is yielded, committed in a transaction of its own.
        """
        with self.database.read() as reader:
            startable = queue.find_startable(
                reader, wanted, at=self.clock.now(), count=count + CLAIMS_LOST_MAX
            )
        for execution_id in startable:
            claimed = self._claim(execution_id, owner_id)
            if claimed is not None:
                yield claimed
                count -= 1
            if not count:
                return

    def may_still_start(self, wanted: queue.Wanted) -> bool:
        """Whether something of the queue could start now, or when what runs now has ended."""
        with self.database.read() as reader:
            return queue.may_still_start(reader, wanted, at=self.clock.now())

    def _claim(self, execution_id: int, owner_id: int) -> CreatedExecution | None:
        try:
            claimed = self.database.run(
                lambda t: queue.claim_execution(t, execution_id, owner_id, at=self.clock.now())
            )
        except ConstraintViolation:
            return None  # Somebody took its run lock at the same moment (S184).
        except ConnectionLost as lost:
            raise of_unknown(lost, execution_id) from lost
        if claimed is None:
            return None
        with self.database.read() as reader:
            return CreatedExecution(
                replace(claimed, parameters=executions.list_parameters(reader, execution_id)),
                executions.previous_of_instance(reader, claimed),
                executions.get_context(reader, execution_id),
            )

    # --- the life of a job execution ---------------------------------------------------------

    def begin_execution(self, record: JobExecution) -> JobExecution:
        """STARTING to STARTED; or to STOPPED when a stop request is there already."""

        def fact(transaction: Transaction) -> JobExecution:
            now = self.clock.now()
            request = requests.open_stop_request(transaction, record.execution_id)
            if request is None:
                return change_job_execution(
                    transaction,
                    record,
                    at=now,
                    batch_status=BatchStatus.STARTED,
                    start_time=max(now, record.create_time),
                )
            requests.take_requests(transaction, record.execution_id, at=now)
            return change_job_execution(
                transaction,
                record,
                at=now,
                because=request.because,
                batch_status=BatchStatus.STOPPED,
                end_time=max(now, record.create_time),
                exit_status="STOPPED",
            )

        return run_and_settle(self.database, fact, record)

    def end_execution(
        self,
        record: JobExecution,
        *,
        because: Because = RUNNER,
        context: str | None,
        succession: Succession | None = None,
        is_shutdown: bool = False,
        **changes: Any,
    ) -> JobExecution:
        """The terminal status with end time, exit status, result and history (S26).

        ``context`` is the JobContext's JSON when it has changed, else None. Requests that nobody
        has read are marked late (S12). ``succession`` says what follows, see :mod:`.succession`.
        """

        def fact(transaction: Transaction) -> JobExecution:
            now = max(self.clock.now(), record.last_updated)
            ended = change_job_execution(
                transaction, record, at=now, because=because, end_time=now, **changes
            )
            if context is not None:
                executions.update_context(transaction, record.execution_id, context)
            if succession is not None:
                follow(
                    transaction,
                    ended,
                    succession,
                    is_shutdown=is_shutdown,
                    liveness=self.database.liveness,
                    at=now,
                )
            # Behind it: a successor takes a priority that was asked for (S32).
            requests.mark_late(transaction, record.execution_id, at=now)
            return ended

        return run_and_settle(self.database, fact, record)

    def stop_execution(
        self, job: JobExecution, running_steps: Iterable[StepExecution], because: Because
    ) -> tuple[JobExecution, list[StepExecution]]:
        """STARTED to STOPPING for the job and its running steps; takes the request (S31)."""

        def fact(transaction: Transaction) -> tuple[JobExecution, list[StepExecution]]:
            now = self.clock.now()
            requests.take_requests(transaction, job.execution_id, at=now)
            stopping = change_job_execution(
                transaction, job, at=now, because=because, batch_status=BatchStatus.STOPPING
            )
            return stopping, [
                change_step_execution(
                    transaction, step, at=now, because=because, batch_status=BatchStatus.STOPPING
                )
                for step in running_steps
            ]

        return run_and_settle(self.database, fact, job)

    # --- the life of a step execution --------------------------------------------------------

    def start_step(
        self, job: JobExecution, step: StepExecution, context: str, *, current_step: str | None
    ) -> tuple[JobExecution, StepExecution]:
        """Insert the step at version 0, with the job's current step, before its code runs (S22)."""

        def fact(transaction: Transaction) -> tuple[JobExecution, StepExecution]:
            now = max(self.clock.now(), job.last_updated)
            check_transition("step", None, None, BatchStatus.STARTED)
            changed_job = change_job_execution(transaction, job, at=now, current_step=current_step)
            started = steps.insert_step(
                transaction,
                replace(step, create_time=now, start_time=now, last_updated=now),
                context,
            )
            record_change(transaction, started, None)
            return changed_job, started

        return run_and_settle(self.database, fact, job)

    def end_step(
        self,
        job: JobExecution,
        step: StepExecution,
        *,
        because: Because = RUNNER,
        step_context: str | None,
        job_context: str | None,
        current_step: str | None,
        also: Callable[[Transaction, StepExecution], None] | None = None,
        **changes: Any,
    ) -> tuple[JobExecution, StepExecution]:
        """The step's final transaction: status, counters, contexts, the job's last step (S26, S50).

        ``also`` writes what else ends with the step: attempts at partitions that never ran (S155).
        """

        def fact(transaction: Transaction) -> tuple[JobExecution, StepExecution]:
            now = max(self.clock.now(), step.last_updated)
            completed = changes.get("batch_status") is BatchStatus.COMPLETED
            changed_job = change_job_execution(
                transaction,
                job,
                at=now,
                current_step=current_step,
                last_step=step.step_name if completed else job.last_step,
            )
            ended = change_step_execution(
                transaction, step, at=now, because=because, end_time=now, **changes
            )
            self.save_contexts(transaction, ended, step_context, job_context)
            if also is not None:
                also(transaction, ended)
            return changed_job, ended

        return run_and_settle(self.database, fact, job)

    def save_step(
        self,
        transaction: Transaction,
        step: StepExecution,
        *,
        step_context: str | None = None,
        job_context: str | None = None,
        skips: Iterable[SkippedItem] = (),
        **changes: Any,
    ) -> StepExecution:
        """Inside a transaction: counters, checkpoints, progress and contexts of a running step.

        The UPDATE proves version and fence, so a zombie's whole transaction rolls back (S35). The
        answer counts only once the caller has committed.
        """
        saved = change_step_execution(transaction, step, at=self.clock.now(), **changes)
        if skips:
            steps.insert_skips(transaction, skips)
        self.save_contexts(transaction, saved, step_context, job_context)
        return saved

    def save_contexts(
        self,
        transaction: Transaction,
        step: StepExecution,
        step_context: str | None,
        job_context: str | None,
    ) -> None:
        """Inside a transaction: the contexts that have changed; None has not (S72)."""
        if step_context is not None:
            steps.update_context(transaction, step.step_execution_id, step_context)
        if job_context is not None:
            executions.update_context(transaction, step.execution_id, job_context)

    # --- everyone else -----------------------------------------------------------------------

    def request_stop(self, execution_id: int, because: Because) -> JobExecution:
        """Ask an execution to stop; see :func:`.verbs.request_stop`."""
        return self.database.run(
            lambda t: verbs.request_stop(t, execution_id, because, at=self.clock.now())
        )

    def request_priority(self, execution_id: int, value: int, because: Because) -> JobExecution:
        """Change an execution's place in the queue; see :func:`.verbs.request_priority`."""
        return self.database.run(
            lambda t: verbs.request_priority(t, execution_id, value, because, at=self.clock.now())
        )

    def abandon(self, execution_id: int, because: Because) -> JobExecution:
        """Close an ended execution for ever; see :func:`.verbs.abandon`."""
        return self.database.run(
            lambda t: verbs.abandon(t, execution_id, because, at=self.clock.now())
        )

    def recover(self, execution_id: int, because: Because, *, force: bool = False) -> JobExecution:
        """Settle an execution whose owner is dead (S34); see :mod:`.recovery`.

        Raises:
            NoSuchJobExecution: no execution has this id.
            JobExecutionIsRunning: the owner is not proven dead, and ``force`` is False.
        """
        self._end_sessions(execution_id, force=force)
        return self.database.run(
            lambda t: recovery.recover_execution(
                t,
                execution_id,
                because,
                liveness=self.database.liveness,
                force=force,
                at=self.clock.now(),
            )
        )

    def _end_sessions(self, execution_id: int, *, force: bool) -> None:
        """A frozen owner may hold rows at a server; nobody would get past them (S34)."""
        with self.database.read() as reader:
            record = executions.find_execution(reader, execution_id)
        if record is None or record.owner_id is None or not record.batch_status.is_running:
            return
        if force or self.database.liveness.is_dead(record.owner_id):
            self.database.liveness.end_sessions(record.owner_id)

    def settle_stray(self, execution_id: int, failure: Failure, owner_id: int) -> JobExecution:
        """FAILED for an execution that this owner has and no longer runs (S190).

        One that it does not have, or not any more, is returned unchanged.
        """
        return self.database.run(
            lambda t: recovery.recover_execution(
                t,
                execution_id,
                Because("runner", failure.message),
                liveness=self.database.liveness,
                force=True,
                at=self.clock.now(),
                failure=failure,
                of_owner=owner_id,
            )
        )

    def recover_dead(self, because: Because) -> list[JobExecution]:
        """Settle every execution whose owner is proven dead, each in its own transaction (S188).

        Then the end of the dead is recorded, also of those who had nothing.
        """
        with self.database.read() as reader:
            owned = {e.execution_id: e.owner_id or 0 for e in executions.owned_executions(reader)}
            alive = owners.live_owner_ids(reader)
        gone = self.database.liveness.dead_among(alive | set(owned.values()))
        recovered = [self.recover(each, because) for each, owner in owned.items() if owner in gone]
        for owner_id in gone:
            self.database.run(partial(owners.end_owner, owner_id=owner_id, at=self.clock.now()))
        return recovered

    # --- questions ---------------------------------------------------------------------------

    def get_execution(self, execution_id: int) -> JobExecution:
        """The execution with its parameters.

        Raises:
            NoSuchJobExecution: no execution has this id.
        """
        with self.database.read() as reader:
            return executions.get_execution(reader, execution_id)

    def get_steps(self, execution_id: int) -> list[StepExecution]:
        """The step executions of an execution in order of their start; of an unknown id, none."""
        with self.database.read() as reader:
            return steps.list_steps(reader, execution_id)
