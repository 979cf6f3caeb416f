"""The built-in jobs are killed, recovered and restarted like any; nothing is done twice."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from stepwell.backup.folder import BackupFolder
from stepwell.testing import KillPoint, WarmParent
from tests.support.databases import Databases

RUN, GO_ON = "tests.support.maintenance:run", "tests.support.maintenance:go_on"
SOME_JOBS = "tests.support.backups:run_some_jobs"


POINTS: list[dict[str, Any]] = [
    {"kill_at": KillPoint(number, when, word)}
    for word, number, when in (
        ("COMMIT", 3, "before"),
        ("VACUUM", 1, "after"),
        ("COMMIT", 6, "after"),
        ("COMMIT", 7, "before"),
        ("COMMIT", 8, "after"),
    )
]


def test_a_backup_job_that_is_killed_goes_on_and_leaves_one_copy(
    databases: Databases, warm_parent: WarmParent, tmp_path: Path
) -> None:
    problems, kills = {}, 0
    points = [*POINTS, *({"kill_at_step": number} for number in (8, 16, 24))]
    if not databases.empty().startswith("sqlite"):
        points = points[2:4]  # Each takes some seconds there.
    for number, point in enumerate(points):
        folder = tmp_path / f"place-{number}"
        folder.mkdir()
        place = {"url": databases.migrated(warm_parent), "folder": str(folder)}
        ended = warm_parent.run(RUN, job="stepwell.backup", **place, **point)
        assert ended.error is None, ended.error
        kills += ended.was_killed
        again = warm_parent.run(GO_ON, job="stepwell.backup", **place)
        copies = BackupFolder(folder / "backups")
        found = [backup.problem for backup in copies.backups()]
        wanted = {"status": "COMPLETED", "findings": [], "left": 0}
        if again.error or again.result != wanted or found != [""] or copies.leftovers():
            problems[str(point)] = (again, found, copies.leftovers())

    assert {} == problems
    assert kills > len(points) / 2


def test_a_purge_job_that_is_killed_goes_on_until_nothing_is_left(
    databases: Databases, warm_parent: WarmParent, tmp_path: Path
) -> None:
    problems, kills = {}, 0
    for number, when in ((3, "before"), (4, "after"), (5, "after"), (6, "before"), (7, "before")):
        place = {"url": databases.migrated(warm_parent), "folder": str(tmp_path)}
        warm_parent.run(SOME_JOBS, url=place["url"])
        point = KillPoint(number, when, "COMMIT")  # type: ignore[arg-type]
        ended = warm_parent.run(RUN, job="stepwell.purge", keep=0, kill_at=point, **place)
        assert ended.error is None, ended.error
        kills += ended.was_killed
        again = warm_parent.run(GO_ON, job="stepwell.purge", **place)
        if again.error or again.result != {"status": "COMPLETED", "findings": [], "left": 0}:
            problems[point] = again

    assert {} == problems
    assert kills > 3
