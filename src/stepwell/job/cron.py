"""When a cron expression is due: instants in UTC, right across every change of the clocks.

Guarantees: the due times of an expression in a zone are one strictly rising sequence of instants,
the same from wherever one begins to look.

How the two changes of a year are met is cronsim's rule, which is Debian cron's. An expression that
names its minute and its hour happens once on every day that it names: a time that the clocks leave
out is due when they have been put forward, a time that they pass twice is due the first time only.
One whose minute or hour begins with ``*`` goes with the time that really passes, through both
passes of the doubled hour, and not at all in an hour that is left out. (Not so on Lord Howe Island,
whose clocks are changed by half an hour: there cronsim may lose a due time of such a rhythm in the
night of the change.)
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta, tzinfo
from itertools import islice
from zoneinfo import ZoneInfo, available_timezones

from cronsim import CronSim, CronSimError

from stepwell.errors import InvalidSchedule

MACROS = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}
CLOCK_CHANGE_WITHIN_DAYS = 400  # A zone that changes its clocks does so every year.


class Cron:
    """A cron expression in a time zone.

    >>> nightly = Cron("30 2 * * *", "Europe/Berlin")
    >>> nightly.due_after(datetime(2026, 3, 28, 12, tzinfo=UTC))
    datetime.datetime(2026, 3, 29, 1, 0, tzinfo=datetime.timezone.utc)

    Five fields (minute, hour, day of the month, month, day of the week), six with the seconds
    first, or ``@hourly``, ``@daily``, ``@weekly``, ``@monthly``, ``@yearly``. Where one of the two
    fields of days begins with ``*`` both must match, else one is enough.

    Raises:
        InvalidSchedule: no such expression or zone.
    """

    def __init__(self, expression: str, time_zone: str) -> None:
        self.expression = expression
        self.time_zone = time_zone
        self.zone = find_zone(time_zone)
        self._text = MACROS.get(expression.strip().lower(), expression)
        try:
            CronSim(self._text, datetime(2026, 1, 1, tzinfo=UTC))
        except (CronSimError, ValueError) as error:
            raise InvalidSchedule(
                "cron must be five fields (minute hour day month weekday),"
                f" got {expression!r}: {_fact(error)}",
                hint='every night at two is "0 2 * * *", every quarter of an hour "*/15 * * * *"',
                fields={"cron": expression},
            ) from None

    def times_after(self, after: datetime) -> Iterator[datetime]:
        """The due times behind ``after``, in UTC, without end; none if it is never due again."""
        # cronsim may take the second pass of a doubled hour for the first, so that what it answers
        # lies before `after`.
        with suppress(OverflowError):  # The year 9999.
            for local in CronSim(self._text, after.astimezone(self.zone)):
                due = local.astimezone(UTC)
                if due > after:
                    yield due
                    after = due

    def due_after(self, after: datetime) -> datetime | None:
        """The first due time behind ``after``, in UTC; None when there is none in fifty years."""
        return next(self.times_after(after), None)

    def latest_due(self, first: datetime, now: datetime) -> datetime:
        """The last due time that is not behind ``now``; ``first``, a due time itself, is one."""
        span = timedelta(hours=1)
        while True:
            # Looking back further and further: a short rhythm has its last one near.
            begin = max(now - span, first)
            found = first if begin == first else None
            for due in self.times_after(begin):
                if due > now:
                    break
                found = due
            if found is not None:
                return found
            span *= 8

    def preview(self, after: datetime, count: int) -> list[datetime]:
        """The next ``count`` due times, as local times of the zone."""
        return [due.astimezone(self.zone) for due in islice(self.times_after(after), count)]

    def around_clock_change(self, after: datetime) -> list[datetime]:
        """The due times two days before and after the next change of the clocks, local.

        At most two on each side; empty where the clocks are not changed within a year or so.
        """
        try:
            change = next_clock_change(self.zone, after)
        except OverflowError:  # The year 9999.
            change = None
        if change is None:
            return []
        days = timedelta(days=2)
        before: list[datetime] = []
        behind: list[datetime] = []
        for due in self.times_after(max(after, change - days)):
            if due > change + days or len(behind) == 2:
                break
            (before if due < change else behind).append(due)
        return [due.astimezone(self.zone) for due in (*before[-2:], *behind)]


def find_zone(name: str) -> tzinfo:
    """The time zone of an IANA name.

    Raises:
        InvalidSchedule: with the nearest name.
    """
    if name == "UTC":
        return UTC  # Also where the system has no time zones.
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        known = available_timezones()
        folded = {zone.casefold(): zone for zone in known}
        close = difflib.get_close_matches(name.casefold(), folded, n=1)
        raise InvalidSchedule(
            f"time zone must be an IANA name, got {name!r}"
            + (f", did you mean {folded[close[0]]!r}?" if close else ""),
            hint="for example 'Europe/Berlin', 'Asia/Tokyo' or 'UTC'"
            if known
            else "this system has no time zones but UTC: `pip install tzdata`",
            fields={"time_zone": name},
        ) from None


def next_clock_change(zone: tzinfo, after: datetime) -> datetime | None:
    """The instant at which the offset of ``zone`` changes next; None when it stays."""

    def offset(at: datetime) -> timedelta | None:
        return at.astimezone(zone).utcoffset()

    before, day = after, timedelta(days=1)
    for _ in range(CLOCK_CHANGE_WITHIN_DAYS):
        if offset(before + day) != offset(before):
            break
        before += day
    else:
        return None
    low, high = before, before + day
    while high - low > timedelta(seconds=1):
        middle = low + (high - low) / 2
        low, high = (middle, high) if offset(middle) == offset(low) else (low, middle)
    # Clocks are changed at full minutes.
    return (high + timedelta(seconds=30)).replace(second=0, microsecond=0)


def _fact(error: Exception) -> str:
    """What cronsim says, as we say it: ``Bad hour`` is ``bad hour``."""
    text = str(error)
    return text[:1].lower() + text[1:]
