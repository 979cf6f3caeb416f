"""Everything at once, and everything wrong: no answer that is not described, nothing done twice."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from stepwell import Job, Node, TaskletStep
from stepwell.settings import Settings
from stepwell.web.app import make_app
from stepwell.web.description import describe
from tests.web.client import Answer, Client
from tests.web.conftest import Day, Gate

WAIT_S = 30
AT_ONCE = 6
VALUES = [
    "",
    "0",
    "-1",
    "7",
    "9" * 40,
    "nan",
    "night",
    "\x00",
    "\ud800",
    "日本",
    "a" * 5_000,
    "../x",
]
IDS = ("execution_id", "owner_id", "conflict_id", "quarantine_id")
BODIES: list[Any] = [
    None,
    {},
    {"reason": "x" * 100_000},
    {"reason": "\x00"},
    {"reason": None, "force": "yes"},
    {"execution_id": 2**70},
    {"day": "\x00", "shop": 10**400},
    {"day": "2026-11-20", "note": [{}]},
    {"": ""},
]


@pytest.fixture
def here(database_url: str, tmp_path: Path, gate: Gate) -> Iterator[Node]:
    """A node on each database, with a folder for its copies."""
    settings = Settings(database=database_url, folder=tmp_path)
    with Node.open(settings, purpose="serve") as node:
        for job in (
            Job("night", [TaskletStep("wait", gate.wait)]),
            Job("load", [TaskletStep("count", lambda: None)], parameters=Day),
        ):
            node.registry.add(job, origin="module jobs")
        yield node
        gate.opened.set()


def at_once(ask: Callable[[int], Answer]) -> list[Answer]:
    with ThreadPoolExecutor(AT_ONCE) as pool:
        return list(pool.map(ask, range(AT_ONCE)))


def test_of_many_starts_at_once_one_starts(here: Node, gate: Gate) -> None:
    client = Client(make_app(here))
    answers = at_once(lambda _: client.post("/api/batch/night"))
    [started] = [answer for answer in answers if answer.status == 202]

    assert {202: 1, 409: AT_ONCE - 1} == Counter(answer.status for answer in answers)
    for answer in answers:
        if answer is not started:
            problem = answer.refused(409, "job_execution_already_running")
            assert started.json["execution_id"] == problem["fields"]["execution_id"]


def test_one_key_at_once_is_one_execution(here: Node, gate: Gate) -> None:
    client = Client(make_app(here))
    answers = at_once(lambda _: client.post("/api/batch/night", idempotency_key="night-1"))

    assert {202} == {answer.status for answer in answers}
    assert 1 == len({answer.json["execution_id"] for answer in answers})


def test_an_action_at_once_and_twice_has_one_effect(here: Node, gate: Gate) -> None:
    client = Client(make_app(here))
    client.post("/api/batch/night")
    assert gate.begun.wait(WAIT_S)
    stops = at_once(lambda _: client.post("/api/executions/1/stop"))
    gate.opened.set()
    here.operator.wait(1)
    restarts = at_once(lambda _: client.post("/api/executions/1/restart"))
    ended = client.get("/api/executions/1").json["status"]
    history = [str(change.to_status) for change in here.operator.get_history(1)]

    assert {200} == {answer.status for answer in stops}
    # The stop may have come behind the only step; then there is nothing to restart.
    assert {"STOPPED": 1, "COMPLETED": 0}[ended] == [a.status for a in restarts].count(202)
    assert {409} >= {answer.status for answer in restarts} - {202}
    assert 1 >= history.count("STOPPING") - 1


def test_a_text_that_no_database_takes_is_refused(here: Node) -> None:
    client = Client(make_app(here))
    client.post("/api/register/load", {"day": "2026-11-20"})

    client.post("/api/executions/1/stop", {"reason": "a\x00b"}).refused(400, "invalid_request")
    client.get("/api/executions?job=%00").refused(400, "invalid_request")
    client.get("/api/jobs/%00").refused(400, "invalid_request")
    assert 200 == client.post("/api/executions/1/stop", {"reason": r"a\u0000b"}).status


def test_no_answer_is_a_fault_or_undescribed(here: Node) -> None:
    """Method: each operation with each hostile value at each of its places, and each body."""
    app = make_app(here)
    client = Client(app)
    problems = []
    for path, item in describe(app)["paths"].items():
        for method, operation in item.items():
            if "text/event-stream" in str(operation["responses"].get("200")):
                continue  # It never ends; its refusals are those of every other route.
            for target, body in requests(path, operation):
                parts = () if body is None else (json.dumps(body).encode(),)
                answer = client.ask(method.upper(), target, parts)
                described = operation["responses"]
                known = str(answer.status) in described or target.split("?")[0] != path
                if answer.status >= 500 or not known:
                    problems.append((method, target[:80], body and str(body)[:60], answer.text))

    assert [] == problems


def requests(path: str, operation: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    parameters = operation.get("parameters", [])
    usual = {"job": "load", "name": "night"} | dict.fromkeys(IDS, "7")
    for parameter in parameters:
        for value in VALUES:
            escaped = quote(value.encode(errors="surrogatepass"), safe="")
            if parameter["in"] == "path":
                yield filled(path, {**usual, parameter["name"]: escaped}), None
            elif parameter["in"] == "query":
                yield f"{filled(path, usual)}?{parameter['name']}={escaped}", None
    for body in BODIES if "requestBody" in operation else [None]:
        yield filled(path, usual), body


def filled(path: str, values: dict[str, str]) -> str:
    for name, value in values.items():
        path = path.replace(f"{{{name}}}", value)
    return path
