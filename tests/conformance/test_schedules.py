"""Schedules on every database: fired once, whoever looks, whatever the clocks do (T11)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from threading import Barrier, Thread
from typing import Any

import pytest
from pydantic import field_validator

from stepwell import BatchStatus, Job, Node, Parameters
from stepwell.doctor.examine import examine
from stepwell.errors import (
    InvalidSchedule,
    InvalidSetting,
    JobSecurityError,
    NoSuchJob,
    NoSuchSchedule,
    ScheduleAlreadyExists,
    ScheduleInSettings,
)
from stepwell.execution.parameters import JobParameter
from stepwell.finding import Severity
from stepwell.repository.schedule_findings import schedule_findings
from stepwell.repository.schedules import Fired, Reconciled, list_due_schedules
from stepwell.settings import JobSettings, ScheduleSettings, Settings
from stepwell.testing import FrozenClock
from tests.conformance.stories import execute, findings, nothing, rows, tasklet_job

# The clock stands at 2026-11-20 01:00 UTC.
NIGHT = datetime(2026, 11, 20, 2, tzinfo=UTC)
HOUR_S, DAY_S = 3600, 86_400


class Day(Parameters):
    day: date
    shop: int = 7

    @field_validator("shop")
    @classmethod
    def is_open(cls, shop: int) -> int:
        if shop == 13:
            raise ValueError("shop 13 is closed")
        return shop


BILLING = tasklet_job("billing", nothing, parameters=Day)
TIDY = tasklet_job("tidy", nothing)


@pytest.fixture
def node(settings: Settings, clock: FrozenClock) -> Iterator[Node]:
    with Node.open(settings, clock=clock) as node:
        know(node)
        yield node


@pytest.fixture
def other(settings: Settings, clock: FrozenClock, node: Node) -> Iterator[Node]:
    """Another worker."""
    with Node.open(settings, clock=clock) as other:
        know(other)
        yield other


def know(node: Node, *jobs: Job) -> None:
    for job in jobs or (BILLING, TIDY):
        node.registry.add(job, origin="the test")


def fire(node: Node) -> list[int | None]:
    return [fired.execution_id for fired in node.schedules.fire_due()]


def dues(node: Node) -> list[str]:
    """The due times of all executions, in the order of their registration."""
    return [
        f"{datetime.fromisoformat(value):%d %H:%M}"
        for (value,) in rows(
            node,
            "SELECT parameter_value FROM batch_job_execution_params"
            " WHERE parameter_name = 'schedule.due' ORDER BY job_execution_id",
        )
    ]


def told(node: Node) -> list[tuple[str, str]]:
    """What is wrong with the schedules, now by the node's clock."""
    with node.database.read() as reader:
        return [(f.code, f.what) for f in schedule_findings(reader, now=node.clock.now())]


# --- a nightly job runs every night --------------------------------------------------------------


def test_a_due_time_becomes_an_execution_that_waits_for_a_worker(
    node: Node, clock: FrozenClock
) -> None:
    node.schedules.add("billing", "0 2 * * *", {"day": "{yesterday}"})
    before = node.schedules.fire_due()
    clock.advance(HOUR_S)
    [fired] = node.schedules.fire_due()

    assert [] == before
    assert fired.due == NIGHT
    assert fired.execution_id is not None
    execution = node.operator.get_job_execution(fired.execution_id)
    assert (BatchStatus.STARTING, None, 0, "system", "schedule billing") == (
        execution.batch_status,
        execution.owner_id,
        execution.fence,
        execution.trigger_source,
        execution.triggered_by,
    )
    assert (
        JobParameter("day", "date", "2026-11-19"),
        JobParameter("schedule.due", "datetime", "2026-11-20T02:00:00+00:00"),
        JobParameter("shop", "int", "7"),
    ) == execution.parameters
    assert (NIGHT, NIGHT + timedelta(days=1)) == (
        fired.recorded.last_due_at,
        fired.recorded.next_due_at,
    )
    assert [fired.recorded] == node.schedules.list_schedules()
    assert [] == findings(node)


