"""Executions as pages for people: the overview, one in full, the history of a job."""

from __future__ import annotations

from collections.abc import Sequence

from stepwell.cli.output import Page
from stepwell.cli.running import (
    bar_text,
    headline,
    is_to_stop,
    parameters_text,
    short_parameters,
    speed,
    steps_table,
)
from stepwell.execution.records import JobExecution, PartitionExecution
from stepwell.looks.reading import Details, Look, Overview
from stepwell.looks.text import (
    count,
    duration,
    fine_duration,
    local_time,
    seconds_between,
    shorten,
)
from stepwell.looks.wording import counters_text, failure_text, status_text, step_counts

MESSAGE_CHARACTERS = 120  # Of a failure, in a table.
ITEM_CHARACTERS = 60
PARAMETERS_CHARACTERS = 60


def overview_page(overview: Overview) -> Page:
    """``stepwell status``: what runs, what waits, what failed lately, what was completed last."""
    page = Page()
    if overview.running:
        page.heading("Running")
        page.table(
            ["ID", "JOB", "PARAMETERS", "STATUS", ">FOR", "STEP", "PROGRESS", "SPEED", "COUNTS"],
            [_running_row(look) for look in overview.running],
        )
        for look in overview.running:
            if look.owner_is_dead:
                page.hint(f"{look.owner} is dead: {_way_out(look)}")
    if overview.waiting:
        shown, waiting = len(overview.waiting), overview.waiting_count
        more = f", the first {count(shown)} of {count(waiting)}" if shown < waiting else ""
        page.heading(f"Waiting for a worker{more}")
        page.table(
            ["ID", "JOB", "PARAMETERS", "SINCE"],
            [
                [*_who(e), local_time(e.create_time)]
                for e in (w.execution for w in overview.waiting)
            ],
        )
    if overview.failed:
        page.heading("Failed or stopped lately, and not restarted")
        page.table(
            ["ID", "JOB", "PARAMETERS", "STATUS", "ENDED", "WHY"],
            [
                [
                    *_who(e),
                    str(e.batch_status),
                    local_time(e.end_time),
                    shorten(failure_text(e.failure), MESSAGE_CHARACTERS),
                ]
                for e in overview.failed
            ],
        )
        page.hint("`stepwell restart ID` goes on where one stopped")
    if overview.completed:
        page.heading("Completed last")
        page.table(
            ["ID", "JOB", "PARAMETERS", "STATUS", "ENDED", ">TIME"],
            [
                [
                    *_who(e),
                    status_text(e),
                    local_time(e.end_time),
                    duration(seconds_between(e.start_time, e.end_time)),
                ]
                for e in overview.completed
            ],
        )
    if not page:
        page.line(f"nothing runs, and nothing has run lately in {overview.location!r}")
        page.hint("`stepwell jobs` lists the jobs, `stepwell run JOB` runs one")
    return page


def details_page(details: Details, *, all_partitions: bool = False) -> Page:
    """``stepwell status ID``: everything that is recorded of one execution."""
    look = details.look
    page = Page()
    page.line(headline(look))
    page.facts(_facts(details))
    if look.steps:
        page.heading("Steps")
        steps_table(page, look.steps, look)
    _add_partition_times(page, details)
    _add_partitions(page, details, all_partitions=all_partitions)
    _add_skips(page, details)
    page.heading("History")
    page.table(
        ["TIME", "WHAT", "FROM", "TO", "ACTOR", "REASON"],
        [
            [
                local_time(change.changed_at),
                "job" if change.step_name is None else f"step {change.step_name}",
                change.from_status or "",
                change.to_status,
                change.actor,
                change.reason or "",
            ]
            for change in details.history
        ],
    )
    _add_failures(page, details)
    _add_next(page, details)
    return page


def history_page(job_name: str, executions: Sequence[JobExecution], *, is_full: bool) -> Page:
    """``stepwell history JOB``; ``is_full``: there may be more behind the last one."""
    page = Page()
    page.table(
        [">ID", "PARAMETERS", "STATUS", "STARTED", ">TIME", "STARTED BY", "WHY"],
        [
            [
                str(e.execution_id),
                short_parameters(e.parameters, PARAMETERS_CHARACTERS),
                status_text(e),
                local_time(e.start_time or e.create_time),
                duration(seconds_between(e.start_time, e.end_time)),
                e.triggered_by or e.trigger_source,
                shorten(failure_text(e.failure), MESSAGE_CHARACTERS),
            ]
            for e in executions
        ],
    )
    if not executions:
        page = Page()
        page.line(f"job {job_name!r} has not run yet")
        page.hint(f"`stepwell run {job_name}` runs it")
    elif is_full:
        page.hint(f"`--before {executions[-1].execution_id}` shows older ones")
    return page


