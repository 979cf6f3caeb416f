"""Where the partitions of a step run: on the step's own thread, on threads, or elsewhere (S193).

A pool takes ranges of partitions and puts into one queue whatever is told of them, wherever they
run; at the end of each range the number 1, so that nobody else has to count.
"""

from __future__ import annotations

import inspect
import os
import sys
from collections.abc import Iterator, Mapping
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import copy_context
from queue import SimpleQueue
from threading import Event
from typing import Any, NamedTuple, Protocol

from stepwell.execution.records import Partition
from stepwell.job.importable import is_off_thread
from stepwell.job.step import PartitionedStep
from stepwell.repository.plans import Reached
from stepwell.runner.context import StepContext
from stepwell.runner.elsewhere import run_task
from stepwell.runner.remote import RemotePool
from stepwell.runner.running import RunningExecution
from stepwell.runner.share import PartitionWork, Told
from stepwell.runner.task import Brief, Task, make_brief

THREADS_MAX = min(32, (os.cpu_count() or 1) + 4)  # As concurrent.futures has it.


class Pool(Protocol):
    """Takes ranges of partitions that are handed out.

    Attributes:
        ahead: How many ranges it may have at a time.
        range_s: Small partitions travel together until they fill about this much work.
        range_max: So many travel together at most.
    """

    ahead: int
    range_s: float
    range_max: int

    def submit(self, partitions: list[Partition]) -> None:
        """Have a range run."""

    def cancel(self) -> None:
        """What has not begun does not begin any more."""


class InlinePool:
    """Runs each partition on the thread that submits it: one at a time, in order."""

    ahead = 1
    range_s = 0.0
    range_max = 1

    def __init__(
        self, work: PartitionWork, reached: Mapping[int, Reached], events: SimpleQueue[Told]
    ) -> None:
        self._work = work
        self._reached = reached
        self._tell = events.put

    def submit(self, partitions: list[Partition]) -> None:
        """Run them now."""
        self._work.run_range(partitions, self._reached, self._tell)

    def cancel(self) -> None:
        """Nothing waits."""


class ThreadPool(InlinePool):
    """Runs ranges on the threads of an executor."""

    range_s = 0.01
    range_max = 64

    def __init__(
        self,
        work: PartitionWork,
        reached: Mapping[int, Reached],
        events: SimpleQueue[Told],
        executor: Executor,
        ahead: int,
    ) -> None:
        super().__init__(work, reached, events)
        self._executor = executor
        self.ahead = ahead

    def submit(self, partitions: list[Partition]) -> None:
        """Run them on a thread, in a copy of this one's context variables (S75)."""
        self._executor.submit(
            copy_context().run, self._work.run_range, partitions, self._reached, self._tell
        )


@contextmanager
def open_pool(
    running: RunningExecution,
    definition: PartitionedStep,
    context: StepContext,
    *,
    workers: int,
    partition_count: int,
    reached: Mapping[int, Reached],
    events: SimpleQueue[Told],
    halt: Event,
) -> Iterator[Pool]:
    """The pool that the step's executor names; it has ended its work when this is left (S142).

    ``workers`` 0 means as many as there are partitions; never more than the executor has.
    """
    executor: Any = running.placement.executor or definition.executor
    wanted = max(1, min(workers or partition_count, partition_count))
    if is_off_thread(executor):
        # A function on a cluster does without the database, unless it uses it itself.
        asks = executor != "dask" or not inspect.isroutine(definition.run)
        once = executor == "processes" or _is_process_pool(executor)
        brief = make_brief(running, definition, context, asks=asks, may_run_twice=not once)
        opened = _open_cluster if executor == "dask" else _open_remote
        remote = _Remote(brief, reached, events, running)
        with opened(remote, executor, workers, wanted) as pool, _halting(halt, pool):
            yield pool
        return
    step = running.step(context.step_execution_id)
    work = PartitionWork(running, context.job, step, definition, halt)
    if executor == "inline":
        yield InlinePool(work, reached, events)
    elif isinstance(executor, Executor):
        pool_of_the_user = ThreadPool(work, reached, events, executor, _ahead(executor, wanted))
        with _halting(halt, pool_of_the_user):
            yield pool_of_the_user
    else:
        size = min(wanted, THREADS_MAX)
        with ThreadPoolExecutor(size, f"stepwell-{definition.name}") as threads:
            own = ThreadPool(work, reached, events, threads, 2 * size)
            with _halting(halt, own):
                yield own


@contextmanager
def _halting(halt: Event, pool: Pool) -> Iterator[None]:
    """Before an executor waits for its workers: nothing begins any more when this failed."""
    try:
        yield
    except BaseException:
        halt.set()
        pool.cancel()
        raise


class _Remote(NamedTuple):
    """What every pool of other processes needs."""

    brief: Brief
    reached: Mapping[int, Reached]
    events: SimpleQueue[Told]
    running: RunningExecution

    def pool_on(self, executor: Executor, *, ahead: int, cancels: bool) -> Pool:
        """A pool on any executor."""

        def submit(task: Task, _attempt: int) -> Future[list[Told]]:
            return executor.submit(run_task, task)

        return RemotePool(*self, submit, ahead=ahead, cancels=cancels)


@contextmanager
def _open_remote(remote: _Remote, executor: Any, workers: int, wanted: int) -> Iterator[Pool]:
    # Imported when they are needed: a job on threads pays for neither.
    from stepwell.executors.processes import ProcessExecutor, processes_of_this_machine

    if executor == "processes":
        size = wanted if workers else min(wanted, processes_of_this_machine())
        with ProcessExecutor(size) as own:
            yield remote.pool_on(own, ahead=2 * size, cancels=True)
    else:
        tells = _is_process_pool(executor)
        yield remote.pool_on(executor, ahead=_ahead(executor, wanted), cancels=tells)


def _is_process_pool(executor: Any) -> bool:
    """Asked without importing it: a job on threads does without."""
    known = sys.modules.get("concurrent.futures.process")
    return known is not None and isinstance(executor, known.ProcessPoolExecutor)


@contextmanager
def _open_cluster(remote: _Remote, _name: str, workers: int, wanted: int) -> Iterator[Pool]:
    from stepwell.executors.dask import dask_executor
    from stepwell.executors.processes import processes_of_this_machine
    from stepwell.runner.cluster import ClusterPool

    size = wanted if workers else min(wanted, processes_of_this_machine())
    with dask_executor(remote.running.placement.dask_scheduler, size) as cluster:
        pool = ClusterPool(*remote, cluster, wanted=wanted)
        with pool.watched():
            yield pool


def _ahead(executor: Executor, wanted: int) -> int:
    """How many ranges an executor of the user's may have, so that no more than ``wanted`` run.

    Two for each of its workers, so that one that is done finds its next range waiting; but with
    more workers than are wanted, or nobody knows how many, what waited would run (S142).
    """
    size = getattr(executor, "_max_workers", None)
    if isinstance(size, int) and size <= wanted:
        return 2 * size
    return min(wanted, THREADS_MAX)
