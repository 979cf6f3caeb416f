"""The operator's verbs over HTTP, and that every answer is the command line's document."""

from __future__ import annotations

import pytest

from stepwell import Node
from stepwell.looks.representation import details_json
from stepwell.web.app import make_app
from stepwell.web.face import Face
from tests.web.client import Client
from tests.web.conftest import Gate


def test_stop_asks_and_its_reason_is_in_the_history(client: Client, node: Node, gate: Gate) -> None:
    client.post("/api/batch/waiting")
    assert gate.begun.wait(30)
    asked = client.post("/api/executions/1/stop", {"reason": "the till"})
    twice = client.post("/api/executions/1/stop", {"reason": "once more"})
    gate.opened.set()
    node.operator.wait(1)

    assert [(200, True)] * 2 == [(a.status, a.json["stop_requested"]) for a in (asked, twice)]
    history = client.get("/api/executions/1/history").json["history"]
    assert ("operator", "the till") in [(h["actor"], h["reason"]) for h in history]
    client.post("/api/executions/1/stop").refused(409, "job_execution_not_running")


def test_what_failed_is_restarted_then_abandoned(client: Client, node: Node) -> None:
    client.post("/api/batch/broken")
    node.operator.wait(1)
    restarted = client.post("/api/executions/1/restart", {"reason": "mended"})
    node.operator.wait(2)
    abandoned = client.post("/api/executions/2/abandon", {"reason": "not mended"})

    assert (202, 2, "/api/executions/2") == (
        restarted.status,
        restarted.json["execution_id"],
        restarted.headers["location"],
    )
    assert (200, "ABANDONED") == (abandoned.status, abandoned.json["status"])
    client.post("/api/executions/1/restart").refused(409, "job_execution_not_most_recent")
    client.post("/api/executions/2/restart").refused(409, "job_restart_error")


def test_the_priority_of_what_waits_is_changed(client: Client) -> None:
    client.post("/api/register/load", {"day": "2026-11-20"})

    assert 7 == client.post("/api/executions/1/priority?priority=7").json["priority"]
    client.post("/api/executions/1/priority").refused(422, "invalid_request")


def test_recover_needs_proof_or_force_with_a_reason(client: Client, gate: Gate) -> None:
    client.post("/api/batch/waiting")
    assert gate.begun.wait(30)

    assert {"recovered": []} == client.post("/api/recover").json
    client.post("/api/recover", {"execution_id": 1}).refused(409, "job_execution_is_running")
    client.post("/api/recover", {"force": True}).refused(422, "invalid_request")
    client.post("/api/recover", {"execution_id": 1, "force": True}).refused(400, "job_start_error")


def test_an_execution_is_shown_as_the_command_line_shows_it(client: Client, node: Node) -> None:
    client.post("/api/batch/partly")
    node.operator.wait(1)
    face = Face.of(node, on_loopback=True, is_ending=lambda: False)
    shown = client.get("/api/executions/1").json

    assert details_json(face.watch().details(1, partitions_max=20, skips_max=20)) == shown
    assert ("COMPLETED", "PARTIAL") == (shown["status"], shown["result"])
    assert {"total": 5, "completed": 5, "failed": 0, "partial": 1} == shown["steps"][0][
        "partitions"
    ]


def test_partitions_and_executions_come_in_pages(client: Client, node: Node) -> None:
    client.post("/api/batch/partly")
    node.operator.wait(1)
    for day in (1, 2, 3):
        client.post("/api/register/load", {"day": f"2026-11-0{day}"})
    first = client.get("/api/executions/1/partitions?limit=3").json
    second = client.get(f"/api/executions/1/partitions?limit=3&after={first['next_after']}").json
    newest = client.get("/api/executions?limit=3").json
    older = client.get(f"/api/executions?limit=3&before={newest['next_before']}").json
    waiting = client.get("/api/executions?status=STARTING&job=load").json

    assert ("share", [0, 1, 2], [3, 4]) == (
        first["step"],
        [p["number"] for p in first["partitions"]],
        [p["number"] for p in second["partitions"]],
    )
    assert second["next_after"] is None
    assert [4, 3, 2] == [e["execution_id"] for e in newest["executions"]]
    assert [1] == [e["execution_id"] for e in older["executions"]]
    assert [4, 3, 2] == [e["execution_id"] for e in waiting["executions"]]
    client.get("/api/executions?limit=100000").refused(422, "invalid_request")


