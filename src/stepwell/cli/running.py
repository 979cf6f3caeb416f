"""One execution in words: its headline, its steps, how it runs and how it has ended."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from stepwell.cli.output import Page, bar
from stepwell.execution.parameters import JobParameter, describe_parameters
from stepwell.execution.records import JobExecution, Metrics
from stepwell.execution.result import Failure
from stepwell.execution.status import BatchStatus, Result
from stepwell.looks.progress import StepProgress
from stepwell.looks.reading import Look
from stepwell.looks.text import count, duration, how_many, rate, seconds_between, shorten

VALUE_CHARACTERS = 20  # Of a parameter, where all of them have to share a cell.


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


def speed(progress: StepProgress) -> str:
    """``5,100/s, 12 s left``; empty when nothing is known."""
    left = "" if progress.eta_s is None else f"{duration(progress.eta_s)} left"
    return ", ".join(filter(None, [rate(progress.rate_per_s), left]))


def status_text(execution: JobExecution) -> str:
    """The status; PARTIAL beside it where the result says so."""
    partial = " (PARTIAL)" if execution.result is Result.PARTIAL else ""
    return f"{execution.batch_status}{partial}"


def failure_text(failure: Failure | None) -> str:
    """``ValueError: no such day``."""
    return "" if failure is None else f"{failure.type}: {failure.message}"


def steps_table(page: Page, steps: Iterable[StepProgress], at: Look) -> None:
    """One line a step, those that run with a bar where the total is known."""
    page.table(
        ["STEP", "STATUS", ">TIME", "PROGRESS", "SPEED", "COUNTS"],
        [
            [
                progress.step.step_name,
                step_status(progress),
                duration(
                    seconds_between(progress.step.start_time, progress.step.end_time or at.at)
                ),
                bar_text(progress),
                speed(progress),
                step_counts(progress),
            ]
            for progress in steps
        ],
    )


def running_page(look: Look, notes: Sequence[str] = ()) -> Page:
    """An execution while it runs, as it is drawn again and again."""
    page = Page()
    page.line(headline(look))
    page.facts({"parameters": parameters_text(look.execution.parameters)})
    steps_table(page, look.steps, look)
    for note in notes:
        page.line(note)
    return page


def headline(look: Look) -> str:
    """``execution 3 of job 'load' is STARTED, for 4.1 s``."""
    execution = look.execution
    text = f"execution {execution.execution_id} of job {execution.job_name!r} is"
    text = f"{text} {status_text(execution)}"
    if execution.batch_status.is_running:
        since_s = seconds_between(execution.start_time or execution.create_time, look.at)
        asked = ", asked to stop" if is_to_stop(execution) else ""
        return f"{text}, for {duration(since_s)}{asked}"
    took_s = seconds_between(execution.start_time, execution.end_time)
    return text if took_s is None else f"{text} after {duration(took_s)}"


def summary_page(look: Look, *, skip_count: int) -> Page:
    """An execution as it has ended, with what to do next."""
    execution = look.execution
    page = Page()
    page.line(headline(look))
    steps_table(page, look.steps, look)
    if skip_count:
        page.line(f"{how_many(skip_count, 'item')} skipped")
    failed = _failed_step(look)
    if execution.failure is not None:
        where = f"step {failed.step.step_name!r} failed: " if failed else ""
        page.line(f"{where}{failure_text(execution.failure)}")
    if execution.batch_status.is_running:
        page.hint(
            "this process has ended it with a fault of Stepwell, please report it;"
            f" `stepwell status {execution.execution_id}` shows what was recorded"
        )
    elif execution.batch_status.is_restartable:
        goes_on = f"`{look.restart_command}` goes on where it stopped"
        page.hint(f"{goes_on}, `stepwell status {execution.execution_id}` shows everything")
    elif execution.result is Result.PARTIAL or skip_count:
        page.hint(f"`stepwell status {execution.execution_id}` shows what was left out")
    return page


def parameters_text(parameters: Iterable[JobParameter]) -> str:
    """Every parameter; those that do not identify in parentheses."""
    known = list(parameters)
    others = ", ".join(f"{p.name}={p.value!r}" for p in known if not p.identifying)
    return " ".join(filter(None, [describe_parameters(known), others and f"({others})"]))


def short_parameters(parameters: Iterable[JobParameter], characters_max: int) -> str:
    """Those that identify, in one cell: where there is no room for all, long values are cut first.

    So the short ones, such as an id, are seen behind a list of files.
    """
    known = list(parameters)
    whole = describe_parameters(known)
    if len(whole) > characters_max:
        cut = [replace(p, value=p.value and shorten(p.value, VALUE_CHARACTERS)) for p in known]
        whole = describe_parameters(cut)
    return shorten(whole, characters_max)


def is_to_stop(execution: JobExecution) -> bool:
    """Whether somebody has asked it to stop, and it has not ended yet."""
    return execution.stop_requested and execution.batch_status.is_running


def step_status(progress: StepProgress) -> str:
    """The status of a step; PARTIAL beside it where the result says so."""
    partial = " (PARTIAL)" if progress.step.result is Result.PARTIAL else ""
    return f"{progress.step.batch_status}{partial}"


def bar_text(progress: StepProgress) -> str:
    """A bar with its percentage while a step runs whose total is known."""
    if progress.percent is None or not progress.step.batch_status.is_running:
        return ""
    return f"{bar(progress.percent)} {progress.percent:3d} %"


def _failed_step(look: Look) -> StepProgress | None:
    failed = [p for p in look.steps if p.step.batch_status is BatchStatus.FAILED]
    return failed[-1] if failed else None
