"""How far a step is, how fast, and how long it will take; computed from committed records alone.

Guarantees: ``done`` and ``total`` are what the database holds (law 3); only rate and remaining time
are estimates, and they say nothing as long as there is nothing to estimate from.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass
from datetime import datetime

from stepwell.execution.records import StepExecution

WINDOW_S = 15.0  # A rate older than this says little about now.
SPAN_MIN_S = 0.4  # Two looks closer than this say nothing about speed.


@dataclass(frozen=True)
class StepProgress:
    """The progress of one step execution.

    Attributes:
        done: What is committed, in ``unit``; None when the step counts nothing.
        total: None when nobody knows it.
        unit: ``partitions``, ``read``, or the label that the step gave itself.
        rate_per_s: In ``unit``; None when it is not known, or the step has ended.
        eta_s: Estimated seconds to the end; None when total or rate is not known.
    """

    step: StepExecution
    done: int | None
    total: int | None
    unit: str
    rate_per_s: float | None = None
    eta_s: float | None = None

    @property
    def percent(self) -> int | None:
        """Rounded down, so that 100 means that all is done."""
        if self.done is None or self.total is None:
            return None
        return 100 if self.total == 0 else min(100, 100 * self.done // self.total)

    @property
    def eta_range_s(self) -> tuple[float, float] | None:
        """From and to how many seconds it may still take; None as ``eta_s``.

        The more pieces of work the rate rests on, the narrower: after 4 partitions from half of
        ``eta_s`` to the double, after 100 from five sixths of it to six fifths.
        """
        if self.eta_s is None:
            return None
        factor = 1 + 2 / math.sqrt(max(1, self._pieces))
        return self.eta_s / factor, self.eta_s * factor

    @property
    def _pieces(self) -> int:
        """What is finished one after the other: partitions, chunks, or what the step counts."""
        step = self.step
        if step.partition_total is None and step.progress_done is None:
            return step.chunk_number
        return self.done or 0


def position(step: StepExecution) -> tuple[int | None, int | None, str]:
    """Done, total and unit of a step, from its record: partitions, its own words, or items read."""
    if step.partition_total is not None:
        return step.partition_completed or 0, step.partition_total, "partitions"
    if step.progress_done is not None:
        return step.progress_done, step.progress_total, step.progress_label or "done"
    if step.metrics.read_count or step.chunk_number:
        return step.metrics.read_count, None, "read"
    return None, None, ""


class Meter:
    """Rates of running steps from the looks that were taken at them, each step by its id.

    One instance a watcher; :meth:`measure` is called with each look.
    """

    def __init__(self) -> None:
        self._looks: dict[int, deque[tuple[float, int]]] = {}

    def measure(self, step: StepExecution, at_s: float) -> StepProgress:
        """The progress of ``step``, looked at when the monotonic clock said ``at_s``."""
        done, total, unit = position(step)
        if done is None or not step.batch_status.is_running:
            self._looks.pop(step.step_execution_id, None)
            return StepProgress(step, done, total, unit)
        looks = self._looks.setdefault(step.step_execution_id, deque())
        looks.append((at_s, done))
        # Two looks stay, however old: a step of slow commits has a rate too.
        while len(looks) > 2 and at_s - looks[1][0] > WINDOW_S:
            looks.popleft()
        first_at_s, first_done = looks[0]
        span_s = at_s - first_at_s
        per_s = (done - first_done) / span_s if span_s >= SPAN_MIN_S else None
        return _progress(step, per_s)


def since_start(step: StepExecution, now: datetime, *, done_before: int = 0) -> StepProgress:
    """The progress of a step that is looked at once: its mean rate since it began.

    ``done_before`` is what earlier executions had done of a kept partition plan.
    """
    done = position(step)[0]
    if done is None or not step.batch_status.is_running:
        return _progress(step, None)
    span_s = (now - (step.start_time or step.create_time)).total_seconds()
    return _progress(step, (done - done_before) / span_s if span_s >= SPAN_MIN_S else None)


def _progress(step: StepExecution, per_s: float | None) -> StepProgress:
    done, total, unit = position(step)
    if per_s is None or per_s <= 0 or done is None:
        return StepProgress(step, done, total, unit)
    eta_s = max(0.0, (total - done) / per_s) if total is not None else None
    return StepProgress(step, done, total, unit, per_s, eta_s)
