"""A kill at any statement of a repair leaves each finding mended or not; the next one goes on.

Method: a child ends before and after every statement that changes something, and before each step
that it takes with files. A fresh process repairs again; then nothing is left, each repair is
recorded once, as if nobody had been killed, and every copy is whole.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from stepwell.backup.folder import BackupFolder
from stepwell.testing import Ended, KillPoint, WarmParent
from tests.support.databases import Databases
from tests.support.repairs import repairs

pytestmark = pytest.mark.timeout(600)  # All points of a server take some minutes.

TELL = "tests.support.repairs:tell_and_break"
REPAIR = "tests.support.repairs:repair"
WORDS = ("COMMIT", "UPDATE", "INSERT", "CREATE", "VACUUM")
# What is no SQL is not recorded in the transaction that it is done in; and what a kill has left of
# the copy is a finding of its own.
OPERATIONS = {"dead_owner", "backup_leftover"}
SOME = [
    KillPoint(1, "after", "VACUUM"),
    KillPoint(2, "before", "COMMIT"),
    KillPoint(3, "after", "COMMIT"),
    KillPoint(1, "after", "CREATE"),
    KillPoint(2, "before", "INSERT"),
    KillPoint(2, "after", "UPDATE"),
]


class Patient:
    """A broken database, as often as a test needs it."""

    def __init__(self, databases: Databases, parent: WarmParent, folder: Path) -> None:
        self._databases = databases
        self._parent = parent
        self._broken: str | None = None
        self.folder = folder
        self.url = ""

    def bring(self) -> None:
        """Anew; a copy of a file costs nothing."""
        if self.url and self.url != self._broken:
            self._databases.drop(self.url)
        shutil.rmtree(self.folder, ignore_errors=True)
        self.url = self._databases.empty()
        if self._broken is not None:
            shutil.copy(path_of(self._broken), path_of(self.url))
            return
        self._parent.run(TELL, url=self.url)
        if self.url.startswith("sqlite"):
            self._parent.run("tests.support.processes:create", url=self.url)  # Its close: no log.
            self._broken, self.url = self.url, ""
            self.bring()

    def repair(self, kill_at: KillPoint | None = None) -> Ended:
        # A copy of PostgreSQL takes a second; its kills are another test's.
        folder = str(self.folder) if self.url.startswith("sqlite") else ""
        return self._parent.run(REPAIR, url=self.url, folder=folder, kill_at=kill_at)

    def problems(self) -> list[str]:
        """What is wrong with the copies."""
        copies = BackupFolder(self.folder)
        left = [str(path) for path in copies.leftovers()]
        return left + [backup.problem for backup in copies.backups() if backup.problem]


def path_of(url: str) -> str:
    return url.removeprefix("sqlite:///")


def recorded(url: str) -> list[Any]:
    return [row for row in repairs(url) if row[0] not in OPERATIONS]


def examine_kills(patient: Patient, points: list[KillPoint]) -> tuple[dict[Any, Any], int]:
    patient.bring()
    whole = patient.repair()
    assert whole.error is None, whole.error
    assert ([], []) == (whole.result["left"], whole.result["not_repaired"])
    expected = recorded(patient.url)
    assert {"missing_index", "missing_view", "epoch_falls", "purge_open"} < {r[0] for r in expected}
    problems, kills = {}, 0
    for point in points:
        patient.bring()
        ended = patient.repair(kill_at=point)
        assert ended.error is None, ended.error
        kills += ended.was_killed
        again = patient.repair()
        once = recorded(patient.url)
        others = [row for row in once if row not in expected] + (len(once) - len(expected)) * ["?"]
        found = (again.error, again.result["left"], others, patient.problems())
        if any(found):
            problems[point] = found
    return problems, kills


def points(share: slice) -> list[KillPoint]:
    return [
        KillPoint(number, when, word)
        for word in WORDS
        for number in range(1, 13)
        for when in ("before", "after")
    ][share]


@pytest.fixture
def patient(databases: Databases, warm_parent: WarmParent, tmp_path: Path) -> Patient:
    return Patient(databases, warm_parent, tmp_path / "backups")


def test_a_kill_at_any_change_of_a_repair_is_finished_by_the_next_one(patient: Patient) -> None:
    problems, kills = examine_kills(patient, SOME)

    assert {} == problems
    assert kills > 3


@pytest.mark.slow
@pytest.mark.parametrize("share", range(3))
def test_a_kill_at_each_change_of_a_repair_is_finished_by_the_next_one(
    share: int, patient: Patient
) -> None:
    problems, kills = examine_kills(patient, points(slice(share, None, 3)))

    assert {} == problems
    assert kills > 15
