"""One execution in words: its headline, its steps, how it runs and how it has ended."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from stepwell.cli.output import Page, bar
from stepwell.execution.parameters import JobParameter, describe_parameters
from stepwell.execution.records import JobExecution
from stepwell.execution.status import BatchStatus, Result
from stepwell.looks.progress import StepProgress
from stepwell.looks.reading import Look
from stepwell.looks.text import duration, how_many, rate, seconds_between, shorten
from stepwell.looks.wording import failure_text, status_text, step_counts, step_status

VALUE_CHARACTERS = 20  # Of a parameter, where all of them have to share a cell.


def speed(progress: StepProgress) -> str:
    """``5,100/s, 12 s left``; empty when nothing is known."""
    left = "" if progress.eta_s is None else f"{duration(progress.eta_s)} left"
    return ", ".join(filter(None, [rate(progress.rate_per_s), left]))


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


def bar_text(progress: StepProgress) -> str:
    """A bar with its percentage while a step runs whose total is known."""
    if progress.percent is None or not progress.step.batch_status.is_running:
        return ""
    return f"{bar(progress.percent)} {progress.percent:3d} %"


def _failed_step(look: Look) -> StepProgress | None:
    failed = [p for p in look.steps if p.step.batch_status is BatchStatus.FAILED]
    return failed[-1] if failed else None
