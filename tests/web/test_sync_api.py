"""The hub's routes, asked as a program would: bound to a node, whole or nothing, twice is once."""

from __future__ import annotations

import asyncio
import gzip
import json
import tracemalloc
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from starlette.requests import Request

from stepwell import Node
from stepwell.errors import RequestTooLarge
from stepwell.repository.tokens import create_token
from stepwell.sync.bundle_reader import open_bundle
from stepwell.testing import FrozenClock
from stepwell.web import hub as hubs
from stepwell.web import inbox
from stepwell.web.app import make_app
from stepwell.web.description import describe
from stepwell.web.inbox import Inbox
from tests.support.change_log import rows_of
from tests.support.hubs import compare, file_of, meet, open_node, pull_into, push, write
from tests.web.client import Client

BOTH = pytest.mark.parametrize("main", ["sqlite3", "postgresql"], indirect=True)


@pytest.fixture
def main(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Node]:
    """The hub; on SQLite unless a test asks for both."""
    url = f"sqlite:///{tmp_path}/main.db"
    if getattr(request, "param", "") == "postgresql":
        url = request.getfixturevalue("postgresql_database_url")
    with open_node(url, tmp_path, "main", is_main=True) as node:
        yield node


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Node]:
    with open_node(f"sqlite:///{tmp_path}/shop-1.db", tmp_path, "shop-1") as node:
        yield node


@pytest.fixture
def app(main: Node) -> Any:
    return make_app(main)


@pytest.fixture
def client(main: Node, shop: Node, app: Any) -> Client:
    """The shop with its token."""
    return Client(app, token=meet(main, shop)["shop-1"])


def left_behind(main: Node) -> list[Path]:
    folder = main.settings.folder / main.settings.sync_folder
    return list(folder.glob("main-received-*"))


@BOTH
def test_changes_go_there_and_come_back(
    main: Node, shop: Node, client: Client, tmp_path: Path
) -> None:
    """Goal: status, push and pull are an exchange of files; receipts move both cursors."""
    write(shop, range(3))
    write(main, range(10, 12))
    sent = push(client, file_of(shop, tmp_path))
    pulled = pull_into(shop, client, tmp_path, "client_id=shop-1&from_lsn=1")
    receipt = push(client, file_of(shop, tmp_path, since=3))
    told = client.get("/sync/status?client_id=shop-1").json

    report = sent.json
    assert (200, 3, 0, 0, 0) == (
        sent.status,
        report["applied"],
        report["skipped"],
        report["conflicts"],
        report["quarantined"],
    )
    assert ("shop-1", "main", 4, 1) == (
        report["source_node"],
        report["node"],
        report["next_lsn"],
        report["peer_epoch"],
    )
    assert 2 == pulled["applied"]
    assert (200, 5) == (receipt.status, receipt.json["acknowledged_lsn"])
    assert (6, 5, False) == (told["next_lsn"], told["acknowledged_lsn"], told["pull_is_due"])
    assert () == compare(main, shop, tmp_path).differences
    assert [] == left_behind(main)
    execution = main.operator.get_job_execution(report["execution_id"])
    assert ("stepwell.sync.import", "shop-1") == (execution.job_name, execution.triggered_by)


@BOTH
def test_twice_at_once_and_out_of_order_is_once(
    main: Node, shop: Node, client: Client, tmp_path: Path
) -> None:
    """Method: three pieces; the second before the first, the first four times at once, …"""
    pieces = []
    for number in range(3):
        write(shop, range(number * 10, number * 10 + 4))
        pieces.append(file_of(shop, tmp_path, since=number * 4))
    early = push(client, pieces[1])
    with ThreadPoolExecutor(4) as pool:
        first = list(pool.map(lambda _: push(client, pieces[0]), range(4)))
    too_early = push(client, pieces[2])
    then = [push(client, piece).json for piece in (pieces[1], pieces[0], pieces[2], pieces[1])]

    problem = early.refused(409, "group_missing")
    assert "the push of shop-1" in problem["message"]
    assert {200} == {answer.status for answer in first}
    assert [0, 0, 0, 4] == sorted(answer.json["applied"] for answer in first)
    too_early.refused(409, "group_missing")
    assert [(4, 0), (0, 4), (4, 0), (0, 4)] == [(r["applied"], r["skipped"]) for r in then]
    assert [9, 9, 13, 13] == [report["next_lsn"] for report in then]
    assert 12 == len(rows_of(main.database, "visit", "id"))
    assert () == compare(main, shop, tmp_path).differences