def test_a_nightly_job_without_parameters_runs_every_night(node: Node, clock: FrozenClock) -> None:
    """Goal: the second night is not "already COMPLETED"."""
    node.schedules.add("tidy", "0 2 * * *")
    for _ in range(3):
        clock.advance(DAY_S)
        [execution_id] = fire(node)
        finish(node, execution_id)

    assert ["20 02:00", "21 02:00", "22 02:00"] == dues(node)
    assert 3 == node.operator.get_job_instance_count("tidy")
    assert [] == told(node)


def finish(node: Node, execution_id: int | None) -> None:
    """What a worker will do: stop stands in for a run."""
    assert execution_id is not None
    node.operator.stop(execution_id)


def test_a_run_of_a_schedule_restarts_as_what_it_was(node: Node, clock: FrozenClock) -> None:
    """Goal: S10. Both with its own parameters and with the same ones given."""
    node.schedules.add("billing", "0 2 * * *", {"day": "{yesterday}"})
    node.schedules.add("tidy", "0 2 * * *", {"depth": "{due:%H}"})
    clock.advance(HOUR_S)
    billing, tidy = fire(node)
    assert billing
    assert tidy
    for execution_id in (billing, tidy):
        node.operator.stop(execution_id)
    given = node.operator.restart(billing, {"day": "2026-11-19"})
    node.operator.wait(given)
    again = node.operator.restart(tidy)
    node.operator.wait(again)

    for first, second in ((billing, given), (tidy, again)):
        assert node.operator.get_parameters(first) == node.operator.get_parameters(second)
        assert node.operator.get_job_instance(first) == node.operator.get_job_instance(second)
    assert BatchStatus.COMPLETED is node.operator.get_job_execution(again).batch_status
    assert [] == findings(node)


def test_the_same_job_by_hand_is_another_instance(node: Node, clock: FrozenClock) -> None:
    node.schedules.add("billing", "0 2 * * *", {"day": "{yesterday}"})
    by_hand = node.operator.run("billing", {"day": "2026-11-19"})
    clock.advance(HOUR_S)
    [scheduled] = fire(node)

    assert BatchStatus.COMPLETED is by_hand.batch_status
    assert scheduled is not None
    assert by_hand.execution_id != scheduled


def test_two_nights_hold_one_run_lock(node: Node, clock: FrozenClock) -> None:
    """Goal: a night that takes longer than a day is not joined by the next one."""
    node.schedules.add("tidy", "0 2 * * *", catch_up="all")
    clock.advance(2 * DAY_S)
    fire(node)
    keys = rows(node, "SELECT DISTINCT run_lock_key FROM batch_job_execution")

    assert 2 == len(dues(node))
    assert 1 == len(keys)


# --- catching up ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("policy", "expected", "wrong"),
    [
        ("skip", [], ["schedule_skipped"]),
        ("last", ["22 02:00"], []),
        ("all", ["20 02:00", "21 02:00", "22 02:00"], []),
    ],
)
def test_three_nights_without_a_worker(
    policy: str, expected: list[str], wrong: list[str], node: Node, clock: FrozenClock
) -> None:
    node.schedules.add("tidy", "0 2 * * *", catch_up=policy)
    clock.advance(2 * DAY_S + 10 * HOUR_S)
    waiting = [code for code, _ in told(node)]
    by_the_doctor = [finding.code for finding in examine(node.database)]
    node.schedules.fire_due()

    assert ["schedule_overdue"] == waiting
    assert "schedule_overdue" in by_the_doctor
    assert expected == dues(node)
    assert wrong == [code for code, _ in told(node)]
    [schedule] = node.schedules.list_schedules()
    assert NIGHT + timedelta(days=3) == schedule.next_due_at


