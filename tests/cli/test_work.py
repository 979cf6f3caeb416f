"""Terminal 1 works, terminal 2 registers; signals, kills and wrong words."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest

from tests.cli.program import Folder, Running, until
from tests.cli.test_stopping import assert_all_written_once, status, written

SLOW = {"PAUSE_S": "0.01"}


def register_load(folder: Folder) -> None:
    folder.done("register", "load", "day=2026-11-20")


def work_on_load(folder: Folder, *words: str) -> Running:
    """A worker that has written some of the job's items."""
    working = folder.start("work", *words, **SLOW)
    working.until("execution 1 of job 'load' started: day='2026-11-20'")
    until(lambda: folder.rows("SELECT 1 FROM sqlite_master WHERE name = 'item'"), what="table")
    until(lambda: written(folder) >= 10, what="two chunks")
    return working


def test_terminal_2_registers_while_terminal_1_works(folder: Folder) -> None:
    working = folder.start("work", "--parallel", "2", PAUSE_S="0.05")
    working.until("working, 2 executions at a time")
    first = folder.done("register", "load", "day=2026-11-20")
    working.until("execution 1 of job 'load' started")
    second = folder.json("register", "sevens", "--priority", "3")
    working.until("execution 2 of job 'sevens' COMPLETED")
    running = folder.json("status")["running"]
    working.send(signal.SIGTERM)
    ended = working.end()

    assert "registered execution 1 of job 'load'\n" in first.out
    assert (2, "STARTING", 3) == (second["execution_id"], second["status"], second["priority"])
    assert [("load", "work")] == [(each["job"], each["owner"]["purpose"]) for each in running]
    assert 0 == ended.code
    assert "stopping after the current chunks" in ended.err
    assert "execution 1 of job 'load' STOPPED after" in ended.out


def test_draining_runs_everything_and_ends(folder: Folder) -> None:
    register_load(folder)
    folder.done("register", "sevens")
    ended = folder.call("work", "--drain", "--json")
    events = [json.loads(line) for line in ended.out.splitlines()]

    assert 0 == ended.code
    assert [("started", 1), ("ended", 1), ("started", 2), ("ended", 2)] == [
        (event["event"], event["execution"]["execution_id"]) for event in events
    ]
    assert {"at", "event", "execution"} == set(events[0])
    assert_all_written_once(folder)


def test_draining_says_when_something_failed_and_says_it_once(folder: Folder) -> None:
    folder.done("register", "broken")
    ended = folder.call("work", "--drain")

    assert 1 == ended.code
    assert 1 == (ended.out + ended.err).count("the till is locked")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_leaves_a_successor_that_the_next_worker_continues(
    folder: Folder, number: signal.Signals
) -> None:
    """S191"""
    register_load(folder)
    working = work_on_load(folder)
    working.send(number)
    ended = working.end()
    stopped_at = written(folder)
    left = folder.json("status")["waiting"]
    again = folder.done("work", "--drain")

    assert 0 == ended.code
    assert 0 < stopped_at < 500
    assert [(2, "STARTING", "execution 1")] == [
        (each["execution_id"], each["status"], each["triggered_by"]) for each in left
    ]
    assert "execution 2 of job 'load' COMPLETED" in again.out
    assert_all_written_once(folder)


def test_a_second_signal_ends_at_once_and_the_next_worker_recovers(folder: Folder) -> None:
    folder.done("register", "deaf")
    gate = folder.path / "gate"
    working = folder.start("work", GATE=str(gate))
    working.until("execution 1 of job 'deaf' started")
    working.send(signal.SIGINT)
    until(lambda: status(folder, 1) == "STOPPING", what="the first signal")
    working.send(signal.SIGINT)
    ended = working.end()
    gate.touch()
    again = folder.done("work", "--drain", GATE=str(gate))

    assert 130 == ended.code
    assert "ended at once; the next worker recovers what ran" in ended.err
    assert "recovered execution 1 of job 'deaf': OwnerDied" in again.out
    assert "execution 2 of job 'deaf' COMPLETED" in again.out


def test_what_does_not_stop_in_time_ends_with_the_process(folder: Folder) -> None:
    folder.done("register", "deaf")
    working = folder.start(
        "work", GATE=str(folder.path / "gate"), STEPWELL_SHUTDOWN_TIMEOUT_S="0.2"
    )
    working.until("execution 1 of job 'deaf' started")
    working.send(signal.SIGTERM)
    ended = working.end()

    assert 130 == ended.code
    assert "not stopped within shutdown_timeout_s = 0.2 s: 1;" in ended.err


