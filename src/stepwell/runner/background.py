"""Executions that run on threads of their own, and how they ended, for whoever waits for them."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from threading import Thread

from stepwell.errors import StepwellError
from stepwell.execution.records import JobExecution

logger = logging.getLogger("stepwell.runner")

# Ends that nobody has asked for; each may hold an exception, and that all that its frames hold.
OUTCOMES_MAX = 100


@dataclass
class _Run:
    thread: Thread
    outcome: JobExecution | StepwellError | None = None
    is_over: bool = False


class Background:
    """The threads of one operator. Of ends that nobody asks for the latest are kept."""

    def __init__(self) -> None:
        self._runs: dict[int, _Run] = {}

    def start(
        self,
        execution_id: int,
        run: Callable[[], JobExecution],
        on_end: Callable[[int], None] | None = None,
    ) -> None:
        """Call ``run`` on a thread of its own; behind everything else ``on_end`` with the id."""

        def work() -> None:
            try:
                mine.outcome = run()
            except StepwellError as error:
                mine.outcome = error
            except Exception:
                logger.exception("execution %s ended with a fault of the engine", execution_id)
            finally:
                mine.is_over = True
                self._forget_oldest()
                if on_end is not None:
                    on_end(execution_id)

        mine = _Run(Thread(target=work, name=f"stepwell-{execution_id}", daemon=True))
        self._runs[execution_id] = mine
        mine.thread.start()

    def join(self, execution_id: int, timeout_s: float | None) -> bool:
        """Wait for its thread, if it has one; False when the time ran out first."""
        run = self._runs.get(execution_id)
        if run is not None:
            run.thread.join(timeout_s)
        return run is None or not run.thread.is_alive()

    def take(self, execution_id: int) -> JobExecution | None:
        """How it ended, once; None when that is not known any more.

        Raises:
            StepwellError: what the run raised.
        """
        run = self._runs.pop(execution_id, None)
        outcome = None if run is None else run.outcome
        if isinstance(outcome, StepwellError):
            raise outcome
        return outcome

    def _forget_oldest(self) -> None:
        over = [execution_id for execution_id, run in list(self._runs.items()) if run.is_over]
        for execution_id in over[:-OUTCOMES_MAX]:
            self._runs.pop(execution_id, None)