def test_what_was_skipped_is_forgotten_with_the_next_run(node: Node, clock: FrozenClock) -> None:
    node.schedules.add("tidy", "0 2 * * *", catch_up="skip")
    clock.advance(10 * HOUR_S)
    node.schedules.fire_due()
    skipped = told(node)
    clock.advance(15 * HOUR_S)
    node.schedules.fire_due()

    assert [
        (
            "schedule_skipped",
            "job 'tidy' did not run at 2026-11-20T02:00:00+00:00: no worker was there",
        )
    ] == skipped
    assert ["21 02:00"] == dues(node)
    assert [] == told(node)


def test_a_year_of_minutes_is_caught_up_in_portions(node: Node, clock: FrozenClock) -> None:
    """Goal: other schedules have their turn meanwhile, and none of the minutes is lost."""
    node.schedules.add("tidy", "* * * * *", catch_up="all")
    node.schedules.add("billing", "0 2 * * *", {"day": "{today}"})
    clock.advance(250 * 60)
    portions = [len(fire(node)) for _ in range(4)]

    assert [101, 100, 50, 0] == portions
    assert (251, 250) == (len(dues(node)), len(set(dues(node))))


# --- exactly once ------------------------------------------------------------------------------


def test_any_number_of_workers_fire_a_due_time_once(
    node: Node, settings: Settings, clock: FrozenClock
) -> None:
    """Method: all of them have read the schedule before the first of them writes."""
    node.schedules.add("tidy", "0 2 * * *")
    node.schedules.add("billing", "0 2 * * *", {"day": "{today}"})
    clock.advance(HOUR_S)
    workers = 4
    barrier = Barrier(workers)
    outcomes: list[list[Fired]] = []
    with node.database.read() as reader:
        due = list_due_schedules(reader, clock.now())

    def work() -> None:
        barrier.wait(30)
        outcomes.append([fired for held in due for fired in node.schedules._fire(held, NIGHT)])

    threads = [Thread(target=work) for _ in range(workers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)

    assert workers == len(outcomes)
    assert ["billing", "tidy"] == sorted(f.recorded.name for each in outcomes for f in each)
    assert ["20 02:00", "20 02:00"] == dues(node)
    assert [] == findings(node)


def test_hosts_two_minutes_apart_fire_a_due_time_once(
    settings: Settings, node: Node, clock: FrozenClock
) -> None:
    """T11: the one that is ahead fires first, the other one finds it done."""
    ahead = FrozenClock(clock.now() + timedelta(minutes=2))
    node.schedules.add("tidy", "*/5 * * * *")
    with Node.open(settings, clock=ahead) as other:
        know(other)
        fired = []
        for _ in range(60):
            clock.advance(30)
            ahead.advance(30)
            fired += [("ahead", f.due) for f in other.schedules.fire_due()]
            fired += [("behind", f.due) for f in node.schedules.fire_due()]

    times = [due for _, due in fired]
    assert ["ahead"] * 6 == [who for who, _ in fired]
    assert times == sorted(set(times))


def test_a_frozen_clock_fires_once(node: Node, other: Node, clock: FrozenClock) -> None:
    node.schedules.add("tidy", "0 2 * * *", catch_up="all")
    clock.advance(HOUR_S)
    counts = [len(fire(one)) for one in (node, other) * 5]

    assert [1] + [0] * 9 == counts


def test_a_clock_that_steps_back_repeats_nothing(node: Node, clock: FrozenClock) -> None:
    """T11. Method: the night comes twice by the clock."""
    node.schedules.add("tidy", "0 2 * * *")
    clock.advance(HOUR_S + 30)
    first = fire(node)
    clock.set_back(2 * HOUR_S)
    earlier = fire(node)
    clock.advance(2 * HOUR_S)
    again = fire(node)
    clock.advance(DAY_S)
    next_night = fire(node)

    assert [1, 0, 0, 1] == [len(first), len(earlier), len(again), len(next_night)]
    assert ["20 02:00", "21 02:00"] == dues(node)


def test_a_clock_that_was_a_year_ahead_is_told_of_and_mended(
    node: Node, clock: FrozenClock
) -> None:
    """Goal: the schedule does not wait for a year, and what has run is not run again."""
    node.schedules.add("tidy", "0 2 * * *")
    clock.advance(HOUR_S)
    fire(node)
    clock.advance(365 * DAY_S)
    fire(node)
    clock.set_back(365 * DAY_S + HOUR_S)
    wrong = told(node)
    clock.advance(30 * 60)
    resumed = node.schedules.resume("tidy")
    clock.advance(HOUR_S)
    same_night = node.schedules.fire_due()
    clock.advance(DAY_S)
    fire(node)

    assert ["schedule_ahead_of_clock"] == [code for code, _ in wrong]
    assert NIGHT == resumed.next_due_at
    assert [(NIGHT, None)] == [(f.due, f.execution_id) for f in same_night]
    assert ["20 02:00", "20 02:00", "21 02:00"] == dues(node)
    assert ["scheduled_run_waits"] == [code for code, _ in told(node)]


def test_a_suspended_machine_finds_its_night_when_it_wakes(node: Node, clock: FrozenClock) -> None:
    """T11: the wall clock has moved on, the monotonic one has not."""
    node.schedules.add("tidy", "0 2 * * *")
    clock.advance(HOUR_S / 2)
    asleep = clock.monotonic()
    clock.set_back(-7 * HOUR_S)
    fired = node.schedules.fire_due()

    assert asleep == clock.monotonic()
    assert [NIGHT] == [f.due for f in fired]


@pytest.mark.parametrize(
    ("begins", "expected"),
    [
        ("2026-03-27T12:00Z", ["28 01:30", "29 01:00", "30 00:30"]),
        ("2026-10-23T12:00Z", ["24 00:30", "25 00:30", "26 01:30"]),
    ],
)
def test_a_night_comes_once_when_the_clocks_are_changed(
    begins: str, expected: list[str], settings: Settings
) -> None:
    """T11: 02:30 is left out in March and comes twice in October. Method: look every 10 minutes."""
    clock = FrozenClock(datetime.fromisoformat(begins))
    with Node.open(settings, clock=clock) as node:
        know(node)
        node.schedules.add("tidy", "30 2 * * *", time_zone="Europe/Berlin")
        for _ in range(3 * 144):
            clock.advance(600)
            node.schedules.fire_due()

        assert expected == dues(node)


# --- what cannot be fired ------------------------------------------------------------------------


def test_a_schedule_that_cannot_be_fired_holds_up_no_other(
    node: Node, settings: Settings, clock: FrozenClock, caplog: pytest.LogCaptureFixture
) -> None:
    """Goal: it stays due, is told of once, and runs when it can; its policy decides which."""
    node.schedules.add("billing", "0 2 * * *", {"day": "{today}"})
    node.schedules.add("tidy", "0 2 * * *")
    with Node.open(settings, clock=clock) as broken:
        know(broken, TIDY, tasklet_job("billing", nothing, parameters=Parameters))
        clock.advance(HOUR_S)
        fired = [f.recorded.name for f in broken.schedules.fire_due()]
        broken.schedules.fire_due()
        clock.advance(HOUR_S)
        wrong = told(broken)
    again = [(f.recorded.name, f.due) for f in node.schedules.fire_due()]

    assert ["tidy"] == fired
    errors = [r.getMessage() for r in caplog.records if r.levelname == "ERROR"]
    assert 1 == len(errors)
    assert "schedule 'billing' was due 2026-11-20 02:00:00+00:00 and cannot be fired:" in errors[0]
    assert "parameter 'day': there is no such parameter" in errors[0]
    assert (
        "schedule_overdue",
        "job 'billing' was due 2026-11-20T02:00:00+00:00 and was not started",
    ) in wrong
    assert [("billing", NIGHT)] == again


def test_a_run_that_may_not_be_registered_holds_up_no_other(
    node: Node, settings: Settings, clock: FrozenClock
) -> None:
    """Goal: nothing is left of it, and it stays due. Method: its pool has no size."""
    node.schedules.add("tidy", "0 1 * * *", {}, name="a")
    node.schedules.add("billing", "0 2 * * *", {"day": "{today}"}, name="b")
    clock.advance(DAY_S)
    with Node.open(settings, clock=clock) as broken:
        know(broken, BILLING, tasklet_job("tidy", nothing, pool="nowhere"))
        fired = [f.recorded.name for f in broken.schedules.fire_due()]
        left = rows(broken, "SELECT job_name FROM batch_job_instance")

    assert (["b"], [("billing",)]) == (fired, left)
    assert ["a"] == [f.recorded.name for f in node.schedules.fire_due()]


def test_a_worker_leaves_jobs_that_it_does_not_know_to_others(
    node: Node, settings: Settings, clock: FrozenClock
) -> None:
    node.schedules.add("tidy", "0 2 * * *")
    clock.advance(HOUR_S)
    with Node.open(settings, clock=clock) as stranger:
        know(stranger, BILLING)
        of_the_stranger = fire(stranger)

    assert [] == of_the_stranger
    assert 1 == len(fire(node))


@pytest.mark.parametrize(
    ("column", "value", "said"),
    [
        ("cron", "'61 * * * *'", "bad minute"),
        ("time_zone", "'Atlantis'", "IANA name"),
        ("parameters", "'{'", "another program wrote its row"),
        ("parameters", "'[1]'", "another program wrote its row"),
        ("catch_up", "'sometimes'", "another program wrote its row"),
    ],
)
def test_a_row_of_another_programs_holds_up_no_schedule(
    column: str,
    value: str,
    said: str,
    node: Node,
    clock: FrozenClock,
    caplog: pytest.LogCaptureFixture,
) -> None:
    node.schedules.add("billing", "0 2 * * *", {"day": "{today}"})
    node.schedules.add("tidy", "0 2 * * *")
    update = f"UPDATE batch_schedule SET {column} = {value} WHERE schedule_name = 'billing'"
    execute(node, update)
    clock.advance(2 * HOUR_S)
    fired = [f.recorded.name for f in node.schedules.fire_due()]

    assert ["tidy"] == fired
    assert said in caplog.text
    assert "schedule_overdue" in [code for code, _ in told(node)]


def test_a_run_that_no_worker_takes_is_found(node: Node, clock: FrozenClock) -> None:
    node.schedules.add("tidy", "0 2 * * *", catch_up="all")
    clock.advance(DAY_S + HOUR_S)
    fire(node)
    at_once = told(node)
    clock.advance(HOUR_S)

    assert [] == at_once
    assert [
        (
            "scheduled_run_waits",
            "2 of its runs of job 'tidy' wait for a worker, the first is execution 1",
        )
    ] == told(node)


def test_a_finding_says_what_to_do(node: Node, clock: FrozenClock) -> None:
    node.schedules.add("tidy", "0 2 * * *")
    execute(node, "UPDATE batch_schedule SET next_due_at = NULL")
    with node.database.read() as reader:
        [never] = schedule_findings(reader, now=clock.now())

    assert ("schedule_never_due", Severity.WARNING, "schedule 'tidy'") == (
        never.code,
        never.severity,
        never.where,
    )
    assert "`stepwell schedule remove tidy`" == never.hint


# --- add, pause, resume, remove ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cron", "parameters", "options", "said"),
    [
        ("0 25 * * *", {"day": "{today}"}, {}, "got '0 25 * * *': bad hour"),
        ("0 2 * * *", {}, {}, "parameter 'day': it is missing"),
        ("0 2 * * *", {"day": "{due}"}, {}, "parameter 'day'"),
        ("0 2 * * *", {"day": "{tomorrow}"}, {}, "got '{tomorrow}'"),
        ("0 2 * * *", {"day": "{today}", "shop": "13"}, {}, "shop 13 is closed"),
        ("0 2 * * *", {"day": "{today}", "shap": "1"}, {}, "did you mean 'shop'?"),
        ("0 2 * * *", {"day": "{today}"}, {"time_zone": "Mars"}, "got 'Mars'"),
        ("0 2 * * *", {"day": "{today}"}, {"name": "\n"}, "printable text"),
    ],
)
def test_what_cannot_work_is_refused_with_the_reason(
    cron: str, parameters: dict[str, Any], options: dict[str, Any], said: str, node: Node
) -> None:
    with pytest.raises(InvalidSchedule) as raised:
        node.schedules.add("billing", cron, parameters, **options)

    assert raised.value.message.startswith("cannot add schedule '")
    assert said in raised.value.message
    assert raised.value.hint
    assert [] == node.schedules.list_schedules()


