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


class _Opened(NamedTuple):
    """A file that was made anew is another one."""

    url: str
    options: DatabaseOptions
    place: str | None


class Workshop:
    """One a process; its threads share it."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._repositories: dict[_Opened, JobRepository] = {}
        self._users: Counter[_Opened] = Counter()
        self._works: OrderedDict[str, PartitionWork] = OrderedDict()
        self._stopped: OrderedDict[str, None] = OrderedDict()
        self._flags: dict[str, WeakSet[Event]] = {}

    @contextmanager
    def using(self, brief: Brief) -> Iterator[None]:
        """While this is open, the brief's database stays open once it is."""
        opened = _Opened(brief.url, brief.options, brief.place)
        with self._lock:
            self._users[opened] += 1
        try:
            yield
        finally:
            with self._lock:
                self._users[opened] -= 1

    def work_for(self, brief: Brief, make: Callable[[Brief], PartitionWork]) -> PartitionWork:
        """The work of the brief's step, made for its first task."""
        key = brief.id
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
        opened = _Opened(brief.url, brief.options, brief.place)
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

    def tell_stop(self, run: str, flag: Event) -> None:
        """Have ``flag`` set when the step is to stop, or at once when it was."""
        with self._lock:
            self._flags = {key: flags for key, flags in self._flags.items() if flags}
            self._flags.setdefault(run, WeakSet()).add(flag)
            if run in self._stopped:
                flag.set()

    def stop(self, run: str) -> None:
        """The step is to stop."""
        with self._lock:
            self._stopped[run] = None
            while len(self._stopped) > STOPPED_MAX:
                self._stopped.popitem(last=False)
            for flag in self._flags.get(run, ()):
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
