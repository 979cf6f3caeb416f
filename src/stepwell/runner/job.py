"""A job execution from STARTING to its recorded end."""

from __future__ import annotations

import logging
from collections import Counter
from dataclasses import replace
from typing import Any

from stepwell.errors import (
    ContextTooLarge,
    LostOwnership,
    OptimisticLockingFailure,
    ValueNotJson,
)
from stepwell.execution.records import JobExecution, StepExecution
from stepwell.execution.result import EXIT_STATUS_CHARACTERS_MAX, Failure
from stepwell.execution.status import BatchStatus, derive_job_result
from stepwell.job.artifact import Scope
from stepwell.job.job import Job
from stepwell.job.listener import JOB_CALLBACKS
from stepwell.repository.steps import steps_of_instance
from stepwell.runner.context import JobContext
from stepwell.runner.current import running_in
from stepwell.runner.flow import Ending, Sequencer
from stepwell.runner.listeners import ListenerFailed, Listeners, unwrapped
from stepwell.runner.running import RunningExecution
from stepwell.runner.step import StepFailed

logger = logging.getLogger("stepwell.runner")


class JobRunner:
    """Runs one execution that this process owns."""

    def __init__(self, running: RunningExecution, job: Job, parameters: Any) -> None:
        self._running = running
        self._running.definition = job
        self._job = job
        self._parameters = parameters

    def run(self, *, previous: JobExecution | None, context: str) -> JobExecution:
        """Run what is not complete; return the execution as it was recorded.

        ``previous`` is the instance's last execution that this one goes on from, ``context`` the
        JobContext's data that it left.

        Raises:
            LostOwnership: another process has recovered the execution; nothing was written since.
            StepwellError: the end could not be recorded; the row is settled by recovery (S190).
        """
        self._running.restore_job_data(context)
        running = self._running
        job = JobContext(running, self._parameters, self._job.properties, running.job_data)
        with running_in(job):
            try:
                return self._run(job, previous)
            except LostOwnership:
                logger.warning(
                    "execution %s was taken over by another process; this one writes no more",
                    self._running.execution_id,
                )
                raise

    def _run(self, job: JobContext, previous: JobExecution | None) -> JobExecution:
        running = self._running
        if not running.begin():
            return running.job
        logger.info("execution %s of job %r started", running.execution_id, self._job.name)
        steps = self._steps_of_instance() if previous is not None else []
        latest = {step.step_name: step for step in steps}
        sequencer = Sequencer(running, latest, Counter(step.step_name for step in steps))
        # The position is used once: only the execution just before counts (S64).
        first = previous.restart_position if previous is not None else None
        ending = self._work(job, sequencer, first)
        return self._end(job, sequencer, ending)

    def _work(self, job: JobContext, sequencer: Sequencer, first: str | None) -> Ending:
        """Listeners around the elements; whatever raises ends the job FAILED (S166, S168)."""
        listeners: Listeners | None = None
        try:
            listeners = Listeners(self._job.listeners, Scope(job), JOB_CALLBACKS)
            listeners.before("before_job", job)
            ending = sequencer.walk(
                self._job.steps, job, implied=self._job.implied_next, first=first
            )
        except LostOwnership:
            raise
        except BaseException as error:
            failed = error.error if isinstance(error, StepFailed) else unwrapped(error)
            ending = Ending(terminates=BatchStatus.FAILED, error=failed)
        job.exit_status = ending.exit_status_of_job or job.exit_status
        # No boundary follows that could read a stop; what after_job is told is what comes (S36).
        self._running.begin_ending()
        job.about_to_end(self._status(ending))
        try:
            if listeners is not None:
                listeners.after("after_job", job)
        except ListenerFailed as failed_listener:
            if ending.error is None:
                ending = Ending(terminates=BatchStatus.FAILED, error=failed_listener.error)
            else:
                logger.exception("an after_job listener of %r failed", self._job.name)
        return ending

    def _steps_of_instance(self) -> list[StepExecution]:
        with self._running.repository.database.read() as reader:
            return steps_of_instance(reader, self._running.job.instance_id)

    def _status(self, ending: Ending) -> BatchStatus:
        """What will be committed; STOPPED when a stop was applied, although all was done (S12)."""
        status = ending.terminates or BatchStatus.COMPLETED
        if status is BatchStatus.COMPLETED and self._running.stop_flag.is_set():
            return BatchStatus.STOPPED
        return status

    def _end(self, job: JobContext, sequencer: Sequencer, ending: Ending) -> JobExecution:
        """The terminal status, once; the original exception stays in the caller's hands (S73)."""
        if ending.error is not None and self._running.has_stray_step:
            raise ending.error  # One transaction will settle both rows; not this one alone (S190).
        try:
            ended = self._record(job, sequencer, ending)
        except (ValueNotJson, ContextTooLarge, OptimisticLockingFailure) as unstorable:
            if isinstance(unstorable, OptimisticLockingFailure):
                self._running.refresh()  # Once, under the fence (S24).
            ending = Ending(terminates=BatchStatus.FAILED, error=ending.error or unstorable)
            ended = self._record(job, sequencer, ending)
        error, failure, name = ending.error, ended.failure, self._job.name
        if failure is None:
            logger.info(
                "execution %s of job %r is %s", ended.execution_id, name, ended.batch_status
            )
            return ended
        logger.error(
            "execution %s of job %r failed: %s: %s",
            ended.execution_id,
            name,
            failure.type,
            failure.message,
            extra={"is_shown": True},  # Whoever shows how it ended, shows this too.
        )
        if error is not None and not isinstance(error, Exception):
            raise error  # KeyboardInterrupt or SystemExit goes its way, behind the record.
        return replace(ended, exception=error)

    def _record(self, job: JobContext, sequencer: Sequencer, ending: Ending) -> JobExecution:
        status = self._status(ending)
        return self._running.end(
            batch_status=status,
            result=derive_job_result(status, sequencer.results),
            exit_status=(job.exit_status or str(status))[:EXIT_STATUS_CHARACTERS_MAX],
            failure=None if ending.error is None else Failure.of(ending.error),
            restart_position=ending.restart,
        )
