"""The operator's pages: drawn for everybody, acted on by operators alone, once, with no script."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pytest

import stepwell.web.desk.queue
from stepwell import Invariant, Job, Node, TaskletStep
from stepwell.doctor.examine import EXPLANATIONS
from stepwell.repository.tokens import create_token
from stepwell.repository.why import explain, explain_queue
from stepwell.web.app import make_app
from stepwell.web.desk.routes import PAGES
from stepwell.web.desk.words import DONE, PLACES
from tests.support.change_log import execute
from tests.web.client import Client
from tests.web.conftest import Gate
from tests.web.desk_pages import IMAGE, NASTY, Form, Page, look, post, send

DAY = {"day": "2026-11-20"}


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Backups stand below the folder that one works in."""
    monkeypatch.chdir(tmp_path)


def at_once(client: Client, form: Form, **fields: str) -> list[int]:
    """The statuses of two who send the same form at the same time, in order."""
    with ThreadPoolExecutor(2) as both:
        answers = list(both.map(lambda _: post(client, form, **fields), range(2)))
    return sorted(answer.status for answer in answers)


def plain_pages() -> list[str]:
    return sorted(
        route.path
        for part in PAGES
        for route in part.router.routes
        if "GET" in route.methods and "{" not in route.path
    )


def test_every_page_is_whole_whatever_is_recorded_and_a_viewer_has_no_buttons(
    client: Client, node: Node, gate: Gate
) -> None:
    node.sync.init("main", is_main=True)
    node.registry.add(Job(IMAGE, [TaskletStep("count", lambda: None)]), origin="module jobs")
    node.operator.register(IMAGE, {"note": NASTY})
    node.operator.start("waiting")
    node.locks.acquire(NASTY, wait_s=0)
    node.schedules.add("load", "0 2 * * *", {"day": "{today}"}, name=NASTY)
    node.pools.set("<b>agents&co", 1)
    targets = [*plain_pages(), "/executions/1/why", "/executions/2/why"]
    viewer = create_token(node.database, node.clock, "v", "viewer")
    seen = Client(make_app(node, on_loopback=False), token=viewer)
    pages = {target: look(client, target) for target in targets}
    bare = {target: look(seen, target) for target in targets}

    assert {200} == {page.status for page in (*pages.values(), *bare.values())}
    for target, page in pages.items():
        hidden = {form.fields.get("form_token", "") for form in page.forms}
        assert len(hidden) <= 1, target
        assert "" not in hidden, target
    assert {"/locks", "/pools", "/schedules", "/owners", "/backups", "/register"} == {
        target for target in plain_pages() if pages[target].forms
    }
    assert [] == [target for target, page in bare.items() if page.forms]
    assert 1 == pages["/locks"].text.count(f"state {NASTY} write")
    assert NASTY in pages["/queue"].text
    assert NASTY in pages["/schedules"].text
    gate.opened.set()


def test_a_form_is_heard_only_with_the_token_of_its_own_caller(client: Client, node: Node) -> None:
    node.pools.set("agents", 2)
    form = look(client, "/pools").form("/pools/set", pool="agents")
    app = make_app(node, on_loopback=False)
    ann, bob = (
        Client(app, token=create_token(node.database, node.clock, name, "operator"))
        for name in ("ann", "bob")
    )
    of_bob = look(bob, "/pools").form("/pools/set", pool="agents")
    without = Form(form.action, {**form.fields, "form_token": ""})
    answers = [post(client, without, size=9), post(ann, of_bob, size=9), post(client, of_bob)]
    foreign = client.ask(
        "POST", form.action, [b""], {"origin": "https://evil.example", "accept": "text/html"}
    )

    assert [403] * 4 == [answer.status for answer in (*answers, foreign)]
    assert "the form is not one of this server&#39;s" in answers[0].text
    assert [2] == [pool.size for pool in node.pools.list()]
    assert 303 == post(bob, of_bob, size=9).status
    assert 413 == client.ask("POST", form.action, [b"a" * 2**20, b"a"], {"accept": "x"}).status
    for body in (b"a=%ff", b"a=%00&form_token=x", b"\xff=1", b"a=1&" * 2000):
        kind = {"accept": "text/html"}
        assert 400 == client.ask("POST", form.action, [body], kind).status


def test_the_queue_tells_places_and_reasons_in_pages(
    client: Client, node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stepwell.web.desk.queue, "PAGE", 2)
    later = node.clock.now() + timedelta(days=1)
    node.operator.register("load", DAY)
    node.operator.register("load", {"day": "2026-11-21"}, run_after=later)
    node.operator.register("load", {"day": "2026-11-22"}, priority=5)
    first, second = look(client, "/queue"), look(client, "/queue?after=1")

    assert "3 executions wait for a worker" in first.text
    assert "1 3 load" in first.text
    assert "2 1 load" in first.text
    assert "no worker is at work Why 1" in first.text
    assert "?after=1" in first.links
    assert "– 2 load" in second.text
    assert "it is due later: " in second.text
    assert "Those behind" not in second.text
    page = explain_queue(node.database, count=9, at=(now := node.clock.now()))
    assert page == [explain(node.database, number, at=now) for number in (3, 1, 2)]
    why = look(client, "/executions/1/why")
    moved = send(client, why.form("/executions/1/priority"), priority="7", reason="at once")
    assert DONE["priority_set"] in moved.text
    assert "1 1 load" in look(client, "/queue").text
    stopped = send(client, moved.form("/executions/1/stop"), reason="not today")
    assert DONE["asked_to_stop"] in stopped.text
    assert "2 executions wait" in look(client, "/queue").text
    again = send(client, moved.form("/executions/1/stop"))
    assert (409, True) == (again.status, "cannot stop execution 1" in again.alert)