def test_what_is_not_there_is_said_so(client: Client) -> None:
    client.get("/api/executions/41").refused(404, "no_such_job_execution")
    client.get(f"/api/executions/{2**63 - 1}/history").refused(404, "no_such_job_execution")
    client.get(f"/api/executions/{2**63}").refused(422, "invalid_request")
    client.get("/api/executions/seven").refused(422, "invalid_request")
    client.get("/api/jobs/laod").refused(404, "no_such_job")
    client.get("/api/nothing").refused(404, "invalid_request")
    client.ask("DELETE", "/api/executions").refused(405, "invalid_request")
    client.post("/api/owners/7/stop").refused(404, "no_such_owner")
    client.post("/api/schedules/night/pause").refused(404, "no_such_schedule")
    client.ask("DELETE", "/api/schedules/night").refused(404, "no_such_schedule")


def test_a_body_that_no_action_takes_is_refused(client: Client) -> None:
    client.post("/api/executions/1/stop", {"reasn": "x"}).refused(422, "invalid_request")
    client.post("/api/executions/1/stop", {"reason": 3}).refused(422, "invalid_request")


def test_lists_of_who_has_what(client: Client, node: Node, gate: Gate) -> None:
    client.post("/api/batch/waiting")
    assert gate.begun.wait(30)
    sized = client.ask("PUT", "/api/pools/gpu?size=2")

    assert {"pool": "gpu", "size": 2}.items() <= sized.json.items()
    assert [sized.json] == client.get("/api/pools").json["pools"]
    client.ask("PUT", "/api/pools/gpu?size=-1").refused(422, "invalid_request")
    assert [("serve", [1])] == [
        (owner["purpose"], owner["execution_ids"])
        for owner in client.get("/api/owners").json["owners"]
    ]
    assert [("run", 1)] == [
        (lock["kind"], lock["execution_id"]) for lock in client.get("/api/locks").json["locks"]
    ]
    assert {"schedules": []} == client.get("/api/schedules").json
    assert {"broken", "load", "partly", "waiting"} == {
        job["job"] for job in client.get("/api/jobs").json["jobs"]
    }
    assert 1 == client.get("/api/jobs/waiting").json["last_execution"]["execution_id"]
    assert [1] == [e["execution_id"] for e in client.get("/api/status").json["running"]]


def test_metrics_are_what_the_database_holds(client: Client, node: Node) -> None:
    client.post("/api/batch/broken")
    node.operator.wait(1)
    client.post("/api/register/load", {"day": "2026-11-20"})
    text = client.get("/metrics").text

    assert 'stepwell_executions{job="broken",status="FAILED"} 1.0' in text
    assert "stepwell_queue_depth 1.0" in text
    assert "stepwell_running 0.0" in text


def test_a_fault_is_told_with_a_reference_alone(
    node: Node, caplog: pytest.LogCaptureFixture
) -> None:
    """Method: a route that breaks; only the log knows how."""
    app = make_app(node)

    @app.get("/broken")
    def broken() -> None:
        raise LookupError("a secret")

    answer = Client(app).get("/broken")

    reference = answer.refused(500, "internal_error")["fields"]["reference"]
    assert "a secret" not in answer.text
    assert reference in caplog.text
    assert "a secret" in caplog.text


def test_statistics_say_how_executions_went_by_job_and_together(client: Client, node: Node) -> None:
    for job in ("partly", "broken", "broken"):
        node.operator.wait(client.post(f"/api/batch/{job}").json["execution_id"])
    node.operator.wait(client.post("/api/batch/load", {"day": "2026-11-20"}).json["execution_id"])
    found = client.get("/api/stats").json
    broken = client.get("/api/stats?job=broken&hours=1").json
    never = client.get("/api/stats?job=never").json

    assert ["since", "jobs", "total"] == list(found)
    assert {"broken": 0.0, "load": 1.0, "partly": 0.0} == {
        job["job"]: job["success_rate"] for job in found["jobs"]
    }
    assert {"ended": 4, "completed": 1, "partial": 1, "failed": 2, "stopped": 0}.items() <= (
        found["total"].items()
    )
    assert 0.25 == found["total"]["success_rate"]
    assert found["total"]["average_s"] >= 0
    assert {"job": "broken", **broken["total"]} == broken["jobs"][0]
    assert (2, None) == (broken["total"]["failed"], broken["total"]["average_s"])
    assert (0, None) == (never["total"]["ended"], never["total"]["success_rate"])
    assert broken["since"] > found["since"]
    for hours in ("0", "-1", "a", "99999999999999999999"):
        client.get(f"/api/stats?hours={hours}").refused(422, "invalid_request")
