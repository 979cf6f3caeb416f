"""Ctrl-C, SIGTERM, ``stop``, a second Ctrl-C and SIGKILL, and how it goes on after each."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from tests.cli.program import Ended, Folder, Running, until

SLOW = {"PAUSE_S": "0.01"}


def run_load(folder: Folder) -> Running:
    """The job ``load``, which has written some of its items."""
    running = folder.start("run", "load", "day=2026-11-20", **SLOW)
    running.until("step 'items' started")
    until(lambda: written(folder) >= 10, what="two chunks")
    return running


def written(folder: Folder) -> int:
    return int(folder.rows("SELECT COUNT(*) FROM item")[0][0])


def status(folder: Folder, execution_id: int) -> str:
    query = f"SELECT status FROM batch_job_execution WHERE job_execution_id = {execution_id}"
    return str(folder.rows(query)[0][0])


def assert_all_written_once(folder: Folder) -> None:
    assert [(500, 0, 499)] == folder.rows("SELECT COUNT(*), MIN(id), MAX(id) FROM item")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_after_the_chunk_and_restart_completes(
    folder: Folder, number: signal.Signals
) -> None:
    running = run_load(folder)
    running.send(number)
    ended = running.end()

    assert 3 == ended.code
    assert "stopping after the current chunk… (Ctrl-C again ends at once)" in ended.err
    assert "execution 1 of job 'load' is STOPPED" in ended.out
    assert "Traceback" not in ended.err
    assert 0 < written(folder) < 500
    assert [(number.name,)] == folder.rows(
        "SELECT reason FROM batch_status_history WHERE to_status = 'STOPPING'"
        " AND step_execution_id IS NULL"
    )

    again = folder.done("restart", "1")

    assert "execution 2 of job 'load' is COMPLETED" in again.out
    assert_all_written_once(folder)


def test_a_second_signal_ends_at_once_and_the_next_run_recovers(folder: Folder) -> None:
    gate = folder.path / "gate"
    running = folder.start("run", "deaf", GATE=str(gate))
    running.until("step 'wait' started")
    running.send(signal.SIGINT)
    until(lambda: status(folder, 1) == "STOPPING", what="STOPPING")
    running.send(signal.SIGINT)
    ended = running.end()

    assert 130 == ended.code
    assert "ended at once; the next `stepwell run` recovers execution 1" in ended.err
    assert "Traceback" not in ended.err
    assert "STOPPING" == status(folder, 1)

    gate.touch()
    again = folder.done("run", "deaf")

    assert_recovered(again, folder)


def test_after_a_kill_the_next_run_recovers_and_loses_and_doubles_nothing(folder: Folder) -> None:
    running = run_load(folder)
    assert -signal.SIGKILL == running.kill().code
    before = written(folder)
    assert 0 < before < 500

    assert "STARTED, owner dead" in folder.done("status").out
    again = folder.done("run", "load", "day=2026-11-20")

    assert_recovered(again, folder)
    assert_all_written_once(folder)
    assert f"{500 - before} read" in again.out


def assert_recovered(again: Ended, folder: Folder) -> None:
    recovered, begun = again.out.splitlines()[:2]
    assert recovered.startswith("recovered execution 1 of job ")
    assert " died; its last record is of " in recovered
    assert begun.startswith("execution 2 of job ")
    assert ["FAILED", "COMPLETED"] == [status(folder, 1), status(folder, 2)]


def test_json_of_a_run_tells_what_it_recovered(folder: Folder) -> None:
    gate = folder.path / "gate"
    running = folder.start("run", "deaf", GATE=str(gate))
    running.until("step 'wait' started")
    running.kill()
    gate.touch()

    document = folder.json("run", "deaf")

    assert [(1, "FAILED", "OwnerDied")] == [
        (e["execution_id"], e["status"], e["failure"]["type"]) for e in document["recovered"]
    ]


def test_stop_from_another_terminal(folder: Folder) -> None:
    running = run_load(folder)

    asked = folder.done("stop", "1", "--reason", "the shop closes")
    ended = running.end()

    assert "asked execution 1 to stop after its current chunk" in asked.out
    assert 3 == ended.code
    assert "is STOPPED" in ended.out
    assert [("operator", "the shop closes")] == folder.rows(
        "SELECT actor, reason FROM batch_status_history WHERE to_status = 'STOPPING'"
        " AND step_execution_id IS NULL"
    )


def test_what_does_not_stop_in_time_ends_with_its_process(folder: Folder) -> None:
    running = folder.start(
        "run", "deaf", GATE=str(folder.path / "never"), STEPWELL_SHUTDOWN_TIMEOUT_S="0.3"
    )
    running.until("step 'wait' started")
    running.send(signal.SIGTERM)
    ended = running.end()

    assert 130 == ended.code
    assert "has not stopped within shutdown_timeout_s = 0.3 s" in ended.err
    assert "nothing to recover" not in folder.done("recover").out


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_watch_ends_quietly(past: Folder, number: signal.Signals) -> None:
    watch = past.start("status", "--watch")
    watch.until("Completed last")
    watch.send(number)
    ended = watch.end()

    assert (0 if number is signal.SIGINT else -signal.SIGTERM, "") == (ended.code, ended.err)


def test_ctrl_c_while_it_starts_shows_no_traceback(folder: Folder) -> None:
    """Method: the module of the jobs opens the gate and waits to be interrupted."""
    (folder.path / "jobs.py").write_text(
        "import pathlib, time\npathlib.Path('here').touch()\ntime.sleep(60)\n"
    )
    running = folder.start("jobs")
    until(Path(folder.path / "here").exists, what="the module is imported")
    running.send(signal.SIGINT)

    running.end().refused(130)
