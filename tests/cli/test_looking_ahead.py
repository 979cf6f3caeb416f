"""``plan``, ``diff`` and ``skips``: what would be done, what was different, what was left out."""

from __future__ import annotations

import json

from tests.cli.program import Folder


def test_a_plan_of_a_new_instance_needs_no_database(folder: Folder) -> None:
    out = folder.done("plan", "load", "day=2026-11-20").out

    assert "job 'load' would start as a new instance" in out
    assert "hint: `stepwell run load day=2026-11-20` starts it" in out
    folder.call("plan", "stepwell.skips", "skips_of=2").refused(2, "there is no database yet")
    assert not (folder.path / "stepwell.db").exists()


def test_a_plan_lists_the_first_partitions(folder: Folder) -> None:
    (folder.path / "allowed").write_text("40", "utf-8")
    folder.call("run", "shops", ALLOWED=str(folder.path / "allowed"))
    new = folder.call("plan", "shops", "--again", "--json").json
    folder.call("plan", "shops").refused(4, "it is already COMPLETED")

    (step,) = new["steps"]
    assert (None, "run", 40, 40, False) == (
        new["goes_on_from"],
        step["action"],
        step["partitions"]["total"],
        step["partitions"]["left"],
        step["partitions"]["frozen"],
    )
    assert {"number": 0, "name": "0", "input": 0} == step["partitions"]["first"][0]
    assert 20 == len(step["partitions"]["first"])


def test_a_plan_refuses_what_a_start_would_refuse_and_records_nothing(past: Folder) -> None:
    past.call("plan", "load", "day=2026-11-20").refused(4, "it is already COMPLETED")
    past.call("plan", "load").refused(2, "parameter 'day': it is missing")
    past.call("plan", "lod").refused(2, "did you mean 'load'?")
    retried = past.json("plan", "stepwell.skips", "skips_of=2")
    assert ["pick"] == [step["step"] for step in retried["steps"]]
    out = past.done("plan", "broken").out

    assert "job 'broken' would go on from execution 3, which is FAILED" in out
    assert "FAILED in execution 3" in out
    assert [(4,)] == past.rows("SELECT COUNT(*) FROM batch_job_execution")


def test_two_executions_side_by_side(past: Folder) -> None:
    out = past.done("diff", "1", "2").out
    document = past.json("diff", "1", "2")

    assert "EXECUTION 1" in out
    assert "≠  job" in out
    assert {"what": "job", "first": "load", "second": "sevens"} in document["differences"]
    assert [1, 2] == [each["execution_id"] for each in document["executions"]]
    assert "the same, but for the times" in past.done("diff", "1", "1").out
    past.call("diff", "1", "9").refused(2, "cannot find execution 9")


def test_skipped_items_are_listed_page_by_page_and_exported(past: Folder) -> None:
    first = past.json("skips", "list", "2", "--limit", "5")
    rest = past.json("skips", "list", "2", "--after", str(first["skips"][-1]["skip_id"]))
    out = past.done("skips", "list", "2", "--limit", "2").out
    file = past.path / "skipped.jsonl"
    told = past.done("skips", "export", "2", "--to", str(file)).out
    lines = [json.loads(line) for line in file.read_text("utf-8").splitlines()]

    assert (8, 5, 3) == (first["skip_count"], len(first["skips"]), len(rest["skips"]))
    assert "ValueError: 7 is a seven" in out
    assert "hint: `--after 2` shows those behind, of 8 in all" in out
    assert f"wrote 8 skipped items to {str(file)!r}\n" == told
    assert first["skips"] + rest["skips"] == lines
    assert ["7", "process", None] == [lines[0][key] for key in ("item", "phase", "partition")]
    past.call("skips", "export", "2", "--to", str(file)).refused(2, "is there already")
    past.call("skips", "list", "9").refused(2, "cannot find execution 9")
    assert "execution 1 has skipped nothing" in past.done("skips", "list", "1").out


def test_skipped_items_are_retried(folder: Folder) -> None:
    """Method: nothing was mended, so all of it is skipped again."""
    folder.done("run", "sevens")
    again = folder.call("skips", "retry", "1", "--reason", "mended")
    once = folder.call("skips", "retry", "1")

    assert 0 == again.code, again
    assert "execution 2 of job 'stepwell.skips' is COMPLETED" in again.out
    assert "8 items skipped" in again.out
    once.refused(4, "it is already COMPLETED for")
    assert ["mended"] == [
        by.partition(": ")[2]
        for (by,) in folder.rows(
            "SELECT triggered_by FROM batch_job_execution WHERE job_execution_id = 2"
        )
    ]
