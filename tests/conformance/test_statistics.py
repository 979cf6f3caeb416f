"""How executions went over a window: counted by the database, compared with what was run."""

from __future__ import annotations

import math
from datetime import timedelta
from functools import partial

import pytest

from stepwell import Job, Node, PartitionedStep, PartitionResult
from stepwell.repository import statistics
from stepwell.repository.statistics import (
    Statistics,
    Window,
    p95_since,
    statistics_by_day,
    statistics_since,
)
from stepwell.testing import FrozenClock
from tests.conformance.stories import nothing, tasklet_job

DAY = timedelta(hours=24)


def last_day(node: Node) -> Window:
    with node.database.read() as reader:
        return statistics_since(reader, node.clock.now() - DAY)


def test_what_ended_in_the_window_is_counted_by_job_and_how_it_ended(
    node: Node, clock: FrozenClock
) -> None:
    def fail() -> None:
        clock.advance(100)
        raise ValueError("not today")

    half = PartitionedStep("half", [0], lambda n: PartitionResult.partial(), executor="inline")
    slow = tasklet_job("load", lambda: clock.advance(4))
    node.operator.run(slow, {"day": "2026-11-18"})
    clock.advance(DAY.total_seconds() + 1)
    node.operator.run(slow, {"day": "2026-11-19"})
    node.operator.run(tasklet_job("load", lambda: clock.advance(1)), {"day": "2026-11-20"})
    for _ in range(2):
        node.operator.run(tasklet_job("load", fail), {"day": "2026-11-21"})
    node.operator.abandon(5, reason="the day is lost")
    waiting = node.operator.register(slow, {"day": "2026-11-22"})
    node.operator.stop(waiting)
    node.operator.run(Job("share", [half]))
    node.operator.register(slow, {"day": "2026-11-23"})

    found = last_day(node)
    assert {
        "load": Statistics(2, 0, 2, 1, average_s=2.5, p50_s=1, p95_s=4),
        "share": Statistics(0, 1, 0, 0, average_s=0, p50_s=0, p95_s=0),
    } == found.by_job
    assert (5, 0.5) == (found.of("load").ended, found.of("load").success_rate)
    assert Statistics(2, 1, 2, 1, average_s=pytest.approx(5 / 3)) == found.total
    assert Statistics() == found.of("never")
    assert (0, None) == (Statistics().ended, Statistics(stopped=1).success_rate)


@pytest.mark.parametrize("number", [1, 2, 20, 21])
def test_percentiles_are_times_of_executions(number: int, node: Node, clock: FrozenClock) -> None:
    """Method: the clock is advanced by odd parts of a second; the ranks are counted in Python."""

    def takes(seconds: float) -> Job:
        return tasklet_job("load", lambda: clock.advance(seconds))

    seconds = [n * 0.100_1 + 0.000_001 * (n % 3) for n in range(number)]
    for n in reversed(range(number)):
        node.operator.run(takes(seconds[n]), {"n": n})

    rank = {percent: seconds[math.ceil(number * percent / 100) - 1] for percent in (50, 95)}
    expected = (sum(seconds) / number, rank[50], rank[95])
    found = last_day(node).of("load")
    assert pytest.approx(expected, abs=2e-6) == (found.average_s, found.p50_s, found.p95_s)


def test_a_window_says_where_it_begins_when_not_all_of_it_is_counted(
    node: Node, clock: FrozenClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(statistics, "LOOK_BACK_EXECUTIONS", 1)
    node.operator.run(tasklet_job("load", nothing), {"n": 1})
    begins = clock.now()
    alone = last_day(node)
    clock.advance(60)
    node.operator.run(tasklet_job("load", nothing), {"n": 2})

    found = last_day(node)
    assert (begins - DAY, 1) == (alone.since, alone.total.ended)
    assert (begins, 1) == (found.since, found.total.ended)


def test_days_are_days_in_utc_and_none_is_left_out(node: Node, clock: FrozenClock) -> None:
    """Method: a run ends in the last microsecond of a day, the next one in the first of another."""
    node.operator.run(tasklet_job("load", nothing), {"n": 0})
    clock.advance(23 * 3600 - 0.000_001)
    node.operator.run(tasklet_job("load", nothing), {"n": 1})
    clock.advance(0.000_001)
    node.operator.run(tasklet_job("load", nothing), {"n": 2})
    clock.advance(2 * DAY.total_seconds())
    with node.database.read() as reader:
        found = statistics_by_day(reader, node.clock.now(), 4)
        last = statistics_by_day(reader, node.clock.now(), 3)

    assert [("2026-11-20", 2), ("2026-11-21", 1), ("2026-11-22", 0), ("2026-11-23", 0)] == [
        (day, one.completed) for day, one in found.items()
    ]
    assert list(found.items())[1:] == list(last.items())


def test_one_window_ends_where_the_next_begins(node: Node, clock: FrozenClock) -> None:
    for seconds in (1, 2, 4):
        node.operator.run(tasklet_job("load", partial(clock.advance, seconds)), {"n": seconds})
        clock.advance(DAY.total_seconds() / 2)
    node.operator.run(tasklet_job("other", lambda: clock.advance(8)), {"n": 8})
    now = clock.now()

    with node.database.read() as reader:
        before = statistics_since(reader, now - 2 * DAY, until=now - DAY)
        p95_s = [p95_since(reader, now - DAY), p95_since(reader, now + DAY)]

    assert {"load": Statistics(2, average_s=1.5, p50_s=1, p95_s=2)} == before.by_job
    assert {"load", "other"} == set(last_day(node).by_job)
    assert [8, None] == p95_s
