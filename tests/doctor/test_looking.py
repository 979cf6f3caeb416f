"""The doctor runs on what nothing else can open: read-only, damaged, missing, of another kind."""

from __future__ import annotations

import os
import shutil
import sqlite3
from pathlib import Path

import pytest

from stepwell import Node
from stepwell.database.looking import open_to_look
from stepwell.doctor.doctor import Doctor
from stepwell.errors import DatabaseReadOnly
from stepwell.settings import Settings
from tests.cli.program import Folder
from tests.conformance.stories import execute
from tests.doctor.patients import codes

# Root may write everything, unless it has given that up.
AS_OTHERS = ["setpriv", "--bounding-set=-all", "--inh-caps=-all"] if os.geteuid() == 0 else []


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    (tmp_path / "stepwell.toml").write_text("", encoding="utf-8")
    (tmp_path / "stepwell.db").touch()
    folder = Folder(tmp_path)
    folder.done("db", "migrate")
    folder.done("status")  # Whose close moves the log into the file.
    assert not (tmp_path / "stepwell.db-wal").exists()
    return folder


def found(folder: Folder, *words: str, by: list[str] | None = None) -> list[dict[str, str]]:
    ended = folder.call("doctor", "--json", *words, by=by or [])
    assert "" == ended.err
    findings = ended.json["findings"]
    # The machine's own, which is another test's.
    findings = [each for each in findings if each["code"] not in ("disk_space", "wal_reset_bug")]
    assert (5 if findings else 0) == ended.code, ended
    return findings  # type: ignore[no-any-return]


def test_a_sound_database_is_left_as_it_was(folder: Folder) -> None:
    before = (folder.path / "stepwell.db").read_bytes()

    assert [] == found(folder)
    assert before == (folder.path / "stepwell.db").read_bytes()


def test_a_missing_file_is_a_finding_and_is_not_made(folder: Folder) -> None:
    for file in folder.path.glob("stepwell.db*"):
        file.unlink()

    for words in ([], ["--repair"]):
        [one] = found(folder, *words)
        assert ("cannot_open_database", None) == (one["code"], one["repair"])
        assert "there is no such file" in one["what"]
    assert [] == list(folder.path.glob("stepwell.db*"))


def test_a_folder_and_a_letter_are_findings(folder: Folder) -> None:
    file = folder.path / "stepwell.db"
    file.write_bytes(b"a letter to the bank, not a database" * 100)
    assert ["database_damaged"] == [each["code"] for each in found(folder)]
    assert ["database_damaged"] == [each["code"] for each in found(folder, "--repair")]
    file.unlink()
    file.mkdir()
    assert ["cannot_open_database"] == [each["code"] for each in found(folder)]


def test_an_empty_file_gets_its_tables_by_a_repair(folder: Folder) -> None:
    (folder.path / "stepwell.db").write_bytes(b"")

    assert ["journal_mode", "no_tables"] == [each["code"] for each in found(folder)]
    assert 0 == (folder.path / "stepwell.db").stat().st_size
    assert [] == found(folder, "--repair")
    assert [] == found(folder)


def test_damaged_pages_are_found_and_nothing_ends_the_examination(folder: Folder) -> None:
    file = folder.path / "stepwell.db"
    data = bytearray(file.read_bytes())
    # Behind the first page, which holds the schema's root.
    for page in range(4096 * 6, len(data) - 4096, 4096 * 3):
        data[page : page + 200] = os.urandom(200)
    file.write_bytes(data)

    findings = found(folder)
    assert {"integrity", "database_damaged"} & {each["code"] for each in findings}
    assert all(each["explanation"] for each in findings)


