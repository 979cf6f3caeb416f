"""What a worker process keeps between two tasks: open databases, the work of its latest step.

Guarantee: a database is closed only when no task uses it. A worker of a cluster may run tasks of
several executions at a time, and of several databases.
"""

from __future__ import annotations

import atexit
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Event, Lock
from typing import NamedTuple
from weakref import WeakSet

from stepwell.clock import Clock
from stepwell.database.connect import open_database
from stepwell.database.dialect import DatabaseOptions
from stepwell.database.place import refuse_another_place
from stepwell.logs import follow_parent
from stepwell.repository.repository import JobRepository
from stepwell.runner.share import PartitionWork
from stepwell.runner.task import Brief

WORKS_MAX = 4  # Steps whose definition is at hand; another one is made again.
STOPPED_MAX = 1_000  # A task that comes later than so many other stops is not awaited any more.


class StepKey(NamedTuple):
    """A step execution under one fence; ids alone would not tell two databases apart."""

    url: str
    step_execution_id: int
    fence: int


def key_of(brief: Brief) -> StepKey:
    """The step execution that a brief is of."""
    return StepKey(brief.url, brief.step.step_execution_id, brief.step.fence)


_Opened = tuple[str, DatabaseOptions]


class Workshop:
    """One a process; its threads share it."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._repositories: dict[_Opened, JobRepository] = {}
        self._users: Counter[_Opened] = Counter()
        self._works: OrderedDict[StepKey, PartitionWork] = OrderedDict()
        self._stopped: OrderedDict[StepKey, None] = OrderedDict()
        self._flags: dict[StepKey, WeakSet[Event]] = {}

    @contextmanager
    def using(self, brief: Brief) -> Iterator[None]:
        """While this is open, the brief's database stays open once it is."""
        opened = (brief.url, brief.options)
        with self._lock:
            self._users[opened] += 1
        try:
            yield
        finally:
            with self._lock:
                self._users[opened] -= 1

    def work_for(self, brief: Brief, make: Callable[[Brief], PartitionWork]) -> PartitionWork:
        """The work of the brief's step, made for its first task."""
        key = key_of(brief)
        with self._lock:
            work = self._works.get(key)
        if work is None:
            follow_parent()
            work = make(brief)
            with self._lock:
                work = self._works.setdefault(key, work)
                while len(self._works) > WORKS_MAX:
                    self._works.popitem(last=False)
        return work

    def repository_for(self, brief: Brief) -> JobRepository:
        """Of the brief's database, which is opened when it is not yet.

        Raises:
            CannotOpenDatabase: it cannot be reached from here.
        """
        opened = (brief.url, brief.options)
        with self._lock:
            repository = self._repositories.get(opened)
            if repository is None:
                refuse_another_place(brief.url, brief.place)
                self._close_unused()
                database = open_database(brief.url, options=brief.options)
                # One for all its steps: it is an owner by itself when a step locks something.
                repository = self._repositories[opened] = JobRepository(database, Clock())
            return repository

    def _close_unused(self) -> None:
        for opened in [one for one in self._repositories if not self._users[one]]:
            _close(self._repositories.pop(opened))

    # --- stops -------------------------------------------------------------------------------

    def tell_stop(self, step: StepKey, flag: Event) -> None:
        """Have ``flag`` set when the step is to stop, or at once when it was."""
        with self._lock:
            self._flags = {key: flags for key, flags in self._flags.items() if flags}
            self._flags.setdefault(step, WeakSet()).add(flag)
            if step in self._stopped:
                flag.set()

    def stop(self, step: StepKey) -> None:
        """The step is to stop."""
        with self._lock:
            self._stopped[step] = None
            while len(self._stopped) > STOPPED_MAX:
                self._stopped.popitem(last=False)
            for flag in self._flags.get(step, ()):
                flag.set()

    def close(self) -> None:
        """Close the databases."""
        with self._lock:
            while self._repositories:
                _close(self._repositories.popitem()[1])


def _close(repository: JobRepository) -> None:
    repository.locks.close()
    repository.database.close()


WORKSHOP = Workshop()
atexit.register(WORKSHOP.close)
