"""``schedule``: what a person sees, and what a program reads."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.program import Folder

BERLIN = ("--zone", "Europe/Berlin")


@pytest.fixture(scope="module")
def settled(tmp_path_factory: pytest.TempPathFactory) -> Folder:
    """A folder with a database and nothing in it; each test names its own schedules."""
    from tests.cli.conftest import _folder

    settled = _folder(tmp_path_factory.mktemp("schedules"))
    settled.done("init")
    return settled


def test_a_schedule_is_added_listed_paused_resumed_and_removed(settled: Folder) -> None:
    added = settled.done("schedule", "add", "load", "0 2 * * *", "day={yesterday}", "--name", "a")
    listed = settled.done("schedule", "list").out
    paused = settled.done("schedule", "pause", "a").out
    at_rest = settled.done("schedule", "list").out
    shown = settled.done("jobs", "show", "load").out
    resumed = settled.done("schedule", "resume", "a").out
    removed = settled.done("schedule", "remove", "a").out

    assert "schedule 'a' starts job 'load': 0 2 * * *, Asia/Tokyo\nnext: 20" in added.out
    assert "02:00:00 JST" in added.out
    assert "a     load  0 2 * * *  Asia/Tokyo  20" in listed
    assert "schedule 'a' is paused" in paused
    assert "paused since 20" in at_rest
    assert "'a' 0 2 * * *, Asia/Tokyo, paused since" in shown
    assert "schedule 'a' goes on: 0 2 * * *, Asia/Tokyo\nnext: 20" in resumed
    assert "schedule 'a' is gone; what it has started stays" in removed


def test_a_program_reads_the_same(settled: Folder) -> None:
    added = settled.json(
        *("schedule", "add", "sevens", "*/5 * * * *", "--name", "b", "--catch-up", "all", *BERLIN)
    )
    listed = settled.json("schedule", "list")["schedules"]
    shown = settled.json("jobs", "show", "sevens")["schedules"]
    of_all = settled.json("jobs")["jobs"]
    paused = settled.json("schedule", "pause", "b")
    removed = settled.json("schedule", "remove", "b")

    assert {
        "schedule": "b",
        "job": "sevens",
        "cron": "*/5 * * * *",
        "time_zone": "Europe/Berlin",
        "parameters": {},
        "catch_up": "all",
        "defined_by": "operator",
        "last_due_at": None,
        "skipped_due_at": None,
        "paused_at": None,
    } == {key: value for key, value in added.items() if key != "next_due_at"}
    assert added["next_due_at"].endswith("00.000000Z")
    assert ([added], [added]) == (listed, shown)
    assert {"sevens": [added]} == {
        job["job"]: job["schedules"] for job in of_all if job["schedules"]
    }
    assert paused["paused_at"]
    assert "b" == removed["schedule"]
    assert {"schedules": [], "not_recorded": []} == settled.json("schedule", "list")


def test_a_preview_goes_across_the_changes_of_the_clocks(settled: Folder) -> None:
    settled.done("schedule", "add", "sevens", "30 2 * * *", "--name", "c", *BERLIN)
    march = settled.done("schedule", "preview", "c", "--from", "2027-03-27", "--count", "2").out
    october = settled.json("schedule", "preview", "c", "--from", "2026-10-20", "--count", "3")
    ten = settled.json("schedule", "preview", "c")["times"]
    settled.done("schedule", "remove", "c")

    assert "2027-03-27 02:30:00 CET   Sat" in march
    assert "2027-03-28 03:00:00 CEST  Sun  the clocks were changed before it" in march
    assert [
        "2026-10-20T02:30:00+02:00",
        "2026-10-21T02:30:00+02:00",
        "2026-10-22T02:30:00+02:00",
    ] == [time["local"] for time in october["times"]]
    assert [
        ("2026-10-24T02:30:00+02:00", "2026-10-24T00:30:00.000000Z"),
        ("2026-10-25T02:30:00+02:00", "2026-10-25T00:30:00.000000Z"),
        ("2026-10-26T02:30:00+01:00", "2026-10-26T01:30:00.000000Z"),
    ] == [(time["local"], time["due_at"]) for time in october["around_clock_change"]]
    assert 10 == len(ten)


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("add", "sevens", "0 25 * * *"), 2, "got '0 25 * * *': bad hour"),
        (("add", "sevens", "0 0 31 2 *"), 2, "got '0 0 31 2 *': bad day-of-month"),  # Never.
        (("add", "sevens", "0 2 * * *", "--zone", "tokyo"), 2, "did you mean 'Asia/Tokyo'?"),
        (("add", "sevens", "0 2 * * *", "--catch-up", "x"), 2, "'skip', 'last' or 'all', got 'x'"),
        (("add", "sevens", "0 2 * * *", "day"), 2, "must be written name=value, got 'day'"),
        (("add", "load", "0 2 * * *"), 2, "cannot add schedule 'load': parameter 'day'"),
        (("add", "load", "0 2 * * *", "day={nextday}"), 2, "got '{nextday}'"),
        (("add", "lode", "0 2 * * *"), 2, "did you mean 'load'?"),
        (("pause", "sevns"), 2, "cannot find schedule 'sevns'"),
        (("resume", "sevns"), 2, "`stepwell schedule list` lists them"),
        (("remove", "sevns"), 2, "cannot find schedule 'sevns'"),
        (("preview", "sevns"), 2, "cannot find schedule 'sevns'"),
        (("preview", "sevns", "--count", "0"), 2, "greater than or equal to 1"),
    ],
)
def test_what_cannot_be_is_refused(
    words: tuple[str, ...], code: int, said: str, settled: Folder
) -> None:
    settled.call("schedule", *words).refused(code, said)

    assert [] == settled.json("schedule", "list")["schedules"]


@pytest.mark.parametrize("since", ["yesterday", "9999-12-31T23:00:00", "0001-01-01", "2027-13-01"])
def test_a_time_at_the_end_of_the_calendar_is_no_fault(since: str, settled: Folder) -> None:
    settled.done("schedule", "add", "sevens", "0 2 * * *", "--name", "d")
    ended = settled.call("schedule", "preview", "d", "--from", since)
    settled.done("schedule", "remove", "d")

    assert ended.code in (0, 2)
    assert "internal error" not in ended.err


def test_a_second_one_of_a_name_is_a_conflict(settled: Folder) -> None:
    settled.done("schedule", "add", "sevens", "0 2 * * *")
    settled.call("schedule", "add", "load", "0 3 * * *", "day={today}", "--name", "sevens").refused(
        4, "there is one of this name", "choose another `--name`"
    )
    settled.done("schedule", "remove", "sevens")


def test_without_a_database_nothing_is_made(folder: Folder) -> None:
    folder.call("schedule", "list").refused(2, "there is no such file")
    folder.call("schedule", "add", "sevens", "0 2 * * *").refused(2, "there is no such file")

    assert not list(folder.path.glob("stepwell.db*"))


SETTINGS = """
jobs = ["jobs"]
[job.sevens]
schedule = "0 2 * * *"
[job.load.schedule]
cron = "30 2 * * *"
zone = "Europe/Berlin"
catch_up = "all"
parameters = { day = "{yesterday}", shop = 3 }
"""


def with_settings(folder: Folder, text: str) -> Path:
    path = folder.path / "stepwell.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_schedules_of_the_settings_are_seen_before_a_worker_records_them(folder: Folder) -> None:
    file = with_settings(folder, SETTINGS)
    folder.done("init")
    before = folder.done("schedule", "list").out
    preview = folder.json("schedule", "preview", "load", "--from", "2026-10-25", "--count", "1")
    paused = folder.json("schedule", "pause", "load")
    removed = folder.call("schedule", "remove", "load")
    after = folder.json("schedule", "list")

    assert "sevens: in the settings, recorded when a worker starts" in before
    assert ["2026-10-25T02:30:00+02:00"] == [time["local"] for time in preview["times"]]
    assert ({"day": "{yesterday}", "shop": 3}, "settings") == (
        paused["parameters"],
        paused["defined_by"],
    )
    removed.refused(4, f"cannot remove schedule 'load': it is defined in {file}", "delete it there")
    assert (["load", "sevens"], []) == (
        [schedule["schedule"] for schedule in after["schedules"]],
        after["not_recorded"],
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("schedule = 5", "got"),
        ('schedule = { zone = "UTC" }', "cron"),
        ('schedule = { cron = "0 2 * * *", zoen = "UTC" }', "did you mean 'zone'?"),
        ('schedule = { cron = "0 2 * * *", catch_up = "some" }', "catch_up"),
        ('schedule = "0 2 * *"', "wrong number of fields"),
    ],
)
def test_settings_that_cannot_work_are_refused(text: str, said: str, folder: Folder) -> None:
    folder.done("init")
    with_settings(folder, f'jobs = ["jobs"]\n[job.sevens]\n{text}\n')
    ended = folder.call("schedule", "pause", "sevens")

    assert 2 == ended.code
    assert said in ended.err, ended.err
    assert "Traceback" not in ended.err
