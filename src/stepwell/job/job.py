"""A job: a name, its steps, its parameters, and who may run it beside itself."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from stepwell.errors import JobStartError
from stepwell.job.function import required_count
from stepwell.job.parameters import Parameters
from stepwell.job.step import ChunkStep, PartitionedStep, Step, TaskletStep

NAME_PATTERN = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:-]{0,99}")
NAME_RULE = "1 to 100 letters, digits, '_', '.', ':' or '-', beginning with a letter or digit"


@dataclass(frozen=True)
class Job:
    """A job is a value: a name and the steps that run one after the other.

    >>> job = Job("nightly", steps=[TaskletStep("tidy", tidy), load])

    Args:
        name: What ``stepwell run`` calls it; part of every instance's identity (S1, S4).
        steps: Run in order; a failed step fails the job (S53).
        parameters: The model of its parameters; without one any name is taken, as text (S8).
        identity: ``"parameters"``: equal identifying parameters are the same instance, which
            completes once; ``"each-start"``: every start is a new instance (S4, S5).
        run_lock: Refuses a start while an execution of the same job and parameters
            (``"parameters"``), or of the same job (``"job"``), has not ended (S184).
        restartable: Whether a failed or stopped execution may be restarted.
    """

    name: str
    steps: Sequence[Step]
    parameters: type[Parameters] | None = None
    identity: Literal["parameters", "each-start"] = "parameters"
    run_lock: Literal["parameters", "job"] | None = "parameters"
    restartable: bool = True
    description: str = ""


def check_job(job: Job) -> None:
    """Refuse a definition that cannot run, naming every fault at once (S183).

    Raises:
        JobStartError: before anything is recorded.
    """
    faults = list(_job_faults(job))
    if faults:
        raise JobStartError(
            f"cannot start job {job.name!r}: {'; '.join(faults)}",
            hint="correct the definition; nothing was recorded",
            fields={"job": job.name, "faults": faults},
        )


def _job_faults(job: Job) -> Iterator[str]:
    if not NAME_PATTERN.fullmatch(str(job.name)):
        yield f"name must be {NAME_RULE}, got {job.name!r}"
    if job.identity not in ("parameters", "each-start"):
        yield f"identity must be 'parameters' or 'each-start', got {job.identity!r}"
    if job.run_lock not in ("parameters", "job", None):
        yield f"run_lock must be 'parameters', 'job' or None, got {job.run_lock!r}"
    if not job.steps:
        yield "steps must hold at least one step, got none"
    for name, count in Counter(step.name for step in job.steps).items():
        if count > 1:
            yield f"step names must be unique, {name!r} stands {count} times"
    for step in job.steps:
        for fault in _step_faults(step):
            yield f"step {step.name!r}: {fault}"


def _step_faults(step: Step) -> Iterator[str]:
    if not NAME_PATTERN.fullmatch(str(step.name)):
        yield f"name must be {NAME_RULE}"
    match step:
        case TaskletStep():
            yield from _function_faults("function", step.function, arguments=1)
        case ChunkStep():
            yield from _chunk_faults(step)
        case PartitionedStep():
            yield from _partition_faults(step)


def _chunk_faults(step: ChunkStep[Any, Any]) -> Iterator[str]:
    if not _is_whole_number(step.chunk_size, at_least=1):
        yield f"chunk_size must be 1 or more, got {step.chunk_size!r}"
    if step.time_limit_s is not None and step.time_limit_s < 0:
        yield f"time_limit_s must be 0 or more, got {step.time_limit_s!r}"
    if step.write_skip not in ("item", "chunk"):
        yield f"write_skip must be 'item' or 'chunk', got {step.write_skip!r}"
    for name, policy in (("skip", step.skip), ("retry", step.retry)):
        limit = None if policy is None else policy.limit
        if limit is not None and not _is_whole_number(limit, at_least=0):
            yield f"{name} limit must be 0 or more, got {limit!r}"
    if not hasattr(step.reader, "read") and not hasattr(step.reader, "__iter__"):
        yield f"reader must be an ItemReader or an iterable, got {step.reader!r}"
    if not hasattr(step.writer, "write") and not callable(step.writer):
        yield f"writer must be an ItemWriter or a function, got {step.writer!r}"


def _partition_faults(step: PartitionedStep) -> Iterator[str]:
    if callable(step.partitions):
        yield from _function_faults("partitions", step.partitions, arguments=1)
    yield from _function_faults("run", step.run, arguments=2)
    if not _is_whole_number(step.workers, at_least=0):
        yield f"workers must be 0 or more, got {step.workers!r}"
    if isinstance(step.executor, str) and step.executor not in ("inline", "threads"):
        yield f"executor must be 'inline', 'threads' or an Executor, got {step.executor!r}"
    tolerated: Any = step.tolerated_failures
    if tolerated < 0 or (isinstance(tolerated, float) and tolerated > 1):
        yield f"tolerated_failures must be a count, or 0.0 to 1.0, got {tolerated!r}"


def _function_faults(name: str, function: Any, *, arguments: int) -> Iterator[str]:
    if not callable(function):
        yield f"{name} must be a function, got {function!r}"
    elif (wanted := required_count(function)) > arguments:
        yield f"{name} must take at most {arguments} arguments, {function!r} wants {wanted}"


def _is_whole_number(value: Any, *, at_least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= at_least
