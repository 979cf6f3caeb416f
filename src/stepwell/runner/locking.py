"""Named locks for the code of a step: held on behalf of its execution, freed with it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from stepwell.errors import LockHeld
from stepwell.repository.acquire import WAIT_S, HeldLock
from stepwell.repository.locks import Mode
from stepwell.runner.running import RunningExecution, StopApplied


class Locking:
    """What a StepContext can lock."""

    _running: RunningExecution
    # Of a chunk step, whose loop sees a stop behind its item.
    runner: Any

    @contextmanager
    def lock(
        self,
        name: str,
        *,
        mode: Mode = "write",
        wait_s: float | None = WAIT_S,
        priority: int = 0,
        ttl_s: int | None = None,
    ) -> Iterator[HeldLock]:
        """Have a named lock inside this block, across all processes; see ``Node.locks.acquire``.

        A stop ends the wait: a tasklet and a partition function are then STOPPED. When the
        execution is recovered, its locks are free.

        Raises:
            LockHeld: it did not become free in time.
            LostLock: at the end of the block, when it was taken meanwhile.
            StepUsageError: a transaction of this step is open; lock first.
        """
        running = self._running
        stop = running.stop_requested if self.runner is None else None
        try:
            held = running.repository.locks.acquire(
                name,
                mode=mode,
                wait_s=wait_s,
                priority=priority,
                ttl_s=ttl_s,
                execution_id=running.execution_id,
                stop=stop,
            )
        except LockHeld:
            if stop is not None and stop():
                raise StopApplied from None
            raise
        with held:
            yield held
