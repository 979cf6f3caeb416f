"""Scenario C: 200 items, three agents, workers that are killed, and somebody who looks on."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from stepwell.settings import load_settings
from tests.examples.runs import copy_of, module_of, refused, rows, stepwell

DEMO_TIMEOUT_S = 280


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return copy_of("workflow", tmp_path)


@pytest.mark.timeout(300)
def test_the_demo_keeps_every_promise_while_its_workers_are_killed(folder: Path) -> None:
    """Goal: scenario C. Method: the demo itself, whose checks know nothing of Stepwell's code."""
    done = subprocess.run(
        [sys.executable, "demo.py", "--kills", "2"],
        cwd=folder,
        env={**os.environ, "WORKFLOW_PAUSE_S": "0.01"},
        capture_output=True,
        text=True,
        timeout=DEMO_TIMEOUT_S,
        check=False,
    )

    assert 0 == done.returncode, done.stdout + done.stderr
    assert "184 items, each done once" in done.stdout
    assert "no signature lost, none doubled" in done.stdout
    database = folder / "workflow.db"
    assert [("FAILED", 3), ("STARTING", 0)] == [
        (status, count)
        for status in ("FAILED", "STARTING")
        for [(count,)] in [
            rows(
                database,
                "SELECT COUNT(*) FROM batch_job_execution e WHERE status = "
                f"'{status}' AND NOT EXISTS (SELECT 1 FROM batch_job_execution later WHERE"
                " later.job_instance_id = e.job_instance_id"
                " AND later.job_execution_id > e.job_execution_id)",
            )
        ]
    ]
    [(deaths,)] = rows(
        database, "SELECT COUNT(*) FROM batch_job_execution WHERE failure_type = 'OwnerDied'"
    )
    assert deaths > 0


def test_what_is_imported_is_what_the_old_program_left(folder: Path) -> None:
    told = stepwell(folder, "import-state", "state.json", "--job", "item")

    assert "180 registered, 18 recorded as COMPLETED, 2 recorded as FAILED" in told
    assert "already imported" in refused(folder, "import-state", "state.json", "--job", "item")
    state = json.loads((folder / "state.json").read_text("utf-8"))
    assert 200 == len(state["items"])
    assert [(json.dumps({"title": "Chapter 1, page 1"}, separators=(",", ":")),)] == rows(
        folder / "workflow.db",
        "SELECT serialized_context FROM batch_job_execution_context WHERE job_execution_id = 2",
    )


def test_the_state_is_what_its_program_makes(folder: Path) -> None:
    before = (folder / "state.json").read_text("utf-8")
    subprocess.run([sys.executable, "make_state.py"], cwd=folder, check=True)

    assert before == (folder / "state.json").read_text("utf-8")


def test_the_checks_see_what_is_wrong(folder: Path) -> None:
    """Goal: the demo's proof can fail. Method: one wrong row for each of its claims."""
    checks = module_of(folder / "checks.py")
    database, book = folder / "evidence.db", folder / "book"
    files_of = {"a": ["1.md"], "b": ["*.md"], "c": ["2.md"]}

    def evidence(*done: tuple[str, str, float, float]) -> None:
        database.unlink(missing_ok=True)
        with sqlite3.connect(database) as connection:
            connection.execute("CREATE TABLE done (item, agent, began, ended)")
            connection.execute("CREATE TABLE batch_job_execution (job_instance_id, status)")
            connection.executemany("INSERT INTO done VALUES (?, ?, ?, ?)", done)
        connection.close()

    evidence(("a", "writer", 1, 3), ("b", "publisher", 2, 4))
    with pytest.raises(checks.Wrong, match="a and b were at work on"):
        checks.check_apart(database, files_of)
    with pytest.raises(checks.Wrong, match=r"missing \['c'\], too many \['b'\]"):
        checks.check_done_once(database, ["a", "c"])
    evidence(("a", "reviewer", 1, 3), ("c", "reviewer", 2, 4))
    assert 2 == checks.check_apart(database, files_of)
    with pytest.raises(checks.Wrong, match="2 items of the reviewer at a time"):
        checks.check_limits(database)
    with pytest.raises(checks.Wrong, match=r"a has signed 1\.md 0 times"):
        checks.check_files(book, files_of, ["a"])


def test_the_pools_are_those_of_the_guide(folder: Path) -> None:
    settings = load_settings(environment={}, working_folder=folder)

    assert {"writer": 2, "reviewer": 1, "publisher": 1} == settings.pools
