"""Walk the elements of a job: transitions, flows, splits, decisions, what a restart skips.

Sections 5 to 7. A container (the job or a flow) is walked from element to element until one leads
nowhere or terminates the whole job from any depth (S48).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextvars import copy_context
from dataclasses import dataclass, field, replace
from threading import Thread
from typing import Any

from stepwell.errors import JobFlowFailed, LostOwnership, StartLimitExceeded
from stepwell.execution.json import from_json
from stepwell.execution.records import StepExecution
from stepwell.execution.status import BatchStatus, Result
from stepwell.job.artifact import Scope, make_artifact
from stepwell.job.flow import Decision, Flow, Split, Transition, next_of, transitions_of
from stepwell.job.function import with_arguments
from stepwell.job.step import ChunkStep, PartitionedStep, Step, TaskletStep
from stepwell.repository.steps import get_context
from stepwell.runner.context import JobContext
from stepwell.runner.current import running_in
from stepwell.runner.running import RunningExecution, StopApplied
from stepwell.runner.step import StepFailed, StepRunner, as_dict

logger = logging.getLogger("stepwell.runner")

_END_STATUS = {
    "end": BatchStatus.COMPLETED,
    "stop": BatchStatus.STOPPED,
    "fail": BatchStatus.FAILED,
}
_RANK = {BatchStatus.FAILED: 0, BatchStatus.STOPPED: 1, BatchStatus.COMPLETED: 2}


@dataclass
class Ending:
    """How a container ended.

    Attributes:
        terminates: The status that the whole job ends with; None: the container ended normally.
        exit_status: With ``terminates``: the job's, unless None. Else what the container's own
            transitions are matched against (S45).
        last: The step executions that a following decision receives (S58).
        is_step: It is a failed step's own end; its exit status is not the job's.
    """

    exit_status: str | None = None
    terminates: BatchStatus | None = None
    restart: str | None = None
    error: BaseException | None = None
    last: list[StepExecution] = field(default_factory=list)
    is_step: bool = False

    @property
    def exit_status_of_job(self) -> str | None:
        """What a matched terminating element sets the job's exit status to (S15, S16)."""
        return self.exit_status if self.terminates is not None and not self.is_step else None

    @property
    def failed(self) -> bool:
        """Whether an element that fails is what ended it."""
        return self.terminates is BatchStatus.FAILED


