"""Import paths: how another process finds a function or a definition again (S193).

Nothing of a user's is pickled: a task for another process names what it needs, and that process
imports it. So what shall run there must stand at the top of a module that can be imported.
"""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import replace
from importlib.util import find_spec
from types import FunctionType
from typing import Any, NamedTuple, Protocol, runtime_checkable

from stepwell.job.job import Job
from stepwell.job.parameters import Parameters
from stepwell.job.step import ChunkStep, ExecutorName, PartitionedStep

PROGRAM = ("__main__", "__mp_main__")  # What was started is no module that others can import.
ON_THREADS = ("inline", "threads")


class NotImportable(Exception):
    """Another process could not find something again; the message says why."""


class Found(NamedTuple):
    """Where another process finds a definition: ``module:name``, and a step of the Job there."""

    path: str
    step: str | None = None

    def load(self) -> Any:
        """Import it: the value itself, or the step of that name in a Job."""
        value = load_path(self.path)
        if self.step is None:
            return value
        return next(step for step in partitioned_steps(value.steps) if step.name == self.step)


class Sent(NamedTuple):
    """A definition that travels itself: everything in it is plain data or found by its path."""

    step: PartitionedStep

    def load(self) -> PartitionedStep:
        """The step, for its partitions alone."""
        return self.step


@runtime_checkable
class Portable(Protocol):
    """A part of a step, made by a job file, that is found again in another process."""

    def require_portable(self) -> None:
        """Refuse to travel.

        Raises:
            NotImportable: something that it names means nothing there.
        """


class Loads(Protocol):
    """Finds something again in another process."""

    def load(self) -> Any:
        """Import it, or make it again."""


# What a parameters' model has that no module holds: a Loads that makes it again.
MADE_BY = "__made_by__"


def is_off_thread(executor: ExecutorName | Executor) -> bool:
    """Whether partitions leave this process: every executor but ``inline`` and threads (S193)."""
    if isinstance(executor, Executor):
        return not isinstance(executor, ThreadPoolExecutor)
    return executor not in ON_THREADS


def import_path(value: Any) -> str:
    """``module:qualname`` of a function or class.

    Raises:
        NotImportable: importing that path does not lead back to ``value``.
    """
    module, name = getattr(value, "__module__", None), getattr(value, "__qualname__", None)
    if not isinstance(module, str) or not isinstance(name, str):
        raise NotImportable(f"{value!r} is no function")
    if "<lambda>" in name:
        raise NotImportable(f"{name} in {module} is a lambda")
    if "<locals>" in name:
        raise NotImportable(f"{name} in {module} is defined inside a function")
    if module in PROGRAM:
        raise NotImportable(f"{name} is defined in the program itself (__main__)")
    path = f"{module}:{name}"
    try:
        found = load_path(path)
    except (ImportError, AttributeError) as error:
        raise NotImportable(f"{path} cannot be imported: {error}") from error
    if found is not value:
        raise NotImportable(f"{path} is something else than this function, say what wraps it")
    return path


def load_path(path: str) -> Any:
    """What stands at ``module:qualname``."""
    module, _, name = path.partition(":")
    value: Any = importlib.import_module(module)
    for part in name.split("."):
        value = getattr(value, part)
    return value


def find_step(job: Job, step: PartitionedStep) -> Found:
    """Where a module holds the step, or the job that it belongs to, in a variable.

    Raises:
        NotImportable: no module that can be imported does.
    """
    for module_name, module in list(sys.modules.items()):
        if module_name in PROGRAM or module is None:
            continue
        for name, value in list(vars(module).items()):
            if (value is job or value is step) and _can_be_imported(module_name):
                return Found(f"{module_name}:{name}", step.name if value is job else None)
    raise NotImportable(f"no module that can be imported holds job {job.name!r} in a variable")


def _can_be_imported(module_name: str) -> bool:
    try:
        return find_spec(module_name) is not None
    except (ImportError, ValueError):
        return False


def partitioned_steps(elements: Sequence[Any]) -> Iterator[PartitionedStep]:
    """The partitioned steps among elements, and in their flows and splits."""
    for element in elements:
        if isinstance(element, PartitionedStep):
            yield element
        yield from partitioned_steps(getattr(element, "elements", getattr(element, "flows", ())))


def find_work(job: Job, step: PartitionedStep) -> Found | Sent:
    """Where another process finds what it needs to run a partition.

    A function is found by its own path. What is made of functions, or by a job file, travels
    itself; a ChunkStep or an object of a job in Python is found through the step's definition.

    Raises:
        NotImportable: say why in the message.
    """
    run: Any = step.run
    if inspect.isfunction(run):
        path = import_path(run)
        if step.collector is None:
            return Found(path)
    parts = list(_parts(step))
    if not all(isinstance(one, (Portable, FunctionType, type)) for one in parts):
        return find_step(job, step)
    require_portable(parts)
    hears_chunks = not inspect.isfunction(run)
    return Sent(
        replace(
            step,
            partitions=[],
            executor="inline",
            analyzer=None if step.analyzer is None else True,
            reducer=None,
            listeners=step.listeners if hears_chunks else (),
        )
    )


def _parts(step: PartitionedStep) -> Iterator[Any]:
    """What must be found where a partition runs."""
    if isinstance(step.run, ChunkStep):
        yield from chunk_parts(step.run)
        yield from (*step.listeners, *step.run.listeners)
    else:
        yield step.run
        if not inspect.isfunction(step.run):
            yield from step.listeners
    if step.collector is not None:
        yield step.collector


def chunk_parts(chunk: ChunkStep[Any, Any]) -> Iterator[Any]:
    """The artifacts, functions and classes that a chunk is made of."""
    processor: Any = chunk.processor
    processors = processor if isinstance(processor, (list, tuple)) else [processor]
    for part in (chunk.reader, *processors, chunk.writer, chunk.checkpoint):
        if part is not None:
            yield part
    for policy in (chunk.skip, chunk.retry):
        if policy is not None:
            yield from (*policy.include, *policy.exclude)
    if chunk.retry is not None:
        no_rollback = chunk.retry.no_rollback
        yield from (*no_rollback.include, *no_rollback.exclude)
        if callable(chunk.retry.backoff):
            yield chunk.retry.backoff


def require_portable(parts: Iterable[Any]) -> None:
    """Refuse parts that another process does not find again.

    Raises:
        NotImportable: names the first of them.
    """
    for part in parts:
        if isinstance(part, Portable):
            part.require_portable()
        else:
            import_path(part)


def find_model(model: type[Parameters]) -> Loads:
    """Where another process finds the model of a job's parameters.

    Raises:
        NotImportable: say why in the message.
    """
    made_by: Loads | None = vars(model).get(MADE_BY)
    return Found(import_path(model)) if made_by is None else made_by


def off_thread_faults(
    job: Job, step: PartitionedStep, executor: ExecutorName | None = None
) -> Iterator[str]:
    """Why the partitions of a step could not be run in other processes, as sentences (S183).

    ``executor`` replaces the step's own for one run.
    """
    used = executor or step.executor
    if not is_off_thread(used):
        return
    if used == "dask" and find_spec("distributed") is None:
        yield "executor 'dask' needs a package: pip install 'stepwell[dask]'"
    try:
        find_work(job, step)
    except NotImportable as error:
        yield (
            f"run must be found by the processes of its executor, but {error}: put it at the top"
            " of a module that can be imported, or use executor='threads'"
        )
    if job.parameters is not None:
        try:
            find_model(job.parameters)
        except NotImportable as error:
            yield f"the parameters' model must be found by other processes, but {error}"
