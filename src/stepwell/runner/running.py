"""An execution that this process owns and is running: its records in memory, and whose turn it is.

Guarantees: every write of the owner goes through here, under one lock, because a version in memory
must rise with its row (S23); a version rises only after the commit; once the fence is lost nothing
more is written (S25).

Order of locks, always: this lock, then the database's own (in-process lock, gate, BEGIN).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from threading import Event, RLock
from typing import Any

from stepwell.clock import Clock
from stepwell.database.transaction import Transaction
from stepwell.errors import BatchError, ConnectionLost, StepUsageError, ValueNotJson
from stepwell.execution.json import from_json, to_json
from stepwell.execution.records import JobExecution, StepExecution
from stepwell.execution.status import BatchStatus
from stepwell.job.job import Job
from stepwell.repository.executions import find_execution
from stepwell.repository.history import Because
from stepwell.repository.outcome import has_committed
from stepwell.repository.repository import JobRepository
from stepwell.repository.requests import open_stop_request
from stepwell.repository.steps import find_step
from stepwell.repository.succession import Succession
from stepwell.runner.placement import WHEREVER
from stepwell.runner.step_transaction import StepTransaction, logged_when_slow

logger = logging.getLogger("stepwell.runner")


class StopApplied(Exception):
    """The job is STOPPING: no step starts now (S42)."""


class RunningExecution:
    """The owner's side of one job execution.

    Attributes:
        job: The job execution's record, as committed last.
        stop_flag: Set once a stop was applied; read after each item (S104), chunk, partition and
            step.
        ended: Set when nothing of this execution runs here any more.
    """

    def __init__(self, repository: JobRepository | None, job: JobExecution) -> None:
        self._repository = repository
        self.job = job
        self.stop_flag = Event()
        # For the engine: the job that is run, where another process can find it again (S193).
        self.definition: Job | None = None
        # What comes after it; and whether it is stopped because this process ends (S191).
        self.succession: Succession | None = None
        self.is_shut_down = False
        # Whether a partition of it may run in two places at a time (S194).
        self.may_run_twice = False
        self.placement = WHEREVER
        self._deadlines: dict[str, float] = {}
        # Whether to come to an end; bound once, because it is asked after every item.
        self.stop_requested: Callable[[], bool] = self.stop_flag.is_set
        self.ended = Event()
        self._steps: dict[int, StepExecution] = {}
        self._lock = RLock()
        self._in_transaction = False
        self._is_ending = False
        self._saved_contexts: dict[int, str] = {}
        # The JobContext's persistent data, saved whenever it has changed (S72).
        self.job_data: dict[str, Any] = {}
        self._saved_job_data = "{}"
        self._stoppable: list[Callable[[], None]] = []

    @property
    def repository(self) -> JobRepository:
        """Where it is recorded."""
        assert self._repository is not None  # Off the owner's process it is opened when needed.
        return self._repository

    @property
    def execution_id(self) -> int:
        """The id of the job execution."""
        return self.job.execution_id

    @property
    def clock(self) -> Clock:
        """The repository's clock."""
        return self.repository.clock

    def time_out_after(self, timeout_s: float, what: str = "") -> str:
        """Have the watcher ask for a stop when the seconds are over, for this reason (S186)."""
        reason = f"timeout_s = {timeout_s:g} s{what} ran out"
        self._deadlines[reason] = self.clock.monotonic() + timeout_s
        return reason

    @contextmanager
    def timed(self, step_name: str, timeout_s: float | None) -> Iterator[None]:
        """While this is open, the step has so many seconds, if there is a limit (S186)."""
        if timeout_s is None:
            yield
            return
        reason = self.time_out_after(timeout_s, f" of step {step_name!r}")
        try:
            yield
        finally:
            self._deadlines.pop(reason, None)

    def take_timeout(self) -> str | None:
        """What has run out, as a reason to stop, once; None as long as nothing has."""
        now = self.clock.monotonic()
        over = [reason for reason, at in list(self._deadlines.items()) if now >= at]
        for reason in over:
            self._deadlines.pop(reason, None)
        return over[0] if over else None

    def wait_for_stop(self, seconds: float) -> None:
        """Wait, but no longer than until a stop is applied."""
        self.clock.wait(self.stop_flag, seconds)

    def step(self, step_execution_id: int) -> StepExecution:
        """The record of a running step, as committed last."""
        return self._steps[step_execution_id]

    # --- the job -----------------------------------------------------------------------------

    def begin(self) -> bool:
        """STARTING to STARTED; False when a stop request was there first, and nothing is to run.

        A claim has done so already.
        """
        with self._lock:
            if self.job.batch_status is BatchStatus.STARTING:
                self.job = self.repository.begin_execution(self.job)
        return self.job.batch_status is BatchStatus.STARTED

    def begin_ending(self) -> None:
        """The work is over: a stop that comes from now on is late and changes nothing (S12)."""
        with self._lock:
            self._is_ending = True

    def end(self, **changes: Any) -> JobExecution:
        """Record the terminal status; see ``JobRepository.end_execution``."""
        with self._lock:
            self.job = self.repository.end_execution(
                self.job,
                context=self._job_data_to_store(changes),
                succession=self.succession,
                is_shutdown=self.is_shut_down and self.stop_flag.is_set(),
                **changes,
            )
            return self.job

    @property
    def has_stray_step(self) -> bool:
        """Whether the end of a step could not be recorded; then the job's must not be (S190)."""
        return bool(self._steps)

    def _job_data_to_store(self, changes: dict[str, Any]) -> str | None:
        """The changed data; when that is no JSON, what failed because of it keeps the old (S28)."""
        try:
            return self.changed_job_data()
        except BatchError:
            if changes["batch_status"] is not BatchStatus.FAILED:
                raise
            return None

    def restore_job_data(self, stored: str) -> None:
        """Take over what the instance's last execution had kept."""
        data = from_json(stored)
        self.job_data = dict(data) if isinstance(data, dict) else {}
        self._saved_job_data = stored

    def changed_job_data(self) -> str | None:
        """The JobContext's JSON when it differs from what is stored, else None."""
        if not self.job_data and self._saved_job_data == "{}":
            return None
        text = _context_json(self.job_data, what="the job's context")
        return None if text == self._saved_job_data else text

    def apply_stop(self, because: Because) -> None:
        """STOPPING for the job and its running steps, then the flag; a second time does nothing."""
        with self._lock:
            if self.job.batch_status is not BatchStatus.STARTED or self._is_ending:
                return
            running = [
                step
                for step in self._steps.values()
                if step.batch_status is BatchStatus.STARTED and step.end_time is None
            ]
            self.job, stopping = self.repository.stop_execution(self.job, running, because)
            for step in stopping:
                self._steps[step.step_execution_id] = step
            self.stop_flag.set()

    @contextmanager
    def stoppable(self, artifact: Any) -> Iterator[None]:
        """While this is open, a stop calls ``artifact.stop()`` on the watcher's thread (S136)."""
        stop = getattr(artifact, "stop", None)
        if not callable(stop):
            yield
            return
        self._stoppable.append(stop)
        try:
            yield
        finally:
            with suppress(ValueError):  # It has been called already.
                self._stoppable.remove(stop)

    def call_stops(self) -> None:
        """Tell each artifact at work once that it is to stop (S136, S146)."""
        while self._stoppable:
            stop = self._stoppable.pop()
            try:
                stop()
            except Exception:
                logger.exception("stop() of an artifact of execution %s failed", self.execution_id)

    def read_requests(self) -> None:
        """Apply a stop that somebody has asked for; read at each step's boundary (S30)."""
        with self.repository.database.read() as reader:
            request = open_stop_request(reader, self.execution_id)
        if request is not None:
            self.apply_stop(request.because)

    # --- steps -------------------------------------------------------------------------------

    def pass_step(self, step_name: str) -> None:
        """A step that an earlier execution has completed; the next write stores it."""
        with self._lock:
            self.job = replace(self.job, last_step=step_name)

    def start_step(self, step: StepExecution, context: str) -> StepExecution:
        """Insert a step execution before any of its code runs (S22).

        Raises:
            StopApplied: a stop was there first; nothing was inserted.
        """
        with self._lock:
            if self.stop_flag.is_set():
                raise StopApplied
            self.job, started = self.repository.start_step(
                self.job, step, context, current_step=self._current_step(also=step.step_name)
            )
            self._steps[started.step_execution_id] = started
            self._saved_contexts[started.step_execution_id] = context
            return started

    def end_step(
        self,
        step_execution_id: int,
        *,
        context: dict[str, Any],
        also: Callable[[Transaction, StepExecution], None] | None = None,
        **changes: Any,
    ) -> StepExecution:
        """The step's final transaction (S26); ``also`` runs inside it."""
        with self._lock:
            text = self.changed_context(step_execution_id, context)
            job_text = self._job_data_to_store(changes)
            self.job, ended = self.repository.end_step(
                self.job,
                self._steps[step_execution_id],
                step_context=text,
                job_context=job_text,
                current_step=self._current_step(without=step_execution_id),
                also=also,
                **changes,
            )
            del self._steps[step_execution_id]
            self._saved_job_data = job_text or self._saved_job_data
            self._saved_contexts.pop(step_execution_id, None)
            return ended

    def _current_step(self, *, also: str | None = None, without: int | None = None) -> str | None:
        """The steps at work; several in a split (S51)."""
        names = [step.step_name for i, step in self._steps.items() if i != without]
        return ",".join([*names, also] if also else names) or None

    @contextmanager
    def step_transaction(self, step_execution_id: int) -> Iterator[StepTransaction]:
        """One write transaction of a step: the caller's statements, the step's row, COMMIT.

        The caller must call ``save`` once before it leaves; what it saved becomes the record in
        memory after the commit.

        Raises:
            StepUsageError: the thread is inside such a transaction already (S185).
        """
        with self._lock:
            if self._in_transaction:
                raise StepUsageError(
                    "cannot open a transaction: this step is inside one already",
                    hint="leave the first `with step.transaction()` before the next",
                )
            self._in_transaction = True
            held = self._steps[step_execution_id]
            try:
                with self.repository.database.write() as transaction:
                    work = StepTransaction(self, transaction, step_execution_id)
                    with logged_when_slow(held, self.clock):
                        yield work
                self._committed(work)
            except ConnectionLost as lost:
                if not has_committed(self.repository.database, lost, held):
                    raise
                self._committed(work)  # Only the answer was lost (S37).
            finally:
                self._in_transaction = False
        if work.stop_because is not None:
            self.apply_stop(work.stop_because)

    def _committed(self, work: StepTransaction) -> None:
        if work.saved is not None:
            self._steps[work.step_execution_id] = work.saved
        if work.saved_context is not None:
            self._saved_contexts[work.step_execution_id] = work.saved_context
        if work.saved_job_data is not None:
            self._saved_job_data = work.saved_job_data

    def save_progress(
        self, step_execution_id: int, context: dict[str, Any], **changes: Any
    ) -> None:
        """A transaction of its own for a step's progress or context."""
        with self.step_transaction(step_execution_id) as work:
            work.save(context, **changes)

    @property
    def in_transaction(self) -> bool:
        """Whether a step transaction of this execution is open (in the thread that asks)."""
        return self._in_transaction

    def changed_context(self, step_execution_id: int, context: dict[str, Any]) -> str | None:
        """The context's JSON when it differs from what is stored, else None."""
        saved = self._saved_contexts[step_execution_id]
        if not context and saved == "{}":  # The common case costs nothing.
            return None
        text = _context_json(context, what="the step's context")
        return None if text == saved else text

    def storable_context(self, step_execution_id: int, context: dict[str, Any]) -> dict[str, Any]:
        """``context``; when that is no JSON and so failed its step, as it was stored last (S28)."""
        try:
            self.changed_context(step_execution_id, context)
        except BatchError:
            stored = from_json(self._saved_contexts[step_execution_id])
            return dict(stored) if isinstance(stored, dict) else {}
        return context

    def refresh(self) -> None:
        """Read the versions again, so that FAILED can be recorded under the same fence (S24)."""
        with self._lock, self.repository.database.read() as reader:
            job = find_execution(reader, self.execution_id)
            if job is not None and job.fence == self.job.fence:
                self.job = replace(self.job, version=job.version)
            for step_execution_id, known in self._steps.items():
                found = find_step(reader, step_execution_id)
                if found is not None and found.fence == known.fence:
                    self._steps[step_execution_id] = replace(known, version=found.version)

    def abandon_step(self, step_execution_id: int) -> None:
        """Forget a step whose end could not be recorded: it is a stray now (S190)."""
        self._steps.pop(step_execution_id, None)


def _context_json(context: object, *, what: str) -> str:
    """The JSON of a context; a list, say, would not come back as what it was (S71)."""
    if not isinstance(context, dict):
        raise ValueNotJson(
            f"cannot store {what}: it must be a dict, got {type(context).__name__}",
            hint="change the dict, or set another dict",
        )
    return to_json(context, what=what)
