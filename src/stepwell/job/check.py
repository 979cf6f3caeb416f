"""Everything that is wrong with a job's definition, named before anything is recorded (S183)."""

from __future__ import annotations

import inspect
import math
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor
from typing import Any

from pydantic import PydanticUserError, TypeAdapter

from stepwell.errors import JobStartError
from stepwell.job.artifact import ArtifactFactory
from stepwell.job.flow import Decision, Flow, Split, cycle_of, targets_of, transitions_of
from stepwell.job.function import input_annotation, required_count
from stepwell.job.importable import off_thread_faults, partitioned_steps
from stepwell.job.job import Job
from stepwell.job.policy import ExceptionFilter, Retry, Skip
from stepwell.job.step import ChunkStep, ExecutorName, PartitionedStep, TaskletStep

NAME_PATTERN = re.compile(r"[^\s/\x00-\x1f][^/\x00-\x1f]{0,199}")
NAME_RULE = "1 to 200 characters without '/', control characters and a leading space"
ELEMENTS = (TaskletStep, ChunkStep, PartitionedStep, Flow, Split, Decision)
EXECUTORS = ("inline", "threads", "processes", "dask")


def check_job(job: Job, executor: ExecutorName | None = None) -> None:
    """Refuse a definition that cannot run, naming every fault at once (S183).

    ``executor`` replaces that of its partitioned steps for one run.

    Raises:
        JobStartError: before anything is recorded.
    """
    faults = list(_job_faults(job, executor))
    if executor is not None and executor not in EXECUTORS:
        faults = [f"executor must be one of {', '.join(EXECUTORS)}, got {executor!r}"]
    if faults:
        raise JobStartError(
            f"cannot start job {job.name!r}: {'; '.join(faults)}",
            hint="correct the definition; nothing was recorded",
            fields={"job": job.name, "faults": faults},
        )


def job_faults(job: Job) -> list[str]:
    """Every fault of a definition, as a sentence that names the element."""
    return list(_job_faults(job, None))


def _job_faults(job: Job, executor: ExecutorName | None) -> Iterator[str]:
    if not _is_name(job.name):
        yield f"name must be {NAME_RULE}, got {job.name!r}"
    if job.identity not in ("parameters", "each-start"):
        yield f"identity must be 'parameters' or 'each-start', got {job.identity!r}"
    if job.run_lock not in ("parameters", "job", None):
        yield f"run_lock must be 'parameters', 'job' or None, got {job.run_lock!r}"
    yield from _registered_faults(job)
    if not job.steps:
        yield "steps must hold at least one step, got none"
    strangers = list(_strangers(job.steps))
    if strangers:
        yield f"a job holds steps, flows, splits and decisions, got {strangers[0]!r}"
        return  # It has no name to speak of it by.
    for listener in job.listeners:
        yield from coroutine_faults(listener)
    for name, count in Counter(_names(job.steps)).items():
        if count > 1:
            yield f"step names must be unique, {name!r} stands {count} times"
    yield from _container_faults(job.steps, job.steps, implied=job.implied_next)
    for step in partitioned_steps(job.steps):
        for fault in off_thread_faults(job, step, executor):
            yield f"step {step.name!r}: {fault}"


def _registered_faults(job: Job) -> Iterator[str]:
    """Of what concerns a worker alone (S186)."""
    yield from _timeout_faults(job)
    if not _is_whole_number(job.attempts, at_least=1):
        yield f"attempts must be 1 or more, got {job.attempts!r}"
    if not callable(job.backoff) and not _is_number(job.backoff, at_least=0):
        yield f"backoff must be seconds, 0 or more, or a function, got {job.backoff!r}"
    if isinstance(job.on_completion, str) or not all(map(_is_name, job.on_completion)):
        yield f"on_completion must be a list of names of jobs, got {job.on_completion!r}"


def _names(elements: Sequence[Any]) -> Iterator[str]:
    for element in elements:
        yield element.name
        yield from _names(_inside(element))


