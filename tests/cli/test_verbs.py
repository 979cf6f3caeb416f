"""``stop``, ``recover`` and ``abandon``: what they change, and what the state forbids."""

from __future__ import annotations

import pytest

from tests.cli.program import Folder, Running


@pytest.fixture
def running(folder: Folder) -> Running:
    """Execution 1, which is deaf to requests until the gate opens."""
    running = folder.start("run", "deaf", GATE=str(folder.path / "gate"))
    running.until("step 'wait' started")
    return running


def test_nobody_recovers_what_is_alive(folder: Folder, running: Running) -> None:
    none = folder.done("recover")
    one = folder.call("recover", "1")
    document = folder.json("recover")
    restarted = folder.call("restart", "1")
    abandoned = folder.call("abandon", "1")
    running.kill()

    assert "nothing to recover" in none.out
    one.refused(4, f"(pid {running.pid} on ", "is alive", "`stepwell stop 1`")
    assert {"recovered": []} == document
    restarted.refused(4, "cannot restart execution 1: it is STARTED")
    abandoned.refused(4, "cannot abandon execution 1: it is STARTED")


def test_force_needs_an_id_and_a_reason_and_beats_a_living_owner(
    folder: Folder, running: Running
) -> None:
    folder.call("recover", "--force", "--reason", "x").refused(2, "an execution must be named")
    folder.call("recover", "1", "--force").refused(2, "a reason is required", "`--reason`")

    taken = folder.done("recover", "1", "--force", "--reason", "it hangs")
    (folder.path / "gate").touch()
    ended = running.end()

    assert "recovered execution 1 of job 'deaf': taken from owner 1" in taken.out
    assert "by force: it hangs" in taken.out
    assert 4 == ended.code
    assert "fence" in ended.err
    assert "it hangs" in folder.done("status", "1").out


def test_recover_settles_the_dead_and_keeps_the_reason(folder: Folder, running: Running) -> None:
    running.kill()

    [recovered] = folder.json("recover", "--reason", "after the power cut")["recovered"]

    assert (1, "FAILED") == (recovered["execution_id"], recovered["status"])
    assert ("operator", "after the power cut") in folder.rows(
        "SELECT actor, reason FROM batch_status_history WHERE to_status = 'FAILED'"
    )
    assert "has ended, it is FAILED" in folder.done("recover", "1").out
    assert [] == folder.json("recover", "1")["recovered"]
    folder.call("recover", "9").refused(2, "cannot find execution 9")


def test_recover_settles_one_by_its_id(folder: Folder, running: Running) -> None:
    running.kill()

    out = folder.done("recover", "1").out

    assert "recovered execution 1 of job 'deaf': owner 1 (pid " in out
    assert "hint: `stepwell restart 1` goes on where it stopped" in out


def test_stop_says_when_nobody_will_hear_it(folder: Folder, running: Running) -> None:
    running.kill()

    out = folder.done("stop", "1").out

    assert "its owner is dead" in out
    assert "hint: `stepwell recover 1`" in out


def test_what_has_ended_cannot_be_stopped(past: Folder) -> None:
    past.call("stop", "1").refused(4, "cannot stop execution 1: it is COMPLETED")
    past.call("stop", "9").refused(2, "cannot find execution 9")
    past.call("stop").refused(2, "missing argument 'ID'")


def test_abandon_closes_an_instance_for_ever(folder: Folder) -> None:
    assert 1 == folder.call("run", "broken").code

    out = folder.done("abandon", "1", "--reason", "wrong shop").out

    assert "execution 1 is ABANDONED" in out
    assert "ABANDONED" == folder.json("abandon", "1")["status"]
    folder.call("run", "broken").refused(4, "ABANDONED")
    assert "wrong shop" in folder.done("status", "1").out
