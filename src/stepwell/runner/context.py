"""JobContext and StepContext: what the code of a job and of its steps receives (section 8)."""

from __future__ import annotations

import copy
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, cast

from stepwell.database.guarded import GuardedConnection
from stepwell.database.transaction import Transaction
from stepwell.errors import LostOwnership, StepUsageError
from stepwell.execution.records import Metrics, StepExecution
from stepwell.execution.result import ERRORS_MAX, Failure, PartitionError, storable
from stepwell.execution.status import BatchStatus
from stepwell.runner.current import CURRENT
from stepwell.runner.locking import Locking
from stepwell.runner.loop import OwnLoop
from stepwell.runner.running import RunningExecution
from stepwell.runner.step_transaction import rewound_when_undone
from stepwell.sync.change import Lineage
from stepwell.sync.lineage import tell_job

PROGRESS_INTERVAL_S = 1.0  # A commit of its own for progress, at most this often (S185).


class JobContext:
    """The job that is running, seen from its own code.

    A flow of a split and a partition have one of their own: what is set there never reaches the
    job (S18).

    Attributes:
        parameters: The job's parameters.
        properties: The job's properties, as text (S76).
        transient: Anything; lives as long as this execution, is never stored (S70).
    """

    def __init__(
        self,
        running: RunningExecution,
        parameters: Any,
        properties: Mapping[str, str],
        context: dict[str, Any],
    ) -> None:
        self.parameters = parameters
        self.properties = properties
        self.transient: Any = None
        self._exit_status: str | None = None
        self._context = context
        self._is_branch = False
        self._ends_as: BatchStatus | None = None
        self._running = running

    @staticmethod
    def current() -> JobContext:
        """The job that this code runs in; for code that nobody hands a context (S75).

        Raises:
            StepUsageError: no job runs here.
        """
        context = CURRENT.get()
        if context is None:
            raise _nothing_runs("job")
        return cast("JobContext", getattr(context, "job", context))

    def for_branch(self) -> JobContext:
        """A context for a partition or a flow of a split: same job, own data (S55, S71)."""
        branch = JobContext(
            self._running,
            self.parameters,
            self.properties,
            copy.deepcopy(self.context) if self.context else {},
        )
        branch._is_branch = True
        return branch

    def about_to_end(self, status: BatchStatus) -> None:
        """For the engine: ``after_job`` sees what is about to be committed (S36)."""
        self._ends_as = status

    @property
    def batch_status(self) -> BatchStatus:
        """Where the job stands; in ``after_job`` the status that is about to be committed (S36)."""
        return self._ends_as or self._running.job.batch_status

    @property
    def exit_status(self) -> str | None:
        """None at first (S14); the last writer wins (S15); None becomes the batch status (S17)."""
        return self._exit_status

    @exit_status.setter
    def exit_status(self, value: str | None) -> None:
        self._exit_status = _as_exit_status(value)

    @property
    def context(self) -> dict[str, Any]:
        """A dict of JSON values that belongs to the instance.

        It is saved with every checkpoint and with the terminal status, and restored on a restart
        (S71, S72); that of a partition or a flow of a split is a copy that is never stored.
        """
        return self._context

    @context.setter
    def context(self, value: dict[str, Any]) -> None:
        self._context = value
        if not self._is_branch:
            self._running.job_data = value

    @property
    def job_name(self) -> str:
        """The name of the job."""
        return self._running.job.job_name

    @property
    def instance_id(self) -> int:
        """The id of the job instance."""
        return self._running.job.instance_id

    @property
    def execution_id(self) -> int:
        """The id of the job execution."""
        return self._running.execution_id


