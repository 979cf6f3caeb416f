"""The verbs that care for a node over HTTP: what the command line does, with its documents."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from stepwell import ChunkStep, Job, Node, Skip, TaskletStep
from stepwell.built_in_jobs import add_built_in_jobs
from stepwell.doctor.examine import examine
from stepwell.errors import LostLock
from stepwell.jsl.source import load_job_files
from stepwell.settings import Settings, load_settings
from stepwell.web import examination
from stepwell.web.app import make_app
from tests.support.sync_nodes import send
from tests.web.client import Client
from tests.web.conftest import Gate

CONTRADICTION = """UPDATE batch_job_execution SET status = 'STARTING', end_time = NULL,
    result = NULL, owner_id = NULL"""
VISIT = "CREATE TABLE visit (id INTEGER PRIMARY KEY, n INTEGER)"


def test_a_plan_says_what_a_start_would_do_and_starts_nothing(client: Client, node: Node) -> None:
    planned = client.post("/api/plan/partly").json
    client.post("/api/plan/load", {"day": "DAY_HERE"}).refused(422, "job_start_error")
    client.post("/api/plan/laod").refused(404, "no_such_job")

    assert ("partly", None, [("share", "run", 5)]) == (
        planned["job"],
        planned["goes_on_from"],
        [(s["step"], s["action"], s["partitions"]["total"]) for s in planned["steps"]],
    )
    assert [] == client.get("/api/executions").json["executions"]
    client.post("/api/batch/partly")
    node.operator.wait(1)
    client.post("/api/plan/partly").refused(409, "job_instance_already_complete")
    assert "share" == client.post("/api/plan/partly?again=true").json["steps"][0]["step"]


def test_two_executions_are_compared(client: Client, node: Node) -> None:
    for job in ("broken", "partly"):
        node.operator.wait(client.post(f"/api/batch/{job}").json["execution_id"])
    found = client.get("/api/diff?first=1&second=2").json

    assert [1, 2] == [e["execution_id"] for e in found["executions"]]
    assert {"what": "job", "first": "broken", "second": "partly"} in found["differences"]
    assert [] == client.get("/api/diff?first=1&second=1").json["differences"]
    client.get("/api/diff?first=1").refused(422, "invalid_request")
    client.get("/api/diff?first=1&second=9").refused(404, "no_such_job_execution")


def test_skipped_items_come_out_in_pages_or_whole_and_go_back_in(
    client: Client, node: Node
) -> None:
    refused, written = [2, 3, 5], []

    def process(item: int) -> int:
        if item in refused:
            raise ValueError(f"no {item}")
        return item

    step = ChunkStep("copy", range(6), process, written.extend, skip=Skip(ValueError, limit=9))
    node.registry.add(Job("copies", [step]), origin="module jobs")
    add_built_in_jobs(node.registry, lambda: node)
    client.post("/api/batch/copies")
    node.operator.wait(1)
    first = client.get("/api/executions/1/skips?limit=2").json
    rest = client.get(f"/api/executions/1/skips?limit=2&after={first['next_after']}").json
    lines = client.get("/api/executions/1/skips/export")
    refused.clear()
    again = client.post("/api/executions/1/skips/retry", {"reason": "mended"})
    node.operator.wait(2)

    assert (3, None) == (first["skip_count"], rest["next_after"])
    assert [*first["skips"], *rest["skips"]] == list(map(json.loads, lines.text.splitlines()))
    assert "application/x-ndjson" == lines.headers["content-type"]
    assert (202, "stepwell.skips", "mended", {}) == (
        again.status,
        again.json["job"],
        again.json["triggered_by"],
        again.json["not_retried"],
    )
    assert [0, 1, 4, 2, 3, 5] == written
    client.post("/api/executions/1/skips/retry").refused(409, "job_instance_already_complete")
    client.get("/api/executions/9/skips/export").refused(404, "no_such_job_execution")


def test_a_finding_is_shown_planned_and_repaired(client: Client, node: Node) -> None:
    client.post("/api/batch/partly")
    node.operator.wait(1)
    with node.database.write() as transaction:
        transaction.connection.execute(CONTRADICTION)
    looked = client.get("/api/doctor").json
    codes = {finding["code"] for finding in looked["findings"] if finding["repair"]}
    client.post("/api/doctor/repair", {"expect": "other"}).refused(409, "plan_changed")
    client.post("/api/doctor/repair", {"only": "all"}).refused(422, "invalid_request")
    repaired = client.post("/api/doctor/repair", {"expect": looked["plan"], "only": [*codes]}).json
    again = client.post("/api/doctor/repair").json

    done = {each["code"] for each in repaired["repaired"]}
    assert "registered_with_last_step" in codes
    assert set() < done <= codes
    assert [] == again["repaired"]
    assert [] == [f for f in examine(node.database) if f.repair is not None]
    assert done == {each["code"] for each in client.get("/api/doctor/repairs").json["repairs"]}
    assert Path(repaired["copy"]).exists()


def test_one_examination_at_a_time(
    client: Client, node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Goal: who comes second is refused; a page shows what was found before."""
    app = make_app(node)
    monkeypatch.setattr(examination, "PATIENCE_S", 0.01)
    with app.state.face.examination.alone("repair"):
        busy = Client(app).get("/api/doctor")
        page = Client(app).get("/")

    assert "1" == busy.headers["retry-after"]
    busy.refused(503, "database_busy")
    assert 200 == page.status
    assert 200 == Client(app).get("/api/doctor?quick=true").status


