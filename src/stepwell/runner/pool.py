"""Where the partitions of a step run: on the step's own thread, on threads, or elsewhere (S193).

A pool takes ranges of partitions and puts into one queue whatever is told of them, wherever they
run; at the end of each range the number 1, so that nobody else has to count.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from concurrent.futures import BrokenExecutor, CancelledError, Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import copy_context
from datetime import datetime
from functools import partial
from queue import SimpleQueue
from threading import Event
from typing import Any, NamedTuple, Protocol

from stepwell.execution.records import Partition
from stepwell.execution.result import Failure
from stepwell.job.importable import is_off_thread
from stepwell.job.step import PartitionedStep
from stepwell.repository.partitions import unanswered
from stepwell.repository.plans import Reached
from stepwell.runner.context import StepContext
from stepwell.runner.elsewhere import run_task
from stepwell.runner.running import RunningExecution
from stepwell.runner.share import PartitionWork, Told
from stepwell.runner.task import Brief, Task, from_wire, make_brief

THREADS_MAX = min(32, (os.cpu_count() or 1) + 4)  # As concurrent.futures has it.


class Pool(Protocol):
    """Takes ranges of partitions that are handed out.

    Attributes:
        ahead: How many ranges it may have at a time.
        has_ranges: Whether small partitions should travel together.
    """

    ahead: int
    has_ranges: bool

    def submit(self, partitions: list[Partition]) -> None:
        """Have a range run."""

    def cancel(self) -> None:
        """What has not begun does not begin any more."""


class InlinePool:
    """Runs each partition on the thread that submits it: one at a time, in order."""

    ahead = 1
    has_ranges = False

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

    has_ranges = True

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


class _Remote(NamedTuple):
    """An executor of other processes, and how many ranges it may have at a time.

    ``cancels``: what it cancels has not begun. A cluster gives up what runs there too; it reads the
    stop from the database.
    """

    executor: Executor
    ahead: int
    cancels: bool


class RemotePool:
    """Sends ranges to other processes, and tells what they answer."""

    has_ranges = True

    def __init__(
        self,
        brief: Brief,
        events: SimpleQueue[Told],
        remote: _Remote,
        running: RunningExecution,
    ) -> None:
        self.ahead = remote.ahead
        self._brief = brief
        self._events = events
        self._executor = remote.executor
        self._cancels = remote.cancels
        self._running = running
        self._out: set[Future[list[Told]]] = set()

    def submit(self, partitions: list[Partition]) -> None:
        """Send them as one task."""
        sent_at = self._running.clock.now()
        future = self._executor.submit(run_task, Task(self._brief, partitions))
        self._out.add(future)
        future.add_done_callback(partial(self._answered, partitions, sent_at))

    def cancel(self) -> None:
        """What has not begun does not begin any more, as far as the executor can tell."""
        if self._cancels:
            for future in list(self._out):
                future.cancel()

    def _answered(
        self, partitions: list[Partition], sent_at: datetime, future: Future[list[Told]]
    ) -> None:
        """On whatever thread the executor calls back from."""
        self._out.discard(future)
        put = self._events.put
        try:
            for told in future.result():
                put(from_wire(told))
        except CancelledError:
            pass  # They stay unstarted.
        except BrokenExecutor as error:
            put(error)  # It answers nothing any more: the step cannot go on.
        except Exception as error:
            # Whatever it was, a worker that died say: nobody knows how far they came (S160).
            failure, now = Failure.of(error), self._running.clock.now()
            for partition in partitions:
                put(unanswered(partition, failure, started_at=sent_at, at=now))
        finally:
            put(1)


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
    executor: Any = definition.executor
    wanted = max(1, min(workers or partition_count, partition_count))
    if is_off_thread(definition):
        brief = make_brief(running, definition, context)
        with _remote_executor(executor, workers, wanted) as remote:
            pool = RemotePool(brief, events, remote, running)
            with _halting(halt, pool):
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


@contextmanager
def _remote_executor(executor: Any, workers: int, wanted: int) -> Iterator[_Remote]:
    # Imported when they are needed: a job on threads pays for neither.
    if executor == "dask":
        from stepwell.executors.dask import dask_executor

        with dask_executor() as (cluster, threads):
            # A cluster may grow meanwhile: it never has more than may run.
            yield _Remote(cluster, min(wanted, 2 * threads), cancels=False)
    elif executor == "processes":
        from stepwell.executors.processes import ProcessExecutor, processes_of_this_machine

        size = wanted if workers else min(wanted, processes_of_this_machine())
        with ProcessExecutor(size) as own:
            yield _Remote(own, 2 * size, cancels=True)
    else:
        from concurrent.futures import ProcessPoolExecutor

        tells = isinstance(executor, ProcessPoolExecutor)
        yield _Remote(executor, _ahead(executor, wanted), cancels=tells)


def _ahead(executor: Executor, wanted: int) -> int:
    """How many ranges an executor of the user's may have, so that no more than ``wanted`` run.

    Two for each of its workers, so that one that is done finds its next range waiting; but with
    more workers than are wanted, or nobody knows how many, what waited would run (S142).
    """
    size = getattr(executor, "_max_workers", None)
    if isinstance(size, int) and size <= wanted:
        return 2 * size
    return min(wanted, THREADS_MAX)
