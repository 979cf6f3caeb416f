"""A due time is run once: by eight processes at once, and by one that ends at any statement."""

from __future__ import annotations

from pathlib import Path

import pytest

from stepwell.testing import WarmParent, kill_points
from tests.support.databases import Databases
from tests.support.gate import held
from tests.support.schedule_jobs import DUES

ADD = "tests.support.schedule_jobs:add"
FIRE = "tests.support.schedule_jobs:fire"
FIRE_WHEN_RELEASED = "tests.support.schedule_jobs:fire_when_released"
LOOK = "tests.support.schedule_jobs:look"

PROCESSES = 8
WHOLE = {
    "last_due_at": DUES[-1],
    "next_due_at": "2026-11-20T05:00:00+00:00",
    "runs": [[due, 1] for due in DUES],
    "findings": [],
}


def test_eight_processes_fire_each_due_time_once(
    databases: Databases, warm_parent: WarmParent, tmp_path: Path
) -> None:
    url = databases.migrated(warm_parent)
    warm_parent.run(ADD, url=url)
    gate = tmp_path / "gate"
    gate.touch()
    with held(gate):
        children = [
            warm_parent.start(FIRE_WHEN_RELEASED, url=url, gate=str(gate)) for _ in range(PROCESSES)
        ]
    fired = [pair for child in children for pair in child.wait().result]
    found = warm_parent.run(LOOK, url=url).result

    assert sorted(DUES) == sorted(due.replace(" ", "T") for due, _ in fired)
    assert len(DUES) == len({execution_id for _, execution_id in fired})
    assert WHOLE == found


@pytest.mark.parametrize("stride", [9, pytest.param(1, marks=pytest.mark.slow)])
def test_a_worker_that_ends_at_any_statement_loses_and_doubles_no_run(
    stride: int, databases: Databases, warm_parent: WarmParent
) -> None:
    """Method: the first worker is ended at each statement in turn, a second one goes on."""
    url = databases.migrated(warm_parent)
    warm_parent.run(ADD, url=url)
    undisturbed = warm_parent.run(FIRE, url=url)
    assert undisturbed.statement_count

    problems = {}
    for point in kill_points(undisturbed.statement_count)[::stride]:
        url = databases.migrated(warm_parent)
        warm_parent.run(ADD, url=url)
        killed = warm_parent.run(FIRE, kill_at=point, url=url)
        between = warm_parent.run(LOOK, url=url).result
        warm_parent.run(FIRE, url=url)
        found = warm_parent.run(LOOK, url=url).result
        runs = [due for due, _ in between["runs"]]
        problems[point] = {
            "killed": killed.was_killed,
            "moved on with its run": (between["last_due_at"] or None) == (runs or [None])[-1],
            "whole": found == WHOLE,
        }
        databases.drop(url)

    assert {} == {point: said for point, said in problems.items() if not all(said.values())}
    assert len(problems) > 2 * 20 / stride