def test_a_copy_is_made_proven_and_pruned(client: Client, tmp_path: Path) -> None:
    (tmp_path / "secret.db").write_text("none of their business")
    made = client.post("/api/backups", {"name": "one"})
    client.post("/api/backups", {"name": "one"}).refused(409, "backup_exists")
    client.post("/api/backups", {"name": "../one"}).refused(400, "backup_error")
    unnamed = client.post("/api/backups")
    proof = client.post("/api/backups/one/verify").json
    for name in ("secret.db", "two"):
        client.post(f"/api/backups/{name}/verify").refused(404, "no_such_backup")
    client.post("/api/backups/..%5Csecret/verify").refused(422, "invalid_request")
    would = client.post("/api/backups/prune", {"keep": 1}).json
    done = client.post("/api/backups/prune", {"keep": 1, "delete": True}).json
    client.post("/api/backups/prune", {"older_than": "old"}).refused(422, "invalid_request")

    assert (201, 201) == (made.status, unnamed.status)
    assert ("one", True, []) == (proof["name"], proof["has_manifest"], proof["findings"])
    assert (["one"], ["one"]) == tuple(
        [b["name"] for b in each["backups"]] for each in (would, done)
    )
    assert [unnamed.json["name"]] == [b["name"] for b in client.get("/api/backups").json["backups"]]


def test_old_executions_are_counted_then_deleted(client: Client, node: Node) -> None:
    for day in (1, 2, 3):
        started = client.post("/api/batch/load", {"day": f"2026-11-0{day}"})
        node.operator.wait(started.json["execution_id"])
    would = client.post("/api/purge", {"keep": 1}).json
    done = client.post("/api/purge", {"keep": 1, "delete": True, "job": "load"}).json
    client.post("/api/purge").refused(400, "job_start_error")
    faulty = client.post("/api/purge", {"status": ["STARTED"], "keep": 1})

    assert {"instances": 2, "executions": 2, "deleted": False}.items() <= would.items()
    assert {"instances": 2, "deleted": True, "is_complete": True}.items() <= done.items()
    assert [3] == [e["execution_id"] for e in client.get("/api/executions").json["executions"]]
    assert ["status"] == list(faulty.refused(422, "invalid_request")["fields"]["parameters"])