def test_a_policy_that_is_none_is_refused(node: Node) -> None:
    with pytest.raises(InvalidSchedule) as raised:
        node.schedules.add("tidy", "0 2 * * *", catch_up="some")

    assert (
        "cannot add schedule 'tidy': catch_up must be 'skip', 'last' or 'all', got 'some'"
        == raised.value.message
    )


def test_an_unknown_job_is_refused(node: Node) -> None:
    with pytest.raises(NoSuchJob, match="cannot find job 'biling'"):
        node.schedules.add("biling", "0 2 * * *")


def test_a_name_belongs_to_one_schedule(node: Node, other: Node) -> None:
    first = node.schedules.add("tidy", "0 2 * * *")
    second = node.schedules.add("tidy", "0 14 * * *", name="tidy at noon")
    with pytest.raises(ScheduleAlreadyExists) as raised:
        other.schedules.add("billing", "0 3 * * *", {"day": "{today}"}, name="tidy")

    assert (
        "cannot add schedule 'tidy': there is one of this name,"
        " it starts job 'tidy' at '0 2 * * *'" == raised.value.message
    )
    assert [first, second] == node.schedules.list_schedules()


def test_a_paused_schedule_rests_and_catches_up_nothing(node: Node, clock: FrozenClock) -> None:
    node.schedules.add("tidy", "0 2 * * *", catch_up="all")
    paused = node.schedules.pause("tidy")
    again = node.schedules.pause("tidy")
    clock.advance(2 * DAY_S)
    at_rest = fire(node)
    wrong = told(node)
    resumed = node.schedules.resume("tidy")
    twice = node.schedules.resume("tidy")
    clock.advance(DAY_S)

    assert (clock.now() - timedelta(days=3), paused) == (paused.paused_at, again)
    assert ([], []) == (at_rest, wrong)
    assert (None, NIGHT + timedelta(days=2), resumed) == (
        resumed.paused_at,
        resumed.next_due_at,
        twice,
    )
    assert ["22 02:00"] == (fire(node) and dues(node))


