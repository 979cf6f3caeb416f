"""``jobs`` and ``jobs show``: what is defined, with or without a database."""

from __future__ import annotations

import pytest

from tests.cli.program import Folder

NAMES = [
    "broken",
    "deaf",
    "load",
    "locking",
    "partly",
    "sevens",
    "shops",
    "stepwell.backup",
    "stepwell.doctor",
    "stepwell.purge",
    "stepwell.skips",
    "stepwell.sync.export",
    "stepwell.sync.import",
    "stepwell.sync.pull",
    "stepwell.sync.push",
    "talks",
]


def test_jobs_lists_definitions_and_last_executions(past: Folder) -> None:
    out = past.done("jobs").out
    jobs = {job["job"]: job for job in past.json("jobs")["jobs"]}

    assert "day: date, shop: int = 7, note: str = none" in out
    assert "numbers into a table" in out
    assert NAMES == list(jobs)
    assert ("module jobs", 2) == (jobs["load"]["defined_in"], len(jobs["load"]["steps"]))
    assert (1, "COMPLETED") == (
        jobs["load"]["last_execution"]["execution_id"],
        jobs["load"]["last_execution"]["status"],
    )
    assert jobs["deaf"]["last_execution"] is None


def test_jobs_needs_no_database_and_makes_none(folder: Folder) -> None:
    out = folder.done("jobs").out

    assert "there is no such file" in out
    assert "hint: `stepwell run JOB` makes the database" in out
    assert NAMES == [job["job"] for job in folder.json("jobs")["jobs"]]
    assert not list(folder.path.glob("stepwell.db*"))


def test_show_tells_parameters_and_steps_with_their_options(past: Folder) -> None:
    out = past.done("jobs", "show", "load").out
    shown = past.json("jobs", "show", "load")
    shares = past.json("jobs", "show", "partly")["steps"]

    assert (
        f"# defined in: module jobs, {past.path}/jobs.py\n"
        "# parameters: day: date, shop: int = 7, note: str = none\n"
        "# last execution: 1 COMPLETED "
    ) == out[: out.index("20")]
    assert (
        "# This text does not say:\n"
        "#   reader of step 'items': range(0, 500)\n"
        "job: load\n"
        "description: numbers into a table\n"
        "parameters: jobs:Day\n"
        "steps:\n"
        "  - step: table\n"
        "    tasklet: jobs:make_table\n"
    ) in out
    assert (["reader of step 'items': range(0, 500)"], "jobs:Day") == (
        shown["not_in_document"],
        shown["document"]["parameters"],
    )
    assert ["day", "shop", "note"] == [p["name"] for p in shown["parameters"]]
    assert [
        ("date", True, None, True),
        ("int", False, "7", True),
        ("str", False, "none", False),
    ] == [(p["type"], p["required"], p["default"], p["identifying"]) for p in shown["parameters"]]
    assert [
        {"step": "table", "kind": "tasklet", "within": None, "options": {"function": "make_table"}},
        {
            "step": "items",
            "kind": "chunk",
            "within": None,
            "options": {
                "reader": "range of 500",
                "processor": "slowly",
                "writer": "write",
                "chunk_size": 5,
            },
        },
    ] == shown["steps"]
    assert ("partitioned", 2, 1) == (
        shares[0]["kind"],
        shares[0]["options"]["workers"],
        shares[0]["options"]["tolerated_failures"],
    )


def test_a_flow_is_shown_with_what_is_in_it(folder: Folder) -> None:
    (folder.path / "jobs.py").write_text(
        "from stepwell import Job, TaskletStep\n"
        "from stepwell.job.flow import Decision, Flow, on\n"
        "one = TaskletStep('one', print, transitions=[on('FAILED').to('mend')])\n"
        "job = Job('flows', [Flow('morning', [one, TaskletStep('two', print)]),\n"
        "    Decision('enough', len, [on('NO').fail()]), TaskletStep('mend', print)])\n"
    )

    steps = folder.json("jobs", "show", "flows")["steps"]

    assert [
        ("morning", "flow", None),
        ("one", "tasklet", "morning"),
        ("two", "tasklet", "morning"),
        ("enough", "decision", None),
        ("mend", "tasklet", None),
    ] == [(step["step"], step["kind"], step["within"]) for step in steps]
    assert ["on FAILED: next mend"] == steps[1]["options"]["transitions"]
    assert "- on: NO\n        fail: true\n" in folder.done("jobs", "show", "flows").out


def test_an_unknown_job_is_refused_with_the_nearest_name(past: Folder) -> None:
    past.call("jobs", "show", "lode").refused(2, "cannot find job 'lode'", "did you mean 'load'?")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("import nothing_of_that_name", "ModuleNotFoundError"),
        ("this is no Python", "SyntaxError"),
        ("1 / 0", "ZeroDivisionError"),
    ],
)
def test_a_module_that_cannot_be_imported_is_named(folder: Folder, text: str, told: str) -> None:
    (folder.path / "jobs.py").write_text(text)

    folder.call("jobs").refused(2, "'jobs'", told, "hint: ")


def test_no_jobs_says_where_they_are_looked_for(folder: Folder) -> None:
    (folder.path / "jobs.py").write_text("")
    assert "stepwell.toml' names none with a job" in folder.done("jobs").out

    (folder.path / "stepwell.toml").unlink()
    out = folder.done("jobs").out
    assert "there is no stepwell.toml" in out
    assert "`stepwell init` writes a first one" in out
