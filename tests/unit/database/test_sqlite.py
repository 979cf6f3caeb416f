"""SQLite: the recipe, what is said when a file cannot be opened, forks, and which SQLite."""

from __future__ import annotations

import logging
import os
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import literal, select

from stepwell.clock import Clock
from stepwell.database import filesystem, sqlite_driver
from stepwell.database.connect import Database, open_database
from stepwell.database.dialect import DatabaseOptions
from stepwell.database.prepared import Prepared
from stepwell.database.sqlite import SqliteDialect
from stepwell.database.sqlite_driver import load_driver, wal_reset_fixed, warn_of_wal_reset
from stepwell.errors import (
    CannotOpenDatabase,
    DatabaseBusy,
    DatabaseDamaged,
    DatabaseError,
    DatabaseFull,
    DatabaseReadOnly,
    StepUsageError,
    WalUnavailable,
)
from tests.unit.database.statements import ADD, ALL, line_of, program, row

WRITER = {
    "journal_mode": "wal",
    "synchronous": 2,
    "foreign_keys": 1,
    "journal_size_limit": 64 * 1024 * 1024,
    "mmap_size": 0,
    "trusted_schema": 0,
    "wal_autocheckpoint": 0,
    "busy_timeout": 0,
    "query_only": 0,
}
READER = {
    "journal_mode": "wal",
    "foreign_keys": 1,
    "mmap_size": 0,
    "trusted_schema": 0,
    "wal_autocheckpoint": 0,
    "busy_timeout": 30_000,
    "query_only": 1,
}

_ONE = Prepared(select(literal(1)))


def pragmas(raw: Any, names: dict[str, object]) -> dict[str, object]:
    return {name: raw.execute(f"PRAGMA {name}").fetchone()[0] for name in names}


def kept(database: Database, *, writes: bool) -> Any:
    return (database._writers if writes else database._readers)._idle[0].raw


# --- the recipe


@pytest.mark.parametrize("driver", ["sqlite3", "pysqlite3"])
def test_every_connection_follows_the_recipe(sqlite_url: str, driver: Any) -> None:
    with open_database(sqlite_url, options=DatabaseOptions(sqlite_driver=driver)) as database:
        with database.read() as reader:
            reader.fetch_all(_ONE)
        writer, reading = kept(database, writes=True), kept(database, writes=False)

        assert WRITER == pragmas(writer, WRITER)
        assert READER == pragmas(reading, READER)
        assert driver == type(writer).__module__.partition(".")[0]
        assert driver == database.info().driver


def test_durability_is_full_unless_it_is_said(sqlite_url: str) -> None:
    with open_database(sqlite_url, options=DatabaseOptions(durability="normal")) as database:
        assert {"synchronous": 1} == pragmas(kept(database, writes=True), {"synchronous": 1})
        assert "normal" == database.info().synchronous


@pytest.mark.parametrize("start", ["missing", "empty", "application"])
def test_a_missing_an_empty_and_an_applications_file_are_fine(tmp_path: Path, start: str) -> None:
    path = tmp_path / "it's 100% #1?.db"
    if start == "empty":
        path.touch()
    if start == "application":
        raw = sqlite3.connect(path)
        raw.executescript(
            "CREATE TABLE customer (id); INSERT INTO customer VALUES (1);"
            " PRAGMA user_version = 17; PRAGMA application_id = 4711"
        )
        raw.close()
    with open_database(f"sqlite:///{path}") as database:
        database.run(lambda t: t.connection.execute("CREATE TABLE mine (id)"))
        named = pragmas(kept(database, writes=True), {"user_version": 0, "application_id": 0})

        assert (path, "wal") == (database.path, database.info().journal_mode)
    expected = {"user_version": 17, "application_id": 4711}
    assert named == (expected if start == "application" else dict.fromkeys(expected, 0))


def test_connections_are_kept_and_used_again(sqlite: Database) -> None:
    sqlite.run(lambda t: t.execute(ADD, row(1)))
    first = kept(sqlite, writes=True)
    for number in range(2, 5):
        sqlite.run(lambda t, n=number: t.execute(ADD, row(n)))
        with sqlite.read(), sqlite.read() as reader:
            reader.fetch_all(ALL)

    assert first is kept(sqlite, writes=True)
    assert (1, 2) == (len(sqlite._writers._all), len(sqlite._readers._all))


