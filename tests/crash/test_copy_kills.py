"""``db copy`` killed at any statement: the same call goes on, and no row is doubled or lost.

Method: a child ends before or after a statement; a fresh process copies again; then every row of
the target is what an undisturbed copy has. At no moment can both databases be written.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from stepwell.database.connect import open_database
from stepwell.errors import DatabaseMoved
from stepwell.testing import KillPoint, WarmParent
from tests.support.databases import Databases
from tests.support.moving import all_rows, past

__all__ = ["past"]

pytestmark = pytest.mark.timeout(600)

COPY = "tests.support.moving:copy"
# These have the time, the process and the place of the copy itself.
OWN = {"batch_owner", "sync_node"}
WORDS = ("COMMIT", "BEGIN IMMEDIATE", "UPDATE", "CREATE TRIGGER", "DROP TRIGGER", "SELECT")
SOME = [
    KillPoint(1, "after", "COMMIT"),  # The source is closed.
    KillPoint(3, "after", "COMMIT"),  # The target has its tables and is closed.
    KillPoint(8, "before", "COMMIT"),  # Rows are written, and not committed.
    KillPoint(1, "after", "UPDATE BATCH_JOB_EXECUTION"),  # The target is being opened.
    KillPoint(2, "after", "DROP TRIGGER"),
]


def is_open(url: str) -> bool:
    """Whether somebody could become an owner there."""
    with open_database(url) as database:
        try:
            with database.write() as transaction:
                if not transaction.ask(lambda c: database.dialect.has_table(c, "batch_pool")):
                    return False
                transaction.connection.execute("UPDATE batch_pool SET size = size")
        except DatabaseMoved:
            return False
    return True


def examine_kills(
    points: list[KillPoint], past: Path, databases: Databases, parent: WarmParent, tmp_path: Path
) -> tuple[dict[KillPoint, Any], int]:
    source = f"sqlite:///{tmp_path}/past.db"

    def fresh() -> str:
        for file in tmp_path.glob("past.db*"):
            file.unlink()
        shutil.copy(past, tmp_path / "past.db")
        return databases.empty()

    target = fresh()
    assert parent.run(COPY, source=source, target=target).error is None
    expected = all_rows(target)
    problems, kills = {}, 0
    for point in points:
        target = fresh()
        ended = parent.run(COPY, source=source, target=target, kill_at=point)
        kills += ended.was_killed
        # Nothing is closed yet, or the source is; both are open only when the target has no rows.
        both = is_open(source) and is_open(target) and any(all_rows(target).values())
        again = parent.run(COPY, source=source, target=target)
        rows = all_rows(target)
        wrong = [name for name in rows if name not in OWN and rows[name] != expected[name]]
        count = len(rows["batch_owner"]) - len(expected["batch_owner"])
        if ended.error or again.error or wrong or count or both or is_open(source):
            problems[point] = (ended.error, again.error, wrong, count, both)
    return problems, kills


def test_a_kill_at_any_step_of_a_copy_is_gone_on_from(
    past: Path, databases: Databases, warm_parent: WarmParent, tmp_path: Path
) -> None:
    problems, kills = examine_kills(SOME, past, databases, warm_parent, tmp_path)

    assert {} == problems
    assert len(SOME) == kills


@pytest.mark.slow
@pytest.mark.parametrize("share", range(4))
def test_a_kill_at_each_statement_of_a_copy_is_gone_on_from(
    share: int, past: Path, databases: Databases, warm_parent: WarmParent, tmp_path: Path
) -> None:
    points = [
        KillPoint(number, when, word)
        for word in WORDS
        for number in range(1, 40)
        for when in ("before", "after")
    ]
    problems, kills = examine_kills(points[share::4], past, databases, warm_parent, tmp_path)

    assert {} == problems
    assert kills > 50
