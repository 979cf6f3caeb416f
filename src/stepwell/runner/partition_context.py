"""PartitionContext: what the code of one partition receives (S74)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from typing import Any, cast

from stepwell.database.guarded import GuardedConnection
from stepwell.errors import StepUsageError
from stepwell.execution.json import to_json
from stepwell.execution.records import Metrics, StepExecution
from stepwell.runner.books import PartitionBooks
from stepwell.runner.context import JobContext, StepContext
from stepwell.runner.running import RunningExecution
from stepwell.runner.step_transaction import rewound_when_undone


class PartitionContext(StepContext):
    """The context of one partition: its own data, and transactions on a connection of its own."""

    def __init__(
        self,
        running: RunningExecution,
        step: StepExecution,
        job: JobContext,
        context: dict[str, Any],
        properties: Mapping[str, str],
        books: PartitionBooks,
    ) -> None:
        self.partition = books.number
        self._books = books
        # For the engine: the partition's own collector, when it has one.
        self.collector: Any = None
        self.started_at: datetime = running.clock.now()
        super().__init__(running, step, job, context, properties)

    @contextmanager
    def transaction(self) -> Iterator[GuardedConnection]:
        """One write transaction, fenced by the partition's row (S185, S194).

        Raises:
            StepUsageError: a transaction of this partition is open already.
            LostOwnership: another process has recovered the execution.
        """
        if self._connection is not None:
            raise StepUsageError(
                "cannot open a transaction: this partition is inside one already",
                hint="leave the first `with step.transaction()` before the next",
            )
        with rewound_when_undone(self.context), self._books.transaction() as work:
            with self.lend(work.transaction) as connection:
                yield connection
            # Each commit has its number: a second run of this attempt meets it (S194).
            work.save(self.context, chunk_number=self._books.position.chunk_number + 1)

    @property
    def metrics(self) -> Metrics:
        """The partition's own metrics, as committed last (S74)."""
        if self.runner is not None:
            return cast("Metrics", self.runner.metrics)
        return self._books.position.metrics

    def progress(self, done: int, total: int | None = None, label: str | None = None) -> None:
        """A partition's progress is its result: the step counts those."""

    def context_json(self) -> str | None:
        """The context as JSON, None when it is empty."""
        if not self.context:
            return None
        return to_json(self.context, what=f"the context of partition {self.partition}")
