"""Who may do what: the route table is walked, so that no route is forgotten."""

from __future__ import annotations

from datetime import timedelta

import pytest
from fastapi.routing import APIRoute

from stepwell import Node
from stepwell.errors import CannotServe, InvalidRequest, NoSuchToken, TokenExists
from stepwell.repository.tokens import create_token, list_tokens, revoke_token
from stepwell.testing import FrozenClock
from stepwell.web import executions, jobs, pages
from stepwell.web.app import API, make_app
from stepwell.web.description import describe
from stepwell.web.desk.routes import PAGES as DESK
from stepwell.web.face import role_of
from stepwell.web.server import refuse_open_door
from tests.web.client import Client

ROUTES, PAGES = (
    sorted(
        (method, route.path, role_of(route))
        for part in parts
        for route in part.router.routes
        if isinstance(route, APIRoute)
        for method in route.methods
    )
    for parts in (API, (pages, executions, jobs, *DESK))
)
BOTH = [*ROUTES, *PAGES]
PUBLIC = {
    ("GET", "/health"),
    ("GET", "/login"),
    ("POST", "/login"),
    ("GET", "/static/{name}"),
}


def target(path: str) -> str:
    """A path that the route takes."""
    for name in ("execution_id", "owner_id", "conflict_id", "quarantine_id"):
        path = path.replace(f"{{{name}}}", "7")
    return path.replace("{job}", "load").replace("{name}", "night")


def test_every_route_asks_for_a_role_but_those_that_are_named_here() -> None:
    assert PUBLIC == {(method, path) for method, path, role in BOTH if role == "public"}
    assert PUBLIC >= {(m, p) for m, p, role in PAGES if m != "GET" and role != "operator"}
    changing = {(m, p, role) for m, p, role in ROUTES if m != "GET" and role != "operator"}
    assert {("POST", "/sync/push", "sync")} == changing


def test_no_route_is_hidden_from_this_walk(node: Node) -> None:
    app = make_app(node)
    described = {
        (method.upper(), path) for path, item in describe(app)["paths"].items() for method in item
    }

    assert {(method, path) for method, path, _ in ROUTES} == described


def test_without_a_token_or_with_the_wrong_role_every_route_is_refused(node: Node) -> None:
    """Goal: refused before anything else of the request is looked at."""
    app = make_app(node, on_loopback=False)
    names = {"revoked": "operator", "sync": "sync", "viewer": "viewer"}
    tokens = {
        name: create_token(
            node.database, node.clock, name, role, node="shop-1" if role == "sync" else None
        )
        for name, role in names.items()
    }
    revoke_token(node.database, node.clock, "revoked")
    wrong = [None, "stepwell_guessed", tokens["revoked"], tokens["sync"], tokens["viewer"]]
    not_sync = [*wrong[:3], tokens["viewer"]]
    expected, actual = [], []
    for method, path, role in BOTH:
        if role == "public":
            continue
        asked = {"operator": wrong, "sync": not_sync}.get(role, wrong[:-1])
        answers = [Client(app, token=token).ask(method, target(path)) for token in asked]
        actual += [(method, path, answer.status, answer.json["code"]) for answer in answers]
        expected += [(method, path, 401, "token_required")] * 3
        expected += [(method, path, 403, "role_required")] * (len(asked) - 3)
        assert "Bearer" == answers[0].headers["www-authenticate"]

    assert expected == actual


def test_a_token_opens_what_its_role_says_and_is_named_in_the_records(node: Node) -> None:
    app = make_app(node, on_loopback=False)
    viewer = Client(app, token=create_token(node.database, node.clock, "v", "viewer"))
    operator = Client(app, token=create_token(node.database, node.clock, "night-shift", "operator"))
    started = operator.post("/api/batch/load", {"day": "2026-11-20"})
    node.operator.wait(1)

    assert (202, "night-shift") == (started.status, started.json["triggered_by"])
    assert 200 == viewer.get("/api/executions/1").status
    viewer.post("/api/executions/1/stop").refused(403, "role_required")


def test_a_token_ends_when_it_expires(node: Node) -> None:
    until = node.clock.now() - timedelta(seconds=1)
    secret = create_token(node.database, node.clock, "old", "viewer", expires_at=until)

    problem = Client(make_app(node), token=secret).get("/api/jobs")
    assert "has expired" in problem.refused(401, "token_required")["message"]


@pytest.mark.parametrize(
    ("host", "headers"),
    [
        ("evil.example", {}),
        ("evil.example:9093", {}),
        ("127.0.0.1.evil.example", {}),
        ("localhost:9093", {"x_forwarded_for": "203.0.113.9"}),
        ("localhost:9093", {"forwarded": "for=203.0.113.9"}),
        ("localhost:9093", {"authorization": "Basic b3BlcmF0b3I6"}),
    ],
)
def test_on_loopback_a_request_from_elsewhere_needs_a_token(
    node: Node, host: str, headers: dict[str, str]
) -> None:
    """Goal: neither a name that was made to lead here nor a proxy opens the door."""
    Client(make_app(node), host=host).get("/api/jobs", **headers).refused(401, "token_required")


@pytest.mark.parametrize("host", ["localhost:9093", "127.0.0.1:9093", "[::1]:9093", "localhost"])
def test_on_loopback_a_program_of_this_machine_needs_none(node: Node, host: str) -> None:
    assert 200 == Client(make_app(node), host=host).get("/api/jobs").status


def test_a_page_of_another_site_starts_nothing(client: Client) -> None:
    foreign = client.post("/api/batch/load", {"day": "2026-11-20"}, origin="http://evil.example")
    own = client.post("/api/batch/load", {"day": "2026-11-20"}, origin="http://localhost:9093")

    foreign.refused(403, "role_required")
    assert 202 == own.status
    assert 1 == len(client.get("/api/executions").json["executions"])


def test_an_address_that_others_reach_needs_a_token() -> None:
    for host in ("0.0.0.0", "::", "192.0.2.7", "shop.example"):
        with pytest.raises(CannotServe) as refused:
            refuse_open_door(host, has_tokens=False)
        assert "others can reach it, and there is no token" in refused.value.message
        refuse_open_door(host, has_tokens=True)
    for host in ("127.0.0.1", "127.1.2.3", "::1", "localhost"):
        refuse_open_door(host, has_tokens=False)


def test_a_secret_is_stored_nowhere_and_a_name_is_given_once(database_url: str) -> None:
    clock = FrozenClock()
    with Node.open(database_url, clock=clock) as node:
        secret = create_token(node.database, clock, "a", "operator")
        revoked = revoke_token(node.database, clock, "a")
        again = revoke_token(node.database, clock, "a")

        assert revoked == again
        assert clock.now() == revoked.revoked_at
        with node.database.read() as reader:
            assert [revoked] == list_tokens(reader)
            assert secret not in repr(list_tokens(reader))
        with pytest.raises(TokenExists):
            create_token(node.database, clock, "a", "viewer")
        with pytest.raises(NoSuchToken):
            revoke_token(node.database, clock, "b")
        for name, role in (("", "viewer"), ("a b", "viewer"), ("c", "admin")):
            with pytest.raises(InvalidRequest):
                create_token(node.database, clock, name, role)
