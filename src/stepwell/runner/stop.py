"""The watcher: an owner's thread; it reads requests, settles strays, and shows that it lives.

A tasklet or a long chunk reaches no boundary for a while; the watcher sees the request within
``POLL_S``, writes STOPPING and raises the flag (S31, S38). A caller in the same process wakes it at
once. What this owner has and nobody runs is settled here (S190); on PostgreSQL its lease is renewed
(S33).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from contextlib import suppress
from threading import Event, Thread
from typing import NamedTuple

from stepwell.errors import (
    BatchError,
    JobExecutionNotRunning,
    NoSuchJobExecution,
    StepwellError,
)
from stepwell.execution.result import Failure
from stepwell.repository.history import Because
from stepwell.repository.repository import JobRepository
from stepwell.repository.requests import all_open_requests
from stepwell.runner.running import RunningExecution

logger = logging.getLogger("stepwell.runner")

POLL_S = 0.2
UNBORN_S = 60.0  # A COMMIT that the server was still at must have ended by then, one way or other.


class _Stray(NamedTuple):
    """What is to be recorded of an execution that nobody runs, and since when that is known."""

    failure: Failure
    owner_id: int
    since: float


class Watcher:
    """Reads the requests of every execution that this process runs; one thread, when needed."""

    def __init__(
        self,
        repository: JobRepository,
        running: Mapping[int, RunningExecution],
        heartbeat: Callable[[], None],
    ) -> None:
        self._repository = repository
        self._running = running
        self._heartbeat = heartbeat
        self._next_heartbeat = 0.0
        self._wake = Event()
        self._closed = False
        self._shutdown_reason: str | None = None
        self._thread: Thread | None = None
        self._strays: dict[int, _Stray] = {}

    def watch(self) -> None:
        """See that the thread runs, and that it looks; it ends with the process."""
        if self._thread is None or not self._thread.is_alive():
            self._closed = False
            self._thread = Thread(target=self._watch, name="stepwell-watcher", daemon=True)
            self._thread.start()
        self._wake.set()

    def wake(self) -> None:
        """Look now."""
        self._wake.set()

    def request_shutdown(self, reason: str) -> None:
        """Ask everything that runs here to stop. Opens no transaction: a signal may call it."""
        self._shutdown_reason = reason
        self._wake.set()

    def add_stray(self, execution_id: int, failure: Failure, owner_id: int) -> None:
        """Settle an execution whose end could not be recorded, as soon as that is possible.

        Or one of which nobody knows whether its birth, or its claim, was (S37): if it was, nobody
        runs it. What belongs to another than ``owner_id`` by then is left alone.
        """
        since = self._repository.clock.monotonic()
        self._strays[execution_id] = _Stray(failure, owner_id, since)
        self._wake.set()

    def close(self) -> None:
        """End the thread; what it could not settle is left to recovery, this owner being dead."""
        self._closed = True
        self._wake.set()
        if self._thread is not None:
            self._thread.join()
        if self._strays:
            with suppress(StepwellError):
                self.run_once()

    def run_once(self) -> None:
        """Renew the lease, write a shutdown's and a timeout's requests, apply stops, settle strays.

        Each of them when it is due.
        """
        self._beat()
        running = dict(self._running)
        reason, self._shutdown_reason = self._shutdown_reason, None
        if reason is not None:
            for execution_id, execution in running.items():
                execution.is_shut_down = not execution.stop_flag.is_set()
                self._request_stop(execution_id, reason)
        for execution_id, execution in running.items():
            timed_out = execution.take_timeout()
            if timed_out is not None:
                self._request_stop(execution_id, timed_out)
        if running:
            with self._repository.database.read() as reader:
                requests = all_open_requests(reader)
            for request in requests:
                if request.kind == "stop" and request.execution_id in running:
                    self._apply_stop(running[request.execution_id], request.because)
        for execution in running.values():
            if execution.stop_flag.is_set():
                execution.call_stops()
        for execution_id, stray in list(self._strays.items()):
            if self._is_settled(execution_id, stray):
                self._strays.pop(execution_id, None)

    def _beat(self) -> None:
        interval_s = self._repository.database.liveness.heartbeat_s
        now = self._repository.clock.monotonic()
        if interval_s is not None and now >= self._next_heartbeat:
            self._next_heartbeat = now + interval_s
            self._heartbeat()

    def _is_settled(self, execution_id: int, stray: _Stray) -> bool:
        try:
            self._repository.settle_stray(execution_id, stray.failure, stray.owner_id)
        except NoSuchJobExecution:
            return self._repository.clock.monotonic() - stray.since > UNBORN_S
        except BatchError:
            logger.exception("execution %s cannot be settled", execution_id)
        return True

    def _request_stop(self, execution_id: int, reason: str) -> None:
        try:
            self._repository.request_stop(execution_id, Because("runner", reason))
        except JobExecutionNotRunning:
            return  # It ended by itself meanwhile.

    @staticmethod
    def _apply_stop(execution: RunningExecution, because: Because) -> None:
        """What is wrong with one execution is its own thread's to report, and keeps no other."""
        try:
            execution.apply_stop(because)
        except BatchError as error:
            logger.info("a stop of execution %s: %s", execution.execution_id, error)

    def _watch(self) -> None:
        while not self._closed:
            idle_s = self._repository.database.liveness.heartbeat_s
            self._repository.clock.wait(
                self._wake, POLL_S if self._running or self._strays else idle_s
            )
            self._wake.clear()
            try:
                self.run_once()
            except StepwellError:
                # The next round tries again; the work itself meets the same fault and reports it.
                logger.warning("reading the requests failed", exc_info=True)
            except Exception:
                logger.exception("reading the requests failed")  # Without it nobody could stop.
