"""The next times of a schedule as JSON; see ``docs/cli.md``."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from stepwell.looks.text import iso_utc

if TYPE_CHECKING:
    from stepwell.job.schedule import Schedule

PREVIEWED = 10


def next_times(
    schedule: Schedule, after: datetime, count: int
) -> tuple[list[datetime], list[datetime]]:
    """The next times in its own zone, and those around the next change of the clocks."""
    times = schedule.times.preview(after, count)
    around = schedule.times.around_clock_change(after)
    return times, [at for at in around if [at] > times[-1:]]


def timetable_json(schedule: Schedule, after: datetime, count: int) -> dict[str, Any]:
    """A schedule and its next times."""
    times, around = next_times(schedule, after, count)
    return {
        "schedule": schedule.name,
        "cron": schedule.cron,
        "time_zone": schedule.time_zone,
        "times": [_time_json(at) for at in times],
        "around_clock_change": [_time_json(at) for at in around],
    }


def _time_json(at: datetime) -> dict[str, str | None]:
    return {"due_at": iso_utc(at.astimezone(UTC)), "local": at.isoformat()}
