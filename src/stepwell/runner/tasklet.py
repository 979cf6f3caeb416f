"""A tasklet step: one function or object, called until it is done (section 11)."""

from __future__ import annotations

from stepwell.execution.status import STEP_COMPLETED, STEP_STOPPED, StepEnd
from stepwell.job.artifact import Scope, make_artifact
from stepwell.job.step import Repeat, TaskletStep
from stepwell.runner.context import StepContext
from stepwell.runner.running import RunningExecution, StopApplied


class TaskletRunner:
    """Runs one execution of a tasklet step."""

    def __init__(
        self, running: RunningExecution, step: TaskletStep, context: StepContext, scope: Scope
    ) -> None:
        self._running = running
        self._context = context
        self._tasklet = make_artifact(step.function, scope)
        process = getattr(self._tasklet, "process", self._tasklet)
        self._process = context.loop.synchronous(process, available=1)

    def run(self) -> StepEnd:
        """Call the function; ``Repeat`` commits the context and calls it again (S135).

        Raises:
            TypeError: the function returned neither a string nor None nor ``Repeat``.
        """
        context = self._context
        returned: object = Repeat
        while returned is Repeat:
            if self._running.stop_flag.is_set():
                return STEP_STOPPED
            try:
                with self._running.stoppable(self._tasklet):
                    returned = self._process(context)
            except StopApplied:  # While it waited for a lock.
                return STEP_STOPPED
            if returned is Repeat:
                self._running.save_progress(
                    context.step_execution_id, context.context, **context.pending_progress
                )
        if returned is not None and not isinstance(returned, str):
            raise TypeError(f"a tasklet returns its exit status, None or Repeat, got {returned!r}")
        if context.exit_status is None:
            context.exit_status = returned
        return STEP_STOPPED if self._running.stop_flag.is_set() else STEP_COMPLETED