def _strangers(elements: Sequence[Any]) -> Iterator[Any]:
    for element in elements:
        if not isinstance(element, ELEMENTS):
            yield element
        yield from _strangers(_inside(element))


def _inside(element: Any) -> Sequence[Any]:
    match element:
        case Flow():
            return element.elements
        case Split():
            return element.flows
    return ()


# --- containers: first element, targets, cycles -----------------------------------------------


def _container_faults(
    elements: Sequence[Any], job_level: Sequence[Any], *, implied: bool
) -> Iterator[str]:
    if elements and isinstance(elements[0], Decision):
        yield f"a decision cannot come first, {elements[0].name!r} does"
    siblings = {element.name for element in elements}
    for element in elements:
        place = f"{_kind(element)} {element.name!r}"
        for fault in _faults_in_place(element, siblings, job_level):
            yield f"{place}: {fault}"
    cycle = cycle_of(elements, implied_next=implied)
    if cycle:
        yield f"elements must not lead back to themselves: {' → '.join(cycle)}"


def _faults_in_place(element: Any, siblings: set[str], job_level: Sequence[Any]) -> Iterator[str]:
    if not _is_name(element.name):
        yield f"name must be {NAME_RULE}"
    for target in targets_of(element):
        if target not in siblings:
            yield f"there is no element {target!r} beside it to go to"
    for transition in transitions_of(element):
        if transition.restart is not None and not _may_begin_at(transition.restart, job_level):
            yield f"a restart cannot begin at {transition.restart!r}"
    yield from _element_faults(element, job_level)


def _may_begin_at(name: str, job_level: Sequence[Any]) -> bool:
    return any(e.name == name and not isinstance(e, Decision) for e in job_level)


def _kind(element: Any) -> str:
    kinds = ((Flow, "flow"), (Split, "split"), (Decision, "decision"))
    return next((name for kind, name in kinds if isinstance(element, kind)), "step")


# --- elements -----------------------------------------------------------------------------------


def _element_faults(element: Any, job_level: Sequence[Any]) -> Iterator[str]:
    match element:
        case Flow():
            if not element.elements:
                yield "a flow must hold at least one element"
            yield from _container_faults(element.elements, job_level, implied=element.implied_next)
        case Split():
            if not element.flows:
                yield "a split must hold at least one flow"
            for flow in element.flows:
                if not isinstance(flow, Flow):
                    yield f"a split holds only flows, got {flow!r}"
                    continue
                # The other flows are no siblings: they run at the same time (S46).
                faults = _faults_in_place(flow, set(), job_level)
                yield from (f"flow {flow.name!r}: {fault}" for fault in faults)
        case Decision():
            yield from _function_faults("decide", element.decide, arguments=1, method="decide")
            yield from coroutine_faults(element.decide)
        case TaskletStep():
            yield from _step_faults(element)
            yield from _function_faults("function", element.function, arguments=1, method="process")
        case ChunkStep():
            yield from _step_faults(element)
            yield from _chunk_faults(element)
        case PartitionedStep():
            yield from _step_faults(element)
            yield from _partition_faults(element)


def _timeout_faults(timed: Any) -> Iterator[str]:
    if timed.timeout_s is not None and not _is_number(timed.timeout_s, above=0):
        yield f"timeout_s must be above 0, got {timed.timeout_s!r}"


def _step_faults(step: Any) -> Iterator[str]:
    yield from _timeout_faults(step)
    if not _is_whole_number(step.start_limit, at_least=0):
        yield f"start_limit must be 0 or more, got {step.start_limit!r}"
    yield from _listener_faults(step)


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
        for found in _classes(policy):
            if not (isinstance(found, type) and issubclass(found, BaseException)):
                yield f"{name} must name exception classes, got {found!r}"
    reader: Any = step.reader
    if not isinstance(reader, ArtifactFactory) and not (
        hasattr(reader, "read") or hasattr(reader, "__iter__") or callable(reader)
    ):
        yield f"reader must be an ItemReader or an iterable, got {reader!r}"
    writer: Any = step.writer
    if not isinstance(writer, ArtifactFactory) and not (
        hasattr(writer, "write") or callable(writer)
    ):
        yield f"writer must be an ItemWriter or a function, got {writer!r}"
    for artifact in (reader, writer, step.checkpoint):
        yield from coroutine_faults(artifact)


