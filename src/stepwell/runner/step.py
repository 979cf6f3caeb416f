"""One step: insert its record, run its work, record its end (S22, S26, S50)."""

from __future__ import annotations

import logging
from datetime import datetime
from typing import Any

from stepwell.errors import LostOwnership, OptimisticLockingFailure, StepwellError
from stepwell.execution.json import from_json
from stepwell.execution.records import Metrics, StepExecution
from stepwell.execution.result import Failure
from stepwell.execution.status import STEP_FAILED, BatchStatus, StepEnd
from stepwell.job.step import ChunkStep, PartitionedStep, Step, TaskletStep
from stepwell.repository.steps import get_context
from stepwell.runner.chunk import ChunkRunner
from stepwell.runner.context import StepContext
from stepwell.runner.partition import PartitionRunner
from stepwell.runner.running import RunningExecution
from stepwell.runner.tasklet import TaskletRunner

logger = logging.getLogger("stepwell.runner")

EXIT_STATUS_CHARACTERS_MAX = 2_500  # Spring Batch's column has this width; tools expect it.


class StepFailed(Exception):
    """The step has ended FAILED; the cause is its own exception."""

    def __init__(self, step: StepExecution, error: BaseException) -> None:
        super().__init__(f"step {step.step_name!r} failed")
        self.step = step
        self.error = error


class StepRunner:
    """Runs the steps of one execution; ``previous`` holds each step's last attempt (S65)."""

    def __init__(
        self, running: RunningExecution, parameters: Any, previous: dict[str, StepExecution]
    ) -> None:
        self._running = running
        self._parameters = parameters
        self._previous = previous

    def run(self, step: Step) -> StepExecution:
        """Run ``step`` to its recorded end: COMPLETED or STOPPED.

        Raises:
            StepFailed: it ended FAILED and that is recorded.
            StepwellError: its first record could not be inserted, and none of its code ran; or
                its end could not be recorded.
        """
        previous = self._previous.get(step.name)
        record, context = self._insert(step, previous)
        step_context = StepContext(self._running, record, self._parameters, context)
        runner = self._runner(step, step_context, previous)
        try:
            end = runner.run()
        except LostOwnership:
            self._running.abandon_step(record.step_execution_id)
            raise
        except BaseException as error:
            raise self._fail(record, step_context, runner, error) from error
        return self._end(record, step_context, runner, end)

    def _insert(
        self, step: Step, previous: StepExecution | None
    ) -> tuple[StepExecution, dict[str, Any]]:
        """The step's row, committed before anything of the step exists (S22)."""
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
        context = from_json(stored)
        return record, dict(context) if isinstance(context, dict) else {}

    def _runner(
        self, step: Step, context: StepContext, previous: StepExecution | None
    ) -> ChunkRunner | TaskletRunner | PartitionRunner:
        match step:
            case ChunkStep():
                return ChunkRunner(self._running, step, context)
            case TaskletStep():
                return TaskletRunner(self._running, step, context)
            case PartitionedStep():
                return PartitionRunner(self._running, step, context, previous)

    def _end(
        self, record: StepExecution, context: StepContext, runner: Any, end: StepEnd
    ) -> StepExecution:
        return self._running.end_step(
            record.step_execution_id,
            context=context.context,
            also=getattr(runner, "finish", None),
            batch_status=end.batch_status,
            result=end.result,
            exit_status=(context.exit_status or end.exit_status)[:EXIT_STATUS_CHARACTERS_MAX],
            **context.pending_progress,
        )

    def _fail(
        self, record: StepExecution, context: StepContext, runner: Any, error: BaseException
    ) -> StepFailed:
        """Record FAILED with the reason, the counters of the last commit and the context (S72)."""
        context.exception = error
        changes: dict[str, Any] = {}
        if isinstance(runner, ChunkRunner):
            changes["metrics"] = runner.failed_metrics()
        if isinstance(error, OptimisticLockingFailure):
            self._running.refresh_step(record.step_execution_id)  # Once, under the fence (S24).
        ended = self._running.end_step(
            record.step_execution_id,
            context=self._running.storable_context(record.step_execution_id, context.context),
            also=getattr(runner, "finish", None),
            batch_status=BatchStatus.FAILED,
            result=STEP_FAILED.result,
            exit_status=(context.exit_status or STEP_FAILED.exit_status)[
                :EXIT_STATUS_CHARACTERS_MAX
            ],
            failure=Failure.of(error),
            **changes,
        )
        return StepFailed(ended, error)


def new_record(
    running: RunningExecution, step: Step, previous: StepExecution | None
) -> StepExecution:
    """The record of a new attempt: it goes on where ``previous`` stopped or failed (S65, S99)."""
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
