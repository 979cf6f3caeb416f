"""B1 to B4: each broken on purpose is found, and a sound folder has none."""

from __future__ import annotations

from pathlib import Path

import pytest

from stepwell.backup.folder import BackupFolder
from stepwell.backup.invariants import examine, examine_folder
from stepwell.database.connect import open_database
from stepwell.database.migrations import migrate
from tests.unit.backup.test_folder import put


@pytest.fixture
def folder(tmp_path: Path) -> BackupFolder:
    folder = BackupFolder(tmp_path)
    put(folder, "sound")
    return folder


def found(folder: BackupFolder) -> list[tuple[str, str, str]]:
    return [(f.rule, f.code, f.where) for f in examine_folder(folder)]


def test_a_sound_folder_and_a_missing_one_have_no_findings(folder: BackupFolder) -> None:
    assert [] == found(folder)
    assert [] == examine_folder(BackupFolder(folder.path / "missing"))


def test_every_broken_promise_of_a_folder_is_found(folder: BackupFolder) -> None:
    for name in ("lonely", "torn"):
        put(folder, name)
    folder.manifest_path("lonely").unlink()
    folder.copy_path("torn").write_bytes(b"")
    (folder.path / ".half.backup.partial").touch()
    folder.manifest_path("deleted").touch()

    assert [
        ("B1", "backup_without_manifest", "backup file lonely.backup"),
        ("B2", "backup_torn", "backup file torn.backup"),
        ("B3", "backup_leftover", "backup file .half.backup.partial"),
        ("B3", "backup_leftover", "backup file deleted.manifest.json"),
    ] == found(folder)


def test_what_somebody_is_making_is_not_left_over(folder: BackupFolder) -> None:
    with folder.writing("create backup 'x'"):
        (folder.path / ".x.backup.partial").touch()

        assert [] == found(folder)


def test_an_epoch_that_falls_is_found(database_url: str) -> None:
    insert = (
        "INSERT INTO batch_owner (host, pid, purpose, started_at, epoch)"
        " VALUES ('h', 1, 'p', '2026-11-20T00:00:00.000000Z', :epoch)"
    )
    with open_database(database_url) as database:
        migrate(database)
        for epoch in (0, 1, 1, 0):
            with database.read() as reader:
                assert [] == examine(reader)
            with database.write() as transaction:
                transaction.connection.execute(insert, (epoch,))
        with database.read() as reader:
            assert [("B4", "owner 4")] == [(f.rule, f.where) for f in examine(reader)]
