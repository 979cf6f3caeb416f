"""``diff``: two executions side by side, and what is not the same."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from stepwell.cli.output import Page
    from stepwell.cli.session import Session
    from stepwell.looks.progress import StepProgress
    from stepwell.looks.reading import Look

DIFFERS = "≠"
VALUE_CHARACTERS = 60


def diff(
    context: typer.Context,
    first: Annotated[int, typer.Argument(metavar="ID", help="One execution.")],
    second: Annotated[int, typer.Argument(metavar="ID", help="Another one.")],
    wants_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show two executions side by side: parameters, ends, times, and step by step.

    What is not the same is marked. They need not be of one job.
    """
    from stepwell.cli.output import Output
    from stepwell.looks.reading import Watch
    from stepwell.looks.representation import look_json

    session: Session = context.obj
    output = Output(wants_json=wants_json)
    with session.open_database() as database:
        eyes = Watch(database, session.clock)
        looks = eyes.look(first), eyes.look(second)
    facts = _facts(*looks)
    if wants_json:
        output.json(
            {
                "executions": [look_json(look) for look in looks],
                "differences": [
                    {"what": what, "first": one or None, "second": other or None}
                    for what, one, other in facts
                    if one != other
                ],
            }
        )
    else:
        output.page(_page(looks, facts))


def _facts(*looks: Look) -> list[tuple[str, str, str]]:
    """What can be compared of the two: its name, and the value of each; empty: it has none."""
    columns = [_facts_of(look) for look in looks]
    return [fact for part in zip(*columns, strict=True) for fact in _side_by_side(list(part))]


def _side_by_side(columns: list[dict[str, str]]) -> list[tuple[str, str, str]]:
    names = dict.fromkeys(name for column in columns for name in column)
    return [(name, columns[0].get(name, ""), columns[1].get(name, "")) for name in names]


def _facts_of(look: Look) -> list[dict[str, str]]:
    """What it is, what it was given, how it ended, its steps."""
    from stepwell.cli.running import failure_text, status_text

    execution = look.execution
    ended = {
        "status": status_text(execution),
        "exit status": execution.exit_status or "",
        "failure": failure_text(execution.failure),
        "started by": ", ".join(filter(None, [execution.trigger_source, execution.triggered_by])),
        "recoveries": str(execution.recoveries or ""),
    }
    steps: dict[str, str] = {}
    for progress in look.steps:
        steps |= _facts_of_step(progress)
    given = {f"parameter {p.name}": p.value or "none" for p in execution.parameters}
    return [{"job": execution.job_name}, given, ended, steps]


def _facts_of_step(progress: StepProgress) -> dict[str, str]:
    from stepwell.cli.running import counters_text, failure_text, step_counts, step_status

    step = progress.step
    name = f"step {step.step_name}"
    return {
        name: step_status(progress),
        f"{name}, exit status": step.exit_status or "",
        f"{name}, counts": step_counts(progress) or counters_text(step.metrics),
        f"{name}, failure": failure_text(step.failure),
    }


def _page(looks: tuple[Look, Look], facts: list[tuple[str, str, str]]) -> Page:
    from stepwell.cli.output import Page
    from stepwell.looks.text import shorten

    ids = [f"EXECUTION {look.execution_id}" for look in looks]
    page = Page()
    page.table(
        ["", "", *ids],
        [
            [mark, what, shorten(one, VALUE_CHARACTERS), shorten(other, VALUE_CHARACTERS)]
            for mark, what, one, other in [
                *(
                    (DIFFERS if one != other else "", what, one, other)
                    for what, one, other in facts
                ),
                *(("", *times) for times in _times(looks)),
            ]
            if one or other
        ],
    )
    different = sum(one != other for _, one, other in facts)
    if not different:
        page.line("the same, but for the times")
    return page


def _times(looks: tuple[Look, Look]) -> list[tuple[str, str, str]]:
    """How long each took, and its steps; never marked: no two are the same."""
    from stepwell.looks.text import duration, local_time, seconds_between

    def took(record: Any, look: Look) -> str:
        return duration(seconds_between(record.start_time, record.end_time or look.at))

    columns: list[dict[str, str]] = []
    for look in looks:
        column = {
            "started": local_time(look.execution.start_time),
            "time": took(look.execution, look),
        }
        for progress in look.steps:
            column[f"step {progress.step.step_name}, time"] = took(progress.step, look)
        columns.append(column)
    return _side_by_side(columns)
