"""T15: an upgrade that is killed leaves the old format or the new one, with every row."""

from __future__ import annotations

import pytest

from stepwell.database.migrations import HEAD
from stepwell.testing import KillPoint, WarmParent, kill_points
from tests.support.databases import Databases
from tests.support.upgrades import NEXT, told

TELL, UPGRADE = "tests.support.upgrades:tell", "tests.support.upgrades:upgrade"
STATEMENTS_MAX = 200  # Far behind the commit.
AROUND_THE_COMMIT = [KillPoint(1, "before", "COMMIT"), KillPoint(1, "after", "COMMIT")]


@pytest.mark.parametrize("stride", [7, pytest.param(1, marks=pytest.mark.slow)])
def test_an_end_at_any_statement_of_an_upgrade_leaves_the_old_state_or_the_new_one(
    stride: int, databases: Databases, warm_parent: WarmParent
) -> None:
    """Method: one database for all points; until one of them commits, it is as it was."""
    url = databases.migrated(warm_parent)
    warm_parent.run(TELL, url=url)
    before = told(url)
    assert (HEAD, []) == (before["version"], before["findings"])

    problems, seen = {}, []
    for point in [*kill_points(STATEMENTS_MAX)[::stride], *AROUND_THE_COMMIT]:
        ended = warm_parent.run(UPGRADE, url=url, kill_at=point)
        assert ended.error is None, ended.error
        after = told(url)
        seen.append(after["version"])
        assert ended.was_killed or after["version"] == NEXT
        if after["rows"] != before["rows"] or after["findings"]:
            problems[point] = after
        if after["version"] == NEXT:
            break

    assert {} == problems
    assert [HEAD] * (len(seen) - 1) + [NEXT] == seen
    assert len(seen) > 40 / stride
    assert [] == warm_parent.run(UPGRADE, url=url).result
    databases.drop(url)