def test_resuming_what_is_not_paused_drops_no_run(node: Node, clock: FrozenClock) -> None:
    """Goal: pressing the button twice, the second time behind the due time."""
    added = node.schedules.add("tidy", "0 2 * * *")
    clock.advance(2 * HOUR_S)

    assert added == node.schedules.resume("tidy")
    assert 1 == len(fire(node))


def test_who_pauses_while_a_worker_fires_is_not_overrun(
    node: Node, other: Node, clock: FrozenClock
) -> None:
    """Method: the worker has read the schedule, then it is paused, then the worker goes on."""
    held = node.schedules.add("tidy", "0 2 * * *")
    clock.advance(HOUR_S)
    other.schedules.pause("tidy")

    assert [] == node.schedules._fire(held, clock.now())
    assert [] == dues(node)


def test_a_removed_schedule_is_gone_and_what_it_started_stays(
    node: Node, clock: FrozenClock
) -> None:
    held = node.schedules.add("tidy", "0 2 * * *")
    clock.advance(HOUR_S)
    fire(node)
    removed = node.schedules.remove("tidy")
    clock.advance(DAY_S)

    assert held.schedule == removed.schedule
    assert [] == node.schedules.list_schedules()
    assert [] == node.schedules._fire(removed, clock.now())
    assert ["20 02:00"] == dues(node)


