"""Scenario E over HTTP: the four partitioned jobs, started with ``curl`` at port 9093."""

from __future__ import annotations

import json
import shutil
import signal
import socket
import subprocess
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from tests.examples.runs import COMMAND_TIMEOUT_S, copy_of, rows, start

CURL = (
    "curl -X POST http://localhost:9093/api/batch/bi-date-update"
    ' -H "Content-Type: application/json"'
    """ -d '{"startDate": "2025-09-01", "endDate": "2025-09-05"}'"""
)
ADA = "38fddae2-51b1-534d-a6b2-af3e45429543"
TRACKING = (
    "SELECT status, result, completed_subtasks, total_subtasks, progress_percent"
    " FROM batch_job_execution_tracking WHERE execution_id = "
)

pytestmark = pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl")


def is_free(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


def curl(command: str) -> tuple[int, Any]:
    """Status and document of what a person types."""
    done = subprocess.run(
        ["bash", "-c", command + r" -s -w '\n%{http_code}'"],
        capture_output=True,
        text=True,
        check=True,
        timeout=COMMAND_TIMEOUT_S,
    )
    text, _, status = done.stdout.rpartition("\n")
    return int(status), json.loads(text)


def seen(folder: Path, execution_id: int) -> dict[str, Any]:
    """What the API says; the tracking view is between two looks at it, and must say the same.

    Where the looks differ the job went on between them, and it is looked at again.
    """
    url = f"http://localhost:9093/api/executions/{execution_id}"
    before, view = None, []
    while True:
        with urllib.request.urlopen(url, timeout=COMMAND_TIMEOUT_S) as answer:
            shown = json.load(answer)
        now = tracked(shown)
        if now == before:
            assert [now] == view, "the tracking view and the API differ"
            return dict(shown)
        view = rows(folder / "consultancy.db", TRACKING + str(execution_id))
        before = now


def tracked(shown: dict[str, Any]) -> tuple[object, ...]:
    """The view's row, from the API's document."""
    partitioned = [step["partitions"] for step in shown["steps"] if step["partitions"]]
    total = sum(each["total"] for each in partitioned)
    done = sum(each["completed"] for each in partitioned)
    if not partitioned:
        return (shown["status"], shown["result"], None, None, None)
    return (shown["status"], shown["result"], done, total, 100 * done // total)


@pytest.mark.skipif(not is_free(9093), reason="port 9093 is in use")
def test_each_job_is_started_by_curl_and_the_view_and_the_api_agree(tmp_path: Path) -> None:
    """Goal: the command verbatim; a second one while the first runs names it."""
    folder = copy_of("consultancy", tmp_path)
    server = start(folder, "serve")
    assert server.stdout is not None
    try:
        while "serving on" not in (line := server.stdout.readline()):
            assert line, "the server has ended"
        status, started = curl(CURL)
        twin_status, twin = curl(CURL)
        assert (202, 1) == (status, started["execution_id"])
        assert (409, "job_execution_already_running", 1) == (
            twin_status,
            twin["code"],
            twin["fields"]["execution_id"],
        )
        assert "COMPLETED" == end_of(folder, 1)["result"]
        for execution_id, job in enumerate(
            (
                "contract-consultant-forward-recalc",
                "user-salary-forward-recalc",
                "user-status-forward-recalc",
            ),
            start=2,
        ):
            command = CURL.replace("bi-date-update", job).replace("{", f'{{"userUuid": "{ADA}", ')
            status, started = curl(command)
            assert (202, execution_id) == (status, started["execution_id"])
            assert "COMPLETED" == end_of(folder, execution_id)["result"]
            if job != "contract-consultant-forward-recalc":  # That one is of everybody, too.
                command = command.replace("userUuid", "user_uuid")
            status, problem = curl(command.replace(ADA, "USER_UUID_HERE"))
            assert (422, ["user_uuid"]) == (status, list(problem["fields"]["parameters"]))
            assert "python users.py" in problem["message"]
            assert ADA in problem["message"]
    finally:
        server.send_signal(signal.SIGTERM)
        server.communicate(timeout=COMMAND_TIMEOUT_S)
    assert 0 == server.returncode


def end_of(folder: Path, execution_id: int) -> dict[str, Any]:
    """The execution as it ended; at every look before, the view and the API agreed."""
    while (shown := seen(folder, execution_id))["ended_at"] is None:
        pass
    return shown
