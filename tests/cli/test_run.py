"""``run`` and ``restart``: what they show, what they refuse, how they exit."""

from __future__ import annotations

import re

import pytest

from tests.cli.program import Folder


def test_run_makes_the_database_runs_the_job_and_sums_up(folder: Folder) -> None:
    ended = folder.done("run", "load", "day=2026-11-20")

    assert "" == ended.err
    lines = ended.out.splitlines()
    assert "execution 1 of job 'load' has begun: day='2026-11-20', shop=7 (note='none')" == lines[0]
    assert [
        "step 'table' started",
        "step 'table' COMPLETED after",
        "step 'items' started",
        "step 'items' COMPLETED after",
    ] == [re.sub(r"^\d\d:\d\d:\d\d |(?<=after) .*", "", line) for line in lines[1:5]]
    assert re.fullmatch(r"execution 1 of job 'load' is COMPLETED after [\d.]+ s", lines[5])
    assert "500 read · 500 written" in lines[-1]
    assert [(500,)] == folder.rows("SELECT COUNT(*) FROM item")


def test_a_completed_instance_is_refused_and_runs_again_when_told(folder: Folder) -> None:
    folder.done("run", "talks")

    folder.call("run", "talks").refused(4, "it is already COMPLETED", "hint: run it with `--again`")
    assert "execution 2 of job 'talks' is COMPLETED" in folder.done("run", "talks", "--again").out


def test_a_trial_takes_the_first_and_leaves_the_real_instance_alone(folder: Folder) -> None:
    """S198."""
    trial = folder.json("run", "load", "day=2026-11-20", "--limit", "3")
    shown = folder.done("status", "1").out
    other = folder.json("run", "talks", "--executor", "threads")

    assert (3, None) == (trial["trial"], other["trial"])
    assert [(3,)] == folder.rows("SELECT COUNT(*) FROM item")
    assert "the first 3" in shown
    assert "run with executor threads" in folder.done("status", "2").out


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["load", "day=2026-11-20", "--executor", "gpu"], "executor must be one of inline, th"),
        (["load", "=5"], "must be written name=value, got '=5'"),
        (["load", "day=2026-11-20", "day=2026-11-21"], "parameter 'day' is given twice"),
        (["load", "day=tomorrow", "shopp=1"], "parameter 'shopp': there is no such parameter"),
        (["lod"], "did you mean 'load'?"),
    ],
)
def test_a_wrong_call_is_refused_before_anything_runs(
    folder: Folder, words: list[str], told: str
) -> None:
    folder.call("run", *words).refused(2, told, "hint: ")


def test_a_wrong_word_gets_an_example(folder: Folder) -> None:
    folder.call("run", "load", "x").refused(
        2, "hint: for example `stepwell run load day=2026-11-20`"
    )


def test_an_unknown_job_makes_no_database(folder: Folder) -> None:
    folder.call("run", "nothing").refused(2, "cannot find job 'nothing'")

    assert not (folder.path / "stepwell.db").exists()


def test_without_settings_the_way_to_them_is_told(folder: Folder) -> None:
    (folder.path / "stepwell.toml").unlink()

    folder.call("run", "load").refused(2, "there is no stepwell.toml", "`stepwell init` writes one")


def test_a_failed_job_exits_1_and_tells_step_error_and_what_to_do(folder: Folder) -> None:
    ended = folder.call("run", "broken")

    assert 1 == ended.code
    assert "step 'open' failed: RuntimeError: the till is locked" in ended.out
    assert "`stepwell restart 1` goes on where it stopped" in ended.out
    assert "Traceback" not in ended.out + ended.err


def test_a_partial_job_exits_3(folder: Folder) -> None:
    ended = folder.call("run", "partly")

    assert 3 == ended.code
    assert "is COMPLETED (PARTIAL)" in ended.out
    assert "10 of 10 partitions · 1 failed · 1 partial" in ended.out


def test_skipped_items_are_counted_at_the_end(folder: Folder) -> None:
    ended = folder.done("run", "sevens")

    assert "8 items skipped" in ended.out
    assert "`stepwell status 1` shows what was left out" in ended.out


def test_json_is_one_document_whatever_the_job_prints(folder: Folder) -> None:
    ended = folder.done("run", "talks", "--json")

    assert ("talks", "COMPLETED", []) == (
        ended.json["job"],
        ended.json["status"],
        ended.json["recovered"],
    )
    assert "this is the job's own word" in ended.err


def test_json_of_a_failed_run_is_the_execution_with_its_failure(folder: Folder) -> None:
    ended = folder.call("run", "broken", "--json")

    assert 1 == ended.code
    assert ("FAILED", "RuntimeError", "the till is locked") == (
        ended.json["status"],
        ended.json["failure"]["type"],
        ended.json["failure"]["message"],
    )


def test_json_of_a_refusal_is_the_problem(folder: Folder) -> None:
    ended = folder.call("run", "load", "--json")

    assert (2, "") == (ended.code, ended.err)
    assert {"code", "message", "hint", "fields"} == set(ended.json)
    assert "job_start_error" == ended.json["code"]
    assert {"day": "it is missing"} == ended.json["fields"]["parameters"]


def test_a_job_that_runs_already_is_refused_with_its_id(folder: Folder) -> None:
    gate = folder.path / "gate"
    first = folder.start("run", "deaf", GATE=str(gate))
    first.until("step 'wait' started")

    second = folder.call("run", "deaf", GATE=str(gate))
    gate.touch()
    ended = first.end()

    second.refused(4, "execution 1 is running", "`stepwell stop 1`")
    assert 0 == ended.code


def test_restart_goes_on_and_keeps_what_is_complete(folder: Folder) -> None:
    assert 1 == folder.call("run", "broken").code
    jobs = folder.path / "jobs.py"
    jobs.write_text(jobs.read_text().replace('raise RuntimeError("the till is locked")', "pass"))

    ended = folder.done("restart", "1")

    assert "execution 2 of job 'broken' is COMPLETED" in ended.out
    folder.call("restart", "2").refused(4, "it is COMPLETED")
    folder.call("restart", "1").refused(4, "execution 2 of the same instance is more recent")
    folder.call("restart", "9").refused(2, "cannot find execution 9")
    folder.call("restart", "one").refused(2, "invalid value for 'ID'")


def test_restart_takes_no_other_identifying_parameters(folder: Folder) -> None:
    assert 1 == folder.call("run", "broken").code

    folder.call("restart", "1", "x").refused(2, "cannot restart execution 1", "name=value")
    folder.call("restart", "1", "shop=8").refused(4, "cannot restart execution 1")


def test_who_started_it_is_recorded(folder: Folder) -> None:
    folder.done("run", "talks", LOGNAME="ann")

    assert [("user", "ann")] == folder.rows(
        "SELECT trigger_source, triggered_by FROM batch_job_execution"
    )


def test_a_reader_that_goes_away_ends_no_job(folder: Folder) -> None:
    """Goal: ``stepwell run load | head -1`` runs the job to its end."""
    running = folder.start("run", "load", "day=2026-11-20", PAUSE_S="0.001")
    running.until("has begun")
    running.close_stdout()

    assert 0 == running.end().code
    assert [("COMPLETED",)] == folder.rows("SELECT status FROM batch_job_execution")
