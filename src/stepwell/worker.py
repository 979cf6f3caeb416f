"""The worker: claims registered executions, runs N at a time, and keeps the house meanwhile.

Guarantees: what it claims it runs or settles; a worker that ends gracefully leaves successors for
the next one (S191); what dead processes have left is recovered on a timer and goes on here (S188).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from queue import SimpleQueue
from threading import Event
from typing import Literal, Protocol

from stepwell.clock import Clock
from stepwell.errors import LostOwnership, StepwellError
from stepwell.execution.records import JobExecution
from stepwell.operator import JobOperator

POLL_S = 0.25  # Between two looks at the queue; an execution that ends here wakes it at once.
RECOVER_S = 0.5  # What a killed worker has left goes on within two seconds.
LOOK_S = 1.0  # Between two looks whether somebody asks this worker to end.

logger = logging.getLogger("stepwell.worker")


@dataclass(frozen=True)
class Duty:
    """Something that is to be done again and again, ``interval_s`` apart."""

    name: str
    interval_s: float
    do: Callable[[], object]


class Loop:
    """Does each duty when it is due; one that fails is logged and keeps no other from its turn."""

    def __init__(self, clock: Clock, duties: Iterable[Duty]) -> None:
        self._clock = clock
        self._due = dict.fromkeys(duties, clock.monotonic())

    def run_once(self) -> None:
        """Do what is due now."""
        for duty, due_at in list(self._due.items()):
            if self._clock.monotonic() < due_at:
                continue
            self._due[duty] = self._clock.monotonic() + duty.interval_s
            try:
                duty.do()
            except StepwellError as error:
                logger.warning("%s failed, it is tried again: %s", duty.name, error)
            except Exception:
                logger.exception("%s failed, it is tried again", duty.name)


class Tell(Protocol):
    """Hears what a worker does; called on the worker's own thread."""

    def __call__(
        self, what: Literal["started", "ended", "lost", "recovered"], execution: JobExecution, /
    ) -> None:
        """An execution began here, ended here, was taken from here, or was recovered."""


def _tell_nobody(_what: str, _execution: JobExecution) -> None:
    """Nobody listens."""


def _nothing_else(_worker: Worker) -> None:
    """Nobody looks."""


# Has a function called when work was registered, for as long as the context is open.
Listen = Callable[[Callable[[], None]], AbstractContextManager[None]]


def _hear_nothing(_heard: Callable[[], None]) -> AbstractContextManager[None]:
    return nullcontext()


class Worker:
    """Runs registered work in this process, ``parallel`` executions at a time.

    ``run`` returns when the worker was asked to end, or has nothing left to ``drain``; it is called
    by one thread, ``request_stop`` by any.

    Args:
        jobs: Only these; by default every job that this process knows.
        pools: Only what declares one of these pools; by default everything.
        drain: End when nothing is left that could run: what is scheduled for later, or waits for
            something that does not run, stays.
        duties: What else is to be done on the timer, see ``Node.duties``.
        tell: Hears what happens.
        listen: Wakes it when work was registered; without, it looks every ``POLL_S``.
    """

    def __init__(
        self,
        operator: JobOperator,
        clock: Clock,
        *,
        parallel: int = 1,
        jobs: Collection[str] = (),
        pools: Collection[str] = (),
        drain: bool = False,
        duties: Iterable[Duty] = (),
        tell: Tell = _tell_nobody,
        listen: Listen = _hear_nothing,
    ) -> None:
        self._operator = operator
        self._clock = clock
        self._parallel = parallel
        self._wanted = operator.wanted(jobs, pools)
        self._drain = drain
        self._tell = tell
        self._listen = listen
        mine = [
            Duty("recovery", RECOVER_S, self._recover),
            Duty("looking for a request to end", LOOK_S, self._look_for_end),
        ]
        self._loop = Loop(clock, [*mine, *duties])
        self._running: dict[int, JobExecution] = {}
        self._ended: SimpleQueue[int] = SimpleQueue()
        self._wake = Event()
        self._stopping = False

    @property
    def running(self) -> tuple[JobExecution, ...]:
        """What runs here, as it was claimed."""
        return tuple(self._running.values())

    @property
    def is_done(self) -> bool:
        """Whether it was asked to end, or is drained, and nothing runs here any more."""
        return self._stopping and not self._running

    def run(self, each_round: Callable[[Worker], None] = _nothing_else) -> None:
        """Work until it is done; ``each_round`` is called several times a second.

        Raises:
            DatabaseError: the database cannot be written at all; nothing was claimed.
        """
        self._operator.owner_id  # noqa: B018 - registered now, so that everybody sees it at work
        with self._listen(self._wake.set):
            while not self.is_done:
                self.run_once()
                each_round(self)
                if not self.is_done:
                    self._clock.wait(self._wake, POLL_S)

    def run_once(self) -> None:
        """Settle what has ended, do the duties that are due, claim what there is room for."""
        self._wake.clear()
        self._settle()
        self._loop.run_once()
        if self._stopping:
            return
        try:
            self._claim()
            if (
                self._drain
                and not self._running
                and not self._operator.may_still_start(self._wanted)
            ):
                self._stopping = True
        except StepwellError as error:
            logger.warning("claiming failed, it is tried again: %s", error)

    def request_stop(self, reason: str) -> None:
        """Claim no more, and have what runs here stop behind its chunk; a second time is nothing.

        What is STOPPED so has a successor, which the next worker runs (S191).
        """
        if not self._stopping:
            self._stopping = True
            self._operator.request_shutdown(reason)
        self._wake.set()

    def _claim(self) -> None:
        room = self._parallel - len(self._running)
        if room <= 0:
            return
        for execution in self._operator.run_registered(self._wanted, room, on_end=self._on_end):
            self._running[execution.execution_id] = execution
            self._tell("started", execution)

    def _on_end(self, execution_id: int) -> None:
        self._ended.put(execution_id)
        self._wake.set()

    def _settle(self) -> None:
        while not self._ended.empty():
            execution = self._running.pop(self._ended.get())
            try:
                ended = self._operator.wait(execution.execution_id)
            except LostOwnership:
                self._tell("lost", execution)
            except StepwellError as error:
                # Its row is settled by the owner's own timer (S190).
                logger.error("execution %s: %s", execution.execution_id, error)
            else:
                self._tell("ended", ended or execution)

    def _look_for_end(self) -> None:
        reason = self._operator.asked_to_end()
        if reason is not None:
            self.request_stop(reason)

    def _recover(self) -> None:
        for execution in self._operator.recover_dead():
            self._tell("recovered", execution)
