"""A kill at any statement of a purge leaves whole instances, and the next purge ends the work."""

from __future__ import annotations

from typing import Any

import pytest

from stepwell.database.connect import open_database
from stepwell.repository.invariants import examine
from stepwell.testing import WarmParent, kill_points
from tests.support.databases import Databases

pytestmark = pytest.mark.timeout(600)  # All points take some minutes.

RUN = "tests.support.backups:run_some_jobs"
PURGE = "tests.support.backups:purge"
TABLES = {
    "batch_job_instance": 1,
    "batch_job_execution": 1,
    "batch_step_execution": 2,
    "batch_partition_execution": 2,
    "batch_status_history": 7,
}


def left(url: str) -> tuple[list[int], list[Any]]:
    """How many rows are left in each table, in instances; and what is wrong."""
    with open_database(url) as database, database.read() as reader:
        rows = [
            int(reader.connection.execute(f"SELECT COUNT(*) FROM {table}").fetchall()[0][0])
            for table in TABLES
        ]
        marks = reader.connection.execute("SELECT * FROM batch_purge").fetchall()
        assert [] == marks
        return [n // of for n, of in zip(rows, TABLES.values(), strict=True)], examine(reader)


@pytest.mark.parametrize("stride", [13, pytest.param(1, marks=pytest.mark.slow)])
def test_a_kill_at_any_statement_of_a_purge_leaves_whole_instances(
    stride: int, databases: Databases, warm_parent: WarmParent
) -> None:
    url = databases.migrated(warm_parent)
    warm_parent.run(RUN, url=url)
    undisturbed = warm_parent.run(PURGE, url=url)
    assert 3 == undisturbed.result

    problems, seen = {}, set()
    for point in kill_points(undisturbed.statement_count or 0)[::stride]:
        url = databases.migrated(warm_parent)
        warm_parent.run(RUN, url=url)
        warm_parent.run(PURGE, url=url, kill_at=point)
        rows, findings = left(url)
        again = warm_parent.run(PURGE, url=url)
        seen.add(rows[0])
        if len(set(rows)) != 1 or findings or again.result != rows[0]:
            problems[point] = (rows, findings, again)
        databases.drop(url)

    assert {} == problems
    assert {3, 2, 1, 0} == seen