def _classes(policy: Skip | Retry | None) -> Iterator[object]:
    filters: list[ExceptionFilter] = [] if policy is None else [policy]
    if isinstance(policy, Retry):
        filters.append(policy.no_rollback)
    for one in filters:
        yield from (*one.include, *one.exclude)


def _listener_faults(step: Any) -> Iterator[str]:
    for listener in step.listeners:
        yield from coroutine_faults(listener)


def _partition_faults(step: PartitionedStep) -> Iterator[str]:
    if callable(step.partitions):
        yield from _function_faults("partitions", step.partitions, arguments=1)
    if isinstance(step.run, ChunkStep):
        yield from _chunk_faults(step.run)
        yield from _listener_faults(step.run)
    else:
        yield from _function_faults("run", step.run, arguments=2, method="process")
        yield from _input_faults(step.run)
    for artifact in (step.partitions, step.collector, step.analyzer, step.reducer):
        yield from coroutine_faults(artifact)
    if not _is_whole_number(step.workers, at_least=0):
        yield f"workers must be 0 or more, got {step.workers!r}"
    if not isinstance(step.executor, Executor) and step.executor not in EXECUTORS:
        names = ", ".join(repr(name) for name in EXECUTORS)
        yield f"executor must be {names} or an Executor, got {step.executor!r}"
    tolerated: Any = step.tolerated_failures
    if tolerated < 0 or (isinstance(tolerated, float) and tolerated > 1):
        yield f"tolerated_failures must be a count, or 0.0 to 1.0, got {tolerated!r}"


def _input_faults(run: Any) -> Iterator[str]:
    """A partition's input is decoded through the annotation of the first argument (S195)."""
    if isinstance(run, ArtifactFactory) or not callable(run):
        return
    annotation = input_annotation(run)
    try:
        TypeAdapter(annotation)
    except PydanticUserError:
        shown = getattr(annotation, "__name__", str(annotation))
        yield (
            "run must take what JSON can be decoded to as its first argument, the input of the"
            f" partition, got {shown}"
        )


def _function_faults(
    name: str, function: Any, *, arguments: int, method: str | None = None
) -> Iterator[str]:
    if isinstance(function, ArtifactFactory):
        return
    if method is not None and callable(getattr(function, method, None)):
        return
    if not callable(function):
        yield f"{name} must be a function, got {function!r}"
    elif (wanted := required_count(function)) > arguments:
        yield f"{name} must take at most {arguments} arguments, {function!r} wants {wanted}"


ASYNC_METHODS = ("process",)  # A processor or a tasklet may be a coroutine function (S80).


def coroutine_faults(artifact: Any) -> Iterator[str]:
    """Methods of an artifact that are coroutine functions where none may be (S80)."""
    if artifact is None or isinstance(artifact, ArtifactFactory):
        return
    if inspect.iscoroutinefunction(artifact) or inspect.isasyncgenfunction(artifact):
        yield f"{artifact.__qualname__} must not be a coroutine function"
    for name in dir(type(artifact)):
        if not name.startswith("_") and name not in ASYNC_METHODS:
            method = inspect.getattr_static(type(artifact), name, None)
            if inspect.iscoroutinefunction(method):
                yield f"{name} of {artifact!r} must not be a coroutine function"


def _is_name(name: Any) -> bool:
    return isinstance(name, str) and NAME_PATTERN.fullmatch(name) is not None


def _is_number(value: Any, *, above: float | None = None, at_least: float | None = None) -> bool:
    if not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(value):
        return False
    return (above is None or value > above) and (at_least is None or value >= at_least)


def _is_whole_number(value: Any, *, at_least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= at_least
