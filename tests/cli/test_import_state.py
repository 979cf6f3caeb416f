"""``import-state`` from a terminal: what it tells, and what it leaves alone."""

from __future__ import annotations

import json

import pytest

from tests.cli.program import Folder

ITEMS = [
    {"id": 1, "status": "done", "day": "2026-11-20"},
    {"id": 2, "status": "failed", "day": "2026-11-21", "error": "no paper"},
    {"id": 3, "status": "pending", "day": "2026-11-22", "title": "later"},
]


@pytest.fixture
def state(folder: Folder) -> str:
    text = json.dumps(ITEMS)
    (folder.path / "state.json").write_text(text, "utf-8")
    return text


def test_a_file_is_imported_once_and_its_work_is_done(folder: Folder, state: str) -> None:
    imported = folder.done("import-state", "state.json", "--job", "load")
    again = folder.call("import-state", "state.json", "--job", "load")
    folder.done("work", "--drain")

    assert (
        "imported 'state.json' (execution 1): 1 registered, 1 recorded as COMPLETED,"
        " 1 recorded as FAILED\n  hint: `stepwell work` runs what is registered;"
        " the file is not read again\n"
    ) == imported.out
    again.refused(4, "it is already imported (execution 1)", "`stepwell status 1`")
    assert state == (folder.path / "state.json").read_text("utf-8")
    assert [("COMPLETED",), ("FAILED",), ("COMPLETED",)] == folder.rows(
        "SELECT status FROM batch_job_execution WHERE job_execution_id > 1"
    )
    assert "Imported: no paper" in folder.done("status").out
    assert "imported from state.json" in folder.done("status", "2").out


def test_a_program_reads_the_counts(folder: Folder, state: str) -> None:
    document = folder.json("import-state", "state.json", "--job", "load")

    assert {
        "execution_id": 1,
        "status": "COMPLETED",
        "counts": {"waiting": 1, "completed": 1, "failed": 1, "abandoned": 0, "kept": 0},
    } == document


def test_what_cannot_be_imported_makes_no_database(folder: Folder, state: str) -> None:
    folder.call("import-state", "nowhere.json").refused(2, "no such file or directory")
    folder.call("import-state", "state.json").refused(2, "item 1 names no job", "`--job JOB`")
    folder.call("import-state", "state.json", "--job", "lod").refused(
        2, "cannot find job 'lod'", "item 3", "nothing was recorded"
    )

    assert [] == folder.rows("SELECT * FROM batch_job_execution")
