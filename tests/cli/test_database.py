"""``db``, and what every command says of a database that is not as it should be."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys

import pytest

from tests.cli.program import Folder

LOOKING = [
    ["status"],
    ["history", "load"],
    ["stop", "1"],
    ["recover"],
    ["db", "migrate"],
]


@pytest.mark.parametrize("words", LOOKING, ids=" ".join)
def test_looking_makes_no_database(folder: Folder, words: list[str]) -> None:
    folder.call(*words).refused(2, "there is no such file", "`stepwell init` creates it")

    assert not list(folder.path.glob("stepwell.db*"))


@pytest.mark.parametrize("words", [["status"], ["recover"], ["run", "talks"]], ids=" ".join)
def test_a_folder_is_no_database(folder: Folder, words: list[str]) -> None:
    (folder.path / "stepwell.db").mkdir()

    folder.call(*words).refused(2, "it is a folder", "hint: ")


def test_a_file_that_is_no_database_is_told_as_damaged(folder: Folder) -> None:
    (folder.path / "stepwell.db").write_bytes(b"a letter to the bank, not a database" * 100)

    folder.call("status").refused(1, "cannot open database")


def test_looking_at_somebody_elses_database_changes_nothing(folder: Folder) -> None:
    connection = sqlite3.connect(folder.path / "stepwell.db")
    connection.execute("CREATE TABLE customer (id INTEGER)")
    connection.close()

    folder.call("status").refused(2, "it has no Stepwell tables", "`stepwell run JOB` makes them")
    folder.call("recover").refused(2, "it has no Stepwell tables")
    assert [("customer",)] == folder.rows("SELECT name FROM sqlite_master")
    assert 0 == folder.call("run", "talks").code


def test_an_unknown_kind_of_url_is_refused(folder: Folder) -> None:
    folder.call("status", "--database", "mysql://x/y").refused(2, "neither sqlite:///PATH nor")
    folder.call("status", "--database", "stepwell.db").refused(2, "hint: `sqlite:///stepwell.db`")


# Root may write everything, unless it has given that up.
AS_OTHERS = ["setpriv", "--bounding-set=-all", "--inh-caps=-all"] if os.geteuid() == 0 else []


@pytest.mark.skipif(
    bool(AS_OTHERS) and shutil.which(AS_OTHERS[0]) is None, reason="root cannot be refused here"
)
@pytest.mark.parametrize("words", [["status"], ["run", "talks"], ["work"]], ids=" ".join)
def test_a_database_that_cannot_be_written_is_refused(folder: Folder, words: list[str]) -> None:
    folder.done("init")
    database = folder.path / "stepwell.db"
    database.chmod(0o444)

    folder.call(*words, by=AS_OTHERS).refused(
        2, "is read-only for this user", "hint: let this user write the file and its folder"
    )


def test_info_tells_what_there_is_to_know(past: Folder) -> None:
    out = past.done("db", "info").out
    info = past.json("db", "info")

    assert f"{past.path}/stepwell.db" in out
    assert ("sqlite", "wal", False) == (
        info["dialect"],
        info["journal_mode"],
        info["migration_needed"],
    )
    assert info["schema_version"] == info["schema_version_wanted"]
    assert info["size_bytes"] > 0
    assert info["wal_bytes"] >= 0


def test_info_tells_of_a_sqlite_with_the_reset_bug(past: Folder) -> None:
    """Method: the system's SQLite, which is older than the fix on the machines known here."""
    info = past.call("db", "info", "--json", STEPWELL_SQLITE_DRIVER="sqlite3").json
    newer = past.json("db", "info")
    out = past.done("db", "info", STEPWELL_SQLITE_DRIVER="sqlite3").out

    assert ("sqlite3", "pysqlite3") == (info["driver"], newer["driver"])
    assert info["wal_reset_affected"] == ("pip install 'stepwell[sqlite]'" in info["advice"])
    assert info["wal_reset_affected"] == ("hint: SQLite" in out)
    assert (False, "") == (newer["wal_reset_affected"], newer["advice"])


def test_migrate_prints_then_applies_then_has_nothing_to_do(folder: Folder) -> None:
    sqlite3.connect(folder.path / "stepwell.db").close()
    (folder.path / "stepwell.db").touch()

    sql = folder.done("db", "migrate", "--sql").out
    before = folder.json("db", "info")
    applied = folder.done("db", "migrate").out
    again = folder.json("db", "migrate")

    assert "CREATE TABLE batch_job_execution (" in sql
    assert (None, True) == (before["schema_version"], before["migration_needed"])
    assert applied.startswith("applied 0001")
    assert ([], before["schema_version_wanted"]) == (again["applied"], again["schema_version"])
    assert folder.done("db", "migrate", "--sql").out.startswith("-- nothing is pending")
    assert "" == folder.json("db", "migrate", "--sql")["sql"]


def test_the_sql_that_is_printed_is_what_is_applied(folder: Folder) -> None:
    (folder.path / "stepwell.db").touch()
    sql = folder.done("db", "migrate", "--sql").out
    folder.done("db", "migrate")
    by_hand = sqlite3.connect(folder.path / "by-hand.db")
    by_hand.executescript(sql)
    by_hand.close()

    names = "SELECT type, name FROM sqlite_master ORDER BY 1, 2"
    assert folder.rows(names) == folder.rows(names, "by-hand.db")


READER = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("BEGIN")
connection.execute("SELECT COUNT(*) FROM batch_owner").fetchall()
print("reads", flush=True)
sys.stdin.read()
"""


def test_checkpoint_empties_the_log_and_names_the_reader_that_keeps_it(folder: Folder) -> None:
    """Method: another program reads on while jobs commit."""
    folder.done("run", "talks")
    with subprocess.Popen(
        [sys.executable, "-c", READER, str(folder.path / "stepwell.db")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as reader:
        assert reader.stdout is not None
        assert "reads\n" == reader.stdout.readline()
        folder.done("run", "talks", "--again")
        info = folder.json("db", "info")
        told = folder.done("db", "info").out
        blocked = folder.call("db", "checkpoint", "--wait", "0")
        as_json = folder.call("db", "checkpoint", "--wait", "0", "--json")
        assert reader.stdin is not None
        reader.stdin.close()
    emptied = folder.done("db", "checkpoint").out

    assert reader.pid == info["oldest_reader"]["pid"]
    assert info["oldest_reader"]["pages_behind"] > 0
    assert f"oldest reader    pid {reader.pid}" in told
    assert (3, 3) == (blocked.code, as_json.code)
    assert f"pid {reader.pid}" in blocked.out
    assert as_json.json["log"]["is_blocked"]
    assert reader.pid == as_json.json["oldest_reader"]["pid"]
    assert emptied.startswith("the log is empty")
    assert (None, 0) == (
        folder.json("db", "info")["oldest_reader"],
        folder.json("db", "info")["epoch"],
    )
