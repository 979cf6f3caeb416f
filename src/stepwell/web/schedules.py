"""What starts by itself, and when: shown, added, paused, resumed, removed."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter, Query

from stepwell.errors import InvalidRequest, NoSuchSchedule
from stepwell.job.schedule import Schedule
from stepwell.looks.representation import schedule_json
from stepwell.looks.timetable import PREVIEWED, timetable_json
from stepwell.schedules import schedule_of_settings
from stepwell.web.documents import Scheduling, body, describes
from stepwell.web.face import Asked, Face, Operator, Viewer, problems
from stepwell.web.questions import PAGE_MAX, Json

router = APIRouter(tags=["schedules"])


@router.get("/api/schedules", responses=problems())
def list_schedules(face: Asked, _caller: Viewer) -> Json:
    """What starts by itself."""
    return {"schedules": [schedule_json(s) for s in face.node.schedules.list_schedules()]}


@router.post(
    "/api/schedules",
    status_code=201,
    responses=problems(400, 404, 409, 413, 422),
    openapi_extra=describes(Scheduling),
)
def add_schedule(
    face: Asked, _caller: Operator, asked: Annotated[Scheduling, body(Scheduling)]
) -> Json:
    """Have a job started whenever a cron expression is due.

    Texts of `parameters` may use `{due}`, `{today}`, `{yesterday}` and `{month_start}`.
    """
    added = face.node.schedules.add(
        asked.job,
        asked.cron,
        asked.parameters,
        name=asked.name,
        time_zone=asked.time_zone,
        catch_up=asked.catch_up,
    )
    return schedule_json(added)


@router.get("/api/schedules/{name}/preview", responses=problems(404, 422))
def preview(
    name: str,
    face: Asked,
    _caller: Viewer,
    since: Annotated[
        datetime | None,
        Query(alias="from", description="Instead of now; without an offset of its own zone."),
    ] = None,
    count: Annotated[int, Query(ge=1, le=PAGE_MAX, description="How many.")] = PREVIEWED,
) -> Json:
    """The next times of a schedule, and those around the next change of the clocks."""
    found = _find(face, name)
    after = face.node.clock.now() if since is None else _moment(since, found)
    return timetable_json(found, after, count)


@router.post("/api/schedules/{name}/pause", responses=problems(404, 409))
def pause(name: str, face: Asked, _caller: Operator) -> Json:
    """Start nothing by this schedule until it is resumed."""
    _record(face, name)
    return schedule_json(face.node.schedules.pause(name))


@router.post("/api/schedules/{name}/resume", responses=problems(404, 409))
def resume(name: str, face: Asked, _caller: Operator) -> Json:
    """Go on with a paused schedule; what was due meanwhile is not caught up."""
    _record(face, name)
    return schedule_json(face.node.schedules.resume(name))


@router.delete("/api/schedules/{name}", responses=problems(404, 409))
def remove_schedule(name: str, face: Asked, _caller: Operator) -> Json:
    """Take a schedule away; what it has started stays."""
    return schedule_json(face.node.schedules.remove(name))


def _record(face: Face, name: str) -> None:
    """Record a schedule of the settings that no worker has recorded yet; else do nothing."""
    try:
        face.node.schedules.get(name)
    except NoSuchSchedule:
        if schedule_of_settings(face.node.settings, name, face.node.clock) is None:
            raise
        face.node.schedules.reconcile()


def _find(face: Face, name: str) -> Schedule:
    """The schedule as it is recorded, else as the settings say."""
    try:
        return face.node.schedules.get(name).schedule
    except NoSuchSchedule:
        found = schedule_of_settings(face.node.settings, name, face.node.clock)
        if found is None:
            raise
        return found


def _moment(at: datetime, schedule: Schedule) -> datetime:
    try:
        return (at if at.tzinfo else at.replace(tzinfo=schedule.times.zone)).astimezone(UTC)
    except OverflowError:
        raise InvalidRequest(
            f"cannot preview schedule {schedule.name!r}: the time is beyond every calendar",
            hint="for example `?from=2027-03-27`",
            fields={"parameters": {"from": str(at)}},
        ) from None
