"""T1 for the import of a state: the process ends at many a statement; then it is run again."""

from __future__ import annotations

import json
from pathlib import Path

from stepwell.testing import WarmParent, kill_points
from tests.support.databases import Databases

STRIDE = 17  # Of the points before and after each statement; the others differ in no commit.
IMPORT = "tests.support.importing:import_items"


def test_an_end_at_a_statement_leaves_all_items_or_none(
    databases: Databases, warm_parent: WarmParent, tmp_path: Path
) -> None:
    """Goal: laws 2 and 5. Method: the rows of an undisturbed import, however often it is killed."""
    file = tmp_path / "state.json"
    items = [{"id": name, "status": name} for name in ("pending", "done", "failed", "skipped")]
    file.write_text(json.dumps(items), encoding="utf-8")
    url = databases.migrated(warm_parent)
    undisturbed = warm_parent.run(IMPORT, url=url, file=str(file))
    assert undisturbed.result["items"] == [
        ["ABANDONED", 3],
        ["COMPLETED", 3],
        ["FAILED", 3],
        ["STARTING", 1],
    ]

    problems = {}
    for point in kill_points(undisturbed.statement_count or 0)[::STRIDE]:
        url = databases.migrated(warm_parent)
        warm_parent.run(IMPORT, kill_at=point, url=url, file=str(file))
        found = warm_parent.run(IMPORT, url=url, file=str(file)).result
        if found != undisturbed.result:
            problems[point] = found
        databases.drop(url)

    assert {} == problems
