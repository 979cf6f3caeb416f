"""``stepwell doctor`` as a person meets it: text, JSON, plans, copies, refusals."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from tests.cli.program import Folder

JOBS = """
from stepwell import Invariant, Job, TaskletStep

def load(step):
    with step.transaction() as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS mine (id INTEGER, state TEXT)")
        connection.execute("INSERT INTO mine VALUES (1, 'bad')")

job = Job("load", steps=[TaskletStep("load", load)], evidence=lambda: True)
bad = Invariant("bad", "SELECT id, state FROM mine WHERE state = 'bad'", "{id} is {state}",
    [(None, "UPDATE mine SET state = 'good' WHERE id = :id AND state = 'bad'")], metric="bad_ones")
"""
# As an older program: status and last step contradict each other, and the history too.
PUT_BACK = """
UPDATE batch_job_execution SET status = 'STARTING', end_time = NULL, result = NULL, owner_id = NULL;
INSERT INTO batch_status_history (job_execution_id, from_status, to_status, changed_at, actor)
SELECT job_execution_id, 'COMPLETED', 'STARTING', create_time, 'doctor' FROM batch_job_execution;
"""


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    """A job has run, its status was put back, and a row of its own table is bad."""
    (tmp_path / "stepwell.toml").write_text('jobs = ["jobs"]\n', encoding="utf-8")
    (tmp_path / "jobs.py").write_text(JOBS, encoding="utf-8")
    folder = Folder(tmp_path)
    folder.done("run", "load")
    execute(folder, PUT_BACK)
    return folder


def execute(folder: Folder, script: str) -> int:
    """Run a script as the ``sqlite3`` shell does; how many rows it changed."""
    connection = sqlite3.connect(folder.path / "stepwell.db")
    try:
        before = connection.total_changes
        connection.executescript(script)
        return connection.total_changes - before
    finally:
        connection.close()


def test_findings_are_told_with_why_and_the_way_out(folder: Folder) -> None:
    ended = folder.call("doctor")

    assert (5, "") == (ended.code, ended.err)
    assert ended.out.startswith("error: registered_with_last_step (R19)\n  An execution that waits")
    assert "\n  - job execution 1: it waits for a worker, and says that it began" in ended.out
    assert "\nerror: bad\n" in ended.out
    assert "2 findings: 2 errors; 2 can be repaired" in ended.out
    assert "hint: `stepwell doctor --plan` shows the repairs" in ended.out
    assert not (folder.path / "backups").exists()


def test_a_plan_tells_what_would_be_done_and_does_nothing(folder: Folder) -> None:
    out = folder.call("doctor", "--plan").out
    again = folder.call("doctor", "--json").json

    assert "    repair: mark it COMPLETED: it was registered and had begun, and its outputs" in out
    assert f"`stepwell doctor --repair --expect {again['plan']}`" in out
    assert {"bad": 1, "registered_with_last_step": 1} == again["counts"]
    assert {"bad_ones": 1} == again["metrics"]


def test_a_repair_makes_a_copy_mends_records_and_looks_again(folder: Folder) -> None:
    plan = folder.call("doctor", "--json").json["plan"]
    ended = folder.call("doctor", "--repair", "--expect", plan, "--json")

    assert 0 == ended.code, ended
    done = ended.json
    assert ["registered_with_last_step", "bad"] == [each["code"] for each in done["repaired"]][::-1]
    assert ([], [], {"bad": 0}) == (done["findings"], done["not_repaired"], done["counts"])
    assert {"bad_ones": 0} == done["metrics"]
    assert [("bad",)] == folder.rows("SELECT state FROM mine", done["copy"])
    assert [("STARTING",)] == folder.rows("SELECT status FROM batch_job_execution", done["copy"])
    assert [("COMPLETED",)] == folder.rows("SELECT status FROM batch_job_execution")
    repairs = folder.json("doctor", "--history")["repairs"]
    assert {done["copy"]} == {repair["copy"] for repair in repairs}
    assert "done: mark it COMPLETED" in folder.done("doctor", "--history").out
    history = folder.json("status", "1")["history"]
    assert ("doctor", "COMPLETED") == (history[-1]["actor"], history[-1]["to_status"])
    assert "nothing is wrong" in folder.done("doctor").out


def test_a_second_repair_finds_nothing_and_makes_no_copy(folder: Folder) -> None:
    folder.done("doctor", "--repair")
    again = folder.done("doctor", "--repair", "--json").json

    assert ([], None) == (again["repaired"], again["copy"])
    assert 1 == len(list((folder.path / "backups").glob("*.backup")))


def test_a_plan_that_has_gone_stale_is_refused(folder: Folder) -> None:
    plan = folder.call("doctor", "--json").json["plan"]
    execute(folder, "UPDATE mine SET state = 'good'")

    ended = folder.call("doctor", "--repair", "--expect", plan)
    now = folder.call("doctor", "--json").json["plan"]
    ended.refused(4, f"its plan is {now} by now, not {plan}")
    assert [("STARTING",)] == folder.rows("SELECT status FROM batch_job_execution")


def test_a_plan_as_sql_does_the_same_and_nothing_a_second_time(folder: Folder) -> None:
    """Goal: a migration for whoever may not let a program repair; twice is once (law 5)."""
    ended = folder.call("doctor", "--sql", "plan.sql")
    script = (folder.path / "plan.sql").read_text(encoding="utf-8")

    assert "the plan is in plan.sql" in ended.out
    assert 0 < execute(folder, f"BEGIN; {script} COMMIT;")
    assert 0 == execute(folder, f"BEGIN; {script} COMMIT;")
    assert "nothing is wrong" in folder.done("doctor").out
    assert [("bad",), ("registered_with_last_step",)] == folder.rows(
        "SELECT code FROM batch_repair ORDER BY code"
    )


def test_a_plan_as_sql_that_has_gone_stale_changes_nothing(folder: Folder) -> None:
    folder.call("doctor", "--sql", "plan.sql")
    execute(folder, "UPDATE mine SET state = 'good'; UPDATE batch_job_execution SET version = 70")

    assert 0 == execute(folder, (folder.path / "plan.sql").read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    ("words", "fact"),
    [
        (["--plan", "--repair"], "--plan and --sql change nothing, --repair does"),
        (["--sql", "x.sql", "--repair"], "--plan and --sql change nothing, --repair does"),
        (["--only", "bad"], "--only and --expect belong to --repair"),
        (["--expect", "abc"], "--only and --expect belong to --repair"),
        (["--sql", "jobs.py"], "'jobs.py' is there already"),
    ],
)
def test_options_that_do_not_fit_are_refused(words: list[str], fact: str, folder: Folder) -> None:
    folder.call("doctor", *words).refused(2, f"cannot examine: {fact}")


def test_no_room_for_the_copy_and_nothing_is_repaired(folder: Folder) -> None:
    (folder.path / "backups").write_text("a file where the folder should be")

    ended = folder.call("doctor", "--repair")
    assert 0 != ended.code
    assert "Traceback" not in ended.err
    assert [("STARTING",)] == folder.rows("SELECT status FROM batch_job_execution")
