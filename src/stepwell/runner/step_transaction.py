"""One write transaction of a step: the caller's statements, the step's row, COMMIT (S91, S185)."""

from __future__ import annotations

import copy
import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from stepwell.clock import Clock
from stepwell.database.transaction import Transaction
from stepwell.execution.records import SkippedItem, StepExecution
from stepwell.repository.history import Because
from stepwell.repository.requests import open_stop_request

if TYPE_CHECKING:
    from stepwell.runner.running import RunningExecution

logger = logging.getLogger("stepwell.runner")

SLOW_TRANSACTION_S = 0.1  # Everybody else's writers wait meanwhile (S90).


@contextmanager
def logged_when_slow(step: StepExecution, clock: Clock) -> Iterator[None]:
    """Say so when what runs inside an open transaction keeps other writers waiting (S90)."""
    began = clock.monotonic()
    try:
        yield
    finally:
        seconds = clock.monotonic() - began
        if seconds > SLOW_TRANSACTION_S:
            logger.info(
                "the transaction of step %r (execution %s) took %.0f ms; other writers waited",
                step.step_name,
                step.execution_id,
                seconds * 1000,
            )


@contextmanager
def rewound_when_undone(context: dict[str, Any]) -> Iterator[None]:
    """Have a context be what it was when the block that speaks of its rows is rolled back (S185).

    Rows and position commit together, so they are undone together. What was put there before the
    block stays, and is saved with a FAILED end (S72).
    """
    before = copy.deepcopy(context)
    try:
        yield
    except BaseException:
        context.clear()
        context.update(before)
        raise


class StepTransaction:
    """The open transaction of a step, and what will be its record once it has committed."""

    def __init__(
        self, running: RunningExecution, transaction: Transaction, step_execution_id: int
    ) -> None:
        self.transaction = transaction
        self.step_execution_id = step_execution_id
        self.saved: StepExecution | None = None
        self.saved_context: str | None = None
        self.saved_job_data: str | None = None
        self.stop_because: Because | None = None
        self._running = running

    def save(
        self,
        context: dict[str, Any] | None,
        *,
        skips: Iterable[SkippedItem] = (),
        **changes: Any,
    ) -> StepExecution:
        """Store counters, checkpoints, progress and contexts; read the requests (S30).

        With ``context`` None neither the step's nor the job's is stored.
        """
        self.transaction.require_open()
        running = self._running
        text = job_text = None
        if context is not None:
            text = running.changed_context(self.step_execution_id, context)
            job_text = running.changed_job_data()
        self.saved = running.repository.save_step(
            self.transaction,
            running.step(self.step_execution_id),
            step_context=text,
            job_context=job_text,
            skips=skips,
            **changes,
        )
        self.saved_context = text
        self.saved_job_data = job_text
        request = open_stop_request(self.transaction, running.execution_id)
        self.stop_because = request.because if request else None
        return self.saved
