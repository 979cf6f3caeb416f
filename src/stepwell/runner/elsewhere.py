"""In another process: partitions of an execution that this process does not own (S194).

Guarantees: what is written here is written under the owner's fence, to the rows of the partitions
alone; a stop is read from the database at most once a second; results are answered, and recorded by
the owner.
"""

from __future__ import annotations

import atexit
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from threading import Event, Lock, Thread
from typing import Any

from stepwell.clock import Clock
from stepwell.database.connect import Database, open_database
from stepwell.database.dialect import DatabaseOptions
from stepwell.execution.json import from_json
from stepwell.execution.records import Partition
from stepwell.execution.result import Failure
from stepwell.execution.status import BatchStatus
from stepwell.job.parameters import restore_parameters
from stepwell.job.step import PartitionedStep
from stepwell.logs import follow_parent
from stepwell.repository.executions import find_execution
from stepwell.repository.partitions import unanswered
from stepwell.repository.plans import held
from stepwell.repository.repository import JobRepository
from stepwell.runner.context import JobContext
from stepwell.runner.running import RunningExecution
from stepwell.runner.share import PartitionWork, Told
from stepwell.runner.task import Brief, Task, to_wire

ASK_AGAIN_S = 1.0


def run_task(task: Task) -> list[Told]:
    """Run the partitions of a task; the answer is what was told of them, in order."""
    told: list[Told] = []
    try:
        work, database = _WORKSHOP.work_for(task.brief)
    except Exception as error:  # An import of the user's may raise whatever it likes.
        return _none_could_run(task.partitions, error)
    first, last = task.partitions[0].number, task.partitions[-1].number
    with database.read() as reader:
        reached = held(reader, task.brief.step, first=first, last=last)
    # What has ended meanwhile, or is held by nobody any more, does not run again (S194).
    partitions = [partition for partition in task.partitions if partition.number in reached]
    work.run_range(partitions, reached, told.append)
    return to_wire(told)


def _none_could_run(partitions: Sequence[Partition], error: Exception) -> list[Told]:
    now, failure = Clock().now(), Failure.of(error)
    return [unanswered(partition, failure, started_at=now, at=now) for partition in partitions]


class RunningElsewhere(RunningExecution):
    """An execution as a worker process sees it: its owner is another process."""

    def __init__(self, repository: JobRepository, brief: Brief) -> None:
        super().__init__(repository, brief.job)
        self._steps[brief.step.step_execution_id] = brief.step
        self._asked_at = float("-inf")
        self.stop_requested = self._ask

    def _ask(self) -> bool:
        """Whether the owner has taken a stop, or is the owner no more (S194)."""
        if self.stop_flag.is_set():
            return True
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


class _Workshop:
    """What a worker process keeps between two tasks: the open database, the work of one step."""

    def __init__(self) -> None:
        self._lock = Lock()  # A cluster's worker may run several tasks at a time.
        self._database: Database | None = None
        self._repository: JobRepository
        self._opened: tuple[str, DatabaseOptions] | None = None
        self._works: dict[tuple[int, int], PartitionWork] = {}

    def work_for(self, brief: Brief) -> tuple[PartitionWork, Database]:
        """The work of the brief's step, made for its first task, and its database."""
        with self._lock:
            database = self._database_for(brief)
            key = (brief.step.step_execution_id, brief.step.fence)
            work = self._works.get(key)
            if work is None:
                self._works.clear()
                work = self._works[key] = _make_work(brief, self._repository)
            return work, database

    def _database_for(self, brief: Brief) -> Database:
        if self._database is None or self._opened != (brief.url, brief.options):
            follow_parent()
            self._works.clear()
            self.close()
            self._database = open_database(brief.url, options=brief.options)
            # One for all its steps: it is an owner by itself when a step locks something.
            self._repository = JobRepository(self._database, Clock())
            self._opened = (brief.url, brief.options)
        return self._database

    def close(self) -> None:
        """Close the database, if one was opened."""
        database, self._database = self._database, None
        if database is not None:
            self._repository.locks.close()
            database.close()


def _make_work(brief: Brief, repository: JobRepository) -> PartitionWork:
    """Rebuild the contexts from the brief (S75) and import what runs a partition."""
    running = RunningElsewhere(repository, brief)
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


_WORKSHOP = _Workshop()
atexit.register(_WORKSHOP.close)