def test_info_says_what_there_is_to_know(sqlite: Database) -> None:
    info = sqlite.info()

    assert (str(sqlite.path), "sqlite", sqlite3.sqlite_version) == (
        info.location,
        info.dialect,
        info.version,
    )
    assert info.wal_reset_affected == (not wal_reset_fixed(sqlite3.sqlite_version_info))
    assert info.size_bytes == info.page_count * 4096 > 0
    assert info.wal_bytes == Path(f"{sqlite.path}-wal").stat().st_size
    assert info.schema_version is None
    assert info.filesystem


def test_the_lock_files_may_be_written_by_whoever_may_write_the_database(tmp_path: Path) -> None:
    path = tmp_path / "shared.db"
    path.touch()
    path.chmod(0o660)
    with open_database(f"sqlite:///{path}") as database, database.write() as transaction:
        database.liveness.hold(1, transaction)

    modes = {file.name: file.stat().st_mode & 0o777 for file in tmp_path.iterdir()}
    assert {"shared.db": 0o660, "shared.db-gate": 0o660, "shared.db-owners": 0o660} == modes


def test_closing_leaves_no_descriptor_open(sqlite_url: str) -> None:
    def descriptors() -> int:
        return len(list(Path("/proc/self/fd").iterdir()))

    open_database(sqlite_url).close()
    before = descriptors()
    for _ in range(3):
        with open_database(sqlite_url) as one, open_database(sqlite_url) as other:
            with one.write() as transaction:
                one.liveness.hold(1, transaction)
            with other.read() as reader:
                reader.fetch_all(_ONE)
            one.close()

    assert before == descriptors()


def test_closing_while_another_process_writes_does_not_fail(
    sqlite: Database, sqlite_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    impatient = open_database(sqlite_url, options=DatabaseOptions(gate_timeout_s=0.01))
    with program(WRITES, sqlite_url) as process, caplog.at_level(logging.WARNING, "stepwell"):
        assert "inside" == line_of(process)
        impatient.close()

    assert "the connections stay open until the process ends" in caplog.text


WRITES = """
import sys
from stepwell.database.connect import open_database
with open_database(sys.argv[1]).write():
    print("inside", flush=True)
    sys.stdin.read()
"""


# --- what cannot be opened


def why_not(url: str, expected: type[DatabaseError], **options: Any) -> DatabaseError:
    with pytest.raises(expected) as caught:
        open_database(url, options=DatabaseOptions(**options))
    assert caught.value.hint
    return caught.value


def test_a_path_that_cannot_be_a_database_is_refused_with_the_reason(tmp_path: Path) -> None:
    folder = why_not(f"sqlite:///{tmp_path}", CannotOpenDatabase)
    missing = why_not(f"sqlite:///{tmp_path}/no/x.db", CannotOpenDatabase)
    absent = why_not(f"sqlite:///{tmp_path}/x.db", CannotOpenDatabase, create=False)

    assert [
        f"cannot open database '{tmp_path}': it is a folder",
        f"cannot open database '{tmp_path}/no/x.db': folder '{tmp_path}/no' does not exist",
        f"cannot open database '{tmp_path}/x.db': there is no such file",
    ] == [str(error) for error in (folder, missing, absent)]
    assert [] == list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "url",
    ["sqlite://", "sqlite:///", "sqlite:///:memory:", "stepwell.db", "mysql://x/y", "sqlite:x"],
)
def test_a_url_that_names_no_database_is_refused(url: str) -> None:
    assert f"cannot open database {url!r}: it" in str(why_not(url, CannotOpenDatabase))


@pytest.mark.parametrize(
    ("refused", "noun"), [("x.db", "the file"), (".", "its folder")], ids=["file", "folder"]
)
def test_what_is_read_only_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refused: str, noun: str
) -> None:
    """Method: the tests may run as root, who may write everything; so the question is answered."""
    (tmp_path / "x.db").touch()
    monkeypatch.setattr(
        filesystem.os,
        "access",
        lambda path, mode: mode != os.W_OK or Path(path) != (tmp_path / refused).resolve(),
    )
    error = why_not(f"sqlite:///{tmp_path}/x.db", DatabaseReadOnly)

    assert str(error).endswith(f"{noun} is read-only for this user")


def test_a_file_that_may_not_be_read_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "x.db").touch()
    monkeypatch.setattr(filesystem.os, "access", lambda path, mode: mode != os.R_OK)

    assert "this user may not read it" in str(
        why_not(f"sqlite:///{tmp_path}/x.db", CannotOpenDatabase)
    )


def test_a_lock_file_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "x.db-gate").mkdir()
    error = why_not(f"sqlite:///{tmp_path}/x.db", DatabaseReadOnly)

    assert f"its lock file '{tmp_path}/x.db-gate' cannot be written, is a directory" in str(error)


