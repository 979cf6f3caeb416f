"""An execution as a stream of plain lines: a line when something changes, for logs and pipes."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from stepwell.cli.running import headline, speed
from stepwell.execution.status import BatchStatus
from stepwell.looks.progress import StepProgress
from stepwell.looks.reading import Look
from stepwell.looks.text import duration, seconds_between
from stepwell.looks.wording import failure_text, step_counts


class Changes:
    """The lines that tell what has changed since the last look, each with its time of day.

    One line a start and an end of a step, and while a step runs at most one line of progress every
    ``progress_s`` seconds, and only when it has moved.
    """

    def __init__(self, *, progress_s: float, names_execution: bool = False) -> None:
        self._progress_s = progress_s
        self._names_execution = names_execution
        self._started: set[int] = set()
        self._ended: set[int] = set()
        self._said: dict[int, tuple[datetime, int | None]] = {}
        self._status: dict[int, BatchStatus] = {}

    def of(self, look: Look) -> Iterator[str]:
        """The lines of one execution."""
        execution = look.execution
        before = self._status.get(look.execution_id)
        self._status[look.execution_id] = execution.batch_status
        if self._names_execution and before != execution.batch_status:
            yield timed(look.at, headline(look))
        for progress in look.steps:
            for text in self._of_step(progress, look.at):
                whose = f"execution {look.execution_id} " if self._names_execution else ""
                yield timed(look.at, f"{whose}{text}")

    @property
    def told(self) -> set[int]:
        """The executions that were told of, and not that they have ended."""
        return {number for number, status in self._status.items() if status.is_running}

    def _of_step(self, progress: StepProgress, at: datetime) -> Iterator[str]:
        step = progress.step
        number = step.step_execution_id
        if number in self._ended:
            return
        name = f"step {step.step_name!r}"
        if number not in self._started:
            self._started.add(number)
            self._said[number] = (at, progress.done)
            yield f"{name} started"
        if not step.batch_status.is_running:
            self._ended.add(number)
            took = duration(seconds_between(step.start_time, step.end_time))
            rest = [step_counts(progress), failure_text(step.failure)]
            yield ": ".join(filter(None, [f"{name} {step.batch_status} after {took}", *rest]))
            return
        said_at, said = self._said[number]
        if progress.done != said and (at - said_at).total_seconds() >= self._progress_s:
            self._said[number] = (at, progress.done)
            percent = "" if progress.percent is None else f"{progress.percent} %"
            parts = [percent, step_counts(progress), speed(progress)]
            yield f"{name}: {', '.join(filter(None, parts))}"


def timed(at: datetime, text: str) -> str:
    """A line with its time of day."""
    return f"{at.astimezone():%H:%M:%S} {text}"
