"""T1 for an import: the process ends before or after every statement; then it is run again."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stepwell.testing import KillPoint, WarmParent, kill_points
from tests.support.applying import write_file
from tests.support.databases import Databases, SqliteDatabases

PREPARE = "tests.support.applying:prepare"
IMPORT = "tests.support.applying:import_file"
AGAIN = "tests.support.applying:import_and_tell"

# Of the points; the others differ in no commit. All of them in test-all.
STRIDES = [pytest.param(11), pytest.param(1, marks=[pytest.mark.slow, pytest.mark.timeout(1_800)])]


@pytest.fixture
def mains(databases: Databases, warm_parent: WarmParent, tmp_path: Path) -> Callable[[], str]:
    """Makes a main that has rows of its own; on SQLite, a copy of one."""
    template = tmp_path / "template.db"
    file = write_file(tmp_path)
    warm = f"sqlite:///{tmp_path}/warm.db"
    warm_parent.warm_up(PREPARE, url=warm)
    warm_parent.warm_up(AGAIN, url=warm, file=str(file))

    def make() -> str:
        url = databases.empty()
        if not isinstance(databases, SqliteDatabases):
            warm_parent.run(PREPARE, url=url)
            return url
        if not template.exists():
            warm_parent.run(PREPARE, url=f"sqlite:///{template}")
        shutil.copyfile(template, url.removeprefix("sqlite:///"))
        return url

    return make


@pytest.mark.parametrize("stride", STRIDES)
def test_an_end_at_any_statement_of_an_import_loses_nothing_and_doubles_nothing(
    stride: int,
    databases: Databases,
    mains: Callable[[], str],
    warm_parent: WarmParent,
    tmp_path: Path,
) -> None:
    """Method: everything that an undisturbed import leaves, but times, however often it ended."""
    file = str(tmp_path / "shop.jsonl")
    count = warm_parent.run(IMPORT, url=mains(), file=file).statement_count or 0
    undisturbed = run(warm_parent, mains(), file)

    problems = {}
    if stride > 1 and not isinstance(databases, SqliteDatabases):
        stride *= 3  # Another database takes much longer to be made.
    points = kill_points(count)[::stride]
    for point in points:
        url = mains()
        killed = warm_parent.run(IMPORT, kill_at=point, url=url, file=file)
        found = run(warm_parent, url, file)
        if found != undisturbed or not killed.was_killed:
            problems[point] = {k: v for k, v in found.items() if v != undisturbed[k]}
        databases.drop(url)

    assert {} == problems
    assert len(points) > 200 / stride


def test_an_import_that_is_killed_again_and_again_ends_like_an_undisturbed_one(
    mains: Callable[[], str], warm_parent: WarmParent, tmp_path: Path
) -> None:
    file = str(tmp_path / "shop.jsonl")
    undisturbed = run(warm_parent, mains(), file)
    url, number, killed_count = mains(), 3, 0
    while warm_parent.run(
        IMPORT, kill_at=KillPoint(number, "after"), url=url, file=file
    ).was_killed:
        killed_count += 1
        number += 11

    assert killed_count > 5
    assert undisturbed == run(warm_parent, url, file)


def run(parent: WarmParent, url: str, file: str) -> dict[str, Any]:
    told: dict[str, Any] = parent.run(AGAIN, url=url, file=file).result
    return told
