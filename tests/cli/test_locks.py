"""``lock``: who has what, and a lock that is taken from whoever cannot let go of it."""

from __future__ import annotations

import signal
import sqlite3
from collections.abc import Iterator

import pytest

from tests.cli.program import Folder, Running, until


@pytest.fixture
def running(folder: Folder) -> Iterator[Running]:
    """Execution 1 at work: it has a run lock, a resource and the named lock ``report``."""
    (folder.path / "stepwell.toml").write_text(
        'jobs = ["jobs"]\n[job."locking"]\nresources = ["out"]\n', "utf-8"
    )
    running = folder.start("run", "locking", GATE=str(folder.path / "gate"))
    until(lambda: locked(folder), what="the lock")
    yield running
    running.kill()


def lock_of(folder: Folder, kind: str) -> dict[str, object]:
    locks = folder.json("lock", "list")["locks"]
    [found] = [lock for lock in locks if lock["kind"] == kind]
    return dict(found)


def locked(folder: Folder) -> bool:
    try:
        return bool(folder.rows("SELECT 1 FROM batch_lock WHERE ended_at IS NULL"))
    except sqlite3.OperationalError:
        return False  # There is no database yet.


def test_the_listing_says_who_has_what_since_when(folder: Folder, running: Running) -> None:
    listed = folder.done("lock", "list").out
    state = lock_of(folder, "state")

    words = listed.splitlines()
    assert ["kind", "lock", "mode", "execution", "owner", "age", "fence"] == words[0].split()
    assert [("run", "locking"), ("resource", f"{folder.path}/out"), ("state", "report")] == [
        tuple(line.split()[:2]) for line in words[1:]
    ]
    assert [f"(pid {running.pid} on " in line and "alive" in line for line in words[1:]] == [
        True
    ] * 3
    assert {
        "kind": "state",
        "lock": "report",
        "mode": "read",
        "waits": False,
        "fence": 1,
        "execution_id": 1,
        "ttl_s": 3600,
        "is_overdue": False,
    }.items() <= state.items()


def test_a_living_owner_is_not_robbed_without_force_and_a_reason(
    folder: Folder, running: Running
) -> None:
    folder.call("lock", "release", "report").refused(4, "is alive", f"(pid {running.pid} on ")
    folder.call("lock", "release", "report", "--force").refused(2, "a reason is required")
    folder.call("lock", "release", "nobodys").refused(2, "cannot find lock 'nobodys'")
    taken = folder.done("lock", "release", "report", "--force", "--reason", "it hangs")
    (folder.path / "gate").touch()
    ended = running.end()

    assert "released lock 'report' (fence 1) of owner 1" in taken.out
    assert not locked(folder)
    assert 1 == ended.code
    assert "taken by force: it hangs" in folder.done("status", "1").out


def test_the_lock_of_the_dead_is_released_without_force(folder: Folder, running: Running) -> None:
    running.send(signal.SIGKILL)
    running.end()
    listed = folder.done("lock", "list").out
    released = folder.json("lock", "release", "report")

    assert "dead" in listed
    assert "hint: `stepwell recover`" in listed
    assert {"released": [{"lock": "report", "fence": 1}]} == released
    assert "STARTED" in folder.done("status", "1").out


def test_no_locks_is_said(folder: Folder) -> None:
    folder.done("run", "load", "day=2026-11-20")

    assert "no locks\n" == folder.done("lock", "list").out
    assert {"locks": []} == folder.json("lock", "list")
