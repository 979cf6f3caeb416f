"""Scenario B, line by line: a pipeline whose state cannot contradict itself, an old one mended."""

from __future__ import annotations

import json
import logging
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from threading import Event
from types import ModuleType
from typing import Any

import pytest

from stepwell import BatchStatus, Job, Node, TaskletStep
from stepwell.errors import JobExecutionAlreadyRunning, OptimisticLockingFailure
from stepwell.repository.zero_rows import ZeroRowUpdates
from tests.conformance.stories import execute, owned
from tests.conformance.stories import rows as rows_of
from tests.examples.runs import copy_of, module_of, rows, start, stepwell

STAGES = ["fetch", "preprocess", "dedup", "genre", "select", "evidence", "dispatch", "persist"]
RUN = ("run", "recap", "day=2026-03-01")
OLD = "--database=sqlite:///old.db"
JOBS = "SELECT id, status, last_stage FROM recap_jobs ORDER BY id"
MENDED = [
    ("old-1", "completed", "persist"),
    ("old-2", "completed", "persist"),
    ("old-3", "failed", "persist"),
    ("old-4", "completed", "persist"),
    ("old-5", "pending", None),
    ("old-6", "running", "genre"),
    ("old-7", "completed", "persist"),
    ("old-8", "failed", "select"),
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return copy_of("recap", tmp_path)


@pytest.fixture
def old(folder: Path) -> Path:
    """The folder with what the older program has left, in ``old.db``."""
    subprocess.run([sys.executable, "make_old_database.py", "old.db"], cwd=folder, check=True)
    return folder


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    with Node.open(f"sqlite:///{tmp_path}/recap.db") as node:
        yield node


@pytest.fixture
def recap(monkeypatch: pytest.MonkeyPatch, folder: Path) -> ModuleType:
    monkeypatch.syspath_prepend(str(folder))
    return module_of(folder / "recap.py")


def doctor(folder: Path, *words: str) -> Any:
    """The document of ``stepwell doctor``, which ends with 0 or 5."""
    done = start(folder, "doctor", *words, "--json")
    output, _ = done.communicate(timeout=60)
    assert done.returncode in (0, 5), output
    document = json.loads(output)
    # The machine's own, which this scenario is not about.
    of_machine = ("wal_reset_bug", "disk_space")
    document["findings"] = [f for f in document["findings"] if f["code"] not in of_machine]
    return document


# --- each stage has its own recorded state, and the job its last completed stage -----------------


def test_eight_stages_are_recorded_each_with_its_state(folder: Path) -> None:
    stepwell(folder, *RUN)
    database = folder / "recap.db"

    steps = "SELECT step_name, status FROM batch_step_execution ORDER BY step_execution_id"
    assert [("migrateMetadataStep", "COMPLETED"), *((s, "COMPLETED") for s in STAGES)] == rows(
        database, steps
    )
    assert [("COMPLETED", "persist")] == rows(
        database, "SELECT status, last_step FROM batch_job_execution"
    )
    assert [("business", 3), ("culture", 3), ("science", 3), ("sport", 3)] == rows(
        database, "SELECT genre, COUNT(*) FROM recap_outputs GROUP BY genre ORDER BY genre"
    )
    assert [] == doctor(folder)["findings"]


def test_progress_within_a_stage_is_by_genre(folder: Path) -> None:
    stepwell(folder, *RUN)

    assert [(stage, 4, 4) for stage in ("select", "evidence", "dispatch")] == rows(
        folder / "recap.db",
        "SELECT step_name, partition_completed, partition_total FROM batch_step_execution"
        " WHERE partition_total IS NOT NULL ORDER BY step_execution_id",
    )


def test_the_last_step_is_null_before_the_first_stage_and_then_the_last_that_completed(
    node: Node,
) -> None:
    seen: list[str | None] = []

    def look(step: Any) -> None:
        seen.append(node.repository.get_execution(step.execution_id).last_step)

    node.operator.run(Job("recap", steps=[TaskletStep(stage, look) for stage in STAGES]))

    assert [None, *STAGES[:-1]] == seen


def test_stage_state_and_job_status_are_saved_together_or_not_at_all(
    node: Node, recap: ModuleType
) -> None:
    """Method: the database refuses the job's part of a stage's end; the stage's part goes too."""
    execute(
        node,
        "CREATE TRIGGER refuses BEFORE UPDATE OF last_step ON batch_job_execution"
        " WHEN NEW.last_step = 'genre' BEGIN SELECT RAISE(ABORT, 'not now'); END",
    )

    ended = node.operator.run(recap.job, {"day": "2026-03-01"})

    assert (BatchStatus.FAILED, True) == (ended.batch_status, "not now" in str(ended.exception))
    states = dict(rows_of(node, "SELECT step_name, status FROM batch_step_execution"))
    assert ("COMPLETED", "dedup") == (
        states["dedup"],
        rows_of(node, "SELECT last_step FROM batch_job_execution")[0][0],
    )
    assert "COMPLETED" != states["genre"]


def test_a_run_that_is_killed_in_a_stage_goes_on_there(folder: Path) -> None:
    stepwell(folder, *RUN, killed_by=("stages", "summary", 3))
    stepwell(folder, *RUN)
    database = folder / "recap.db"

    fetched = "SELECT COUNT(*) FROM batch_step_execution WHERE step_name = 'fetch'"
    assert [(1,)] == rows(database, fetched)
    assert [(12,)] == rows(database, "SELECT COUNT(*) FROM recap_outputs")
    assert [] == doctor(folder)["findings"]


# --- an update of a job that no longer exists ----------------------------------------------------


def test_update_job_status_updates_existing_job(
    node: Node, caplog: pytest.LogCaptureFixture
) -> None:
    record = owned(node, "recap", BatchStatus.STARTED)

    node.repository.end_execution(
        record, context=None, batch_status=BatchStatus.STOPPED, exit_status="STOPPED"
    )

    assert [("STOPPED", record.version + 1)] == rows_of(
        node, "SELECT status, version FROM batch_job_execution"
    )
    assert ("STARTED", "STOPPED") == rows_of(
        node, "SELECT from_status, to_status FROM batch_status_history ORDER BY history_id DESC"
    )[0]
    assert [] == [r for r in caplog.records if "affected 0 rows" in r.getMessage()]


def test_update_job_status_warns_on_nonexistent_job(
    node: Node, caplog: pytest.LogCaptureFixture
) -> None:
    record = replace(
        owned(node, "recap", BatchStatus.STARTED), execution_id=4711, current_step="persist"
    )
    counted = ZeroRowUpdates.count

    with (
        caplog.at_level(logging.WARNING, logger="stepwell.repository"),
        pytest.raises(OptimisticLockingFailure) as raised,
    ):
        node.repository.end_execution(
            record, context=None, batch_status=BatchStatus.STOPPED, exit_status="STOPPED"
        )

    assert "no such row exists" in raised.value.message
    [line] = [r.getMessage() for r in caplog.records if "affected 0 rows" in r.getMessage()]
    assert line.startswith("affected 0 rows - the job may not exist or was deleted")
    assert all(word in line for word in ("4711", "STOPPED", "persist"))
    assert counted + 1 == ZeroRowUpdates.count
    assert [] == rows_of(node, "SELECT * FROM batch_status_history WHERE job_execution_id = 4711")


# --- what an older program has left --------------------------------------------------------------


def test_the_contradictions_of_an_old_database_are_found_explained_and_counted(old: Path) -> None:
    document = doctor(old, OLD)

    told = {(f["code"], f["where"]): f for f in document["findings"]}
    assert {("recap_pending_persist", f"id old-{n}") for n in (2, 3, 4)} <= set(told)
    pending = told["recap_pending_persist", "id old-2"]
    assert "job old-2 is pending, and its last stage is persist" == pending["what"]
    assert pending["explanation"]
    assert pending["repair"]["does"].endswith("answers a row")
    assert {
        "recap_contradictions": 3,
        "recap_stages_ahead": 2,
        "recap_stages_without_job": 1,
    } == document["metrics"]


def test_a_repair_completes_what_has_outputs_fails_the_rest_and_records_why(old: Path) -> None:
    before = rows(old / "old.db", JOBS)
    document = doctor(old, OLD, "--repair")

    assert ([], []) == (document["findings"], document["not_repaired"])
    assert {0} == set(document["metrics"].values())
    assert MENDED == rows(old / "old.db", JOBS)
    assert before == rows(Path(document["copy"]), JOBS)
    assert [] == rows(old / "old.db", "SELECT * FROM recap_stage_state WHERE job_id = 'old-9'")
    recorded = rows(
        old / "old.db",
        "SELECT place, found, done, actor FROM batch_repair"
        " WHERE code = 'recap_pending_persist' ORDER BY repair_id",
    )
    assert ["id old-2", "id old-3", "id old-4", "id old-7"] == [str(row[0]) for row in recorded]
    assert "job old-3 is pending, and its last stage is persist" == recorded[1][1]
    assert "SET status = 'failed'" in str(recorded[1][2])
    assert {"doctor"} == {row[3] for row in recorded}


def test_a_second_repair_changes_no_row(old: Path) -> None:
    doctor(old, OLD, "--repair")
    again = doctor(old, OLD, "--repair")

    assert ([], None, MENDED) == (again["repaired"], again["copy"], rows(old / "old.db", JOBS))


def test_the_same_as_a_migration_changes_0_rows_the_second_time(old: Path) -> None:
    """Method: the file is executed as often as the doctor has something left to write down."""
    for number in (1, 2):
        doctor(old, OLD, f"--sql=mend-{number}.sql")
        changed = [executed(old, f"mend-{number}.sql") for _ in range(2)]
        assert 0 < changed[0]
        assert 0 == changed[1]

    assert MENDED == rows(old / "old.db", JOBS)
    assert {0} == set(doctor(old, OLD)["metrics"].values())


def executed(folder: Path, script: str) -> int:
    """Execute a script as the ``sqlite3`` shell does; how many rows it changed."""
    connection = sqlite3.connect(folder / "old.db")
    try:
        connection.executescript("BEGIN;" + (folder / script).read_text("utf-8") + "COMMIT;")
        return connection.total_changes
    finally:
        connection.close()


def test_a_run_that_was_put_back_is_completed_by_its_evidence(folder: Path) -> None:
    """The same contradiction in Stepwell's own tables: waiting, with last step persist."""
    stepwell(folder, *RUN)
    connection = sqlite3.connect(folder / "recap.db")
    connection.execute(
        "UPDATE batch_job_execution SET status = 'STARTING', end_time = NULL, result = NULL,"
        " owner_id = NULL"
    )
    connection.commit()
    connection.close()

    found = {f["code"] for f in doctor(folder)["findings"]}
    assert {"history_disagrees", "registered_with_last_step"} <= found
    assert [] == doctor(folder, "--repair")["findings"]
    reason = "SELECT to_status, actor, reason FROM batch_status_history ORDER BY history_id DESC"
    to_status, actor, why = rows(folder / "recap.db", reason)[0]
    assert ("COMPLETED", "doctor") == (to_status, actor)
    assert str(why).endswith("and its outputs exist")


# --- one at a time, and who pressed --------------------------------------------------------------


def test_a_start_is_refused_while_one_runs_and_says_which(node: Node, recap: ModuleType) -> None:
    """On the server: whoever asks, for another day too."""
    begun, release = Event(), Event()

    def blocked() -> None:
        begun.set()
        release.wait(30)

    slow = replace(recap.job, steps=[TaskletStep("fetch", blocked)])
    running = node.operator.start(slow, {"day": "2026-03-01"}, trigger_source="system")
    assert begun.wait(30)

    with pytest.raises(JobExecutionAlreadyRunning) as refused:
        node.operator.start(slow, {"day": "2026-03-02"}, triggered_by="ann")
    release.set()
    node.operator.wait(running)
    pressed = node.operator.start(slow, {"day": "2026-03-02"}, triggered_by="ann")
    node.operator.wait(pressed)

    assert f"execution {running} is running" in refused.value.message
    assert [("system", None), ("user", "ann")] == rows_of(
        node,
        "SELECT trigger_source, triggered_by FROM batch_job_execution ORDER BY job_execution_id",
    )


# --- what the stages do with texts ---------------------------------------------------------------


def test_texts_are_cleaned_told_apart_sorted_and_summed_up(recap: ModuleType) -> None:
    stages = recap.stages

    assert "A lake &. Gone" == stages.clean("<p>A  lake &amp;</p> . <b>Gone</b>")
    assert {1: 1, 2: 1, 3: 3} == stages.originals(
        [
            (1, "one two three four five"),
            (2, "one two three four five"),
            (3, "six seven eight nine"),
        ]
    )
    assert ("sport", 2) == stages.genre_of("The coach and the team.")
    assert (None, 0) == stages.genre_of("The coach alone.")
    text = "Nothing here. The study of a study. An end."
    assert ["The study of a study."] == stages.evidence(text, "science")
    assert "The study of a study." == stages.summary(text, 1)
