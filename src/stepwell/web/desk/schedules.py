"""Schedules: what starts by itself, when next; paused, resumed, taken away."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Query
from starlette.responses import Response

from stepwell.errors import InvalidSchedule, StepwellError
from stepwell.looks.schedules import state_text
from stepwell.looks.timetable import PREVIEWED, next_times
from stepwell.repository.schedules import RecordedSchedule
from stepwell.web.desk.desk import Acting, Desk, Looking

router = APIRouter(include_in_schema=False)

PAGE = 50

After = Annotated[str | None, Query(max_length=500)]


@router.get("/schedules")
def show_schedules(desk: Looking, after: After = None) -> Response:
    """One page of schedules, by name."""
    return _schedules(desk, after)


@router.post("/schedules/pause")
def pause(desk: Acting) -> Response:
    """Start nothing by it until it is resumed."""

    def act() -> str:
        desk.face.node.schedules.pause(desk.form.exact("schedule"))
        return "schedule_paused"

    return desk.carry_out(act, to="/schedules", draw=lambda error: _schedules(desk, None, error))


@router.post("/schedules/resume")
def resume(desk: Acting) -> Response:
    """Go on with it; what was due meanwhile is not caught up."""

    def act() -> str:
        desk.face.node.schedules.resume(desk.form.exact("schedule"))
        return "schedule_resumed"

    return desk.carry_out(act, to="/schedules", draw=lambda error: _schedules(desk, None, error))


@router.post("/schedules/remove")
def remove(desk: Acting) -> Response:
    """Take it away; what it has started stays."""

    def act() -> str:
        desk.face.node.schedules.remove(desk.form.exact("schedule"))
        return "schedule_removed"

    return desk.carry_out(act, to="/schedules", draw=lambda error: _schedules(desk, None, error))


def _schedules(desk: Desk, after: str | None, problem: StepwellError | None = None) -> Response:
    node = desk.face.node
    recorded = node.schedules.list_schedules()
    now = node.clock.now()
    behind = [each for each in recorded if after is None or each.name > after]
    page = behind[:PAGE]
    return desk.draw(
        "schedules.html",
        problem,
        rows=[_row(each, now) for each in page],
        next_after=page[-1].name if len(behind) > PAGE else None,
    )


def _row(each: RecordedSchedule, now: datetime) -> dict[str, Any]:
    schedule = each.schedule
    try:
        times, around = next_times(schedule, now, PREVIEWED)
    except InvalidSchedule:  # Its zone is not known on this machine.
        times, around = [], []
    return {"recorded": each, "state": state_text(each, now), "times": times, "around": around}