def test_a_named_lock_is_released_with_a_reason(client: Client, node: Node) -> None:
    held = node.locks.acquire("till")
    client.post("/api/locks/release", {"lock": "till"}).refused(409, "lock_held")
    no_reason = client.post("/api/locks/release", {"lock": "till", "force": True})
    forced = {"lock": "till", "force": True, "reason": "the till is off"}
    released = client.post("/api/locks/release", forced).json
    client.post("/api/locks/release", forced).refused(404, "no_such_lock")
    with pytest.raises(LostLock, match="the till is off"):
        held.release()

    assert ["reason"] == list(no_reason.refused(422, "invalid_request")["fields"]["parameters"])
    assert {"released": [{"lock": "till", "fence": held.fence}]} == released
    missing = client.post("/api/locks/release").refused(422, "invalid_request")
    assert ["lock"] == list(missing["fields"]["parameters"])


def test_a_schedule_is_added_previewed_paused_and_removed(client: Client, node: Node) -> None:
    asked = {"job": "load", "cron": "0 2 * * *", "time_zone": "Europe/Berlin"}
    added = client.post("/api/schedules", {**asked, "parameters": {"day": "{today}"}})
    client.post("/api/schedules", {**asked, "parameters": {"day": "{today}"}}).refused(
        409, "schedule_already_exists"
    )
    client.post("/api/schedules", {**asked, "job": "laod"}).refused(404, "no_such_job")
    faulty = client.post("/api/schedules", {**asked, "catch_up": "some"})
    found = client.get("/api/schedules/load/preview?from=2027-03-26T12:00&count=3").json
    paused = client.post("/api/schedules/load/pause").json
    resumed = client.post("/api/schedules/load/resume").json
    gone = client.ask("DELETE", "/api/schedules/load").json

    assert (201, "load") == (added.status, added.json["schedule"])
    assert ["catch_up"] == list(faulty.refused(422, "invalid_request")["fields"]["parameters"])
    assert "2027-03-27T02:00:00+01:00" == found["times"][0]["local"]
    assert "2027-03-28T03:00:00+02:00" == found["times"][1]["local"]
    assert (False, True) == tuple(each["paused_at"] is None for each in (paused, resumed))
    assert "load" == gone["schedule"]
    client.get("/api/schedules/load/preview").refused(404, "no_such_schedule")
    client.get("/api/schedules/load/preview?from=soon").refused(422, "invalid_request")


def test_a_schedule_of_the_settings_is_there_before_a_worker_was(tmp_path: Path) -> None:
    text = f'database = "sqlite:///{tmp_path}/a.db"\n[job.night]\nschedule = "0 2 * * *"\n'
    (tmp_path / "stepwell.toml").write_text(text)
    settings = load_settings(environment={}, working_folder=tmp_path)
    with Node.open(settings, purpose="serve") as node:
        node.registry.add(Job("night", [TaskletStep("tidy", lambda: None)]), origin="module jobs")
        client = Client(make_app(node))

        assert 10 == len(client.get("/api/schedules/night/preview").json["times"])
        assert client.post("/api/schedules/night/pause").json["paused_at"]
        client.ask("DELETE", "/api/schedules/night").refused(409, "schedule_in_settings")


def test_a_job_file_is_checked_with_its_lines(client: Client, node: Node, tmp_path: Path) -> None:
    file = tmp_path / "night.yaml"
    file.write_text("job: night\nsteps:\n  - step: load\n    tasklet: nowhere.at_all\n")
    load_job_files(node.registry, [file], tmp_path, system_properties={})
    found = client.get("/api/jobs/night/check").json

    assert (str(file), False) == (found["file"], found["can_start"])
    assert found["faults"][0]["line"]
    assert {"job": "load", "file": None, "can_start": True, "faults": []} == client.get(
        "/api/jobs/load/check"
    ).json


@pytest.fixture
def desk(tmp_path: Path) -> Any:
    """Head office with one conflict that waits for a person, and its client."""
    nodes = []
    for name in ("main", "shop"):
        settings = Settings(database=f"sqlite:///{tmp_path}/{name}.db", folder=tmp_path)
        nodes.append(node := Node.open(settings, purpose="serve"))
        node.sync.init(name, is_main=name == "main")
        with node.database.write() as transaction:
            transaction.connection.execute(VISIT)
        node.sync.track("visit", policy="manual")
    main, shop = nodes
    at = main.clock.now()

    def write(node: Node, sql: str) -> None:
        with node.sync.transaction() as connection:
            connection.execute(sql)

    write(shop, "INSERT INTO visit VALUES (1, 1)")
    send(shop.sync, main.sync, at=at)
    write(shop, "UPDATE visit SET n = 10")
    write(main, "UPDATE visit SET n = 20")
    send(shop.sync, main.sync, at=at + timedelta(seconds=1))
    yield Client(make_app(main))
    for node in nodes:
        node.close()