def test_a_torn_file_is_found(folder: Folder) -> None:
    file = folder.path / "stepwell.db"
    data = file.read_bytes()
    file.write_bytes(data[: len(data) // 2])

    assert {"integrity", "database_damaged"} & {each["code"] for each in found(folder)}


def test_another_journal_mode_is_found_and_switched(folder: Folder) -> None:
    connection = sqlite3.connect(folder.path / "stepwell.db")
    connection.execute("PRAGMA journal_mode = DELETE")
    connection.close()

    assert ["journal_mode"] == [each["code"] for each in found(folder)]
    assert [("delete",)] == folder.rows("PRAGMA journal_mode")
    assert [] == found(folder, "--repair")
    assert [("wal",)] == folder.rows("PRAGMA journal_mode")


@pytest.mark.skipif(
    bool(AS_OTHERS) and shutil.which(AS_OTHERS[0]) is None, reason="root cannot be refused here"
)
def test_a_file_that_may_not_be_written_is_examined(folder: Folder) -> None:
    for file in folder.path.glob("stepwell.db*"):
        file.chmod(0o444)

    findings = found(folder, by=AS_OTHERS)
    assert {"not_writable"} == {each["code"] for each in findings}
    assert f"{folder.path}/stepwell.db" in {each["where"] for each in findings}
    folder.call("doctor", "--repair", by=AS_OTHERS).refused(2, "is read-only for this user")


@pytest.mark.skipif(
    bool(AS_OTHERS) and shutil.which(AS_OTHERS[0]) is None, reason="root cannot be refused here"
)
def test_a_folder_that_may_not_be_written_is_examined(folder: Folder) -> None:
    """Method: SQLite cannot even make its shared memory there; without a log it needs none."""
    for file in folder.path.glob("stepwell.db-*"):
        file.unlink()
    (folder.path / "stepwell.db").chmod(0o444)
    folder.path.chmod(0o555)
    try:
        findings = found(folder, by=AS_OTHERS)
    finally:
        folder.path.chmod(0o755)

    assert {"not_writable"} == {each["code"] for each in findings}


def test_a_newer_format_is_told_by_both_numbers(folder: Folder) -> None:
    connection = sqlite3.connect(folder.path / "stepwell.db")
    connection.execute("UPDATE batch_schema_version SET version_num = '0099'")
    connection.commit()
    connection.close()

    for words in ([], ["--plan"], ["--repair"]):
        [one] = found(folder, *words)
        assert ("schema_too_new", None) == (one["code"], one["repair"])


def test_a_url_that_names_nothing_is_a_usage_error(folder: Folder) -> None:
    folder.call("doctor", "--database", "mysql://x/y").refused(2, "neither sqlite:///PATH nor")


def test_a_server_that_is_not_there_is_a_finding(folder: Folder) -> None:
    url = f"postgresql://nobody@/nothing?host={folder.path}"

    [one] = found(folder, "--database", url)
    assert "cannot_open_database" == one["code"]


def test_modules_that_cannot_be_loaded_are_a_finding_beside_the_others(folder: Folder) -> None:
    (folder.path / "stepwell.toml").write_text('jobs = ["torn"]\n', encoding="utf-8")
    (folder.path / "torn.py").write_text("import nothing_of_this_name\n", encoding="utf-8")
    connection = sqlite3.connect(folder.path / "stepwell.db")
    connection.execute("DROP INDEX batch_skip_step")
    connection.close()

    assert ["missing_index", "jobs_not_loaded"] == [each["code"] for each in found(folder)]
    assert ["jobs_not_loaded"] == [each["code"] for each in found(folder, "--repair")]


def test_what_is_opened_to_look_is_not_written(sqlite_settings: Settings) -> None:
    with Node.open(sqlite_settings) as node:
        execute(node, "CREATE TABLE mine (x INTEGER)")
    url = sqlite_settings.database_url
    with open_to_look(url, options=node.database.options) as database:
        assert [] == [code for code in codes(Doctor(database).examine()) if "index" in code]
        with pytest.raises(DatabaseReadOnly):
            database.run(lambda transaction: transaction.connection.execute("DELETE FROM mine"))
