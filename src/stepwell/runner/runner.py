"""This process as the owner of executions: its proof of life, their threads, and their watcher.

Guarantees: an execution that this process owns is either running here, or settled as a stray, also
when its end could not be recorded (S190); what ends with the process is left to recovery.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from threading import Lock
from typing import Any

from stepwell.errors import ConnectionLost, LostOwnership, StepwellError
from stepwell.execution.records import JobExecution
from stepwell.execution.result import Failure
from stepwell.execution.status import BatchStatus, Result
from stepwell.job.job import Job
from stepwell.repository.creation import CreatedExecution
from stepwell.repository.outcome import is_unknown
from stepwell.repository.repository import JobRepository
from stepwell.repository.succession import Succession
from stepwell.runner.background import Background
from stepwell.runner.job import JobRunner
from stepwell.runner.placement import WHEREVER, Placement
from stepwell.runner.running import RunningExecution
from stepwell.runner.stop import Watcher

logger = logging.getLogger("stepwell.runner")


@dataclass(frozen=True)
class Work:
    """An execution that this process owns, and everything that it takes to run it.

    Attributes:
        parameters: The value for user code.
        succession: What comes after it.
        timeout_s: After so many seconds it is asked to stop; None: never (S186).
        placement: Where its partitions go.
    """

    created: CreatedExecution
    job: Job
    parameters: Any
    succession: Succession
    timeout_s: float | None = None
    placement: Placement = WHEREVER


class Runner:
    """Runs the executions that this process owns; threads may share it."""

    def __init__(self, repository: JobRepository, *, purpose: str) -> None:
        self._repository = repository
        self._purpose = purpose
        self._owner_id: int | None = None
        self._owner_lock = Lock()
        self._running: dict[int, RunningExecution] = {}
        self._background = Background()
        self._watcher = Watcher(repository, self._running, self._beat)
        repository.locks.owner = lambda: self.owner_id  # One owner for what it runs and locks.

    @property
    def owner_id(self) -> int:
        """This process as an owner, registered when it first runs something."""
        with self._owner_lock:
            if self._owner_id is None:
                self._owner_id = self._repository.register_owner(self._purpose)
                if self._repository.database.liveness.heartbeat_s is not None:
                    self._watcher.watch()
            return self._owner_id

    def run(self, work: Work) -> JobExecution:
        """Run an execution on the calling thread; it is returned as it ended.

        Raises:
            LostOwnership, DatabaseError: the end could not be recorded; the row is then settled by
                recovery (S190).
        """
        return self._own(self._adopt(work), work)

    def run_on_thread(self, work: Work, on_end: Callable[[int], None] | None = None) -> int:
        """Run an execution on a thread of its own; its id, for ``wait``.

        ``on_end`` is called with the id when ``wait`` would not wait any more.
        """
        running = self._adopt(work)
        self._background.start(running.execution_id, lambda: self._own(running, work), on_end)
        return running.execution_id

    def fail(self, created: CreatedExecution, error: StepwellError) -> JobExecution:
        """Record that an execution cannot be run, because its definition cannot be loaded."""
        running = self._keep(RunningExecution(self._repository, created.execution))
        with self._settled(running):
            return running.end(
                batch_status=BatchStatus.FAILED,
                result=Result.FAILED,
                exit_status=str(BatchStatus.FAILED),
                failure=Failure.of(error),
                restart_position=None,
            )

    def wait(self, execution_id: int, timeout_s: float | None) -> JobExecution | None:
        """The outcome of an execution that runs here; None when the time ran out first.

        One that does not run here is returned as it is recorded.

        Raises:
            NoSuchJobExecution, and what the run raised.
        """
        if not self._background.join(execution_id, timeout_s):
            return None
        return self._background.take(execution_id) or self._repository.get_execution(execution_id)

    def settle_birth(self, lost: ConnectionLost) -> None:
        """Nobody knows whether an execution was born or claimed: settle it when that is known.

        It is when the database answers again (S37).
        """
        execution_id = lost.fields.get("execution_id")
        if isinstance(execution_id, int):  # Else it is known that it was not.
            self._watcher.watch()
            self._watcher.add_stray(execution_id, Failure.of(lost), self.owner_id)

    def wake(self) -> None:
        """Read the requests now."""
        self._watcher.wake()

    def request_shutdown(self, reason: str) -> None:
        """Ask everything that runs here to stop; safe to call in a signal handler (S38)."""
        self._watcher.request_shutdown(reason)

    def close(self, *, timeout_s: float) -> None:
        """Stop what runs here, wait for it, end this owner."""
        clock = self._repository.clock
        running = list(self._running.values())
        if running:
            self.request_shutdown("shutdown")
        deadline = clock.monotonic() + timeout_s
        for execution in running:
            clock.wait(execution.ended, max(0.0, deadline - clock.monotonic()))
        self._watcher.close()
        if self._owner_id is not None and not self._running:
            self._repository.end_owner(self._owner_id)
            self._owner_id = None

    def _beat(self) -> None:
        """Renew this owner's lease; once it was taken for dead, become another owner (S33)."""
        owner_id = self._owner_id
        if owner_id is not None and not self._repository.database.liveness.keeps(owner_id):
            logger.warning(
                "owner %d was taken for dead, this process becomes another one", owner_id
            )
            with self._owner_lock:
                self._owner_id = None

    def _adopt(self, work: Work) -> RunningExecution:
        running = RunningExecution(self._repository, work.created.execution)
        running.succession = work.succession
        running.placement = work.placement
        if work.timeout_s is not None:
            running.time_out_after(work.timeout_s)
        return self._keep(running)

    def _keep(self, running: RunningExecution) -> RunningExecution:
        self._running[running.execution_id] = running
        self._watcher.watch()
        return running

    def _own(self, running: RunningExecution, work: Work) -> JobExecution:
        try:
            with self._settled(running):
                runner = JobRunner(running, work.job, work.parameters)
                return runner.run(previous=work.created.previous, context=work.created.context)
        except StepwellError as error:
            if not is_unknown(error):
                raise
            # Nobody can tell yet; the watcher settles the row when the database answers (S37).
            logger.error("execution %s is UNKNOWN: %s", running.execution_id, error)
            return replace(running.job, batch_status=BatchStatus.UNKNOWN, exception=error)

    @contextmanager
    def _settled(self, running: RunningExecution) -> Iterator[None]:
        """What ends inside without its end recorded is a stray (S190)."""
        try:
            yield
        except LostOwnership:
            raise  # Somebody else has settled it.
        except BaseException as error:
            owner_id = running.job.owner_id
            if owner_id is not None:
                self._watcher.add_stray(running.execution_id, Failure.of(error), owner_id)
            raise
        finally:
            self._running.pop(running.execution_id, None)
            running.ended.set()  # Last of all: `close` ends the owner when nothing runs any more.
