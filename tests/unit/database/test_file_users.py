"""Who has a database file open, and how far behind they read."""

from __future__ import annotations

import os
from pathlib import Path

from stepwell.database.connect import Database
from stepwell.database.file_users import FileUsers, users_of


def add(database: Database, number: int) -> None:
    with database.write() as transaction:
        transaction.connection.execute("INSERT INTO item (id, name) VALUES (:id, 'x')", (number,))


def test_a_reader_is_told_with_the_frames_that_it_lags(sqlite: Database) -> None:
    add(sqlite, 1)
    with sqlite.read() as reader:
        reader.connection.execute("SELECT * FROM item").fetchall()
        for number in range(2, 5):
            add(sqlite, number)
        found = users_of(str(sqlite.path))
    after = users_of(str(sqlite.path))

    assert (os.getpid(),) == found.pids
    assert [(os.getpid(), True)] == [(r.pid, r.frames_behind >= 3) for r in found.readers]
    assert FileUsers((os.getpid(),), ()) == after


def test_looking_drops_no_lock_of_the_process_that_looks(sqlite: Database) -> None:
    """Goal: closing a file drops a process's POSIX locks on it; so another process looks."""
    with sqlite.write() as transaction:
        users_of(str(sqlite.path))
        transaction.connection.execute("INSERT INTO item (id, name) VALUES (9, 'x')")

        assert (os.getpid(),) == users_of(str(sqlite.path)).pids


def test_nobody_uses_what_is_not_there(tmp_path: Path) -> None:
    (tmp_path / "letter.db").write_text("dear bank")

    assert FileUsers((), ()) == users_of(str(tmp_path / "missing.db"))
    assert FileUsers((), ()) == users_of(str(tmp_path / "letter.db"))
