"""T1 and T10 for flows, decisions, splits, skips, retries, chunk partitions and stop positions.

Method as in ``test_every_statement.py``; the flows of the split have threads of their own, whose
statements are counted too where that is said: then each run is another one. A few points in the
normal run, all of them in the slow one.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stepwell.testing import KillPoint, WarmParent, kill_points
from tests.support.databases import Databases
from tests.support.winding_job import what_is_wrong

RUN = "tests.support.winding_job:run_to_its_end"
SOME = 12  # Points in the normal run, of some hundreds.
SHARES = 4  # Of all points, so that no test takes long.
ON_ANY_THREAD_MAX = 220  # An undisturbed run executes some statements more than that.


def killed_at(
    points: Sequence[KillPoint], databases: Databases, parent: WarmParent
) -> tuple[int, list[str]]:
    """How often a run was killed whose points these are, one behind the other; what is wrong."""
    url = databases.migrated(parent)
    killed = sum(parent.run(RUN, kill_at=point, url=url).was_killed for point in points)
    recorded: dict[str, Any] = parent.run(RUN, url=url).result
    databases.drop(url)
    return killed, what_is_wrong(recorded, kills_max=killed)


def check_each(points: list[KillPoint], databases: Databases, parent: WarmParent) -> int:
    outcomes = {point: killed_at([point], databases, parent) for point in points}

    assert {} == {point: wrong for point, (_, wrong) in outcomes.items() if wrong}
    return sum(killed for killed, _ in outcomes.values())


def statements(databases: Databases, parent: WarmParent) -> list[KillPoint]:
    undisturbed = parent.run(RUN, url=databases.migrated(parent))
    assert [] == what_is_wrong(undisturbed.result, kills_max=0)
    return kill_points(undisturbed.statement_count or 0)


def test_an_end_at_some_statements_loses_nothing_and_doubles_nothing(
    databases: Databases, warm_parent: WarmParent
) -> None:
    every = statements(databases, warm_parent)

    assert SOME == check_each(random.Random(1).sample(every[:-4], SOME), databases, warm_parent)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("share", range(SHARES))
def test_an_end_at_any_statement_loses_nothing_and_doubles_nothing(
    share: int, databases: Databases, warm_parent: WarmParent
) -> None:
    every = statements(databases, warm_parent)[share::SHARES]

    assert len(every) > 400 / SHARES
    assert check_each(every, databases, warm_parent) > len(every) - 5


@pytest.mark.parametrize(
    "count", [SOME // 2, pytest.param(200, marks=[pytest.mark.slow, pytest.mark.timeout(900)])]
)
def test_an_end_in_any_flow_of_a_split_loses_nothing_and_doubles_nothing(
    count: int, databases: Databases, warm_parent: WarmParent
) -> None:
    """Goal: S55, S56: one flow may be behind, or before, the other."""
    chance = random.Random(2)
    points = [
        KillPoint(
            chance.randrange(60, ON_ANY_THREAD_MAX),
            chance.choice(["before", "after"]),
            on_any_thread=True,
        )
        for _ in range(count)
    ]

    assert check_each(points, databases, warm_parent) > count * 0.9


POINTS = st.builds(
    KillPoint,
    # Small numbers too: then a restart is killed while it recovers or skips what is complete.
    st.one_of(st.integers(1, 40), st.integers(1, 160)),
    st.sampled_from(["before", "after"]),
    on_any_thread=st.booleans(),
)


SETS = st.lists(POINTS, min_size=2, max_size=5)
FIXTURES = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]


@settings(max_examples=4, deadline=None, suppress_health_check=FIXTURES)
@given(points=SETS)
def test_a_restart_is_equivalent_for_some_sets_of_crash_points(
    databases: Databases, warm_parent: WarmParent, points: list[KillPoint]
) -> None:
    """T10: of the run, of its restart, of the restart of that, and so on."""
    assert [] == killed_at(points, databases, warm_parent)[1]


@pytest.mark.slow
@pytest.mark.timeout(900)
@settings(max_examples=150, deadline=None, suppress_health_check=FIXTURES)
@given(points=SETS)
def test_a_restart_is_equivalent_for_many_sets_of_crash_points(
    databases: Databases, warm_parent: WarmParent, points: list[KillPoint]
) -> None:
    """T10."""
    assert [] == killed_at(points, databases, warm_parent)[1]