def test_work_is_registered_once_and_a_refusal_keeps_what_was_typed(
    client: Client, node: Node
) -> None:
    page = look(client, "/register?job=load")
    form = page.form("/register")
    wrong = send(client, form, job="load", lines="day=tomorrow", priority="3")
    torn = send(client, form, job="load", lines="day")
    beyond = send(client, form, job="load", lines="day=2026-11-20", priority="1e3")
    moment = send(client, form, job="load", lines="day=2026-11-20", at="soon")
    unknown = send(client, form, job="nobody")
    filled = {"job": "load", "lines": "day=2026-11-20\nshop=3", "at": "2030-01-01T02:00"}
    both = at_once(client, wrong.form("/register", priority="3"), **filled)
    done = send(client, form, **filled)

    assert (422, True) == (wrong.status, "'day'" in wrong.alert)
    assert "a parameter must be written NAME=VALUE, got 'day'" in torn.alert
    assert "'priority': it must be a whole number from -1000000 to 1000000" in beyond.alert
    assert "it must be a time like" in moment.alert
    assert 404 == unknown.status
    assert [303, 303] == both
    assert DONE["registered"] in done.text
    [execution] = client.get("/api/executions").json["executions"]
    given = {one["name"]: one["value"] for one in execution["parameters"]}
    assert {"day": "2026-11-20", "shop": "3"} == given
    assert execution["run_after"] is not None


def test_a_lock_is_taken_from_the_living_only_by_force_and_with_a_reason(
    client: Client, node: Node
) -> None:
    lock = node.locks.acquire("ledger", wait_s=0)
    form = look(client, "/locks").form("/locks/release", lock="ledger")
    alive = send(client, form, reason="it hangs")
    bare = send(client, form, force="on")
    both = at_once(client, form, force="on", reason="it hangs")

    assert (409, True) == (alive.status, "has it and is alive" in alive.alert)
    assert "stepwell lock release ledger --force" in alive.alert
    assert "cannot release lock 'ledger' by force: a reason is required" in bare.alert
    assert [303, 404] == both
    assert "Nobody has or waits for a lock" in look(client, "/locks").text
    with pytest.raises(Exception, match="taken by force: it hangs"):
        lock.release()


def test_pools_and_schedules_are_set_paused_and_removed(client: Client, node: Node) -> None:
    node.schedules.add("load", "0 2 * * *", {"day": "{today}"}, time_zone="Europe/Berlin")
    made = send(client, look(client, "/pools").form("/pools/set", size=""), pool="agents", size="2")
    wrong = send(client, made.form("/pools/set", pool="agents"), size="-1")
    shown = look(client, "/schedules")
    form = shown.form("/schedules/pause", schedule="load")
    both = at_once(client, form)
    paused = look(client, "/schedules")
    resumed = send(client, paused.form("/schedules/resume"))
    removed = send(client, resumed.form("/schedules/remove"))
    again = send(client, resumed.form("/schedules/remove"))

    assert "agents 2 0 0" in made.text
    assert "'size': it must be a whole number from 0" in wrong.alert
    assert [2] == [pool.size for pool in node.pools.list()]
    assert 10 <= shown.text.count(" 02:00:00 CE")
    assert [303, 303] == both
    assert "paused since" in paused.text
    assert "goes on" in resumed.text
    assert "There are none." in removed.text
    assert (404, True) == (again.status, "schedule 'load'" in again.alert)


def test_owners_are_asked_to_end_and_what_the_dead_have_left_is_recovered(
    client: Client, node: Node, gate: Gate
) -> None:
    node.operator.start("waiting")
    assert gate.begun.wait(30)
    page = look(client, "/owners")
    nothing = send(client, page.form("/recover"))
    why = look(client, "/executions/1/why")
    alive = send(client, why.form("/executions/1/recover"))
    bare = send(client, why.form("/executions/1/recover"), force="on")
    owner = node.operator.owner_id
    both = at_once(client, page.form("/owners/stop"), reason="the till moves")
    gate.opened.set()
    node.operator.wait(1)

    assert f"{owner} serve" in page.text
    assert DONE["nothing_to_recover"] in nothing.text
    assert "runs it, in step 'wait'" in why.text
    assert (409, True) == (alive.status, "cannot recover execution 1" in alive.alert)
    assert "by force: a reason is required" in bare.alert
    assert [303, 303] == both
    assert "the till moves" in look(client, "/owners").text
    assert "the till moves" == node.operator.asked_to_end()


