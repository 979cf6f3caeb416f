"""Log lines on stderr: for people or for programs, each with the run that it belongs to."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.cli.program import Ended, Folder

JOBS = """
import logging
from stepwell import Job, PartitionedStep, TaskletStep

theirs = logging.getLogger("reports")


def share(number: int, step):
    theirs.warning("partition %d\\nhas a second line", number)


def say(step):
    theirs.warning("a tasklet")
    raise RuntimeError("the till is locked")


shares = Job("shares", [PartitionedStep("each", [0, 1], share, executor="processes", workers=1)])
broken = Job("broken", [TaskletStep("open", say)])
"""


@pytest.fixture
def logging_folder(folder: Folder) -> Folder:
    (folder.path / "jobs.py").write_text(JOBS, encoding="utf-8")
    return folder


def lines(ended: Ended) -> list[dict[str, Any]]:
    """Stderr, which must hold JSON lines and nothing else."""
    return [json.loads(line) for line in ended.err.splitlines()]


def with_setting(folder: Folder, log_format: str) -> None:
    text = f'jobs = ["jobs"]\nlog_format = "{log_format}"\n'
    (folder.path / "stepwell.toml").write_text(text, encoding="utf-8")


def test_a_line_for_people_names_the_run(logging_folder: Folder) -> None:
    ended = logging_folder.call("run", "broken")

    assert " WARNING reports [broken 1 open]: a tasklet\n" in ended.err
    assert 1 == ended.code


@pytest.mark.parametrize("how", ["flag", "setting", "variable"])
def test_programs_get_json(how: str, logging_folder: Folder) -> None:
    if how == "setting":
        with_setting(logging_folder, "json")
    flag = ("--log-format", "json") if how == "flag" else ()
    variables = {"STEPWELL_LOG_FORMAT": "json"} if how == "variable" else {}
    told = lines(logging_folder.call("run", "broken", *flag, **variables))

    [said] = [line for line in told if line["logger"] == "reports"]
    [failed] = [line for line in told if line["level"] == "ERROR"]
    assert ("a tasklet", "WARNING", "broken", 1, "open", None) == tuple(
        said[key] for key in ("message", "level", "job", "execution_id", "step", "partition")
    )
    assert ("broken", 1) == (failed["job"], failed["execution_id"])
    assert (
        "execution 1 of job 'broken' failed: RuntimeError: the till is locked"
        == (failed["message"])
    )
    assert said["at"].endswith("Z")


def test_the_flag_beats_the_setting(logging_folder: Folder) -> None:
    with_setting(logging_folder, "json")

    assert "[broken 1 open]: a tasklet" in (
        logging_folder.call("--log-format", "text", "run", "broken").err
    )


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_worker_processes_log_like_the_one_that_started_them(
    log_format: str, logging_folder: Folder
) -> None:
    ended = logging_folder.done("run", "shares", "--log-format", log_format)

    if log_format == "json":
        told = [line for line in lines(ended) if line["logger"] == "reports"]
        assert [("shares", 1, "each", 0), ("shares", 1, "each", 1)] == sorted(
            (line["job"], line["execution_id"], line["step"], line["partition"]) for line in told
        )
        assert "partition 0\nhas a second line" in [line["message"] for line in told]
    else:
        assert "WARNING reports [shares 1 each 0]: partition 0 has a second line\n" in ended.err
        assert "WARNING reports [shares 1 each 1]: partition 1 has a second line\n" in ended.err


def test_everything_that_is_recorded_is_told(logging_folder: Folder) -> None:
    """Goal: with `-vv`, each fact before and after it; what a program reads has its values."""
    told = lines(logging_folder.call("-vv", "run", "broken", "--log-format=json"))
    of_facts = [line for line in told if line["logger"] == "stepwell.facts"]
    before = [line for line in of_facts if line["message"].startswith("before")]
    after = [line for line in of_facts if line["message"].startswith("after")]

    assert len(before) == len(after) > 10
    [ended] = [
        line
        for line in after
        if line["table"] == "batch_step_execution" and line["status"] == "FAILED"
    ]
    assert (1, 1, 1, "broken", 1, "open") == tuple(
        ended[key] for key in ("id", "version", "row_count", "job", "execution_id", "step")
    )
    assert "committed" in [line["message"] for line in of_facts]


@pytest.mark.parametrize(
    ("words", "settings", "said"),
    [
        (("--log-format", "yaml", "jobs"), "text", "must be text or json, got 'yaml'"),
        (("jobs",), "yaml", "log_format must be 'text' or 'json', got 'yaml'"),
    ],
)
def test_another_format_is_refused(
    words: tuple[str, ...], settings: str, said: str, logging_folder: Folder
) -> None:
    with_setting(logging_folder, settings)

    logging_folder.call(*words).refused(2, said)
