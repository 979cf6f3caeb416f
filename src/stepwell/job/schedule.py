"""A schedule: which job shall start when, with which parameters, and what of a missed run.

A value like a job: it knows no row and no clock. The due time of a run is its identity: it is
recorded with the execution as the identifying parameter ``schedule.due``, so that every night is an
instance of its own and no due time is ever run twice (S4). No field of a model can have that name;
what the job itself is to know of its time is written into its parameters, ``day={yesterday}``.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from enum import StrEnum
from functools import cached_property
from typing import Any

from stepwell.errors import InvalidSchedule
from stepwell.job.cron import Cron

# A worker that fires within this time of a due time is on time; what stays longer is late.
LATE_AFTER = timedelta(minutes=5)


class CatchUp(StrEnum):
    """What is done about due times at which no worker was there.

    Nothing, so that only what is on time runs (``skip``); one run for the last of them (``last``);
    or a run for each of them, the oldest first (``all``).
    """

    SKIP = "skip"
    LAST = "last"
    ALL = "all"


@dataclass(frozen=True)
class Turn:
    """What a worker does about a schedule that is due.

    Attributes:
        due: The due time to be run now; None when it is too late for it.
        skipped: The last due time that is let go and not run; None when the last one runs.
        next_due: When the schedule is due again; None when it never is.
    """

    due: datetime | None
    skipped: datetime | None
    next_due: datetime | None


@dataclass(frozen=True)
class Schedule:
    """A job, a cron expression in a time zone, and the parameters of each run.

    >>> Schedule("nightly", "billing", "0 2 * * *", "Europe/Berlin", {"day": "{yesterday}"})

    In texts of the parameters ``{due}`` is the due time (ISO 8601, with its offset), ``{today}``
    its date, ``{yesterday}`` the date before, ``{month_start}`` the first of its month, all in the
    schedule's zone; ``{due:%H}`` gives a format of one's own.
    """

    name: str
    job_name: str
    cron: str
    time_zone: str
    parameters: Mapping[str, Any] = field(default_factory=dict)
    catch_up: CatchUp = CatchUp.LAST

    @cached_property
    def times(self) -> Cron:
        """When it is due.

        Raises:
            InvalidSchedule: no such expression or zone.
        """
        return Cron(self.cron, self.time_zone)

    def turn(self, next_due: datetime, now: datetime) -> Turn:
        """What is to be done now that ``next_due`` has come."""
        if self.catch_up is CatchUp.ALL:
            return Turn(next_due, None, self.times.due_after(next_due))
        last = self.times.latest_due(next_due, now)
        following = self.times.due_after(last)
        if self.catch_up is CatchUp.SKIP and now - last > LATE_AFTER:
            return Turn(None, last, following)
        return Turn(last, None, following)

    def parameters_at(self, due: datetime) -> dict[str, Any]:
        """The parameters of the run of ``due``, placeholders filled in.

        Raises:
            InvalidSchedule: a placeholder is unknown.
        """
        values = _Values(due.astimezone(self.times.zone))
        return {name: values.filled(value) for name, value in self.parameters.items()}


def plain_parameters(values: Any) -> Any:
    """``values`` as JSON can carry them: TOML has dates and times, JSON has texts."""
    match values:
        case Mapping():
            return {str(name): plain_parameters(value) for name, value in values.items()}
        case list() | tuple():
            return [plain_parameters(value) for value in values]
        case date() | time():
            return values.isoformat()
        case _:
            return values


def check_schedule(schedule: Schedule, now: datetime) -> datetime:
    """Refuse a schedule that cannot work; answers when it is due first.

    Whether the parameters fit the job is not asked here.

    Raises:
        InvalidSchedule: name, cron, zone or a placeholder is wrong, or it is never due.
    """
    if not schedule.name.strip() or not schedule.name.isprintable():
        raise InvalidSchedule(
            f"name must be printable text, got {schedule.name!r}",
            hint="leave it out, and the schedule is named like its job",
            fields={"name": schedule.name},
        )
    due = schedule.times.due_after(now)
    if due is None:
        raise InvalidSchedule(
            f"cron must be due some day, got {schedule.cron!r}, which never is",
            hint="look at its day and its month",
            fields={"cron": schedule.cron},
        )
    schedule.parameters_at(due)
    return due


# Of one's own formats only what strftime knows; what is no name in braces stays as it is.
_PLACEHOLDER = re.compile(r"\{([A-Za-z_]\w*)(?::([^{}]*))?\}")
_PLACEHOLDERS: dict[str, Callable[[datetime], date]] = {
    "due": lambda due: due,
    "today": lambda due: due.date(),
    "yesterday": lambda due: due.date() - timedelta(days=1),
    "month_start": lambda due: due.date().replace(day=1),
}


class _Values:
    """The placeholders of one due time, a local time."""

    def __init__(self, due: datetime) -> None:
        self._due = due

    def filled(self, value: Any) -> Any:
        """``value`` with every placeholder in its texts filled in."""
        match value:
            case str():
                return _PLACEHOLDER.sub(self._one, value)
            case Mapping():
                return {key: self.filled(part) for key, part in value.items()}
            case list() | tuple():
                return [self.filled(part) for part in value]
            case _:
                return value

    def _one(self, found: re.Match[str]) -> str:
        name, form = found.group(1), found.group(2)
        if name not in _PLACEHOLDERS:
            close = difflib.get_close_matches(name, _PLACEHOLDERS, n=1)
            known = ", ".join(f"{{{placeholder}}}" for placeholder in _PLACEHOLDERS)
            raise InvalidSchedule(
                f"parameters must use a known placeholder, got {found.group()!r}"
                + (f", did you mean '{{{close[0]}}}'?" if close else ""),
                hint=f"the placeholders are {known}",
                fields={"placeholder": name},
            )
        value = _PLACEHOLDERS[name](self._due)
        return value.strftime(form) if form else value.isoformat()