def test_the_desk_settles_what_waits_for_a_person(desk: Client) -> None:
    [conflict] = desk.get("/api/conflicts?status=waiting").json["conflicts"]
    one = f"/api/conflicts/{conflict['conflict_id']}"
    [parked] = desk.get("/api/quarantine").json["quarantine"]
    group = f"/api/quarantine/{parked['quarantine_id']}"
    shown = desk.get(group).json
    tried = desk.post(f"{group}/retry").json

    assert ({"id": 1, "n": 20}, {"id": 1, "n": 10}) == (conflict["ours"], conflict["theirs"])
    assert conflict == desk.get(one).json
    assert [("U", "visit", {"id": 1})] == [
        (c["op"], c["table"], c["pk_json"]) for c in shown["changes"]
    ]
    assert ("parked", 1) == (tried["tried"][0]["result"], tried["waiting"])
    for body in ({}, {"take": "mine"}, {"take": "ours", "values": {"n": 1}}):
        refused = desk.post(f"{one}/resolve", body).refused(422, "invalid_request")
        assert ["take"] == list(refused["fields"]["parameters"])
    settled = desk.post(f"{one}/resolve", {"values": {"n": 15}}).json
    assert ("resolved", "operator") == (settled["status"], settled["resolved_by"])
    assert f"resolved values: {settled['resolution'].split()[1]}" == settled["state"]
    assert {"quarantine": [], "next_before": None} == desk.get("/api/quarantine").json
    assert 1 == len(desk.get("/api/quarantine?closed=true").json["quarantine"])
    assert "waiting" == desk.post(f"{one}/reopen").json["status"]
    desk.post(f"{one}/reopen").refused(409, "cannot_resolve")
    desk.post(f"{group}/drop").refused(409, "cannot_resolve")


@pytest.mark.parametrize("expects", [True, False])
def test_of_two_who_settle_a_conflict_at_once_the_second_is_told(
    desk: Client, *, expects: bool
) -> None:
    """Goal: nothing is overwritten silently; who has read what was decided may decide otherwise."""
    one = "/api/conflicts/1"
    expected = {"expect": desk.get(one).json["state"]} if expects else {}
    with ThreadPoolExecutor(2) as both:
        answers = list(
            both.map(
                lambda take: desk.post(f"{one}/resolve", {"take": take, **expected}),
                ("ours", "theirs"),
            )
        )
    [settled], [late] = ([each for each in answers if each.status == s] for s in (200, 409))
    refused = late.refused(409, "cannot_resolve")
    now = desk.get(one).json

    assert settled.json == now
    assert now["resolution"] in refused["message"]
    assert "resolved by operator" in refused["message"]
    assert now["state"] == refused["fields"]["state"]
    otherwise = {"take": "ours", "expect": now["state"]}
    assert 200 == desk.post(f"{one}/resolve", otherwise).status
    desk.post(f"{one}/resolve", otherwise).refused(409, "cannot_resolve")


def test_what_is_in_quarantine_is_given_up_or_tried_again(desk: Client) -> None:
    assert {"tried": [], "waiting": 1} == desk.post("/api/quarantine/retry").json
    dropped = desk.post("/api/quarantine/1/drop").json

    assert "dropped" == dropped["result"]
    assert {"tried": [], "waiting": 0} == desk.post("/api/quarantine/retry").json
    for route in ("/api/conflicts/99", "/api/quarantine/99"):
        assert 404 == desk.get(route).status


def test_a_database_that_is_no_node_says_so(client: Client, gate: Gate) -> None:
    client.get("/api/conflicts").refused(409, "no_sync_node")
    client.post("/api/quarantine/retry").refused(409, "no_sync_node")
