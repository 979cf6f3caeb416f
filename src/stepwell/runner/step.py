"""One step: insert its record, run its work, record its end (S22, S26, S50)."""

from __future__ import annotations

import logging
from datetime import datetime
from typing import Any

from stepwell.database.transaction import Transaction
from stepwell.errors import LostOwnership, OptimisticLockingFailure, StepwellError
from stepwell.execution.json import from_json
from stepwell.execution.records import Metrics, StepExecution
from stepwell.execution.result import EXIT_STATUS_CHARACTERS_MAX, Failure
from stepwell.execution.status import STEP_FAILED, BatchStatus, StepEnd
from stepwell.job.artifact import Scope
from stepwell.job.listener import STEP_CALLBACKS
from stepwell.job.step import ChunkStep, PartitionedStep, Step, TaskletStep
from stepwell.repository.steps import get_context
from stepwell.runner.books import StepBooks
from stepwell.runner.chunk import ChunkRunner
from stepwell.runner.context import JobContext, StepContext
from stepwell.runner.current import running_in
from stepwell.runner.listeners import ListenerFailed, Listeners, unwrapped
from stepwell.runner.partition import PartitionRunner
from stepwell.runner.running import RunningExecution
from stepwell.runner.tasklet import TaskletRunner

logger = logging.getLogger("stepwell.runner")


class StepFailed(Exception):
    """The step has ended FAILED; the cause is its own exception."""

    def __init__(self, step: StepExecution, error: BaseException) -> None:
        super().__init__(f"step {step.step_name!r} failed")
        self.step = step
        self.error = error


class StepRunner:
    """Runs the steps of one execution; ``previous`` holds each step's last attempt (S65)."""

    def __init__(self, running: RunningExecution, previous: dict[str, StepExecution]) -> None:
        self._running = running
        self._previous = previous

    def run(self, step: Step, job: JobContext) -> StepExecution:
        """Run ``step`` to its recorded end: COMPLETED or STOPPED (S50).

        Raises:
            StepFailed: it ended FAILED and that is recorded.
            StepwellError: its first record could not be inserted, and none of its code ran; or
                its end could not be recorded.
        """
        previous = self._previous.get(step.name)
        record, stored = self._insert(step, previous)
        context = StepContext(self._running, record, job, stored, step.properties)
        work = _Work(self._running, step, context, previous)
        with running_in(context), self._running.timed(step.name, step.timeout_s):
            return self._run(record, context, work)

    def _run(self, record: StepExecution, context: StepContext, work: _Work) -> StepExecution:
        try:
            end, error = work.run()
        except LostOwnership:
            self._running.abandon_step(record.step_execution_id)
            raise
        finally:
            context.loop.close()
        if error is None:
            try:
                return self._end(record, context, work, end)
            except LostOwnership:
                self._running.abandon_step(record.step_execution_id)
                raise
            except StepwellError as raised:
                error = raised  # A context that is no JSON, a row that somebody else has written.
        raise self._fail(record, context, work, error) from error

    def _insert(
        self, step: Step, previous: StepExecution | None
    ) -> tuple[StepExecution, dict[str, Any]]:
        """The step's row, committed before anything of the step exists (S22).

        The persistent user data of its last attempt goes with it, even of a COMPLETED one (S68).
        """
        try:
            stored = "{}"
            if previous is not None:
                with self._running.repository.database.read() as reader:
                    stored = get_context(reader, previous.step_execution_id)
            record = self._running.start_step(new_record(self._running, step, previous), stored)
        except StepwellError:
            logger.exception(
                "cannot insert step %r of execution %s, its code was not called",
                step.name,
                self._running.execution_id,
            )
            raise
        return record, as_dict(from_json(stored))

    def _end(
        self, record: StepExecution, context: StepContext, work: _Work, end: StepEnd
    ) -> StepExecution:
        """Record the end; an exit status that was set beats the work's own (S19, S164)."""
        return self._running.end_step(
            record.step_execution_id,
            context=context.context,
            also=work.finish,
            batch_status=end.batch_status,
            result=end.result,
            exit_status=(context.exit_status or end.exit_status)[:EXIT_STATUS_CHARACTERS_MAX],
            **work.metrics(),
            **context.pending_progress,
        )

    def _fail(
        self, record: StepExecution, context: StepContext, work: _Work, error: BaseException
    ) -> StepFailed:
        """Record FAILED with the reason, the last commit's counters, the context (S72, S138)."""
        if isinstance(error, OptimisticLockingFailure):
            self._running.refresh()  # Once, under the fence (S24).
        exit_status = context.exit_status or STEP_FAILED.exit_status
        ended = self._running.end_step(
            record.step_execution_id,
            context=self._running.storable_context(record.step_execution_id, context.context),
            also=work.finish,
            batch_status=BatchStatus.FAILED,
            result=STEP_FAILED.result,
            exit_status=exit_status[:EXIT_STATUS_CHARACTERS_MAX],
            failure=Failure.of(error),
            **work.metrics(),
        )
        return StepFailed(ended, error)


