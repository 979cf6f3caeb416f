"""T11: due times across every change of the clocks, against an oracle that knows only calendars."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from itertools import islice, pairwise, takewhile
from zoneinfo import ZoneInfo

import pytest
from cronsim import CronSim
from hypothesis import assume, example, given
from hypothesis import strategies as st

from stepwell.errors import InvalidSchedule
from stepwell.job.cron import Cron, next_clock_change

BERLIN = "Europe/Berlin"
FORWARD = datetime(2026, 3, 29, 1, tzinfo=UTC)  # 02:00 becomes 03:00.
BACK = datetime(2026, 10, 25, 1, tzinfo=UTC)  # 03:00 becomes 02:00.
MINUTE = timedelta(minutes=1)


def local(expression: str, zone: str, begin: str, count: int) -> list[str]:
    """The next due times as they are read on a wall clock, with the offset."""
    cron = Cron(expression, zone)
    begins = datetime.fromisoformat(begin).replace(tzinfo=ZoneInfo(zone))
    return [f"{due:%d %H:%M%z}" for due in cron.preview(begins.astimezone(UTC), count)]


def test_a_time_that_is_left_out_is_due_when_the_clocks_have_been_put_forward() -> None:
    assert ["28 02:30+0100", "29 03:00+0200", "30 02:30+0200"] == local(
        "30 2 * * *", BERLIN, "2026-03-27 12:00", 3
    )


def test_a_time_that_comes_twice_is_due_the_first_time_only() -> None:
    assert ["24 02:30+0200", "25 02:30+0200", "26 02:30+0100"] == local(
        "30 2 * * *", BERLIN, "2026-10-23 12:00", 3
    )


def test_a_rhythm_goes_with_the_time_that_passes() -> None:
    """Each half hour is half an hour after the last one, on both nights."""
    for change in (FORWARD, BACK):
        times = list(islice(Cron("*/30 * * * *", BERLIN).times_after(change - 90 * MINUTE), 8))

        assert {30 * MINUTE} == {b - a for a, b in pairwise(times)}


def test_in_the_second_pass_of_the_doubled_hour_the_first_one_is_over() -> None:
    """Goal: no due time lies before the moment that is asked about."""
    within = BACK + 15 * MINUTE  # 02:15 for the second time.
    cron = Cron("30 2 * * *", BERLIN)

    assert datetime(2026, 10, 26, 1, 30, tzinfo=UTC) == cron.due_after(within)


@pytest.mark.parametrize(
    ("expression", "fact"),
    [
        ("", "wrong number of fields"),
        ("0 2 * *", "wrong number of fields"),
        ("0 25 * * *", "bad hour"),
        ("60 2 * * *", "bad minute"),
        ("0 2 0 * *", "bad day-of-month"),
        ("0 2 30 2 *", "bad day-of-month"),
        ("0 2 * * MONDAY", "bad day-of-week"),
        ("@nightly", "wrong number of fields"),
        ("0 2 * * * ; rm -rf /", "wrong number of fields"),
    ],
)
def test_a_bad_expression_is_refused_with_the_field(expression: str, fact: str) -> None:
    with pytest.raises(InvalidSchedule) as raised:
        Cron(expression, "UTC")

    assert (
        "cron must be five fields (minute hour day month weekday),"
        f" got {expression!r}: {fact}" == raised.value.message
    )
    assert "0 2 * * *" in raised.value.hint


@pytest.mark.parametrize(
    ("zone", "meant"),
    [
        ("Europe/berlin2", ", did you mean 'Europe/Berlin'?"),
        ("asia/tokio", ", did you mean 'Asia/Tokyo'?"),
        ("Europe", ""),  # A folder of the time zone files.
        ("../../etc/passwd", ""),
        ("/etc/localtime", ""),
        ("CEST+7:99", ""),
        ("", ""),
        ("\0", ""),
    ],
)
def test_a_bad_zone_is_refused_with_the_nearest_name(zone: str, meant: str) -> None:
    with pytest.raises(InvalidSchedule) as raised:
        Cron("0 2 * * *", zone)

    assert raised.value.message.startswith(f"time zone must be an IANA name, got {zone!r}")
    assert meant in raised.value.message


def test_a_year_has_names() -> None:
    assert ["31 00:00+0000"] == local("@daily", "UTC", "2026-12-30 12:00", 1)
    assert ["01 00:00+0000"] == local("@YEARLY", "UTC", "2026-12-30 12:00", 1)


def test_the_end_of_time_is_the_end() -> None:
    assert None is Cron("0 0 1 1 *", "UTC").due_after(datetime(9999, 6, 1, tzinfo=UTC))


# --- against an oracle -------------------------------------------------------------------------

ZONES = [
    "UTC",
    BERLIN,
    "America/New_York",
    "America/St_Johns",
    "Australia/Lord_Howe",  # Half an hour: the one zone where a rhythm is not what it should be.
    "America/Santiago",  # At midnight.
    "Africa/Cairo",  # At midnight too.
    "Asia/Tokyo",
]


def numbers(low: int, high: int) -> st.SearchStrategy[str]:
    one = st.integers(low, high).map(str)
    return st.one_of(one, st.lists(one, min_size=2, max_size=3, unique=True).map(",".join))


minutes = st.one_of(numbers(0, 59), st.sampled_from(["*", "*/7", "*/15", "*/30"]))
hours = st.one_of(numbers(0, 23), numbers(0, 3), st.sampled_from(["*", "*/2", "*/5"]))
days = st.one_of(st.just("*"), st.just("*"), numbers(24, 28))
weekdays = st.one_of(st.just("*"), st.just("*"), numbers(0, 6))
expressions = st.tuples(minutes, hours, days, st.just("*"), weekdays).map(" ".join)


def values(field: str, low: int, high: int) -> set[int]:
    if field.startswith("*"):
        return set(range(low, high + 1, int(field.removeprefix("*").removeprefix("/") or 1)))
    return {int(part) for part in field.split(",")}


class Oracle:
    """Says of every minute whether it is due, by the words of the documentation alone."""

    def __init__(self, expression: str, zone: str) -> None:
        minute, hour, day, _, weekday = expression.split()
        self.zone = UTC if zone == "UTC" else ZoneInfo(zone)
        self.names_both = not (minute.startswith("*") or hour.startswith("*"))
        self.minutes, self.hours = values(minute, 0, 59), values(hour, 0, 23)
        self.days, self.weekdays = values(day, 1, 31), values(weekday, 0, 6)
        self.both = day.startswith("*") or weekday.startswith("*")

    def has_day(self, day: date) -> bool:
        matches = (day.day in self.days, day.isoweekday() % 7 in self.weekdays)
        return all(matches) if self.both else any(matches)

    def between(self, begin: datetime, end: datetime) -> list[datetime]:
        """Every due time in (begin, end], in UTC."""
        found = self.named(begin, end) if self.names_both else self.passing(begin, end)
        return sorted(due for due in found if begin < due <= end)

    def named(self, begin: datetime, end: datetime) -> set[datetime]:
        """Once on each day that is named: moved out of a gap, first of a doubled hour."""
        found = set()
        day = begin.date() - timedelta(days=2)
        while day <= end.date() + timedelta(days=2):
            for hour in self.hours if self.has_day(day) else ():
                for minute in self.minutes:
                    wall = datetime(day.year, day.month, day.day, hour, minute)
                    found.add(self.first_that_exists(wall))
            day += timedelta(days=1)
        return found

    def first_that_exists(self, wall: datetime) -> datetime:
        while True:
            there = wall.replace(tzinfo=self.zone)
            if there.astimezone(UTC).astimezone(self.zone).replace(tzinfo=None) == wall:
                return there.astimezone(UTC)
            wall += MINUTE

    def passing(self, begin: datetime, end: datetime) -> set[datetime]:
        """Every minute that passes and reads as one of them."""
        found = set()
        at = begin.replace(second=0, microsecond=0)
        while at <= end:
            wall = at.astimezone(self.zone)
            named = wall.minute in self.minutes and wall.hour in self.hours
            if named and self.has_day(wall.date()):
                found.add(at)
            at += MINUTE
        return found


@st.composite
def moments(draw: st.DrawFn) -> tuple[str, datetime]:
    """A zone, and a moment near one of its changes if it has any."""
    zone = draw(st.sampled_from(ZONES))
    year = datetime(2026, draw(st.integers(1, 12)), 1, tzinfo=UTC)
    change = next_clock_change(Cron("0 0 * * *", zone).zone, year) or year
    near = draw(st.integers(-36 * 3600, 36 * 3600))
    return zone, change + timedelta(seconds=near)


@given(expressions, moments())
@example("30 2 * * *", (BERLIN, BACK + 15 * MINUTE))
@example("0,30 2,3 * * *", (BERLIN, FORWARD))
@example("0 0 * * *", ("America/Santiago", datetime(2026, 9, 6, 3, tzinfo=UTC)))
def test_due_times_are_what_the_calendar_says(
    expression: str, moment: tuple[str, datetime]
) -> None:
    zone, begin = moment
    assume(zone != "Australia/Lord_Howe" or Oracle(expression, zone).names_both)
    end = begin + timedelta(days=2)
    times = takewhile(lambda due: due <= end, Cron(expression, zone).times_after(begin))

    assert Oracle(expression, zone).between(begin, end) == list(times)


@given(expressions, moments(), st.lists(st.integers(0, 2 * 86_400), max_size=5))
def test_from_wherever_one_looks_the_due_times_are_the_same(
    expression: str, moment: tuple[str, datetime], later_s: list[int]
) -> None:
    """Goal: what is due does not depend on who asks, or when; cronsim's own is the measure."""
    zone, begin = moment
    assume(zone != "Australia/Lord_Howe" or Oracle(expression, zone).names_both)
    cron = Cron(expression, zone)
    end = begin + timedelta(days=4)
    whole = list(takewhile(lambda due: due <= end, cron.times_after(begin)))
    of_cronsim = (t.astimezone(UTC) for t in CronSim(expression, begin.astimezone(cron.zone)))
    kept = sorted({t for t in islice(of_cronsim, len(whole) + 5) if begin < t <= end})

    assert kept == whole
    for seconds in later_s:
        after = begin + timedelta(seconds=seconds)
        behind = [due for due in whole if due > after]
        assert behind[:1] == [due for due in [cron.due_after(after)] if due and due <= end]
        if whole and whole[0] <= after:
            assert max(d for d in whole if d <= after) == cron.latest_due(whole[0], after)


def test_the_last_of_a_year_of_minutes_is_found_at_once() -> None:
    """Method: looking back from now, not forward from then; a walk would take half a million."""
    cron = Cron("* * * * *", "UTC")
    first = datetime(2025, 11, 20, tzinfo=UTC)

    assert first + timedelta(days=365) == cron.latest_due(
        first, first + timedelta(days=365, seconds=59)
    )
    assert first == cron.latest_due(first, first)


def test_the_times_around_the_next_change_of_the_clocks() -> None:
    def around(expression: str, zone: str) -> list[str]:
        after = datetime(2026, 11, 20, tzinfo=UTC)
        return [f"{d:%m-%d %H:%M%z}" for d in Cron(expression, zone).around_clock_change(after)]

    assert ["03-26 02:30+0100", "03-27 02:30+0100", "03-28 03:00+0200", "03-29 02:30+0200"] == (
        around("30 2 * * *", BERLIN)
    )
    assert [] == around("30 2 * * *", "Asia/Tokyo")
    assert ["03-28 01:30+0100", "03-28 01:45+0100", "03-28 03:00+0200", "03-28 03:15+0200"] == (
        around("*/15 * * * *", BERLIN)
    )
