"""What a start would do now, found out without recording anything or calling any step.

Guarantee: it decides by the functions that a start decides by: which instance it is (S4, S6), which
steps a restart leaves out (S65), which partitions it keeps (S156). What only the run itself can
tell, which way a transition leads, it leaves open. Of the user's code it calls the functions of the
parameters alone: resources, pools and the plans of partitioned steps.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, Literal

from stepwell.database.liveness import Liveness
from stepwell.database.transaction import Reader
from stepwell.errors import JobStartError, StepwellError
from stepwell.execution.records import JobExecution, Partition, StepExecution
from stepwell.execution.status import BatchStatus
from stepwell.job.artifact import ArtifactFactory, Scope
from stepwell.job.flow import Decision
from stepwell.job.step import PartitionedStep
from stepwell.repository.creation import find_previous
from stepwell.repository.executions import get_execution
from stepwell.repository.plans import kept_results, list_plan
from stepwell.repository.steps import steps_of_instance
from stepwell.runner.plan import make_plan
from stepwell.runner.ready import ReadyJob

Action = Literal["run", "run again", "go on", "skip", "refuse", "decide"]


@dataclass(frozen=True)
class PlannedPartitions:
    """The partitions of a step.

    Attributes:
        total: None when only its mapper can tell, which is asked when the step runs.
        left: Those that would run.
        frozen: The plan of an earlier execution is kept (S156).
    """

    total: int | None
    left: tuple[Partition, ...]
    frozen: bool


@dataclass(frozen=True)
class PlannedElement:
    """A step, flow, split or decision, and what a start would do with it if it came there.

    Attributes:
        within: The flow or split that it is in.
        why: The fact that decides; empty for a step that nobody has run yet.
        previous: Its last step execution in the instance, if any.
    """

    element: Any
    within: str | None
    action: Action
    why: str = ""
    previous: StepExecution | None = None
    partitions: PlannedPartitions | None = None


@dataclass(frozen=True)
class DryRun:
    """What a start would do.

    Attributes:
        previous: The execution that it would go on from; None: it would make a new instance.
        starts_at: The element that a stop element has named for this restart (S64).
    """

    ready: ReadyJob
    previous: JobExecution | None
    starts_at: str | None
    elements: tuple[PlannedElement, ...]


def dry_run(
    reader: Reader | None, liveness: Liveness | None, ready: ReadyJob, *, again: bool = False
) -> DryRun:
    """Plan a start of ``ready``; without a reader there is no database yet.

    Raises:
        JobInstanceAlreadyComplete, JobExecutionAlreadyRunning, JobRestartError: as a start would
            be refused (S6).
        JobStartError: the partitions of a step cannot be listed.
    """
    previous: JobExecution | None = None
    steps: Sequence[StepExecution] = ()
    if reader is not None and liveness is not None:
        previous = find_previous(reader, ready.registered(again=again), liveness)
    if reader is not None and previous is not None:
        previous = get_execution(reader, previous.execution_id)
        steps = steps_of_instance(reader, previous.instance_id)
    latest = {step.step_name: step for step in steps}
    starts = Counter(step.step_name for step in steps)
    begins_at = previous.restart_position if previous else None
    passed = _before(begins_at, ready.job.steps)
    return DryRun(
        ready,
        previous,
        begins_at,
        tuple(
            PlannedElement(element, within, "skip", f"the restart begins at {begins_at!r}")
            if element.name in passed
            else _planned(reader, ready, element, within, latest, starts)
            for within, element in _elements(None, ready.job.steps)
        ),
    )


def _before(begins_at: str | None, elements: Sequence[Any]) -> set[str]:
    """What stands in front of the element where a restart begins, at any depth (S64)."""
    names = [element.name for element in elements]
    if begins_at not in names:
        return set()
    passed = elements[: names.index(begins_at)]
    return {element.name for _, element in _elements(None, passed)}


def _elements(within: str | None, elements: Sequence[Any]) -> Iterator[tuple[str | None, Any]]:
    for element in elements:
        yield within, element
        for part in ("elements", "flows"):
            yield from _elements(element.name, getattr(element, part, ()))


def _planned(
    reader: Reader | None,
    ready: ReadyJob,
    element: Any,
    within: str | None,
    latest: dict[str, StepExecution],
    starts: Counter[str],
) -> PlannedElement:
    if isinstance(element, Decision):
        return PlannedElement(element, within, "decide")
    if not hasattr(element, "start_limit"):
        return PlannedElement(element, within, "run")  # A flow or a split: what is in it counts.
    previous = latest.get(element.name)
    action, why = _action(element, previous, starts[element.name])
    partitions = None
    if isinstance(element, PartitionedStep) and action not in ("skip", "refuse"):
        partitions = _partitions(reader, ready, element, previous)
    return PlannedElement(element, within, action, why, previous, partitions)


def _action(element: Any, previous: StepExecution | None, starts: int) -> tuple[Action, str]:
    """What the table of S65 says, and the start limit (S49)."""
    where = "" if previous is None else f"in execution {previous.execution_id}"
    completed = previous is not None and previous.batch_status is BatchStatus.COMPLETED
    if completed and not element.allow_start_if_complete:
        return "skip", f"COMPLETED {where}"
    if element.start_limit and starts >= element.start_limit:
        return "refuse", f"its start limit of {element.start_limit} is used up"
    if previous is None:
        return "run", ""
    if completed:
        return "run again", f"COMPLETED {where}, and it says allow_start_if_complete"
    return "go on", f"{previous.batch_status} {where}"


def _partitions(
    reader: Reader | None, ready: ReadyJob, step: PartitionedStep, previous: StepExecution | None
) -> PlannedPartitions:
    if (
        reader is not None
        and previous is not None
        and previous.batch_status.is_restartable
        and previous.plan_id is not None
        and not step.partition_override
    ):
        kept = kept_results(reader, previous.plan_id)
        frozen = list_plan(reader, previous.plan_id)
        left = tuple(partition for partition in frozen if partition.number not in kept)
        return PlannedPartitions(len(frozen), left, frozen=True)
    if isinstance(step.partitions, ArtifactFactory):
        return PlannedPartitions(None, (), frozen=False)
    scope = Scope(SimpleNamespace(parameters=ready.resolved.value))
    try:
        planned = make_plan(step, scope, plan_id=0).partitions
    except StepwellError:
        raise
    except Exception as error:
        raise JobStartError(
            f"cannot plan step {step.name!r}: its partitions cannot be listed,"
            f" {type(error).__name__}: {error}",
            hint="a start would fail in the same way; correct the function of its partitions",
            fields={"job": ready.job.name, "step": step.name},
        ) from error
    return PlannedPartitions(len(planned), tuple(planned), frozen=False)