class _Work:
    """The work of one step execution between its listeners (S166, S169)."""

    def __init__(
        self,
        running: RunningExecution,
        step: Step,
        context: StepContext,
        previous: StepExecution | None,
    ) -> None:
        self._running = running
        self._step = step
        self._context = context
        self._previous = previous
        self._scope = Scope(context.job, context)
        self._listeners: Listeners | None = None
        self._runner: ChunkRunner | TaskletRunner | PartitionRunner | None = None

    def run(self) -> tuple[StepEnd, BaseException | None]:
        """How the step ends, and the exception that counts: the work's, else a listener's (S167).

        Raises:
            LostOwnership: nothing more is called (S25).
        """
        end, error = STEP_FAILED, None
        try:
            self._listeners = Listeners(self._step.listeners, self._scope, STEP_CALLBACKS)
            self._listeners.before("before_step", self._context)
            self._runner = self._make_runner(self._listeners)
            end = self._runner.run()
        except LostOwnership:
            raise
        except BaseException as raised:
            error = unwrapped(raised)
            self._context.exception = error
        self._context.about_to_end(end.batch_status)
        try:
            if self._listeners is not None:
                self._listeners.after("after_step", self._context)
        except ListenerFailed as failed:
            if error is None:
                end, error = STEP_FAILED, failed.error
                self._context.exception = error
            else:
                logger.exception("an after_step listener of %r failed", self._step.name)
        return end, error

    def finish(self, transaction: Transaction, step: StepExecution) -> None:
        """What else the final transaction stores (S155)."""
        if isinstance(self._runner, PartitionRunner):
            self._runner.finish(transaction, step)

    def metrics(self) -> dict[str, Any]:
        """The counters of chunks: of the last commits, and rollbacks since (S133, S134)."""
        if isinstance(self._runner, (ChunkRunner, PartitionRunner)):
            return {"metrics": self._runner.metrics}
        return {}

    def _make_runner(self, listeners: Listeners) -> ChunkRunner | TaskletRunner | PartitionRunner:
        running, context, scope = self._running, self._context, self._scope
        match self._step:
            case ChunkStep():
                books = StepBooks(running, context.step_execution_id)
                _warn_of_endless_retries(self._step)
                runner = ChunkRunner(running, self._step, context, books, listeners, scope)
                context.runner = runner
                return runner
            case TaskletStep():
                return TaskletRunner(running, self._step, context, scope)
            case PartitionedStep():
                _warn_of_endless_retries(self._step.run)
                return PartitionRunner(running, self._step, context, scope, self._previous)


def _warn_of_endless_retries(work: object) -> None:
    if isinstance(work, ChunkStep) and work.retry is not None and work.retry.limit is None:
        logger.warning(
            "step %r retries without a limit: an item that always fails never ends (S114)",
            work.name,
        )


def as_dict(stored: object) -> dict[str, Any]:
    """A stored context; anything that is no mapping is an empty one."""
    return dict(stored) if isinstance(stored, dict) else {}


def new_record(
    running: RunningExecution, step: Step, previous: StepExecution | None
) -> StepExecution:
    """The record of a new attempt: it goes on where ``previous`` stopped or failed (S65, S99).

    A COMPLETED one that runs again has neither position nor plan (S158). It belongs to the job
    execution, however deep in flows its step stands (S57).
    """
    resumes = previous is not None and previous.batch_status.is_restartable
    position = previous if resumes else None
    now: datetime = running.clock.now()
    return StepExecution(
        step_execution_id=0,  # The INSERT gives it.
        execution_id=running.execution_id,
        step_name=step.name,
        batch_status=BatchStatus.STARTED,
        version=0,
        fence=running.job.fence,
        create_time=now,
        start_time=now,
        end_time=None,
        last_updated=now,
        exit_status=None,
        result=None,
        failure=None,
        metrics=Metrics(),
        # A number is never used for two different lists, not even by a re-run (S92).
        chunk_number=previous.chunk_number if previous is not None else 0,
        reader_checkpoint=position.reader_checkpoint if position else None,
        writer_checkpoint=position.writer_checkpoint if position else None,
        plan_id=position.plan_id if position else None,
        partition_total=None,
        partition_completed=None,
        partition_failed=None,
        partition_partial=None,
        progress_label=None,
        progress_done=None,
        progress_total=None,
    )
