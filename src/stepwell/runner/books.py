"""Where a chunk's position and counters are kept: the step's row, or a partition's own row.

Both are fenced: the transaction that stores a chunk proves in the same commit that its owner has
not been recovered meanwhile (S35, S145, S194).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Protocol

from stepwell.database.transaction import Transaction
from stepwell.execution.json import to_json
from stepwell.execution.records import PartitionPosition, SkippedItem, StepExecution
from stepwell.repository.partitions import hold_partition, save_partition
from stepwell.repository.steps import insert_skips
from stepwell.runner.running import RunningExecution
from stepwell.runner.step_transaction import logged_when_slow


class Work(Protocol):
    """An open transaction of a chunk, to be saved once."""

    transaction: Transaction

    def save(
        self, context: dict[str, Any], *, skips: Iterable[SkippedItem] = (), **changes: Any
    ) -> object:
        """Store counters, checkpoints, skips and the context beside what the writer wrote."""


class Books(Protocol):
    """The committed position of a chunk step or chunk partition, and how the next is committed."""

    @property
    def position(self) -> PartitionPosition | StepExecution:
        """Chunk number, checkpoints and metrics, as committed last."""

    @property
    def step(self) -> StepExecution:
        """The step execution that all belongs to."""

    def transaction(self) -> Any:
        """A context manager that opens one write transaction and yields its Work."""


class StepBooks:
    """The books of a chunk step: its own row."""

    def __init__(self, running: RunningExecution, step_execution_id: int) -> None:
        self._running = running
        self._id = step_execution_id

    @property
    def position(self) -> StepExecution:
        """The step's record."""
        return self._running.step(self._id)

    @property
    def step(self) -> StepExecution:
        """The same."""
        return self._running.step(self._id)

    def transaction(self) -> Any:
        """See ``RunningExecution.step_transaction``."""
        return self._running.step_transaction(self._id)


class PartitionBooks:
    """The books of one partition: its row in ``batch_partition_execution``."""

    def __init__(
        self,
        running: RunningExecution,
        step: StepExecution,
        number: int,
        position: PartitionPosition,
    ) -> None:
        self.step = step
        self.number = number
        self.position = position
        self._running = running

    @contextmanager
    def transaction(self) -> Iterator[PartitionTransaction]:
        """One write transaction on a connection of this thread's own (S194)."""
        with self._running.repository.database.write() as transaction:
            if self._running.may_run_twice:
                hold_partition(transaction, self.step, self.number, behind=self.position)
            work = PartitionTransaction(self, transaction)
            with logged_when_slow(self.step, self._running.clock):
                yield work
        if work.saved is not None:
            self.position = work.saved


class PartitionTransaction:
    """The open transaction of a partition; its position counts once it has committed."""

    def __init__(self, books: PartitionBooks, transaction: Transaction) -> None:
        self.transaction = transaction
        self.saved: PartitionPosition | None = None
        self._books = books

    def save(
        self, context: dict[str, Any], *, skips: Iterable[SkippedItem] = (), **changes: Any
    ) -> PartitionPosition:
        """Store the position under fence and status.

        Raises:
            LostOwnership: the attempt is not STARTED under this fence any more (S194).
        """
        self.transaction.require_open()
        books = self._books
        known = {name: value for name, value in changes.items() if not name.startswith("progress")}
        saved = replace(books.position, **known)
        text = to_json(context, what=f"the context of partition {books.number}")
        save_partition(
            self.transaction,
            books.step,
            books.number,
            saved,
            text if context else None,
            behind=books.position,
        )
        if skips:
            insert_skips(self.transaction, skips, partition=books.number)
        self.saved = saved
        return saved
