"""Partitions on a cluster: how many may be there, how a stop reaches them, what is said meanwhile.

Guarantees: whatever is sent ends, with a result, or when the job is stopped, or when the scheduler
is gone; a step never hangs in a stop because the cluster has no workers.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager
from queue import SimpleQueue
from threading import Event, Thread

from stepwell.executors.dask import ClusterLost, DaskExecutor
from stepwell.repository.plans import Reached
from stepwell.runner.elsewhere import run_task, stop_here
from stepwell.runner.remote import RemotePool
from stepwell.runner.running import RunningExecution
from stepwell.runner.share import Told, Waits
from stepwell.runner.task import Brief, Task

LOOK_S = 1.0
SILENT_S = 60.0  # A scheduler that has not answered for so long is taken for lost.
END_WITHIN_S = 30.0  # For what runs when its step has failed; nothing of it can be recorded.

logger = logging.getLogger("stepwell.runner")


class ClusterPool(RemotePool):
    """Sends ranges to the workers of a cluster, and watches over it."""

    range_s = 0.1  # A task costs a cluster a millisecond or two.
    range_max = 256

    def __init__(
        self,
        brief: Brief,
        reached: Mapping[int, Reached],
        events: SimpleQueue[Told],
        running: RunningExecution,
        executor: DaskExecutor,
        *,
        wanted: int,
    ) -> None:
        self._executor = executor
        self._wanted = wanted
        # Executions of several databases may share a cluster, and count from 1 all of them.
        self._name = f"stepwell-{brief.id[:8]}:{running.execution_id}"
        self._ended = Event()
        self._wakes = Event()
        self._is_waiting = False
        self._told_stop = False
        submit = self._submit_to_cluster
        super().__init__(brief, reached, events, running, submit, ahead=1, cancels=False)

    @contextmanager
    def watched(self) -> Iterator[None]:
        """While this is open a thread looks after the cluster, at once when a stop is applied."""
        self._look()
        watcher = Thread(target=self._watch, name="stepwell-cluster", daemon=True)
        watcher.start()
        try:
            with self._running.stoppable(self):
                yield
        except BaseException as error:
            if not isinstance(error, ClusterLost):
                self._wait_for_the_end()
            raise
        finally:
            self._ended.set()
            self._wakes.set()
            watcher.join()

    def stop(self) -> None:
        """A stop was applied: the workers are told now."""
        self._wakes.set()

    def cancel(self) -> None:
        """What no worker has does not begin any more; what runs is told to end."""
        super().cancel()
        self._wakes.set()

    def _submit_to_cluster(self, task: Task, attempt: int) -> Future[list[Told]]:
        first, last = task.partitions[0].number, task.partitions[-1].number
        key = f"{self._name}:{task.brief.step.step_name}:{first}-{last}:{attempt}"
        return self._executor.send(key, run_task, task)

    # --- watching ----------------------------------------------------------------------------

    def _watch(self) -> None:
        clock, heard_at = self._running.clock, self._running.clock.monotonic()
        while not self._ended.is_set():
            clock.wait(self._wakes, LOOK_S)
            self._wakes.clear()
            if self._ended.is_set():
                return
            try:
                self._look()
                heard_at = clock.monotonic()
            except Exception as error:
                logger.debug("the scheduler at %s: %s", self._executor.address, error)
                if clock.monotonic() - heard_at > SILENT_S:
                    lost = f"the scheduler at {self._executor.address} has not answered for"
                    self._events.put(ClusterLost(f"{lost} {SILENT_S:g} s"))
                    return

    def _look(self) -> None:
        threads = self._executor.thread_count()
        self.ahead = max(1, min(self._wanted, 2 * threads))
        if self._over.is_set() or self._running.stop_flag.is_set():
            if not self._told_stop:
                self._told_stop = True
                self._executor.tell_workers(stop_here, self._brief.id)
            self._executor.give_up_waiting()
        elif (threads == 0) != self._is_waiting:
            self._is_waiting = threads == 0
            what = f"workers: the Dask cluster at {self._executor.address} has none"
            self._events.put(Waits(f"waits for {what}" if self._is_waiting else None))

    def _wait_for_the_end(self) -> None:
        """The step has failed: give what runs the time to see it."""
        clock = self._running.clock
        deadline = clock.monotonic() + END_WITHIN_S
        self.cancel()
        never = Event()
        while self._out and clock.monotonic() < deadline:
            clock.wait(never, 0.05)