def test_what_the_dead_have_is_taken_and_settled_once(client: Client, node: Node) -> None:
    """Method: an owner whose byte nobody holds is as dead as one that was killed."""
    node.operator.register("load", DAY)
    execute(
        node.database,
        "INSERT INTO batch_owner (owner_id, host, pid, purpose, started_at, epoch)"
        " SELECT 99, 'shop-3', 71, 'work', create_time, 1 FROM batch_job_execution",
        "UPDATE batch_job_execution SET status = 'STARTED', owner_id = 99,"
        " start_time = create_time",
        "INSERT INTO batch_lock (lock_name, mode, owner_id, priority, requested_at, acquired_at)"
        " SELECT 'ledger', 'write', 99, 0, create_time, create_time FROM batch_job_execution",
    )
    owners, locks = look(client, "/owners"), look(client, "/locks")
    why = look(client, "/executions/1/why")
    released = send(client, locks.form("/locks/release", lock="ledger"))
    both = at_once(client, owners.form("/recover"), reason="the power failed")
    history = client.get("/api/executions/1/history").json["history"]

    assert "99 work shop-3 71" in owners.text
    assert "✕ dead 1" in owners.text
    assert "An owner is dead." in owners.text
    assert "owner 99 (pid 71 on shop-3) ✕ dead" in locks.text
    assert "its owner is dead: owner 99 (pid 71 on shop-3)" in why.text
    assert DONE["released"] in released.text
    assert [303, 303] == both
    assert 1 == sum(change["to_status"] == "FAILED" and not change["step"] for change in history)
    assert "the power failed" in str(history[-1]["reason"])
    assert DONE["nothing_to_recover"] in send(client, owners.form("/recover")).text


def test_places_of_findings_are_pages_and_codes_that_are_there() -> None:
    pages = {target.partition("?")[0] for target, _ in PLACES.values()}

    assert set() == pages - set(plain_pages())
    assert set() == PLACES.keys() - EXPLANATIONS.keys()


def test_the_doctor_plans_repairs_and_does_what_was_read_alone(client: Client, node: Node) -> None:
    """Goal: what was planned is done once, however many press; a plan that has changed is not."""
    execute(node.database, "CREATE TABLE mine (id INTEGER PRIMARY KEY, state TEXT)")
    execute(node.database, "INSERT INTO mine VALUES (1, 'bad')")
    node.registry.invariants["bad_state"] = Invariant(
        "bad_state",
        breaches="SELECT id, state FROM mine WHERE state = 'bad'",
        explain=f"{{id}} is {{state}} {NASTY}",
        repairs=[(None, "UPDATE mine SET state = 'good' WHERE id = :id AND state = 'bad'")],
    )
    found = look(client, "/doctor")
    read = look(client, "/doctor/plan?only=bad_state").form("/doctor/repair")
    execute(node.database, "INSERT INTO mine VALUES (2, 'bad')")
    changed = send(client, read)
    plan = look(client, "/doctor/plan?only=bad_state")
    both = at_once(client, plan.form("/doctor/repair"))
    execute(node.database, "UPDATE mine SET state = 'bad' WHERE id = 1")
    last = send(client, look(client, "/doctor/plan?only=bad_state").form("/doctor/repair"))

    assert "bad_state" in found.text
    assert "1 is bad <script>" in found.text
    assert "/doctor/plan?only=bad_state" in found.links
    assert (409, True) == (changed.status, "by now, not" in changed.alert)
    assert "2 repairs, as written below" in plan.text
    assert 200 in both
    assert {200, 409, 503} >= set(both)  # The copy of one is under way.
    assert "1 repair" in last.text
    assert "Repaired bad_state" in last.text
    made = look(client, "/doctor/repairs").text
    assert (3, 3) == (made.count("bad_state"), made.count(" 1 operator "))
    assert (422, True) == (
        (empty := send(client, read, plan="")).status,
        "'plan': it must name the plan" in empty.alert,
    )


def test_backups_are_made_and_verified_by_name_alone(client: Client, node: Node) -> None:
    page = look(client, "/backups")
    made = send(client, page.form("/backups/create"), name="before-upgrade")
    again = send(client, page.form("/backups/create"), name="before-upgrade")
    form = made.form("/backups/verify", backup="before-upgrade")
    verified = send(client, form)
    elsewhere = send(client, form, backup=str(node.database.path))

    assert DONE["backup_created"] in made.text
    assert "before-upgrade" in made.text
    assert (409, True) == (again.status, "before-upgrade" in again.alert)
    assert "It can be restored: " in verified.text
    assert (404, True) == (elsewhere.status, "cannot find backup" in elsewhere.alert)


def test_a_page_that_is_not_there_says_so(client: Client) -> None:
    wrong = look(client, "/queue?after=first")
    assert 422 == wrong.status
    assert "cannot answer GET /queue: 'after': input should be a valid integer" in wrong.text
    for target in ("/executions/9/why", "/conflicts/9", "/quarantine/9", "/audit"):
        page: Page = look(client, target)
        assert page.status in (404, 409)
