"""A kill at each step of create, prune and restore leaves the old state or the new one.

Method: a child ends before every step that it takes with files, and before and after every
statement that changes something; then the same verb runs again and must leave nothing behind.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from threading import Event
from typing import Any

import pytest

from stepwell.testing import Ended, KillPoint, WarmParent
from tests.support.backups import Copier, fill, state

pytestmark = pytest.mark.timeout(600)  # Each copy of PostgreSQL takes a second or more.

CREATE = "tests.support.backups:create"
RESTORE = "tests.support.backups:restore"
PRUNE = "tests.support.backups:prune"
CREATE_DATABASE = "tests.support.processes:create"

# All of the points in `make test-all`, a share of each kind in every run.
SHARES = [0, *(pytest.param(share, marks=pytest.mark.slow) for share in range(1, 6))]

OLD, NEW = 5, 3  # Rows of the application's table: in the database, and in the copy.
CHANGING = ("VACUUM", "COMMIT", "PRAGMA wal_checkpoint", "PRAGMA journal_mode", "ALTER", "DROP")


class Place:
    """A database with OLD rows, and the backup "three" with NEW of them."""

    def __init__(self, parent: WarmParent, folder: Path, url: str) -> None:
        self._parent = parent
        self.path = folder
        self.url = url
        fill(url, "item", NEW)
        self.copier = Copier(url, folder / "backups")
        self.copier.create("three")
        fill(url, "item", OLD - NEW)

    def run(self, function: str, *, kill_at: KillPoint | None = None, **arguments: Any) -> Ended:
        child = self._parent.start(
            function,
            kill_at=kill_at,
            url=self.url,
            folder=str(self.copier.folder.path),
            **arguments,
        )
        return child.wait()

    def leftovers(self) -> list[str]:
        """What neither belongs to a database nor to a whole backup."""
        found = [
            path.name
            for path in self.path.iterdir()
            if path.name.startswith(".") or "unfold" in path.name
        ]
        return found + [path.name for path in self.copier.folder.leftovers()]


@pytest.fixture(params=["sqlite3", pytest.param("postgresql", marks=pytest.mark.slow)])
def places(
    request: pytest.FixtureRequest,
    warm_parent: WarmParent,
    tmp_path_factory: pytest.TempPathFactory,
) -> Callable[[], Place]:
    """As many places as a test needs; on SQLite the database is in the folder."""

    def place() -> Place:
        folder = tmp_path_factory.mktemp("place")
        url = f"sqlite:///{folder}/night.db"
        if request.param == "postgresql":
            url = request.getfixturevalue("new_postgresql_database")()
        warm_parent.run(CREATE_DATABASE, url=url)
        return Place(warm_parent, folder, url)

    return place


def points(places: Any, function: str, **arguments: Any) -> list[dict[str, Any]]:
    """Where to end the process: before each file step, and around what changes something."""
    undisturbed = places().run(function, **arguments)
    assert undisturbed.error is None, undisturbed.error
    steps = [{"kill_at_step": number} for number in range(1, undisturbed.result + 1)]
    statements = [
        {"kill_at": KillPoint(number, when, word)}
        for word in CHANGING
        for number in range(1, 5)
        for when in ("before", "after")
    ]
    return [*steps, *statements]


def killed(place: Place, function: str, point: dict[str, Any], **arguments: Any) -> bool:
    """Whether it came to its point; it may have ended before."""
    ended = place.run(function, **point, **arguments)
    assert ended.error is None, ended.error
    return ended.was_killed


@pytest.mark.slow
@pytest.mark.parametrize("share", SHARES)
def test_a_kill_at_any_step_of_create_leaves_a_whole_backup_or_none(
    share: int, places: Any
) -> None:
    problems, kills = {}, 0
    place = places()
    for number, point in enumerate(points(places, CREATE, name="x")[share :: len(SHARES)]):
        name = f"night-{number}"
        kills += killed(place, CREATE, point, name=name)
        if name in place.copier.names:
            place.copier.verify(name)
        again = place.run(CREATE, name=f"again-{number}")
        if again.error or place.leftovers() or state(place.url, "item")["rows"] != OLD:
            problems[number] = (point, again.error, place.leftovers())

    assert {} == problems
    assert kills > 4


@pytest.mark.slow
def test_a_kill_at_any_step_of_prune_leaves_whole_backups(places: Any) -> None:
    problems, kills = {}, 0
    for number in range(1, 20):
        place = places()
        place.copier.create("four")
        place.copier.create("five")
        was_killed = killed(place, PRUNE, {"kill_at_step": number}, keep=1)
        kills += was_killed
        for name in place.copier.names:
            place.copier.verify(name)
        again = place.run(PRUNE, keep=1)
        if again.error or place.leftovers() or ["five"] != place.copier.names:
            problems[number] = (again.error, place.leftovers(), place.copier.names)
        if not was_killed:
            break

    assert {} == problems
    assert kills > 5


@pytest.mark.parametrize("share", SHARES)
def test_a_kill_at_any_step_of_restore_leaves_the_old_state_or_the_new_one(
    share: int, places: Any
) -> None:
    """Method: one database for all points; after each it gets the old number of rows again."""
    problems, found_old, found_new = {}, 0, 0
    place = places()
    for point in points(places, RESTORE, name="three")[share :: len(SHARES)]:
        before = state(place.url, "item")
        killed(place, RESTORE, point, name="three")
        after = state(place.url, "item")
        found_old += after == before
        found_new += after["rows"] == NEW
        whole = [backup.problem for backup in place.copier.folder.backups()]
        again = place.run(RESTORE, name="three")
        at_last = state(place.url, "item")
        new = {"rows": NEW, "epoch": before["epoch"] + 1, "findings": []}
        if (
            after not in (before, new)
            or any(whole)
            or again.error
            or at_last != {**new, "epoch": after["epoch"] + 1}
            or place.leftovers()
        ):
            problems[str(point)] = (after, whole, again.error, at_last, place.leftovers())
        fill(place.url, "item", OLD - NEW)

    assert {} == problems
    assert found_old > 2
    assert found_new > 0


def test_a_kill_while_the_pages_are_written_leaves_the_old_state_or_the_new_one(
    warm_parent: WarmParent, tmp_path: Path
) -> None:
    """Method: real SIGKILLs at nine moments of the restore of thirty megabytes."""
    url = f"sqlite:///{tmp_path}/night.db"
    warm_parent.run(CREATE_DATABASE, url=url)
    text = "x" * 1000
    fill(url, "item", 30_000, text)
    copier = Copier(url, tmp_path / "backups")
    copier.create("large")
    fill(url, "item", 10, text)

    def restore() -> Any:
        return warm_parent.start(RESTORE, url=url, folder=str(tmp_path / "backups"), name="large")

    began = copier.clock.monotonic()
    assert restore().wait().error is None
    took_s = copier.clock.monotonic() - began
    expected = {"rows": 30_000, "epoch": 1, "findings": []}
    assert expected == state(url, "item")
    for tenth in range(1, 10):
        fill(url, "item", 10, text)
        before = state(url, "item")
        child = restore()
        Event().wait(took_s * tenth / 10)
        os.kill(child.pid, signal.SIGKILL)
        child.wait()

        after = state(url, "item")
        restored = {"rows": 30_000, "epoch": before["epoch"] + 1, "findings": []}
        assert after in (before, restored)
    assert restore().wait().error is None
    assert 30_000 == state(url, "item")["rows"]
    assert [] == [path.name for path in tmp_path.iterdir() if path.name.startswith(".")]
