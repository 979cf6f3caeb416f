"""A job execution from STARTING to its recorded end (S40 to S53 for a list of steps)."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Any

from stepwell.errors import LostOwnership, StepwellError
from stepwell.execution.records import JobExecution, StepExecution
from stepwell.execution.result import Failure
from stepwell.execution.status import BatchStatus, Result, derive_job_result
from stepwell.job.job import Job
from stepwell.repository.steps import last_steps_of_instance
from stepwell.runner.running import RunningExecution
from stepwell.runner.step import StepFailed, StepRunner

logger = logging.getLogger("stepwell.runner")


class JobRunner:
    """Runs one execution that this process owns."""

    def __init__(self, running: RunningExecution, job: Job, parameters: Any) -> None:
        self._running = running
        self._job = job
        self._parameters = parameters

    def run(self, *, is_restart: bool) -> JobExecution:
        """Run the steps that are not complete; return the execution as it was recorded.

        ``is_restart`` tells whether the instance has earlier executions to go on from.

        Raises:
            LostOwnership: another process has recovered the execution; nothing was written since.
            StepwellError: the end could not be recorded; the row is settled by recovery (S190).
        """
        try:
            return self._run(is_restart=is_restart)
        finally:
            self._running.ended.set()

    def _run(self, *, is_restart: bool) -> JobExecution:
        running = self._running
        if not running.begin():
            return running.job
        logger.info("execution %s of job %r started", running.execution_id, self._job.name)
        try:
            results = self._steps(self._previous_steps() if is_restart else {})
        except LostOwnership:
            logger.error(
                "execution %s was taken over by another process; this one stops writing",
                running.execution_id,
            )
            raise
        except StepFailed as failed:
            ended = self._failed(failed.error)
            if not isinstance(failed.error, Exception):
                raise failed.error from None  # KeyboardInterrupt or SystemExit goes its way.
            return ended
        except StepwellError as error:
            return self._failed(error)
        return self._succeeded(results)

    def _previous_steps(self) -> dict[str, StepExecution]:
        with self._running.repository.database.read() as reader:
            return last_steps_of_instance(reader, self._running.job.instance_id)

    def _steps(self, previous: dict[str, StepExecution]) -> list[Result | None]:
        """The results of the steps that ran or were complete before (S21, S65)."""
        runner = StepRunner(self._running, self._parameters, previous)
        results: list[Result | None] = []
        for step in self._job.steps:
            self._running.read_requests()
            if self._running.stop_flag.is_set():
                break  # No step starts once the job is STOPPING (S42).
            before = previous.get(step.name)
            if (
                before is not None
                and before.batch_status is BatchStatus.COMPLETED
                and not step.allow_start_if_complete
            ):
                logger.info(
                    "step %r is complete since execution %s", step.name, before.execution_id
                )
                results.append(before.result)
                continue
            results.append(runner.run(step).result)
        return results

    def _succeeded(self, results: list[Result | None]) -> JobExecution:
        """COMPLETED; STOPPED when a stop was applied, although the last step was done (S12)."""
        stopped = self._running.stop_flag.is_set()
        status = BatchStatus.STOPPED if stopped else BatchStatus.COMPLETED
        ended = self._running.end(
            batch_status=status,
            result=derive_job_result(status, results),
            exit_status=str(status),
        )
        logger.info("execution %s of job %r is %s", ended.execution_id, self._job.name, status)
        return ended

    def _failed(self, error: BaseException) -> JobExecution:
        failure = Failure.of(error)
        logger.error(
            "execution %s of job %r failed: %s: %s",
            self._running.execution_id,
            self._job.name,
            failure.type,
            failure.message,
        )
        ended = self._running.end(
            batch_status=BatchStatus.FAILED,
            result=Result.FAILED,
            exit_status="FAILED",
            failure=failure,
        )
        return replace(ended, exception=error)
