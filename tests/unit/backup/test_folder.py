"""The folder of backups: names, one writer, and nothing that a killed process has left."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from stepwell.backup.folder import BackupFolder, check_name
from stepwell.backup.manifest import to_text
from stepwell.backup.retention import Retention, prune_backups
from stepwell.errors import BackupError, BackupUnderWay, NoSuchBackup
from tests.unit.backup.test_manifest import MANIFEST

NOW = MANIFEST.created_at


@pytest.fixture
def folder(tmp_path: Path) -> BackupFolder:
    return BackupFolder(tmp_path)


def put(
    folder: BackupFolder, name: str, days_old: int = 0, database: str = "/srv/night.db"
) -> None:
    """A backup as far as the folder can see."""
    folder.copy_path(name).write_bytes(b"x" * 10)
    made = NOW - timedelta(days=days_old)
    manifest = replace(MANIFEST, name=name, created_at=made, copy_bytes=10, database=database)
    folder.manifest_path(name).write_text(to_text(manifest), encoding="utf-8")


def names(folder: BackupFolder) -> list[str]:
    return [backup.name for backup in folder.backups()]


@pytest.mark.parametrize("name", ["night", "2026-11-20", "a.b_c+d@e", "x" * 100])
def test_a_name_is_letters_digits_and_a_few_signs(name: str) -> None:
    assert name == check_name(name)


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "..",
        ".hidden",
        "-x",
        "a/b",
        "a\\b",
        "a b",
        "夜",
        "x" * 101,
        "a.backup",
        "a\n",
        "a:b",
    ],
)
def test_a_name_that_is_no_files_name_everywhere_is_refused(name: str) -> None:
    with pytest.raises(BackupError, match="a name has letters, digits and"):
        check_name(name)


def test_the_list_is_by_age_and_tells_what_is_wrong_at_a_look(folder: BackupFolder) -> None:
    put(folder, "new", 1)
    put(folder, "old", 9)
    put(folder, "torn", 5)
    folder.copy_path("torn").write_bytes(b"x")
    folder.copy_path("lonely").write_bytes(b"x")
    put(folder, "newer")
    folder.manifest_path("newer").write_text('{"format": 99}')
    (folder.path / "notes.txt").touch()

    found = {backup.name: backup.problem for backup in folder.backups()}
    assert ["lonely", "newer", "old", "torn", "new"] == list(found)
    assert ("", "") == (found["old"], found["new"])
    assert "it is torn: 1 of 10 bytes" == found["torn"]
    assert "it has no manifest" == found["lonely"]
    assert "its format is 99" in found["newer"]


def test_an_unknown_name_is_refused_with_the_nearest_one(folder: BackupFolder) -> None:
    put(folder, "before-upgrade")
    with pytest.raises(NoSuchBackup, match="cannot find backup 'before-upgrad'") as caught:
        folder.get("before-upgrad")

    assert caught.value.hint.startswith("did you mean 'before-upgrade'? ")


def test_one_writer_at_a_time_and_the_next_one_clears_what_is_left(folder: BackupFolder) -> None:
    put(folder, "whole")
    with folder.writing("create backup 'x'"):
        (folder.path / ".half.backup.partial").touch()
        with (
            pytest.raises(BackupUnderWay, match="cannot prune backups: this process writes to"),
            BackupFolder(folder.path).writing("prune backups"),
        ):
            pass
        assert (folder.path / ".half.backup.partial").exists()
    folder.manifest_path("deleted").touch()
    (folder.path / ".other.backup.partial").touch()
    with folder.writing("create backup 'y'"):
        inside = sorted(path.name for path in folder.path.iterdir())

    assert [".backup-lock", "whole.backup", "whole.manifest.json"] == inside
    assert ["whole"] == names(folder)


def test_only_the_default_folder_is_made(tmp_path: Path) -> None:
    """Goal: a disk that is not mounted is noticed."""
    with BackupFolder(tmp_path / "backups", may_be_made=True).writing("create"):
        pass
    for missing in (tmp_path / "usb", tmp_path / "backups" / "x" / "y"):
        refused = pytest.raises(BackupError, match=r"cannot create: folder .* does not exist")
        with refused, BackupFolder(missing, may_be_made="y" == missing.name).writing("create"):
            pass
    (tmp_path / "file").touch()
    with (
        pytest.raises(BackupError, match="is not a folder"),
        BackupFolder(tmp_path / "file", may_be_made=True).writing("create"),
    ):
        pass

    assert (tmp_path / "backups").is_dir()


# --- retention


def superfluous(folder: BackupFolder, keep: int | None, days: int | None) -> list[str]:
    retention = Retention(keep, None if days is None else timedelta(days=days))
    found = prune_backups(folder, "/srv/night.db", retention, now=NOW, delete=False)
    return [backup.name for backup in found]


def test_what_no_rule_keeps_is_superfluous_the_oldest_first(folder: BackupFolder) -> None:
    for days in (0, 1, 5, 30, 60):
        put(folder, f"d{days}", days)
    put(folder, "of-others", 90, database="/srv/other.db")
    folder.copy_path("without-manifest").touch()

    assert ["d60", "d30", "d5"] == superfluous(folder, 2, None)
    assert ["d60", "d30"] == superfluous(folder, None, 29)
    assert ["d60"] == superfluous(folder, 2, 30)
    assert [] == superfluous(folder, 5, None)


def test_the_newest_one_is_kept_however_old_it_is(folder: BackupFolder) -> None:
    put(folder, "old", 400)
    put(folder, "older", 500)

    assert ["older"] == superfluous(folder, None, 1)


def test_prune_shows_first_and_deletes_when_asked(folder: BackupFolder) -> None:
    for days in (0, 1, 2):
        put(folder, f"d{days}", days)
    shown = superfluous(folder, 1, None)
    before = names(folder)
    deleted = prune_backups(folder, "/srv/night.db", Retention(1), now=NOW, delete=True)

    assert (["d2", "d1"], ["d2", "d1", "d0"]) == (shown, before)
    assert ["d2", "d1"] == [backup.name for backup in deleted]
    assert ["d0.backup", "d0.manifest.json"] == sorted(p.name for p in folder.path.iterdir())


@pytest.mark.parametrize(
    ("keep", "age", "fact"),
    [
        (None, None, "neither a number nor an age"),
        (0, None, "the newest one is always kept, got 0"),
        (None, timedelta(0), "the age must be above 0"),
    ],
)
def test_a_rule_that_keeps_nothing_is_refused(
    keep: int | None, age: timedelta | None, fact: str
) -> None:
    with pytest.raises(BackupError, match=fact):
        Retention(keep, age)