def test_what_a_killed_worker_ran_goes_on_in_a_running_one(folder: Folder) -> None:
    """S188, S191: within two seconds on a quiet machine; here only that it goes on by itself."""
    register_load(folder)
    killed = work_on_load(folder)
    other = folder.start("work", **SLOW)
    other.until("working, 1 execution at a time")
    killed.kill()
    other.until("recovered execution 1 of job 'load': OwnerDied")
    other.until("execution 2 of job 'load' COMPLETED")
    other.send(signal.SIGTERM)

    assert 0 == other.end().code
    assert ["FAILED", "COMPLETED"] == [status(folder, number) for number in (1, 2)]
    assert_all_written_once(folder)


def test_owners_are_listed_and_a_worker_ends_when_it_is_asked(folder: Folder) -> None:
    register_load(folder)
    working = work_on_load(folder)
    (owner,) = folder.json("owners", "list")["owners"]
    listed = folder.done("owners", "list").out
    asked = folder.done("owners", "stop", str(owner["owner_id"]), "--reason", "update").out
    ended = working.end()
    nobody = folder.done("owners", "list").out

    assert (working.pid, "work", False, [1]) == (
        owner["pid"],
        owner["purpose"],
        owner["is_dead"],
        owner["execution_ids"],
    )
    assert "alive" in listed
    assert f"asked owner {owner['owner_id']} (pid {working.pid} on" in asked
    assert 0 == ended.code
    assert "execution 1 of job 'load' STOPPED" in ended.out
    assert "no process is at work" in nobody
    folder.call("owners", "stop", str(owner["owner_id"])).refused(4, "it has ended")
    folder.call("owners", "stop", "77").refused(2, "cannot find owner 77")


def test_why_tells_what_holds_it_and_priority_moves_it(folder: Folder) -> None:
    register_load(folder)
    folder.done("register", "sevens", "--at", "2099-01-01T00:00+00:00")
    first = folder.done("why", "1").out
    later = folder.done("why", "2").out
    moved = folder.done("priority", "2", "7", "--reason", "month end").out
    document = folder.json("why", "2")

    assert "execution 1 of job 'load' waits, for" in first
    assert "- no worker is at work\n  hint: `stepwell work` starts one" in first
    assert "- it is due later: 2099-01-01 09:00:00 JST" in later
    assert "execution 2 has priority 7\n" == moved
    assert (7, None, ["scheduled_later", "no_worker"]) == (
        document["execution"]["priority"],
        document["place"],
        [reason["code"] for reason in document["reasons"]],
    )
    folder.call("why", "9").refused(2, "cannot find execution 9")
    folder.call("priority", "9", "1").refused(2, "cannot find execution 9")


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["register", "lod"], 2, "did you mean 'load'?"),
        (["register", "load"], 2, "parameter 'day': it is missing"),
        (["register", "sevens", "--after", "7"], 2, "cannot find execution 7"),
        (["register", "sevens", "--at", "25:00"], 2, "got '25:00'"),
        (["register", "sevens", "--at", "2026-03-29T02:30"], 2, "does not exist here"),
        (["register", "sevens", "--priority", "2000000"], 2, "from -1000000 to 1000000"),
        (["work", "--job", "lod"], 2, "did you mean 'load'?"),
        (["work", "--parallel", "0"], 2, "greater than or equal to 1"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_wrong_words_are_refused_and_nothing_is_recorded(
    words: list[str], code: int, said: str, folder: Folder
) -> None:
    folder.done("init")
    folder.call(*words, TZ="Europe/Berlin").refused(code, said)

    assert [(0,)] == folder.rows("SELECT COUNT(*) FROM batch_job_execution")


def test_a_time_of_day_is_the_next_one_and_an_offset_is_heard(folder: Folder) -> None:
    spring = folder.json("register", "sevens", "--at", "2027-06-01T03:00+02:00")
    local = folder.json("register", "broken", "--at", "2027-06-01T03:00")

    assert "2027-06-01T01:00:00.000000Z" == spring["run_after"]
    assert "2027-05-31T18:00:00.000000Z" == local["run_after"]  # The tests live in Tokyo.
    assert folder.json("register", "talks", "--at", "03:00")["run_after"].endswith(
        "T18:00:00.000000Z"
    )


def test_nothing_to_work_for_is_refused(tmp_path: Path) -> None:
    (tmp_path / "stepwell.toml").write_text("", encoding="utf-8")

    Folder(tmp_path).call("work").refused(2, "cannot work: no job is known here")