def test_a_file_that_is_no_database_is_damaged_and_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "letter.txt"
    path.write_text("Dear reader, this is not a database. " * 100)
    error = why_not(f"sqlite:///{path}", DatabaseDamaged)

    assert f"cannot open database '{path}': file is not a database" == str(error)
    assert path.read_text().startswith("Dear reader")
    assert [path] == list(tmp_path.iterdir())


def test_a_database_that_another_program_keeps_locked_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Method: a program reads a file that is not in WAL mode yet; the switch needs it alone."""
    path = tmp_path / "x.db"
    other = sqlite3.connect(path, isolation_level=None)
    other.executescript("CREATE TABLE t (a); INSERT INTO t VALUES (1); BEGIN; SELECT * FROM t")
    other.execute("SELECT * FROM t").fetchone()
    monkeypatch.setattr("stepwell.database.sqlite.BUSY_TIMEOUT_S", 0.001)
    clock = Clock()
    monkeypatch.setattr(clock, "sleep", lambda seconds: None)
    with pytest.raises(WalUnavailable) as caught:
        open_database(f"sqlite:///{path}", clock=clock)
    other.close()

    assert "PRAGMA journal_mode answered 'database is locked' instead of 'wal'" in str(caught.value)
    assert caught.value.fields["filesystem"] in str(caught.value)
    open_database(f"sqlite:///{path}").close()


def test_a_file_that_leaves_wal_mode_later_is_noticed_at_the_next_connect(
    sqlite: Database, sqlite_url: str
) -> None:
    sqlite.close()
    dialect = SqliteDialect(str(sqlite.path), DatabaseOptions(), Clock())
    raw = sqlite3.connect(str(sqlite.path))
    raw.execute("PRAGMA journal_mode = DELETE")
    raw.close()

    with pytest.raises(WalUnavailable, match="answered 'delete'"):
        dialect.connect(writes=False)
    open_database(sqlite_url).close()


def test_a_full_disk_is_said_and_nothing_of_the_fact_is_left(sqlite: Database) -> None:
    sqlite.run(lambda t: t.execute(ADD, row(1)))
    kept(sqlite, writes=True).execute("PRAGMA max_page_count = 10")
    with pytest.raises(DatabaseFull, match="cannot add items: database or disk is full"):
        sqlite.run(
            lambda t: t.execute_many(ADD, (row(n, "x" * 4000) for n in range(2, 50))),
            what="add items",
        )

    with sqlite.read() as reader:
        assert [(1, "x", 0)] == reader.fetch_all(ALL)


def test_damaged_pages_are_said(sqlite: Database, sqlite_url: str) -> None:
    sqlite.run(lambda t: t.execute_many(ADD, (row(n, "x" * 1000) for n in range(100))))
    sqlite.close()
    path = Path(str(sqlite.path))
    content = bytearray(path.read_bytes())
    content[4096 * 3 : 4096 * 20] = b"\xff" * (4096 * 17)
    path.write_bytes(content)

    with (
        open_database(sqlite_url) as database,
        pytest.raises(DatabaseDamaged) as caught,
        database.read() as reader,
    ):
        reader.fetch_all(ALL)
    assert "database disk image is malformed" in str(caught.value)
    assert "restore a copy" in caught.value.hint


def test_busy_is_what_may_be_run_again_the_gates_own_busy_is_not(sqlite: Database) -> None:
    from_driver = sqlite3.OperationalError("database is locked")
    from_driver.sqlite_errorcode = 517
    translated = sqlite.dialect.translate(from_driver, "write")

    assert isinstance(translated, DatabaseBusy)
    assert sqlite.dialect.may_rerun(translated)
    assert not sqlite.dialect.may_rerun(DatabaseBusy("cannot write: the gate was not free"))


def test_two_copies_of_sqlite_on_one_file_in_one_process_are_refused(
    sqlite: Database, sqlite_url: str
) -> None:
    error = why_not(sqlite_url, CannotOpenDatabase, sqlite_driver="pysqlite3")

    assert str(error) == (
        f"cannot open database '{sqlite.path}' with pysqlite3:"
        " this process has it open with sqlite3"
    )


# --- forked children


def in_a_child(work: Any) -> int:
    child = os.fork()
    if child == 0:
        try:
            code = work() or 0
        except BaseException:
            code = 99
        os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def test_a_forked_child_works_on_connections_of_its_own(sqlite: Database) -> None:
    with sqlite.read() as reader:
        reader.fetch_all(ALL)
    mine = kept(sqlite, writes=True)

    def child() -> None:
        sqlite.run(lambda t: t.execute(ADD, row(2)))
        with sqlite.read() as reader:
            assert 1 == len(reader.fetch_all(ALL))
        assert kept(sqlite, writes=True) is not mine

    assert 0 == in_a_child(child)
    sqlite.run(lambda t: t.execute(ADD, row(1)))
    with sqlite.read() as reader:
        assert [1, 2] == [number for number, *_ in reader.fetch_all(ALL)]


def test_a_child_forked_inside_a_transaction_leaves_it_to_its_parent(sqlite: Database) -> None:
    def child() -> int:
        with pytest.raises(StepUsageError, match="cannot use a transaction of the parent process"):
            transaction.execute(ADD, row(7))
        with pytest.raises(StepUsageError):
            transaction.__exit__(None, None, None)
        return 1

    with sqlite.write() as transaction:
        transaction.execute(ADD, row(1))
        assert 1 == in_a_child(child)
        transaction.execute(ADD, row(2))

    with sqlite.read() as reader:
        assert [1, 2] == [number for number, *_ in reader.fetch_all(ALL)]


def test_a_child_that_ends_in_the_ordinary_way_closes_nothing_of_its_parents(
    sqlite_url: str,
) -> None:
    """Method: the child's interpreter shuts down; the parent goes on inside its transaction."""
    result = subprocess.run(
        [sys.executable, "-c", FORKS, sqlite_url], capture_output=True, text=True, check=False
    )

    assert ("[(1,), (2,)]\n", "", 0) == (result.stdout, result.stderr, result.returncode)


