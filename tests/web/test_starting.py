"""Starting over HTTP: what is recorded, what is refused, and twice is once."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from stepwell import Node
from stepwell.web.app import make_app
from tests.web.client import Client
from tests.web.conftest import Gate


def test_a_start_is_recorded_before_it_is_answered(client: Client, node: Node) -> None:
    answer = client.post("/api/batch/load", {"day": "2026-11-20"})
    ended = node.operator.wait(1)

    assert (202, "/api/executions/1") == (answer.status, answer.headers["location"])
    assert {"execution_id": 1, "job": "load", "trigger_source": "user"}.items() <= (
        answer.json.items()
    )
    assert ended is not None
    assert "COMPLETED" == ended.batch_status
    assert "COMPLETED" == client.get("/api/executions/1").json["status"]


def test_names_may_be_written_in_camel_case_and_values_in_their_json_types(
    client: Client, node: Node
) -> None:
    client.post("/api/batch/load", {"day": "2026-11-20", "shop": 9})

    assert [("day", "2026-11-20"), ("shop", "9")] == [
        (p.name, p.value) for p in node.operator.get_parameters(1)
    ]


def test_a_second_start_is_a_conflict_that_names_the_running_one(
    client: Client, gate: Gate
) -> None:
    client.post("/api/batch/waiting")
    assert gate.begun.wait(30)

    problem = client.post("/api/batch/waiting").refused(409, "job_execution_already_running")
    assert 1 == problem["fields"]["execution_id"]
    assert "execution 1 is running" in problem["message"]


def test_a_start_of_what_is_complete_names_the_execution(client: Client, node: Node) -> None:
    client.post("/api/batch/load", {"day": "2026-11-20"})
    node.operator.wait(1)

    problem = client.post("/api/batch/load", {"day": "2026-11-20"})
    assert 1 == problem.refused(409, "job_instance_already_complete")["fields"]["execution_id"]
    assert 202 == client.post("/api/batch/load?again=true", {"day": "2026-11-20"}).status


def test_a_wrong_parameter_is_named_with_its_value(client: Client) -> None:
    problem = client.post("/api/batch/load", {"day": "DAY_HERE"}).refused(422, "job_start_error")

    assert ["day"] == list(problem["fields"]["parameters"])
    assert "'DAY_HERE'" in problem["fields"]["parameters"]["day"]
    assert [] == client.get("/api/executions").json["executions"]


def test_an_unknown_job_is_not_there(client: Client) -> None:
    client.post("/api/batch/laod", {}).refused(404, "no_such_job")


def test_one_idempotency_key_starts_one_execution(client: Client, node: Node, gate: Gate) -> None:
    key = {"idempotency_key": "night-1"}
    first = client.post("/api/batch/waiting", **key)
    again = client.post("/api/batch/waiting", **key)
    gate.opened.set()
    node.operator.wait(1)
    afterwards = client.post("/api/batch/waiting", **key)
    registered = client.post("/api/register/load", {"day": "2026-11-20"}, **key)

    assert [(202, 1)] * 3 == [
        (each.status, each.json["execution_id"]) for each in (first, again, afterwards)
    ]
    registered.refused(409, "idempotency_key_used")
    assert 1 == len(client.get("/api/executions").json["executions"])


def test_what_is_registered_waits_for_a_worker(client: Client) -> None:
    answer = client.post("/api/register/load?priority=3", {"day": "2026-11-20"})
    why = client.get("/api/executions/1/why").json

    assert (202, "STARTING", 3) == (answer.status, answer.json["status"], answer.json["priority"])
    assert ["no_worker"] == [reason["code"] for reason in why["reasons"]]


@pytest.mark.parametrize(
    "body",
    [b"{", b"[]", b"7", b"null", b'"day"', b"\xff\xfe", b"[" * 200_000, b'{"a":' * 100_000],
    ids=["torn", "list", "number", "null", "text", "no UTF-8", "deep list", "deep object"],
)
def test_a_body_that_is_no_json_object_is_refused(client: Client, body: bytes) -> None:
    client.ask("POST", "/api/batch/load", [body]).refused(400, "invalid_request")


def test_a_large_body_is_not_read_to_its_end(client: Client) -> None:
    """Method: it never ends; each part is small, and no length is told."""
    read = 0

    def endless() -> Iterator[bytes]:
        nonlocal read
        for _ in range(1_000):
            read += 1
            yield b" " * 65_536

    client.ask("POST", "/api/batch/load", endless()).refused(413, "request_too_large")
    assert 18 > read


def test_nothing_new_is_started_while_the_server_ends(node: Node) -> None:
    ending = Client(make_app(node, is_ending=lambda: True))

    problem = ending.post("/api/batch/load", {"day": "2026-11-20"})
    problem.refused(503, "database_busy")
    assert "1" == problem.headers["retry-after"]
    assert {"status": "ending"} == ending.get("/health").json
