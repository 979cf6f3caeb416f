"""T1: the process ends before and after every SQL statement, in turn; a restart repairs all of it.

Method: children are forked from a warm parent and end by ``os._exit``, so that nothing is rolled
back, closed or written on the way out. A fresh process then recovers what is proven dead and runs
the job again. The job is deterministic (executor "inline"), so every statement has one number.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from stepwell.database.migrations import HEAD
from stepwell.testing import Ended, KillPoint, WarmParent, kill_points
from tests.support.databases import Databases
from tests.support.small_job import ITEMS, PARTITIONS, ROWS

CREATE = "tests.support.processes:create"
OPEN_AND_RUN = "tests.support.processes:open_and_run_a_step"
RUN = "tests.support.processes:run_small_job"
RECOVER_AND_RUN = "tests.support.processes:recover_and_run_small_job"

SHARES = range(8)  # Of the points, so that workers can divide them and no test takes long.


@pytest.mark.parametrize("share", SHARES)
def test_an_end_at_any_statement_of_a_job_loses_nothing_and_doubles_nothing(
    share: int, databases: Databases, warm_parent: WarmParent
) -> None:
    undisturbed = run(warm_parent, RUN, databases.migrated(warm_parent))

    problems = {}
    for point in kill_points(undisturbed.statement_count or 0)[share :: len(SHARES)]:
        url = databases.migrated(warm_parent)
        killed = run(warm_parent, RUN, url, kill_at=point)
        recovered = run(warm_parent, RECOVER_AND_RUN, url)
        problems[point] = not_killed(killed, point) + what_is_wrong(recovered.result)
        databases.drop(url)

    assert {} == {point: found for point, found in problems.items() if found}
    assert len(problems) > 2 * 100 / len(SHARES)


@pytest.mark.parametrize("share", SHARES)
def test_an_end_at_any_statement_of_the_first_opening_leaves_a_database_that_opens(
    share: int, databases: Databases, warm_parent: WarmParent
) -> None:
    undisturbed = run(warm_parent, CREATE, databases.empty())

    problems = {}
    for point in kill_points(undisturbed.statement_count or 0)[share :: len(SHARES)]:
        url = databases.empty()
        killed = run(warm_parent, CREATE, url, kill_at=point)
        found = run(warm_parent, OPEN_AND_RUN, url).result
        problems[point] = not_killed(killed, point) + (
            [] if found == [HEAD, 1, "COMPLETED", []] else [f"it was found as {found}"]
        )
        databases.drop(url)

    assert {} == {point: found for point, found in problems.items() if found}
    assert len(problems) > 2 * 40 / len(SHARES)


@pytest.mark.parametrize("stride", [3, 7])
def test_a_job_that_is_killed_again_and_again_ends_like_an_undisturbed_one(
    stride: int, databases: Databases, warm_parent: WarmParent
) -> None:
    """Method: each run recovers the one before and is killed a little later than that one."""
    url = databases.migrated(warm_parent)
    number, killed_count = 1, 0
    while True:
        point = KillPoint(number, "before" if number % 2 else "after")
        ended = run(warm_parent, RECOVER_AND_RUN, url, kill_at=point)
        if not ended.was_killed:
            break
        killed_count += 1
        number += stride
    recorded = run(warm_parent, RECOVER_AND_RUN, url).result

    assert killed_count > 15
    assert len(recorded["executions"]) > 3
    assert {"at most one restart", "what was recovered"} >= {
        problem.partition(":")[0] for problem in what_is_wrong(recorded)
    }


def run(parent: WarmParent, function: str, url: str, kill_at: KillPoint | None = None) -> Ended:
    return parent.run(function, kill_at=kill_at, url=url)


def not_killed(ended: Ended, point: KillPoint) -> list[str]:
    """A run may need a connection less than another, and so never come to the last points."""
    if ended.was_killed or (ended.statement_count or 0) < point.number:
        return []
    return [f"it was not killed: {ended}"]


def what_is_wrong(recorded: dict[str, Any]) -> list[str]:
    """Every way in which the story of a job that was killed and run again is not the right one."""
    executions = recorded["executions"]
    statuses = [execution["status"] for execution in executions]
    failed = [execution["id"] for execution in executions if execution["status"] == "FAILED"]
    ends = Counter(
        (number, outcome)
        for execution in executions
        for step in execution["steps"]
        for number, outcome in step["partitions"]
        if outcome is not None
    )
    expected = {
        "the application's rows": (ROWS, recorded["rows"]),
        "broken invariants": ([], recorded["findings"]),
        "the statuses": (["FAILED"] * (len(statuses) - 1) + ["COMPLETED"], statuses),
        "at most one restart": (True, len(statuses) <= 2),
        "what was recovered": (failed, recorded["recovered"]),
        "the job's result": ("COMPLETED", executions[-1]["result"]),
        "the last step": ("share", executions[-1]["last_step"]),
        "items read": (len(ITEMS), total(executions, "load", "read")),
        "items written": (len(ITEMS), total(executions, "load", "written")),
        "results of partitions": (
            {(number, "SUCCESS"): 1 for number in range(len(PARTITIONS))},
            dict(ends),
        ),
    }
    return [
        f"{what}: expected {right}, got {found}"
        for what, (right, found) in expected.items()
        if right != found
    ]


def total(executions: list[dict[str, Any]], step_name: str, counter: str) -> int:
    """The sum of a step's counter over all attempts."""
    return sum(
        step[counter]
        for execution in executions
        for step in execution["steps"]
        if step["name"] == step_name
    )