@pytest.mark.parametrize("verb", ["pause", "resume", "remove"])
def test_an_unknown_name_is_refused_with_the_nearest_one(verb: str, node: Node) -> None:
    node.schedules.add("tidy", "0 2 * * *")
    with pytest.raises(NoSuchSchedule) as raised:
        getattr(node.schedules, verb)("tdy")

    assert "cannot find schedule 'tdy': no such schedule is recorded here" == raised.value.message
    assert "did you mean 'tidy'? `stepwell schedule list` lists them" == raised.value.hint


def test_the_access_hook_is_asked_before_anything(settings: Settings, clock: FrozenClock) -> None:
    """S176."""
    asked: list[tuple[str, Any]] = []

    def access(operation: str, subject: str | int | None) -> bool:
        asked.append((operation, subject))
        return False

    with Node.open(settings, clock=clock, access=access) as node:
        know(node)
        for call in (
            lambda: node.schedules.add("tidy", "0 2 * * *"),
            lambda: node.schedules.pause("tidy"),
            lambda: node.schedules.resume("tidy"),
            lambda: node.schedules.remove("tidy"),
            node.schedules.list_schedules,
            node.schedules.reconcile,
            node.schedules.fire_due,
        ):
            with pytest.raises(JobSecurityError):
                call()

    assert [
        ("add_schedule", "tidy"),
        ("pause_schedule", "tidy"),
        ("resume_schedule", "tidy"),
        ("remove_schedule", "tidy"),
        ("list_schedules", None),
        ("reconcile_schedules", None),
        ("fire_schedules", None),
    ] == asked


