"""A schedule as a value: what it does when it is due, and what it writes into the parameters."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepwell.errors import InvalidSchedule
from stepwell.job.schedule import (
    LATE_AFTER,
    CatchUp,
    Schedule,
    Turn,
    check_schedule,
    plain_parameters,
)

NIGHT = datetime(2026, 11, 20, 2, tzinfo=UTC)
DAY = timedelta(days=1)


def nightly(catch_up: CatchUp = CatchUp.LAST, **parameters: Any) -> Schedule:
    return Schedule("nightly", "billing", "0 2 * * *", "UTC", parameters, catch_up)


@pytest.mark.parametrize("policy", list(CatchUp))
@pytest.mark.parametrize("late", [timedelta(0), timedelta(seconds=30), LATE_AFTER])
def test_what_is_on_time_runs_whatever_the_policy(policy: CatchUp, late: timedelta) -> None:
    assert Turn(NIGHT, None, NIGHT + DAY) == nightly(policy).turn(NIGHT, NIGHT + late)


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        (CatchUp.SKIP, Turn(None, NIGHT + 2 * DAY, NIGHT + 3 * DAY)),
        (CatchUp.LAST, Turn(NIGHT + 2 * DAY, None, NIGHT + 3 * DAY)),
        (CatchUp.ALL, Turn(NIGHT, None, NIGHT + DAY)),
    ],
)
def test_after_three_nights_without_a_worker(policy: CatchUp, expected: Turn) -> None:
    """It is noon of the third day."""
    assert expected == nightly(policy).turn(NIGHT, NIGHT + 2 * DAY + timedelta(hours=10))


def test_skipping_still_runs_what_is_on_time() -> None:
    """Goal: a laptop that slept through some minutes runs the minute in which it wakes."""
    each_minute = Schedule("m", "m", "* * * * *", "UTC", {}, CatchUp.SKIP)
    now = NIGHT + timedelta(hours=3, seconds=20)

    assert Turn(NIGHT + timedelta(hours=3), None, NIGHT + timedelta(hours=3, minutes=1)) == (
        each_minute.turn(NIGHT, now)
    )


@given(
    st.sampled_from(CatchUp),
    st.sampled_from(["*/5 * * * *", "0 2 * * *", "30 1,2 * * 1-5", "0 */7 * * *"]),
    st.lists(st.integers(0, 9 * 86_400), min_size=1, max_size=8),
)
def test_the_same_time_never_comes_twice_and_the_position_only_rises(
    policy: CatchUp, cron: str, waits_s: list[int]
) -> None:
    """Method: workers look at random moments, backward steps of the clock among them."""
    schedule = Schedule("s", "s", cron, "Europe/Berlin", {}, policy)
    now = datetime(2026, 10, 20, tzinfo=UTC)
    next_due = schedule.times.due_after(now)
    ran: list[datetime] = []
    for number, wait_s in enumerate(waits_s):
        now += timedelta(seconds=-wait_s if number % 3 == 2 else wait_s)
        for _ in range(50):
            if next_due is None or next_due > now:
                break
            turn = schedule.turn(next_due, now)
            assert turn.next_due is not None
            assert turn.next_due > next_due
            next_due = turn.next_due
            ran += [turn.due] if turn.due else []

    assert ran == sorted(set(ran))
    assert [] == [due for due in ran if schedule.times.due_after(due - timedelta(seconds=1)) != due]


# --- parameters --------------------------------------------------------------------------------


def filled(zone: str, at: datetime, /, **parameters: Any) -> dict[str, Any]:
    return Schedule("s", "s", "0 2 * * *", zone, parameters).parameters_at(at)


def test_placeholders_are_filled_in_with_the_times_of_the_zone() -> None:
    """It is two in Tokyo, and still the day before in UTC."""
    due = datetime(2026, 3, 1, 17, tzinfo=UTC)

    assert {
        "due": "2026-03-02T02:00:00+09:00",
        "day": "2026-03-01",
        "days": ["2026-03-01", {"of": "2026-03-02"}],
        "month": "2026-03-01",
        "file": "in/20260302-0200.csv",
        "shop": 7,
        "all": True,
    } == filled(
        "Asia/Tokyo",
        due,
        due="{due}",
        day="{yesterday}",
        days=["{yesterday}", {"of": "{today}"}],
        month="{month_start}",
        file="in/{due:%Y%m%d-%H%M}.csv",
        shop=7,
        all=True,
    )


@pytest.mark.parametrize(
    "text", ["", "{}", "{ due }", '[1,{"a":2}]', "100 %", "{0}", "{due", "due}", "$(due)"]
)
def test_what_is_no_placeholder_stays_as_it_is(text: str) -> None:
    assert {"text": text} == filled("UTC", NIGHT, text=text)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("{yesteday}", "got '{yesteday}', did you mean '{yesterday}'?"),
        ("{day}", "got '{day}'"),
        ("{DUE}", "got '{DUE}'"),
        ("x{due}y{nobody:%Y}", "got '{nobody:%Y}'"),
    ],
)
def test_an_unknown_placeholder_is_refused(text: str, shown: str) -> None:
    with pytest.raises(InvalidSchedule) as raised:
        filled("UTC", NIGHT, text=text)

    assert raised.value.message.startswith(f"parameters must use a known placeholder, {shown}")
    assert "the placeholders are {due}, {today}, {yesterday}, {month_start}" == raised.value.hint


def test_a_placeholder_reaches_no_attribute() -> None:
    """Goal: text from the command line is no way into Python's objects."""
    text = "{due.__class__} {due[0]} {due!r}"

    assert {"text": text} == filled("UTC", NIGHT, text=text)


def test_the_dates_of_a_settings_file_are_texts() -> None:
    given = {"a": date(2026, 1, 2), "b": [time(3, 4)], "c": {"d": datetime(2026, 1, 2, 3)}, "e": 1}

    assert {"a": "2026-01-02", "b": ["03:04:00"], "c": {"d": "2026-01-02T03:00:00"}, "e": 1} == (
        plain_parameters(given)
    )


# --- what cannot be planned --------------------------------------------------------------------


def test_a_schedule_tells_when_it_is_due_first() -> None:
    assert NIGHT == check_schedule(nightly(day="{today}"), NIGHT - timedelta(seconds=1))
    assert NIGHT + DAY == check_schedule(nightly(), NIGHT)


@pytest.mark.parametrize("name", ["", "  ", "a\nb", "\x1b[2J"])
def test_a_name_that_cannot_be_shown_is_refused(name: str) -> None:
    with pytest.raises(InvalidSchedule, match="name must be printable text, got"):
        check_schedule(Schedule(name, "billing", "0 2 * * *", "UTC"), NIGHT)


def test_what_is_never_due_is_refused() -> None:
    """Only the end of the calendar is behind such a one; impossible days are refused before."""
    with pytest.raises(InvalidSchedule) as raised:
        check_schedule(nightly(), datetime(9999, 12, 31, 12, tzinfo=UTC))

    assert "cron must be due some day, got '0 2 * * *', which never is" == raised.value.message
