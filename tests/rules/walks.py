"""Jobs whose elements write down when they run, and what reads back where a job has been."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from stepwell import BatchStatus, Job, Node, StepContext, TaskletStep
from stepwell.execution.records import JobExecution, StepExecution
from stepwell.job.flow import Transition

WITHIN_S = 20.0


class Walk(list[str]):
    """The names of what has run, in order."""

    def step(
        self,
        name: str,
        does: Callable[[StepContext], Any] | Exception | str | None = None,
        **options: Any,
    ) -> TaskletStep:
        """A step that notes its name and then returns, raises or calls ``does``."""

        def process(step: StepContext) -> Any:
            self.append(name)
            if isinstance(does, Exception):
                raise does
            return does(step) if callable(does) else does

        return TaskletStep(name, process, **options)

    def take(self) -> list[str]:
        """All names so far, which are forgotten."""
        taken = list(self)
        self.clear()
        return taken


class Definition:
    """A registered job that a test can change between a start and a restart (S63)."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.name = job.name
        self.reuses_parameters = True
        self.loaded: list[dict[str, object]] = []

    def load(self, parameters: Mapping[str, object]) -> Job:
        self.loaded.append(dict(parameters))
        return self.job

    def preview(self) -> Job:
        return self.job


def define(node: Node, job: Job) -> Job:
    """Register ``job``, or put it in the place of the one of its name."""
    if job.name in node.registry:
        source: Any = node.registry.find(job.name).source
        source.job = job
    else:
        node.registry.add(Definition(job), origin="the test")
    return job


def job_of(*steps: Any, name: str = "billing", **options: Any) -> Job:
    return Job(name, steps=steps, **options)


def jsl_job(*steps: Any, name: str = "billing", **options: Any) -> Job:
    """A job as a job file in XML makes it: nothing follows unless it is said (S5, S43, S184)."""
    defaults = {"identity": "each-start", "run_lock": None, "implied_next": False}
    return Job(name, steps=steps, **{**defaults, **options})


def run(node: Node, *steps: Any, **options: Any) -> JobExecution:
    """Define and run a job of these steps."""
    return node.operator.run(define(node, job_of(*steps, **options)).name)


def run_job(node: Node, job: Job, parameters: Mapping[str, object] | None = None) -> JobExecution:
    return node.operator.run(define(node, job).name, parameters)


def restart(
    node: Node,
    execution: JobExecution,
    job: Job | None = None,
    parameters: Mapping[str, object] | None = None,
) -> JobExecution:
    """Restart and wait; with ``job`` the definition is another one now."""
    if job is not None:
        define(node, job)
    ended = node.operator.wait(node.operator.restart(execution.execution_id, parameters), WITHIN_S)
    assert ended is not None
    return ended


def ends(execution: JobExecution) -> tuple[BatchStatus, str | None]:
    """How a job has ended: batch status and exit status."""
    return execution.batch_status, execution.exit_status


def steps_of(node: Node, execution: JobExecution) -> list[StepExecution]:
    return node.operator.get_step_executions(execution.execution_id)


def steps(node: Node, execution: JobExecution) -> list[tuple[str, BatchStatus, str | None]]:
    """Each step of an execution: name, batch status, exit status."""
    return [(s.step_name, s.batch_status, s.exit_status) for s in steps_of(node, execution)]


def with_transitions(step: TaskletStep, *transitions: Transition) -> TaskletStep:
    return replace(step, transitions=transitions)


class Heard:
    """A listener that notes each callback with the name it was given; some may raise."""

    def __init__(self, walk: list[str], name: str, *, raises: Sequence[str] = ()) -> None:
        self._walk = walk
        self._name = name
        self._raises = raises

    def _note(self, callback: str) -> None:
        self._walk.append(f"{callback} {self._name}")
        if callback in self._raises:
            raise ValueError(f"{callback} of {self._name}")

    def before_job(self) -> None:
        self._note("before_job")

    def after_job(self) -> None:
        self._note("after_job")

    def before_step(self) -> None:
        self._note("before_step")

    def after_step(self) -> None:
        self._note("after_step")


def stop(node: Node, step: StepContext) -> None:
    """Ask for a stop inside the step, and have it applied before the step goes on."""
    node.operator.stop(step.execution_id, reason="the test")
    node.operator._runner._running[step.execution_id].read_requests()
    assert step.stop_requested