# --- the settings ------------------------------------------------------------------------------


def with_schedules(settings: Settings, **schedules: str | ScheduleSettings) -> Settings:
    return replace(settings, job={n: JobSettings(schedule=s) for n, s in schedules.items()})


def reconcile(
    settings: Settings, clock: FrozenClock, *jobs: Job, **schedules: str | ScheduleSettings
) -> Reconciled:
    """What a program with these settings does when it starts."""
    with Node.open(with_schedules(settings, **schedules), clock=clock) as started:
        know(started, *jobs)
        return started.schedules.reconcile()


def test_what_the_settings_define_is_recorded_once(
    settings: Settings, node: Node, clock: FrozenClock
) -> None:
    table = ScheduleSettings("30 3 * * *", "Asia/Tokyo", "all", {"day": date(2026, 1, 2)})
    first = reconcile(settings, clock, tidy="0 2 * * *", billing=table)
    twice = reconcile(settings, clock, tidy="0 2 * * *", billing=table)

    assert (Reconciled(added=("tidy", "billing")), Reconciled()) == (first, twice)
    billing, tidy = node.schedules.list_schedules()
    assert ("30 3 * * *", "Asia/Tokyo", "all", {"day": "2026-01-02"}, "settings", 0) == (
        billing.schedule.cron,
        billing.schedule.time_zone,
        billing.schedule.catch_up,
        billing.schedule.parameters,
        billing.defined_by,
        billing.version,
    )
    assert ("0 2 * * *", "UTC", "last", NIGHT) == (
        tidy.schedule.cron,
        tidy.schedule.time_zone,
        tidy.schedule.catch_up,
        tidy.next_due_at,
    )


