"""The partition of a job file as a PartitionedStep."""

from __future__ import annotations

from typing import Any

from stepwell.job.check import EXECUTORS
from stepwell.job.step import PartitionedStep
from stepwell.jsl.artifact import ANALYZER, COLLECTOR, MAPPER, REDUCER
from stepwell.jsl.build_chunk import build_partition_chunk
from stepwell.jsl.model import ArtifactElement, PartitionElement, PlanElement, StepElement
from stepwell.jsl.reading import Reading
from stepwell.jsl.surroundings import complete


def build_partition(
    step: StepElement,
    partition: PartitionElement,
    tasklet: Any,
    reading: Reading,
    **of_the_step: Any,
) -> PartitionedStep:
    """The step; ``reading`` is that of its main thread, ``tasklet`` what it may run."""
    name = step.id.text
    what = f"step {name!r}"
    there = reading.with_partitions()
    run = tasklet if step.chunk is None else build_partition_chunk(step.chunk, name, there)
    if partition.plan is not None and partition.mapper is not None:
        reading.faults.error(
            partition.mapper.line,
            f"{what}: a partition has a plan or a mapper, not both",
            f"the plan stands on line {partition.plan.line}",
        )
    workers = reading.named("threads", "workers")
    return PartitionedStep(
        name,
        partitions=_partitions(partition, reading, what),  # Substituted like all else (S88).
        run=run,
        workers=reading.whole_number(partition.threads, f"{what}: {workers}", at_least=0) or 0,
        executor=reading.one_of(partition.executor, f"{what}: executor", EXECUTORS) or "threads",
        tolerated_failures=reading.tolerance(
            partition.tolerated_failures, f"{what}: tolerated_failures"
        )
        or 0,
        collector=_artifact(partition.collector, COLLECTOR, there, what),
        analyzer=_artifact(partition.analyzer, ANALYZER, reading, what),
        reducer=_artifact(partition.reducer, REDUCER, reading, what),
        partition_override=reading.boolean(partition.override, f"{what}: override") or False,
        replan_on_restart=_replans(partition, reading, what),
        **of_the_step,
    )


def _replans(partition: PartitionElement, reading: Reading, what: str) -> bool:
    """Jakarta Batch substitutes the plan afresh, Python and YAML keep the frozen one (S156)."""
    says = reading.boolean(partition.replan_on_restart, f"{what}: replan_on_restart")
    return reading.language == "xml" if says is None else says


def _artifact(element: ArtifactElement | None, role: Any, reading: Reading, what: str) -> Any:
    return None if element is None else reading.artifact(element, role, what)


def _partitions(partition: PartitionElement, reading: Reading, what: str) -> Any:
    # With both of them, which is a fault, the faults of both are told.
    plan = None if partition.plan is None else _plan(partition.plan, reading, what)
    if partition.mapper is not None:
        return reading.artifact(partition.mapper, MAPPER, what)
    return [{}] if plan is None else plan  # One partition without properties (S142).


def _plan(plan: PlanElement, reading: Reading, what: str) -> list[Any]:
    default = 1 if reading.language == "xml" else max(1, len(plan.entries))
    read = reading.whole_number(plan.partitions, f"{what}: partitions", at_least=1)
    count = read or (default if plan.partitions is None else 0)  # 0: not known.
    inputs: list[Any] = [{} for _ in range(count)]
    lines: dict[int, int] = {}
    for entry in plan.entries:
        place = f"{what}: partition of the plan"
        number = reading.whole_number(entry.partition, place, at_least=0)
        _, level = reading.within(entry.properties, f"{place} {entry.partition.text}")
        value: Any = {name: complete(template, None) for name, template in level.items()}
        if entry.value is not None:
            value = reading.text(entry.value, place) or ""
        if number is None:
            continue
        if number in lines:
            message = f"{what}: partition {number} stands twice in the plan"
            reading.faults.error(entry.partition.line, message, f"first on line {lines[number]}")
        lines.setdefault(number, entry.partition.line)
        if number < count:
            inputs[number] = value
        elif count:
            reading.faults.error(
                entry.partition.line,
                f"{what}: the plan has no partition {number}",
                f"its {count} partitions are numbered from 0 to {count - 1}",
            )
    return inputs
