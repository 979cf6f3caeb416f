"""The log stays within bounds, and is only checkpointed behind the gate."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest

from stepwell.database import wal
from stepwell.database.connect import Database, open_database
from stepwell.database.dialect import DatabaseOptions
from stepwell.database.wal import wal_bytes
from tests.unit.database.conftest import make_item_table
from tests.unit.database.statements import ADD, ALL, COUNT_UP, RENAME, line_of, program, row

PAGE_BYTES = 4096
# The limit, what one more commit adds, and the slack of the estimate before it has learnt.
BOUND_BYTES = 3 * wal.CHECKPOINT_PAGES * PAGE_BYTES


@pytest.fixture
def normal(sqlite_url: str) -> Database:
    database = open_database(sqlite_url, options=DatabaseOptions(durability="normal"))
    make_item_table(database)
    database.run(lambda t: t.execute(ADD, row(1)))
    return database


def largest_log_of(database: Database, commits: int) -> int:
    largest = 0
    for number in range(commits):
        # A row that is given its own values writes no page.
        database.run(lambda t, to=f"{number}": t.execute(RENAME, {"item_id": 1, "to": to}))
        largest = max(largest, wal_bytes(str(database.path)))
    return largest


def test_the_log_stays_bounded_over_5000_commits(normal: Database) -> None:
    assert 0 < largest_log_of(normal, 5_000) < BOUND_BYTES
    normal.close()


@pytest.mark.slow
def test_the_log_stays_bounded_over_100000_commits(normal: Database) -> None:
    assert 0 < largest_log_of(normal, 100_000) < BOUND_BYTES
    normal.close()


def test_large_rows_are_noticed(normal: Database) -> None:
    """Goal: an estimate by rows alone would let blobs grow the log without bound."""
    largest = 0
    for number in range(2, 400):
        normal.run(lambda t, n=number: t.execute(ADD, row(n, "x" * 100_000)))
        largest = max(largest, wal_bytes(str(normal.path)))

    # The first checkpoint comes by the estimate, the next ones by what it has answered.
    assert largest < 25 * wal.CHECKPOINT_PAGES * PAGE_BYTES
    assert normal.dialect._wal._weight > 2
    normal.close()


def test_a_log_that_was_left_behind_is_taken_into_account(tmp_path: Path) -> None:
    path = str(tmp_path / "left.db")
    Path(path + "-wal").write_bytes(b"\0" * (wal.CHECKPOINT_PAGES * PAGE_BYTES))

    assert wal.CHECKPOINT_PAGES == wal.WalCare(path)._units
    assert 0 == wal.WalCare(str(tmp_path / "none.db"))._units


def test_a_large_log_is_cut_once_nobody_reads_it(
    normal: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wal, "TRUNCATE_BYTES", 100_000)
    monkeypatch.setattr(wal, "TRUNCATE_TIMEOUT_MS", 1)
    with normal.read() as reader:
        reader.fetch_all(ALL)
        while_read = largest_log_of(normal, 3_000)
    afterwards = [largest_log_of(normal, 1) for _ in range(1_000)]

    assert while_read > 100_000
    assert min(afterwards) < 100_000
    normal.close()


def test_a_checkpoint_that_fails_does_not_fail_the_commit(
    normal: Database, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full_disk(connection: Any, pragma: str) -> tuple[int, int, int]:
        raise connection.raw.OperationalError("database or disk is full")

    monkeypatch.setattr(wal, "_answer", full_disk)
    with caplog.at_level(logging.WARNING, "stepwell"):
        largest_log_of(normal, 500)

    assert "database or disk is full" in caplog.text
    assert 1 == normal.run(lambda t: t.execute(COUNT_UP, {"item_id": 1}))
    normal.close()


def test_nobody_but_the_gates_holder_checkpoints(
    sqlite: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Method: each checkpoint is watched; it must find this thread inside the gate."""
    answer, inside = wal._answer, []

    def watched(connection: Any, pragma: str) -> tuple[int, int, int]:
        inside.append(bool(sqlite.dialect._gate._thread))
        return answer(connection, pragma)

    monkeypatch.setattr(wal, "_answer", watched)
    monkeypatch.setattr(wal, "CHECKPOINT_PAGES", 10)
    sqlite.run(lambda t: t.execute(ADD, row(1)))
    largest_log_of(sqlite, 50)
    with sqlite.read() as reader:
        automatic = [
            connection.raw.execute("PRAGMA wal_autocheckpoint").fetchone()
            for connection in (reader._connection, sqlite._writers._idle[0])
        ]

    assert inside
    assert all(inside)
    assert [(0,), (0,)] == automatic


def test_the_last_one_to_close_leaves_no_log(sqlite: Database, sqlite_url: str) -> None:
    sqlite.run(lambda t: t.execute(ADD, row(1)))
    with sqlite.read() as reader:
        reader.fetch_all(ALL)
    with program(READ_AND_WAIT, sqlite_url) as other:
        assert "[(1, 'x', 0)]" == line_of(other)
        sqlite.close()
        log_while_others_read = wal_bytes(str(sqlite.path))
    with open_database(sqlite_url):
        pass

    assert log_while_others_read > 0
    assert not Path(f"{sqlite.path}-wal").exists()


READ_AND_WAIT = """
import sys
from stepwell.database.connect import open_database
from tests.unit.database.statements import ALL
database = open_database(sys.argv[1])
with database.read() as reader:
    print(reader.fetch_all(ALL), flush=True)
    sys.stdin.read()
"""
