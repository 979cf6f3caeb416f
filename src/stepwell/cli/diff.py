"""``diff``: two executions side by side, and what is not the same."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from stepwell.cli.output import Page
    from stepwell.cli.session import Session
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
    from stepwell.looks.comparing import comparison_json, facts_of
    from stepwell.looks.reading import Watch

    session: Session = context.obj
    output = Output(wants_json=wants_json)
    with session.open_database() as database:
        eyes = Watch(database, session.clock)
        looks = eyes.look(first), eyes.look(second)
    if wants_json:
        output.json(comparison_json(*looks))
    else:
        output.page(_page(looks, facts_of(*looks)))


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
    from stepwell.looks.comparing import side_by_side
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
    return side_by_side(columns)