class StepContext(Locking):
    """The step that is running, seen from its own code.

    Attributes:
        job: The JobContext.
        parameters: The job's parameters: the typed model, or a dict of text without one.
        properties: The step's properties, as text (S76).
        exception: The last exception of any artifact of the step, the original (S73).
        context: A dict of JSON values that is saved with every commit and restored on a restart
            (S71, S72).
        transient: Anything; never stored (S70).
        pending_progress: For the engine: what ``progress`` said and the next commit stores.
        loop: For the engine: runs coroutine functions on the thread that owns this context.
        chunk_label: For the engine: the chunk's part of the idempotency key.
        partition: The number of the partition, or None outside of one.
        input: The input of the partition (S195), or None outside of one.
    """

    partition: int | None = None
    input: Any = None
    # For the engine: the chunk runner, when there is one.
    runner: Any = None

    def __init__(
        self,
        running: RunningExecution,
        step: StepExecution,
        job: JobContext,
        context: dict[str, Any],
        properties: Mapping[str, str],
    ) -> None:
        self.job = job
        self.parameters = job.parameters
        self.properties = properties
        self.context = context
        self.transient: Any = None
        self._exit_status: str | None = None
        self._ends_as: BatchStatus | None = None
        self.exception: BaseException | None = None
        self.loop = OwnLoop()
        self.errors: list[PartitionError] = []
        self.error_count = 0
        self._running = running
        self._step = step
        self._connection: GuardedConnection | None = None
        self._transaction: Transaction | None = None
        self.pending_progress: dict[str, Any] = {}
        self._progress_saved_at = float("-inf")
        self.chunk_label = ""
        self._logger: logging.LoggerAdapter[logging.Logger] | None = None

    @staticmethod
    def current() -> StepContext:
        """The step, or the partition, that this code runs in (S75).

        For code that nobody hands a context, such as a library's. On a thread that the code has
        started itself there is one only within ``contextvars.copy_context().run``.

        Raises:
            StepUsageError: no step runs here.
        """
        context = CURRENT.get()
        if not isinstance(context, StepContext):
            raise _nothing_runs("step")
        return context

    # --- what it is --------------------------------------------------------------------------

    @property
    def job_name(self) -> str:
        """The name of the job."""
        return self._running.job.job_name

    @property
    def instance_id(self) -> int:
        """The id of the job instance."""
        return self._running.job.instance_id

    @property
    def execution_id(self) -> int:
        """The id of the job execution."""
        return self._running.execution_id

    @property
    def step_name(self) -> str:
        """The name of the step."""
        return self._step.step_name

    @property
    def step_execution_id(self) -> int:
        """The id of the step execution; a partition's is that of its step (S74)."""
        return self._step.step_execution_id

    @property
    def metrics(self) -> Metrics:
        """The eight metrics, as committed last (S132), with the rollbacks since (S133)."""
        if self.runner is not None:
            return cast("Metrics", self.runner.metrics)
        return self._running.step(self.step_execution_id).metrics

    @property
    def stop_requested(self) -> bool:
        """Whether the step should come to its end; long code asks now and then (S137)."""
        return self._running.stop_requested()

    @property
    def batch_status(self) -> BatchStatus:
        """Where the step stands; from ``after_step`` on what is about to be committed (S36)."""
        return self._ends_as or self._running.step(self.step_execution_id).batch_status

    @property
    def exit_status(self) -> str | None:
        """Set it to give the step an exit status of its own (S19)."""
        return self._exit_status

    @exit_status.setter
    def exit_status(self, value: str | None) -> None:
        self._exit_status = _as_exit_status(value)

    def about_to_end(self, status: BatchStatus) -> None:
        """For the engine: ``after_step`` sees what is about to be committed (S36)."""
        self._ends_as = status

    @property
    def logger(self) -> logging.LoggerAdapter[logging.Logger]:
        """A logger whose lines carry job, execution, step and partition."""
        if self._logger is None:  # Made when asked for: most partitions log nothing.
            self._logger = logging.LoggerAdapter(
                logging.getLogger("stepwell.step"),
                {
                    "job": self.job_name,
                    "execution_id": self.execution_id,
                    "step": self.step_name,
                    "partition": self.partition,
                },
            )
        return self._logger

    @property
    def idempotency_key(self) -> str:
        """Instance / step / partition / chunk number: the same when a chunk is repeated (S92)."""
        partition = "" if self.partition is None else self.partition
        return f"{self.instance_id}/{self.step_name}/{partition}{self.chunk_label}"

    # --- what it can do ----------------------------------------------------------------------

    @property
    def connection(self) -> GuardedConnection:
        """The transaction's connection, inside a chunk's write or ``step.transaction()``.

        Raises:
            StepUsageError: no transaction is open.
        """
        if self._connection is None:
            raise StepUsageError(
                "cannot use step.connection: no transaction is open here",
                hint="use it in a writer, or within `with step.transaction() as connection:`",
            )
        return self._connection

    @property
    def open_transaction(self) -> Transaction:
        """For Stepwell's own jobs: the transaction that ``connection`` belongs to.

        Raises:
            StepUsageError: no transaction is open.
        """
        if self._transaction is None:
            raise StepUsageError("cannot use step.open_transaction: no transaction is open here")
        return self._transaction

    @contextmanager
    def transaction(self) -> Iterator[GuardedConnection]:
        """One write transaction: your rows, ``step.context`` and the progress commit together.

        The step's row is updated under its version and fence in the same transaction, so an owner
        that was recovered meanwhile commits nothing (S185). Several in a row are fine. When it is
        rolled back ``step.context`` is again what it was before: else a restart would pass over
        rows that are not there.

        Raises:
            StepUsageError: a transaction is open already.
            LostOwnership: another process has recovered the execution.
        """
        with (
            rewound_when_undone(self.context),
            self._running.step_transaction(self.step_execution_id) as work,
        ):
            with self.lend(work.transaction) as connection:
                yield connection
            work.save(self.context, **self.pending_progress)
        self._progress_saved_at = self._running.clock.monotonic()

    def query(
        self, sql: str, parameters: Mapping[str, Any] | None = None
    ) -> Sequence[tuple[Any, ...]]:
        """All rows of one SELECT with ``:name`` parameters, in a short read transaction of its own.

        It sees what is committed, not what an open transaction of this step has written (S93).
        """
        with self._running.repository.database.read() as reader:
            return reader.connection.execute(sql, parameters).fetchall()

    def progress(self, done: int, total: int | None = None, label: str | None = None) -> None:
        """Say how far the step is; saved with the next commit, or by itself once a second."""
        self.pending_progress = {
            "progress_done": done,
            "progress_total": total,
            "progress_label": label,
        }
        now = self._running.clock.monotonic()
        if self._connection is None and now - self._progress_saved_at >= PROGRESS_INTERVAL_S:
            self._progress_saved_at = now
            with self._running.step_transaction(self.step_execution_id) as work:
                # Without the context: what it says may not be committed yet (S185).
                work.save(None, **self.pending_progress)

    @contextmanager
    def attempt(self, key: object) -> Iterator[None]:
        """Run a piece of the work; its exception is recorded under ``key`` instead of raised.

        A partition that recorded any is PARTIAL (S160). The first ``ERRORS_MAX`` are kept.
        """
        try:
            yield
        except LostOwnership:
            raise
        except Exception as error:
            self.exception = error
            self.error_count += 1
            if len(self.errors) < ERRORS_MAX:
                self.errors.append(PartitionError(str(key), Failure.of(error)))
            self.logger.warning("attempt %s failed: %s: %s", key, type(error).__name__, error)

    @contextmanager
    def lend(self, transaction: Transaction) -> Iterator[GuardedConnection]:
        """For the engine: the transaction's connection may be used inside this block."""
        tell_job(self._running.repository.database, transaction, self._running.clock, self._lineage)
        self._connection, self._transaction = transaction.connection, transaction
        try:
            yield self._connection
        finally:
            self._connection = self._transaction = None

    def _lineage(self) -> Lineage:
        return Lineage(
            job_name=self.job_name,
            execution_id=self.execution_id,
            step_name=self.step_name,
            chunk=self.chunk_label.removeprefix("/"),
            partition=self.partition,
        )


def _nothing_runs(what: str) -> StepUsageError:
    return StepUsageError(
        f"cannot give the current {what}: no {what} runs here",
        hint="a thread of your own needs `contextvars.copy_context().run`; or hand `step` on",
    )


def _as_exit_status(value: object) -> str | None:
    """Refused where it is set: later it would fail the engine, not the line that is wrong."""
    if value is None:
        return None
    if isinstance(value, str):
        return storable(value)
    raise TypeError(f"an exit status is a string or None, got {value!r}")