def test_a_body_that_is_not_whole_changes_nothing(
    main: Node, shop: Node, client: Client, tmp_path: Path
) -> None:
    write(shop, range(5))
    body = file_of(shop, tmp_path)
    packed = gzip.compress(body)
    torn = [body[: len(body) * 2 // 3], packed[: len(packed) // 2], b""]
    codes = [push(client, part).refused(400, "bundle_torn") for part in torn]
    push(client, body.replace(b'"note":"x"', b'"note":"y"', 1)).refused(400, "bundle_damaged")
    push(client, b"hello").refused(400, "foreign_file")
    push(client, body, content_encoding="br").refused(400, "invalid_request")

    assert not any(str(tmp_path) in json.dumps(problem) for problem in codes)
    assert {} == rows_of(main.database, "visit", "id")
    assert [] == left_behind(main)
    assert 5 == push(client, packed, content_encoding="gzip").json["applied"]


def test_a_token_speaks_for_its_own_node_alone(
    main: Node, shop: Node, app: Any, client: Client, tmp_path: Path
) -> None:
    other = Client(app, token=create_token(main.database, main.clock, "o", "sync", node="shop-2"))
    operator = Client(app, token=create_token(main.database, main.clock, "p", "operator"))
    write(shop, range(1))
    body = file_of(shop, tmp_path)

    client.get("/sync/pull?client_id=shop-2").refused(403, "wrong_node")
    client.get("/sync/status?client_id=main").refused(403, "wrong_node")
    problem = push(other, body).refused(403, "wrong_node")
    assert "the changes are of 'shop-1'" in problem["message"]
    other.get("/sync/pull").refused(404, "no_such_peer")
    for nobody in (operator, Client(app, token=None)):
        status = 403 if nobody is operator else 401
        for answer in (push(nobody, body), nobody.get("/sync/pull"), nobody.get("/sync/status")):
            assert status == answer.status
    assert {} == rows_of(main.database, "visit", "id")


def test_a_pull_is_the_file_in_pieces_that_end_with_a_transaction(
    main: Node, shop: Node, client: Client, tmp_path: Path
) -> None:
    write(main, range(3))
    with main.sync.transaction() as connection:
        for number in range(10, 16):
            connection.execute("INSERT INTO visit (id) VALUES (:id)", {"id": number})
    write(main, range(20, 22))
    first = client.get("/sync/pull?limit=4")
    path = tmp_path / "first.jsonl"
    path.write_text(first.text, encoding="utf-8")
    bundle = open_bundle(path)
    groups = [(group.seq, len(list(group.lines))) for group in bundle.groups()]
    rest = client.get("/sync/pull?from_lsn=10&limit=100")

    assert "application/x-ndjson" == first.headers["content-type"]
    assert (1, 9) == (bundle.meta.from_lsn, bundle.last_checked.to_lsn)
    assert [(1, 1), (2, 1), (3, 1), (4, 6)] == groups
    assert ("9", "11") == (first.headers["stepwell-to-lsn"], first.headers["stepwell-last-lsn"])
    assert 4 == len(rest.text.splitlines())
    # Asking moves nothing; only what the node says of itself does.
    assert 0 == client.get("/sync/status").json["acknowledged_lsn"]
    assert "1" == client.get("/sync/pull").headers["stepwell-from-lsn"]


@BOTH
def test_what_is_pruned_is_gone_with_the_way_back(
    main: Node, shop: Node, client: Client, tmp_path: Path
) -> None:
    write(main, range(3))
    pull_into(shop, client, tmp_path)
    push(client, file_of(shop, tmp_path))
    main.sync.prune()

    problem = client.get("/sync/pull?from_lsn=1").refused(410, "behind_horizon")
    assert "sync bootstrap --from FILE" in problem["hint"]
    assert 200 == client.get("/sync/pull").status
    beyond = client.get("/sync/pull?from_lsn=99").refused(400, "invalid_lsn")
    assert "restored" in beyond["hint"]


def test_a_transaction_that_cannot_be_applied_is_told_and_not_refused(
    main: Node, shop: Node, client: Client, tmp_path: Path
) -> None:
    with main.database.write() as transaction:
        transaction.connection.execute("CREATE UNIQUE INDEX one_note ON visit (note)")
    main.sync.track("visit")
    write(main, [1], note="taken")
    write(shop, [2], note="taken")
    write(shop, [3], note="free")
    report = push(client, file_of(shop, tmp_path)).json

    assert (1, 1, 1) == (report["applied"], report["quarantined"], report["waiting"])
    assert [("visit", {"id": 2})] == [(e["table"], e["pk_json"]) for e in report["errors"]]
    assert 3 == report["next_lsn"]


def test_a_body_over_the_limit_is_refused_with_memory_flat(
    main: Node, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Goal: told or not, large or larger: 32 MB of it go to the disk, and no more of memory."""
    part = b"no change\n" * 100_000
    told = {"content-length": str(2**40)}
    client.ask("POST", "/sync/push", [b"x"], told).refused(413, "request_too_large")
    tracemalloc.start()
    try:
        client.ask("POST", "/sync/push", [part] * 32).refused(400, "foreign_file")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    app = client._app
    app.state.hub.inbox.bytes_max = 3 * 1024 * 1024
    client.ask("POST", "/sync/push", [part] * 32).refused(413, "request_too_large")

    assert peak < 12 * 1024 * 1024
    assert [] == left_behind(main)


def test_pushes_take_turns_and_too_many_are_told_to_come_again(
    main: Node, shop: Node, client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(shop, range(1))
    body = file_of(shop, tmp_path)
    hub = client._app.state.hub
    monkeypatch.setattr(hubs, "TURN_S", 0.05)
    with hub._turn:
        busy = push(client, body)
        busy.refused(429, "too_many_requests")
    assert "5" == busy.headers["retry-after"]
    monkeypatch.setattr(inbox, "AT_ONCE_MAX", 0)
    push(client, body).refused(429, "too_many_requests")
    monkeypatch.undo()

    assert 1 == push(client, body).json["applied"]


async def _take(place: Inbox, request: Request) -> None:
    async with place.taken(request):
        pytest.fail("it was taken")


def test_a_body_that_drips_in_or_stops_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Method: a first part, and then nothing; then parts of a byte, a minute each."""
    clock = FrozenClock()
    monkeypatch.setattr(inbox, "IDLE_S", 0.05)

    def take(pause_s: float | None) -> str:
        async def receive() -> dict[str, Any]:
            if pause_s is None and receive.__dict__.setdefault("asked", 0):
                await asyncio.Event().wait()
            receive.__dict__["asked"] = 1
            clock.advance(pause_s or 0)
            return {"type": "http.request", "body": b"x", "more_body": True}

        place = Inbox(tmp_path, "main-received-", clock, bytes_max=100)
        request = Request({"type": "http", "method": "POST", "headers": []}, receive)
        with pytest.raises(RequestTooLarge) as refused:
            asyncio.run(_take(place, request))
        return refused.value.message

    assert "nothing came for" in take(None)
    assert "1 bytes in 60 s" in take(60)
    assert [] == list(tmp_path.iterdir())


def test_no_value_of_a_query_is_a_fault(shop: Node, client: Client, app: Any) -> None:
    """Method: with a token, each hostile value at each place; every answer is a described one."""
    problems = []
    for path in ("/sync/status", "/sync/pull"):
        described = describe(app)["paths"][path]["get"]["responses"]
        for name in ("client_id", "from_lsn", "limit"):
            for value in (
                "",
                "0",
                "-1",
                "1",
                "9" * 40,
                "9223372036854775807",
                "nan",
                "%F0%9F",
                "a",
            ):
                answer = client.get(f"{path}?{name}={value}")
                if answer.status >= 500 or str(answer.status) not in described:
                    problems.append((path, name, value, answer))

    assert [] == problems
