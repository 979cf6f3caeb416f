"""How far an execution or a step is, and how it has ended, in a few words."""

from __future__ import annotations

from stepwell.execution.records import JobExecution, Metrics
from stepwell.execution.result import Failure
from stepwell.execution.status import Result
from stepwell.looks.progress import StepProgress
from stepwell.looks.text import count, how_many


def counters_text(metrics: Metrics) -> str:
    """``1,000 read · 990 written · 10 filtered``; what is 0 is left out."""
    skipped = metrics.read_skip_count + metrics.process_skip_count + metrics.write_skip_count
    numbers = {
        "read": metrics.read_count,
        "written": metrics.write_count,
        "filtered": metrics.filter_count,
        "skipped": skipped,
        "rolled back": metrics.rollback_count,
    }
    return " · ".join(f"{count(number)} {word}" for word, number in numbers.items() if number)


def step_counts(progress: StepProgress) -> str:
    """The counters of a step: partitions, items, or what it says of itself."""
    step = progress.step
    parts = []
    if step.partition_total is not None:
        parts.append(
            f"{count(step.partition_completed or 0)} of {partitions(step.partition_total)}"
        )
        parts += [f"{count(step.partition_failed)} failed"] if step.partition_failed else []
        parts += [f"{count(step.partition_partial)} partial"] if step.partition_partial else []
    elif progress.done is not None and progress.unit != "read":
        total = f" of {count(progress.total)}" if progress.total is not None else ""
        parts.append(f"{count(progress.done)}{total} {progress.unit}")
    return " · ".join([*parts, *filter(None, [counters_text(step.metrics)])])


def partitions(number: int) -> str:
    """``1 partition``, ``365 partitions``."""
    return how_many(number, "partition")


def status_text(execution: JobExecution) -> str:
    """The status; PARTIAL beside it where the result says so."""
    partial = " (PARTIAL)" if execution.result is Result.PARTIAL else ""
    return f"{execution.batch_status}{partial}"


def failure_text(failure: Failure | None) -> str:
    """``ValueError: no such day``."""
    return "" if failure is None else f"{failure.type}: {failure.message}"


def step_status(progress: StepProgress) -> str:
    """The status of a step; PARTIAL beside it where the result says so."""
    partial = " (PARTIAL)" if progress.step.result is Result.PARTIAL else ""
    return f"{progress.step.batch_status}{partial}"
