"""T13: copies while four processes write, and what a plain copy of the file is worth."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from threading import Event
from typing import Any

import pytest

from stepwell.database.connect import open_database
from stepwell.errors import BackupUnproven
from stepwell.testing import WarmParent
from tests.support.backups import ACCOUNTS, MONEY, Copier, open_accounts

WRITERS = 4
COPIES = 5


@contextmanager
def transfers(warm_parent: WarmParent, url: str, folder: Path) -> Iterator[list[Any]]:
    """Four processes that move money between accounts; the list gets what each has to tell."""
    stop, told = folder / "stop", []
    children = [
        warm_parent.start(
            "tests.support.backups:transfer_until", url=url, worker=worker, stop=str(stop)
        )
        for worker in range(WRITERS)
    ]
    try:
        yield told
    finally:
        stop.touch()
        told += [child.wait() for child in children]


def test_copies_under_load_are_whole_and_of_one_moment_each(
    database_url: str, warm_parent: WarmParent, tmp_path: Path
) -> None:
    warm_parent.run("tests.support.processes:create", url=database_url)
    open_accounts(database_url)
    copier = Copier(database_url, tmp_path / "backups")
    with transfers(warm_parent, database_url, tmp_path) as told:
        for number in range(COPIES):
            copier.create(f"copy-{number}")
            Event().wait(0.1)

    counted = []
    for number in range(COPIES):
        assert [] == copier.verify(f"copy-{number}").findings
        with (
            copier.copies.unfold(
                copier.copies.files_of(copier.folder.copy_path(f"copy-{number}"))
            ) as unfolded,
            unfolded.database.read() as reader,
        ):
            [(money,)] = reader.connection.execute("SELECT SUM(money) FROM account").fetchall()
            [(count,)] = reader.connection.execute("SELECT COUNT(*) FROM transfer").fetchall()
        assert ACCOUNTS * MONEY == money
        counted.append(count)
    assert sorted(counted) == counted
    assert len(set(counted)) > 1
    assert [None] * WRITERS == [ended.error for ended in told]
    # The promise is a second; a loaded machine stops a process for longer than that by itself.
    assert max(ended.result["longest_s"] for ended in told) < 10


def test_commits_in_the_middle_of_a_copy_wait_for_nothing_and_are_not_in_it(
    tmp_path: Path, warm_parent: WarmParent, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Method: SQLite calls back while it copies; another connection commits right then, on the
    same thread, so that it could not wait for the copy's end."""
    url = f"sqlite:///{tmp_path}/night.db"
    warm_parent.run("tests.support.processes:create", url=url)
    open_accounts(url)
    copier = Copier(url, tmp_path / "backups")
    calls, commits = 0, 0
    with open_database(url) as database:

        def commit_now_and_then() -> int:
            nonlocal calls, commits
            calls += 1
            if calls % 20 == 0:
                with database.write() as transaction:
                    transaction.connection.execute("UPDATE account SET money = money + 1")
                commits += 1
            return 0

        connect_raw = copier.copies._dialect.connect_raw  # type: ignore[attr-defined]

        def connect(mode: str) -> Any:
            raw = connect_raw(mode)
            raw.set_progress_handler(commit_now_and_then, 10)
            return raw

        monkeypatch.setattr(copier.copies._dialect, "connect_raw", connect)  # type: ignore[attr-defined]
        copier.create("noon")
    with closing(sqlite3.connect(copier.folder.copy_path("noon"))) as copy:
        [(least, most)] = copy.execute("SELECT MIN(money), MAX(money) FROM account").fetchall()

    assert least == most
    assert least - MONEY < commits
    assert commits > 3


def test_a_plain_copy_under_load_is_recognised(warm_parent: WarmParent, tmp_path: Path) -> None:
    """Goal: ``cp night.db elsewhere`` is refused, whatever it happens to hold.

    Some of them are whole, some are torn, all lack what is in the log, and nothing in them tells.
    """
    url = f"sqlite:///{tmp_path}/night.db"
    warm_parent.run("tests.support.processes:create", url=url)
    open_accounts(url)
    copier = Copier(url, tmp_path / "backups")
    with transfers(warm_parent, url, tmp_path):
        for number in range(COPIES):
            # This process has it not open: closing a file would drop its locks.
            shutil.copyfile(tmp_path / "night.db", tmp_path / f"cp-{number}.db")
            Event().wait(0.05)
    for number in range(COPIES):
        for name in (f"cp-{number}.db", f"cp-{number}.backup"):
            path = tmp_path / name
            if not path.exists():
                shutil.copyfile(tmp_path / f"cp-{number}.db", path)
            with pytest.raises(BackupUnproven):
                copier.verify(str(path))
            with pytest.raises(BackupUnproven):
                copier.restore(str(path))
