"""Ranges of partitions that are sent to other processes, and what becomes of lost ones.

A range whose worker dies is not failed as a whole: what is proven to have begun is a FAILURE
(S160), the rest is sent again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import BrokenExecutor, CancelledError, Future
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from queue import SimpleQueue
from threading import Event

from stepwell.execution.records import Partition
from stepwell.execution.result import Failure
from stepwell.executors.worker import WorkerDied
from stepwell.repository.partitions import unanswered
from stepwell.repository.plans import NOWHERE, Reached
from stepwell.runner.running import RunningExecution
from stepwell.runner.share import Told
from stepwell.runner.task import Brief, Task, from_wire

IDLE_DEATHS_MAX = 3  # Workers that die before anything has begun are the range's fault after all.

# Sends one task; the number tells a repetition from the first time.
Submit = Callable[[Task, int], "Future[list[Told]]"]


@dataclass(frozen=True)
class _Range:
    """Partitions that travel together.

    Attributes:
        behind: Ranges to send one after the other when this one is answered.
        attempt: From 1; a key of a cluster is never used twice.
        idle_deaths: How many workers have died with it before any of it had begun.
    """

    partitions: list[Partition]
    behind: tuple[list[Partition], ...] = ()
    attempt: int = 1
    idle_deaths: int = 0


class RemotePool:
    """Sends ranges to other processes, and tells what they answer.

    ``ahead`` is how many ranges the executor may have at a time. ``cancels``: what it cancels has
    not begun.
    """

    range_s = 0.01
    range_max = 64

    def __init__(
        self,
        brief: Brief,
        reached: Mapping[int, Reached],
        events: SimpleQueue[Told],
        running: RunningExecution,
        submit: Submit,
        *,
        ahead: int,
        cancels: bool,
    ) -> None:
        self.ahead = ahead
        self._brief = brief
        self._events = events
        self._submit = submit
        self._cancels = cancels
        self._running = running
        self._reached = {} if brief.asks else reached
        self._out: set[Future[list[Told]]] = set()
        self._over = Event()

    def submit(self, partitions: list[Partition]) -> None:
        """Send them as one task."""
        self._send(_Range(partitions))

    def cancel(self) -> None:
        """What has not begun does not begin any more, as far as the executor can tell."""
        self._over.set()
        if self._cancels:
            for future in list(self._out):
                future.cancel()

    def _send(self, part: _Range) -> None:
        sent_at = self._running.clock.now()
        known = ((p.number, self._reached.get(p.number, NOWHERE)) for p in part.partitions)
        reached = {number: at for number, at in known if at is not NOWHERE}
        future = self._submit(Task(self._brief, part.partitions, reached), part.attempt)
        self._out.add(future)
        future.add_done_callback(partial(self._answered, part, sent_at))

    def _answered(self, part: _Range, sent_at: datetime, future: Future[list[Told]]) -> None:
        """On whatever thread the executor calls back from."""
        self._out.discard(future)
        put = self._events.put
        try:
            try:
                for told in future.result():
                    put(from_wire(told))
            except CancelledError:
                pass  # They stay unstarted.
            except BrokenExecutor as error:
                put(error)  # It answers nothing any more: the step cannot go on.
            except WorkerDied as died:
                part = self._after_death(part, sent_at, died)
            except Exception as error:  # Whatever it was: nobody knows how far they came (S160).
                self._fail(part.partitions, sent_at, error)
            if part.behind and not self._over.is_set() and not self._running.stop_flag.is_set():
                self._send(
                    replace(
                        part,
                        partitions=part.behind[0],
                        behind=part.behind[1:],
                        attempt=part.attempt + 1,
                    )
                )
                return
        except BaseException as error:
            put(error)
        put(1)

    def _after_death(self, part: _Range, sent_at: datetime, died: WorkerDied) -> _Range:
        """The range with what is to be sent again behind it."""
        partitions, begun = part.partitions, died.begun
        if begun is None:
            if len(partitions) > 1:  # One of them may be deadly: each goes alone.
                return replace(part, behind=(*([one] for one in partitions), *part.behind))
            begun = 1
        idle_deaths = 0 if begun else part.idle_deaths + 1
        if idle_deaths >= IDLE_DEATHS_MAX:
            begun = len(partitions)
        self._fail(partitions[:begun], sent_at, died)
        rest = partitions[begun:]
        behind = (rest, *part.behind) if rest else part.behind
        return replace(part, behind=behind, idle_deaths=idle_deaths)

    def _fail(self, partitions: list[Partition], sent_at: datetime, error: Exception) -> None:
        failure, now = Failure.of(error), self._running.clock.now()
        for partition in partitions:
            self._events.put(unanswered(partition, failure, started_at=sent_at, at=now))