class Sequencer:
    """Walks one execution's elements; ``starts`` counts each step's starts in the instance."""

    def __init__(
        self,
        running: RunningExecution,
        previous: dict[str, StepExecution],
        starts: dict[str, int],
    ) -> None:
        self._running = running
        self._previous = previous
        self._starts = starts
        self._steps = StepRunner(running, previous)
        self.results: list[Result | None] = []

    def walk(
        self, elements: Sequence[Any], job: JobContext, *, implied: bool, first: str | None = None
    ) -> Ending:
        """Run a container from its first element, or from ``first``, to its end (S40, S41, S64)."""
        by_name = {element.name: element for element in elements}
        element = by_name.get(first, elements[0]) if first else elements[0]
        if first and first not in by_name:
            logger.warning("there is no element %r any more, the job begins at its first", first)
        visited: set[str] = set()
        last: list[StepExecution] = []
        while True:
            if element.name in visited:
                return _failed(
                    JobFlowFailed(f"element {element.name!r} would run twice in one execution")
                )
            visited.add(element.name)
            self._running.read_requests()
            if self._running.stop_flag.is_set():
                return Ending(terminates=BatchStatus.STOPPED)  # No element starts now (S42).
            try:
                ending = self._run(element, job, last)
            except StopApplied:
                return Ending(terminates=BatchStatus.STOPPED)
            if ending.terminates is not None and not isinstance(element, _STEPS):
                return ending  # It passes through every container around it (S48).
            following = self._follow(element, ending, elements, implied=implied)
            if isinstance(following, Ending):
                return following
            element, last = by_name[following], ending.last

    def _follow(
        self, element: Any, ending: Ending, elements: Sequence[Any], *, implied: bool
    ) -> Ending | str:
        """The name of the sibling that follows, or how the container ends: S41 in its order."""
        if self._running.stop_flag.is_set():
            return ending if ending.failed else Ending(terminates=BatchStatus.STOPPED)
        exit_status = ending.exit_status or ""
        for transition in transitions_of(element):
            if transition.matches(exit_status):
                return self._taken(transition, ending)
        if ending.failed:
            return ending
        following = next_of(element)
        if following is not None:
            return following
        if implied and not isinstance(element, Decision):
            position = [sibling.name for sibling in elements].index(element.name)
            if position + 1 < len(elements):
                return str(elements[position + 1].name)
        return Ending(exit_status=exit_status, last=ending.last)

    @staticmethod
    def _taken(transition: Transition, ending: Ending) -> Ending | str:
        if transition.kind == "next":
            assert transition.to is not None
            return transition.to
        # A fail element ends the job FAILED; the step stays as it is (S20).
        error = None
        if transition.kind == "fail":
            error = JobFlowFailed(
                f"exit status {ending.exit_status!r} matches {transition.pattern!r}, which fails"
            )
        return Ending(
            terminates=_END_STATUS[transition.kind],
            exit_status=transition.exit_status,
            restart=transition.restart,
            error=error,
            last=ending.last,
        )

    # --- one element -------------------------------------------------------------------------

    def _run(self, element: Any, job: JobContext, last: list[StepExecution]) -> Ending:
        match element:
            case Flow():
                return self._run_flow(element, job)
            case Split():
                return self._run_split(element, job)
            case Decision():
                return self._decide(element, job, last)
            case _:
                return self._run_step(element, job)

    def _run_step(self, step: Step, job: JobContext) -> Ending:
        """Skip what is COMPLETED, whatever ended its job (S65, S66), or run it; in flows too (S67).

        Raises:
            StartLimitExceeded: one more start would be too many; no transition is asked (S49).
        """
        before = self._previous.get(step.name)
        if (
            before is not None
            and before.batch_status is BatchStatus.COMPLETED
            and not step.allow_start_if_complete
        ):
            logger.info("step %r is complete since execution %s", step.name, before.execution_id)
            self._running.pass_step(step.name)
            self.results.append(before.result)
            return Ending(exit_status=before.exit_status, last=[before])
        starts = self._starts.get(step.name, 0)
        if step.start_limit and starts >= step.start_limit:
            raise StartLimitExceeded(step.name, step.start_limit)
        self._starts[step.name] = starts + 1
        try:
            record = self._steps.run(step, job)
        except StepFailed as failed:
            if not isinstance(failed.error, Exception):
                raise  # KeyboardInterrupt, SystemExit: no transition is for them.
            return Ending(
                exit_status=failed.step.exit_status,
                terminates=BatchStatus.FAILED,
                error=failed.error,
                last=[failed.step],
                is_step=True,
            )
        self.results.append(record.result)
        return Ending(exit_status=record.exit_status, last=[record])

    def _run_flow(self, flow: Flow, job: JobContext) -> Ending:
        return self.walk(flow.elements, job, implied=flow.implied_next)

    def _run_split(self, split: Split, job: JobContext) -> Ending:
        """Each flow on a thread of its own; the winner of those that terminate (S55, S56)."""
        ended: list[Ending] = [Ending() for _ in split.flows]
        raised: list[BaseException] = []

        def run(index: int, flow: Flow) -> None:
            try:
                ended[index] = self._branch(flow, job.for_branch())
            except (LostOwnership, StepFailed) as error:
                raised.append(error)
            except Exception as error:
                ended[index] = _failed(error)  # A start limit, a record that failed (S49, S22).
            except BaseException as error:
                raised.append(error)

        threads = [
            # What the caller has in its context variables, the flow has too (S75).
            Thread(target=copy_context().run, args=(run, index, flow), name=f"stepwell-{flow.name}")
            for index, flow in enumerate(split.flows)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for error in sorted(raised, key=lambda e: not isinstance(e, LostOwnership)):
            raise error  # The owner of nothing says nothing else (S25).
        terminated = [e for e in ended if e.terminates is not None]
        if terminated:
            return min(terminated, key=lambda e: _RANK[e.terminates or BatchStatus.COMPLETED])
        return Ending(exit_status="COMPLETED", last=[step for e in ended for step in e.last])

    def _branch(self, flow: Flow, job: JobContext) -> Ending:
        """A flow of a split with its own transitions; ``next`` has no sibling to go to here."""
        with running_in(job):
            ending = self._run_flow(flow, job)
        if ending.terminates is not None:
            return ending
        followed = self._follow(flow, ending, [flow], implied=False)
        return followed if isinstance(followed, Ending) else ending

    def _decide(self, decision: Decision, job: JobContext, last: list[StepExecution]) -> Ending:
        """The decider's answer becomes the job's exit status and is what is matched (S60)."""
        decider = make_artifact(decision.decide, Scope(job))
        decide: Callable[..., Any] = getattr(decider, "decide", decider)
        try:
            answer = with_arguments(decide, 1)(self._with_data(last))
        except Exception as error:
            return _failed(error)
        if not isinstance(answer, str):
            return _failed(
                TypeError(f"decision {decision.name!r} must return a string, got {answer!r}")
            )
        job.exit_status = answer
        return Ending(exit_status=answer, last=last)

    def _with_data(self, last: list[StepExecution]) -> list[StepExecution]:
        """The same records with the persistent user data that they ended with (S59)."""
        with self._running.repository.database.read() as reader:
            return [
                replace(
                    step, context=as_dict(from_json(get_context(reader, step.step_execution_id)))
                )
                for step in last
            ]


def _failed(error: BaseException) -> Ending:
    return Ending(terminates=BatchStatus.FAILED, error=error)


_STEPS = (TaskletStep, ChunkStep, PartitionedStep)