FORKS = """
import logging, os, sys
from stepwell.database.connect import open_database
logging.disable()
database = open_database(sys.argv[1])
with database.write() as transaction:
    transaction.connection.execute("CREATE TABLE t (a)")
with database.write() as transaction:
    transaction.connection.execute("INSERT INTO t VALUES (1)")
    child = os.fork()
    if child == 0:
        raise SystemExit
    os.waitpid(child, 0)
    transaction.connection.execute("INSERT INTO t VALUES (2)")
with database.read() as reader:
    print(reader.connection.execute("SELECT a FROM t").fetchall())
"""


# --- which SQLite


@pytest.mark.parametrize(
    ("version", "fixed"),
    [
        ((3, 40, 1), False),
        ((3, 44, 5), False),
        ((3, 44, 6), True),
        ((3, 45, 0), False),
        ((3, 50, 6), False),
        ((3, 50, 7), True),
        ((3, 51, 0), False),
        ((3, 51, 2), False),
        ((3, 51, 3), True),
        ((3, 53, 0), True),
        ((4, 0, 0), True),
    ],
)
def test_the_versions_with_the_wal_reset_bug_are_known(
    version: tuple[int, ...], fixed: bool
) -> None:
    assert fixed == wal_reset_fixed(version)


def test_an_affected_version_is_warned_of_once(caplog: pytest.LogCaptureFixture) -> None:
    warn_of_wal_reset.cache_clear()
    with caplog.at_level(logging.WARNING, "stepwell"):
        for _ in range(3):
            warn_of_wal_reset((3, 40, 1))
            warn_of_wal_reset((3, 53, 0))

    assert ["SQLite 3.40.1 can damage a database"] == [
        record.getMessage()[:35] for record in caplog.records
    ]


def test_a_driver_that_is_not_installed_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite_driver, "find_spec", lambda name: None)
    with pytest.raises(CannotOpenDatabase) as caught:
        load_driver("pysqlite3")

    assert "`pip install 'stepwell[sqlite]'`" in caught.value.hint


@pytest.mark.parametrize(
    ("first", "expected"),
    [("", "True pysqlite3"), ("import sqlite3; ", "False sqlite3")],
    ids=["early", "too late"],
)
def test_a_newer_sqlite_takes_the_place_of_the_systems_before_it_is_loaded(
    first: str, expected: str, sqlite_url: str
) -> None:
    source = (
        f"{first}import sys; from stepwell.database.sqlite_driver import prefer_newer_sqlite;"
        "preferred = prefer_newer_sqlite(); import sqlite3, logging; logging.disable();"
        "from stepwell.database.connect import open_database;"
        "driver = open_database(sys.argv[1]).info().driver; print(preferred, driver)"
    )
    result = subprocess.run(
        [sys.executable, "-c", source, sqlite_url], capture_output=True, text=True, check=False
    )

    assert (f"{expected}\n", "") == (result.stdout, result.stderr)
