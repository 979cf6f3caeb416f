"""Import paths: how another process finds a function or a definition again (S193).

Nothing of a user's is pickled: a task for another process names what it needs, and that process
imports it. So what shall run there must stand at the top of a module that can be imported.
"""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from importlib.util import find_spec
from typing import Any, NamedTuple

from stepwell.job.job import Job
from stepwell.job.step import PartitionedStep

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


def is_off_thread(step: PartitionedStep) -> bool:
    """Whether partitions leave this process: every executor but ``inline`` and threads (S193)."""
    if isinstance(step.executor, Executor):
        return not isinstance(step.executor, ThreadPoolExecutor)
    return step.executor not in ON_THREADS


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


def find_work(job: Job, step: PartitionedStep) -> Found:
    """Where another process finds what it needs to run a partition.

    A function is found by its own path; a ChunkStep, an object, and a function beside a collector
    through the step's definition.

    Raises:
        NotImportable: say why in the message.
    """
    run: Any = step.run
    if inspect.isfunction(run):
        path = import_path(run)
        if step.collector is None:
            return Found(path)
    return find_step(job, step)


def off_thread_faults(job: Job, step: PartitionedStep) -> Iterator[str]:
    """Why the partitions of a step could not be run in other processes, as sentences (S183)."""
    if not is_off_thread(step):
        return
    if step.executor == "dask" and find_spec("distributed") is None:
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
            import_path(job.parameters)
        except NotImportable as error:
            yield f"the parameters' model must be found by other processes, but {error}"
