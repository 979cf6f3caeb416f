"""In another process: partitions of an execution that this process does not own (S194).

Guarantees: what is written here is written under the owner's fence, to the rows of the partitions
alone; a stop is read from the database at most once a second, or brought by a cluster; results are
answered, and recorded by the owner.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread
from typing import Any

from stepwell.clock import Clock
from stepwell.database.place import refuse_another_place
from stepwell.errors import CannotOpenDatabase
from stepwell.execution.json import from_json
from stepwell.execution.records import Partition
from stepwell.execution.result import Failure
from stepwell.execution.status import BatchStatus
from stepwell.executors.worker import mark_begun
from stepwell.job.parameters import restore_parameters
from stepwell.job.step import PartitionedStep
from stepwell.repository.executions import find_execution
from stepwell.repository.partitions import unanswered
from stepwell.repository.plans import held
from stepwell.repository.repository import JobRepository
from stepwell.runner.context import JobContext
from stepwell.runner.running import RunningExecution
from stepwell.runner.share import PartitionWork, Told
from stepwell.runner.task import Brief, Task, to_wire
from stepwell.runner.workshop import WORKSHOP

ASK_AGAIN_S = 1.0


def run_task(task: Task) -> list[Told]:
    """Run the partitions of a task; the answer is what was told of them, in order."""
    told: list[Told] = []
    brief, partitions, reached = task
    with WORKSHOP.using(brief):
        try:
            if brief.asks:
                refuse_another_place(brief.url, brief.place)
            work = WORKSHOP.work_for(brief, _make_work)
            if brief.asks:
                first, last = partitions[0].number, partitions[-1].number
                with WORKSHOP.repository_for(brief).database.read() as reader:
                    reached = held(reader, brief.step, first=first, last=last)
                # What has ended meanwhile, or is held by nobody any more, does not run (S194).
                partitions = [one for one in partitions if one.number in reached]
        except CannotOpenDatabase as error:
            return [error]  # Not the partitions' fault: the step cannot go on here.
        except Exception as error:  # An import of the user's may raise whatever it likes.
            return _none_could_run(partitions, error)
        work.run_range(_marked(partitions), reached, told.append)
    return to_wire(told)


def stop_here(run: str) -> None:
    """A cluster brings a stop: what runs here of a step's run, or comes late, is to end (S194)."""
    WORKSHOP.stop(run)


def _marked(partitions: Sequence[Partition]) -> Iterator[Partition]:
    """Say of each partition that it has begun, before it does."""
    for begun, partition in enumerate(partitions, start=1):
        mark_begun(begun)
        yield partition


def _none_could_run(partitions: Sequence[Partition], error: Exception) -> list[Told]:
    now, failure = Clock().now(), Failure.of(error)
    return [unanswered(partition, failure, started_at=now, at=now) for partition in partitions]


class RunningElsewhere(RunningExecution):
    """An execution as a worker process sees it: its owner is another process."""

    def __init__(self, brief: Brief) -> None:
        super().__init__(None, brief.job)
        self._steps[brief.step.step_execution_id] = brief.step
        self._brief = brief
        self.may_run_twice = brief.may_run_twice
        self._clock = Clock()
        self._asked_at = float("-inf")
        self.stop_requested = self._ask
        WORKSHOP.tell_stop(brief.id, self.stop_flag)

    @property
    def repository(self) -> JobRepository:
        """Opened when it is needed: a function may do without the database."""
        return WORKSHOP.repository_for(self._brief)

    @property
    def clock(self) -> Clock:
        """This process's own."""
        return self._clock

    def _ask(self) -> bool:
        """Whether the owner has taken a stop, or is the owner no more (S194)."""
        if self.stop_flag.is_set():
            return True
        if not self._brief.asks:
            return False  # The cluster brings it.
        now = self.clock.monotonic()
        if now - self._asked_at < ASK_AGAIN_S:
            return False
        self._asked_at = now
        with self.repository.database.read() as reader:
            found = find_execution(reader, self.execution_id)
        if (
            found is None
            or found.batch_status is not BatchStatus.STARTED
            or found.fence != self.job.fence
        ):
            self.stop_flag.set()
        return self.stop_flag.is_set()

    def wait_for_stop(self, seconds: float) -> None:
        """Wait, and ask now and then."""
        deadline = self.clock.monotonic() + seconds
        while not self._ask() and (left := deadline - self.clock.monotonic()) > 0:
            self.clock.wait(self.stop_flag, min(left, ASK_AGAIN_S))

    @contextmanager
    def stoppable(self, artifact: Any) -> Iterator[None]:
        """While this is open, a stop calls ``artifact.stop()`` on a thread of its own (S146)."""
        with super().stoppable(artifact):
            if not self._stoppable:
                yield
                return
            over = Event()
            watcher = Thread(target=self._watch, args=(over,), name="stepwell-watcher", daemon=True)
            watcher.start()
            try:
                yield
            finally:
                over.set()
                watcher.join()

    def _watch(self, over: Event) -> None:
        while not self.clock.wait(over, ASK_AGAIN_S):
            if self._ask():
                self.call_stops()


def _make_work(brief: Brief) -> PartitionWork:
    """Rebuild the contexts from the brief (S75) and import what runs a partition."""
    if brief.folder not in sys.path and Path(brief.folder).is_dir():
        sys.path.append(brief.folder)  # Whatever this process has of its own comes first.
    running = RunningElsewhere(brief)
    model = None if brief.model is None else brief.model.load()
    parameters = restore_parameters(brief.job.job_name, model, brief.job.parameters).value
    data = from_json(brief.job_context)
    job = JobContext(
        running, parameters, brief.job_properties, dict(data) if isinstance(data, dict) else {}
    )
    found = brief.work.load()
    if not isinstance(found, PartitionedStep):
        found = PartitionedStep(
            brief.step.step_name,
            [],
            found,
            analyzer=_Told() if brief.tells else None,
            properties=brief.step_properties,
        )
    return PartitionWork(running, job, brief.step, found, Event())


class _Told:
    """Stands for the analyzer, which lives in the owner's process."""