def test_a_change_of_the_settings_keeps_pause_and_position(
    settings: Settings, node: Node, clock: FrozenClock
) -> None:
    reconcile(settings, clock, tidy="0 2 * * *")
    node.schedules.pause("tidy")
    clock.advance(2 * HOUR_S)
    other_parameters = reconcile(
        settings, clock, tidy=ScheduleSettings("0 2 * * *", parameters={"depth": 3})
    )
    kept = node.schedules.list_schedules()
    other_times = reconcile(settings, clock, tidy="0 5 * * *")
    moved = node.schedules.list_schedules()

    assert [Reconciled(changed=("tidy",))] * 2 == [other_parameters, other_times]
    assert [(NIGHT, True)] == [(s.next_due_at, s.paused_at is not None) for s in kept]
    assert [(NIGHT + timedelta(hours=3), True)] == [
        (s.next_due_at, s.paused_at is not None) for s in moved
    ]


def test_what_the_settings_define_no_more_is_taken_away(
    settings: Settings, node: Node, clock: FrozenClock
) -> None:
    """Goal: only theirs, and only of jobs that are known: others may share the database."""
    node.schedules.add("tidy", "0 4 * * *", name="by hand")
    day = {"day": "{today}"}
    reconcile(
        settings, clock, tidy="0 2 * * *", billing=ScheduleSettings("0 3 * * *", "UTC", "last", day)
    )
    stranger = reconcile(settings, clock, TIDY, tidy="0 2 * * *")
    gone = reconcile(settings, clock)

    assert Reconciled() == stranger
    assert Reconciled(removed=("billing", "tidy")) == gone
    assert ["by hand"] == [schedule.name for schedule in node.schedules.list_schedules()]


def test_what_the_settings_define_cannot_be_removed_elsewhere(
    settings: Settings, clock: FrozenClock
) -> None:
    with Node.open(with_schedules(settings, tidy="0 2 * * *"), clock=clock) as node:
        know(node)
        node.schedules.reconcile()
        with pytest.raises(ScheduleInSettings) as raised:
            node.schedules.remove("tidy")

        assert (
            "cannot remove schedule 'tidy': it is defined in the settings" == raised.value.message
        )
        assert "delete it there, or `stepwell schedule pause tidy`" == raised.value.hint


@pytest.mark.parametrize(
    ("schedules", "said"),
    [
        ({"tidy": "0 99 * * *"}, "bad hour"),
        ({"tidee": "0 2 * * *"}, "cannot find job 'tidee'"),
        ({"billing": "0 2 * * *"}, "parameter 'day': it is missing"),
        ({"tidy": ScheduleSettings("0 2 * * *", "Moon")}, "got 'Moon'"),
    ],
)
def test_settings_that_cannot_work_change_nothing(
    schedules: dict[str, Any], said: str, settings: Settings, node: Node, clock: FrozenClock
) -> None:
    with pytest.raises(InvalidSetting) as raised:
        reconcile(settings, clock, **{"tidy": "0 2 * * *"} | schedules)

    (name,) = schedules
    assert raised.value.message.startswith(f'[job."{name}"] schedule must work, got: ')
    assert said in raised.value.message
    assert [] == node.schedules.list_schedules()


def test_programs_that_start_at_once_record_the_same_schedules(
    settings: Settings, node: Node, clock: FrozenClock
) -> None:
    barrier = Barrier(3)
    outcomes: list[Reconciled] = []
    with Node.open(with_schedules(settings, tidy="0 2 * * *"), clock=clock) as started:
        know(started)

        def start() -> None:
            barrier.wait(30)
            outcomes.append(started.schedules.reconcile())

        threads = [Thread(target=start) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)

    assert sorted([("tidy",), (), ()]) == sorted(each.added for each in outcomes)
    assert 1 == len(node.schedules.list_schedules())