def _facts(details: Details) -> dict[str, str]:
    look, execution = details.look, details.look.execution
    owner = "" if look.owner is None else str(look.owner)
    if look.owner_is_dead is not None:
        owner += ", dead" if look.owner_is_dead else ", alive"
    earlier = ", ".join(map(str, details.earlier))
    return {
        "parameters": parameters_text(execution.parameters),
        "instance": f"{execution.instance_id}"
        + (f", after executions {earlier}" if earlier else ""),
        "trial": "" if execution.trial is None else f"the first {execution.trial}",
        "restarted as": "" if details.later_id is None else f"execution {details.later_id}",
        "exit status": execution.exit_status or "",
        "result": execution.result or "",
        "created": local_time(execution.create_time),
        "started": local_time(execution.start_time),
        "ended": local_time(execution.end_time),
        "last record": local_time(execution.last_updated),
        "started by": ", ".join(filter(None, [execution.trigger_source, execution.triggered_by])),
        "owner": owner,
        "running step": (execution.current_step or "") if execution.batch_status.is_running else "",
        "last completed step": execution.last_step or "",
        "stop": "requested" if is_to_stop(execution) else "",
    }


def _add_partition_times(page: Page, details: Details) -> None:
    rows = [
        [
            progress.step.step_name,
            count(times.measured),
            *(fine_duration(s) for s in (times.min_s, times.p50_s, times.p95_s, times.max_s)),
        ]
        for progress in details.look.steps
        if (times := details.partition_times.get(progress.step.step_execution_id))
    ]
    if rows:
        page.heading("Times of partitions")
        page.table(["STEP", ">PARTITIONS", ">MIN", ">P50", ">P95", ">MAX"], rows)


def _add_partitions(page: Page, details: Details, *, all_partitions: bool) -> None:
    for progress in details.look.steps:
        listed = details.partitions.get(progress.step.step_execution_id, ())
        if not listed:
            continue
        which = "Partitions" if all_partitions else "Failed and partial partitions"
        page.heading(f"{which} of step {progress.step.step_name}")
        page.table(
            [">NO", "NAME", "STATUS", "OUTCOME", "STARTED", ">TIME", "COUNTS", "MESSAGE"],
            [_partition_row(partition) for partition in listed],
        )
        for partition in listed:
            for error in partition.errors:
                page.line(f"partition {partition.number}, {error.key}:")
                page.block(error.failure.trace or failure_text(error.failure))


def _partition_row(partition: PartitionExecution) -> list[str]:
    counts = [f"{count(number)} {name}" for name, number in partition.counts.items()]
    return [
        str(partition.number),
        shorten(partition.name, ITEM_CHARACTERS),
        str(partition.batch_status),
        str(partition.outcome or ""),
        local_time(partition.start_time),
        duration(seconds_between(partition.start_time, partition.end_time)),
        " · ".join(filter(None, [*counts, counters_text(partition.metrics)])),
        shorten(partition.message or "", MESSAGE_CHARACTERS),
    ]


def _add_skips(page: Page, details: Details) -> None:
    if not details.skip_count:
        return
    shown = len(details.skips)
    more = f", the first {count(shown)} of {count(details.skip_count)}"
    page.heading("Skipped items" + (more if shown < details.skip_count else ""))
    page.table(
        ["STEP", "PHASE", ">POSITION", "ITEM", "ERROR"],
        [
            [
                skip.step_name,
                skip.phase,
                count(skip.position),
                shorten(skip.item or "", ITEM_CHARACTERS),
                shorten(f"{skip.error_type}: {skip.error_message}", MESSAGE_CHARACTERS),
            ]
            for skip in details.skips
        ],
    )


def _add_failures(page: Page, details: Details) -> None:
    shown: set[str] = set()
    failures = [
        (f"step {progress.step.step_name}", progress.step.failure)
        for progress in details.look.steps
    ]
    for what, failure in [*failures, ("the job", details.look.execution.failure)]:
        if failure is None or failure_text(failure) in shown:
            continue  # The job fails with what failed its step.
        shown.add(failure_text(failure))
        page.heading(f"Failure of {what}")
        page.block(failure.trace or failure_text(failure))


def _add_next(page: Page, details: Details) -> None:
    look = details.look
    if look.owner_is_dead:
        page.hint(f"its owner is dead: {_way_out(look)}")
    elif look.execution.batch_status.is_restartable and details.later_id is None:
        page.hint(f"`{look.restart_command}` goes on where it stopped")


def _way_out(look: Look) -> str:
    """What settles an execution whose owner is dead; one that was registered goes on by itself."""
    recover = f"`stepwell recover {look.execution_id}`"
    if look.execution.max_recoveries is None:
        return f"{recover}, then `{look.restart_command}`"
    return f"a running `stepwell work` goes on with it; {recover} settles it now"


def _running_row(look: Look) -> list[str]:
    execution = look.execution
    status = str(execution.batch_status) + (", owner dead" if look.owner_is_dead else "")
    since_s = seconds_between(execution.start_time or execution.create_time, look.at)
    running = look.running_steps[-1:]
    step = [
        [progress.step.step_name, bar_text(progress), speed(progress), step_counts(progress)]
        for progress in running
    ] or [["", "", "", ""]]
    return [*_who(execution), status, duration(since_s), *step[0]]


def _who(execution: JobExecution) -> list[str]:
    return [
        str(execution.execution_id),
        execution.job_name,
        short_parameters(execution.parameters, PARAMETERS_CHARACTERS),
    ]
