"""Nodes and their hub over HTTP, on a real server, with a line that is cut and a hub that dies."""

from __future__ import annotations

import json
import logging
import re
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any, ClassVar

import pytest

from stepwell import Node
from stepwell.errors import (
    InvalidPeer,
    InvalidPeerUrl,
    NodeRestored,
    NoSyncToken,
    PeerRefused,
    PeerUnreachable,
)
from stepwell.repository.steps import get_context
from stepwell.settings import Settings
from stepwell.sync import exchange, transport
from stepwell.sync.import_job import GroupWriter
from stepwell.sync.remote import Remote, address_of
from stepwell.web.app import make_app
from stepwell.web.server import Server
from tests.cli.program import Folder, until
from tests.support.change_log import rows_of
from tests.support.faulty_line import FaultyLine
from tests.support.hubs import compare, meet, open_node, write


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits between two attempts; many small pieces."""
    monkeypatch.setattr(transport, "BACKOFF_S", (0.01,) * 6)
    monkeypatch.setattr(exchange, "PIECE_CHANGES", 20)


@pytest.fixture(params=["sqlite3", "postgresql"])
def main(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Node]:
    """The hub on each database."""
    url = f"sqlite:///{tmp_path}/main.db"
    if request.param == "postgresql":
        url = request.getfixturevalue("postgresql_database_url")
    with open_node(url, tmp_path, "main", is_main=True) as node:
        yield node


ON_SQLITE = pytest.mark.parametrize("main", ["sqlite3"], indirect=True)


@pytest.fixture
def shops(tmp_path: Path) -> Iterator[list[Node]]:
    with (
        open_node(f"sqlite:///{tmp_path}/shop-1.db", tmp_path, "shop-1") as first,
        open_node(f"sqlite:///{tmp_path}/shop-2.db", tmp_path, "shop-2") as second,
    ):
        yield [first, second]


@pytest.fixture
def server(main: Node, shops: list[Node], tmp_path: Path) -> Iterator[Server]:
    """The hub serves, and each shop has its token in a file."""
    for name, token in meet(main, *shops).items():
        (tmp_path / f"{name}.token").write_text(f"{token}\n", encoding="ascii")
    with Server(make_app(main), "127.0.0.1", 0) as server:
        yield server


def over(url: str, shop: Node) -> dict[str, str]:
    return {"url": url, "token_file": f"{shop.sync.node().node_id}.token"}


# Bytes after which a connection is cut, there and back: in the head of a request, in its body, in
# the head of an answer, in its body; and the answer to a push that was applied.
CUTS: list[tuple[int | None, int | None]] = [
    (40, None),
    (None, 20),
    (None, None),
    (500, None),
    (None, 0),
    (None, 300),
    (None, None),
    (None, 700),
    (900, None),
    (None, 0),
]


def test_a_line_that_is_cut_loses_nothing_and_doubles_nothing(
    main: Node, shops: list[Node], server: Server, tmp_path: Path
) -> None:
    """Goal: two shops and head office are equal, whatever was cut on the way, both ways."""
    for number, shop in enumerate(shops):
        write(shop, range(number * 1000, number * 1000 + 50), note="shop " * 20)
    write(main, range(5000, 5030), note="head office " * 10)
    cut = 0
    for _ in range(2):
        for shop in shops:
            with FaultyLine(server.port, CUTS) as line:
                shop.sync.push(**over(line.url, shop))
                shop.sync.pull(**over(line.url, shop))
                cut += len(CUTS) - line.cuts_left

    assert cut > 20
    assert 130 == len(rows_of(main.database, "visit", "id"))
    for shop in shops:
        assert () == compare(main, shop, tmp_path).differences
        again = shop.sync.push(**over(server.url, shop))
        assert (0, 0) == (again["rows"], again["quarantined"])
        name = shop.sync.node().node_id
        sent, taken = main.sync.state(name, "out"), shop.sync.state("main", "in")
        assert sent is not None
        assert taken is not None
        assert sent.last_lsn == taken.last_lsn
    # Each group once: every other time that it came it was skipped.
    with main.database.read() as reader:
        [(groups,)] = reader.connection.execute(
            "SELECT count(*) FROM sync_applied WHERE result = 'applied'"
        ).fetchall()
    assert 100 == groups
    assert [] == list((tmp_path / "sync-transit").iterdir())


@ON_SQLITE
def test_a_push_goes_on_behind_what_has_come_there(
    main: Node, shops: list[Node], server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Method: the line is dead after two pieces; the restart sends the others alone."""
    [shop, _] = shops
    write(shop, range(60))
    monkeypatch.setattr(transport, "ATTEMPTS", 2)
    with FaultyLine(server.port, [(None, None)] * 3 + [(0, None)] * 2) as line:
        with pytest.raises(PeerUnreachable) as refused:
            shop.sync.push(**over(line.url, shop))
        there = len(rows_of(main.database, "visit", "id"))
        [instance] = shop.operator.get_job_instances("stepwell.sync.push", 0, 9)
        [failed] = shop.operator.get_job_executions(instance)
        restarted = shop.operator.restart(failed.execution_id)
        ended = shop.operator.wait(restarted)

    assert "the connection was cut (2 attempts in" in refused.value.message
    assert (40, 60) == (there, len(rows_of(main.database, "visit", "id")))
    assert ended is not None
    assert "COMPLETED" == str(ended.batch_status)
    assert 60 == main.sync.state("shop-1", "in").last_lsn  # type: ignore[union-attr]


@ON_SQLITE
def test_a_pull_that_fails_in_a_piece_goes_on_there(
    main: Node, shops: list[Node], server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Goal: batches that span pieces, a failure in one of them, a restart: each group counts once.

    Method: pieces of 20 groups, batches of 7; the fifth batch fails after it was read.
    """
    [shop, _] = shops
    write(main, range(50))
    monkeypatch.setattr(GroupWriter, "write", _failing_once(GroupWriter.write, at=5))
    asked = {**over(server.url, shop), "batch_size": 7}
    failed = shop.operator.run("stepwell.sync.pull", asked)
    reached = shop.sync.state("main", "in")
    main.sync.retire_peer("shop-1")  # What was fetched is not asked for again.
    ended = shop.operator.wait(shop.operator.restart(failed.execution_id))
    assert ended is not None
    steps = {s.step_name: s for s in shop.operator.get_step_executions(ended.execution_id)}
    with shop.database.read() as reader:
        done = json.loads(get_context(reader, steps["finish"].step_execution_id))

    assert reached is not None
    assert ("FAILED", 28, "COMPLETED") == (
        str(failed.batch_status),
        reached.last_lsn,
        str(ended.batch_status),
    )
    assert "fetch" not in steps
    assert 50 == len(rows_of(shop.database, "visit", "id"))
    assert (1, 50, 50, 50, 50) == (
        done["from_lsn"],
        done["to_lsn"],
        done["rows"],
        done["groups"],
        done["applied"],
    )


@ON_SQLITE
def test_a_push_that_waits_for_its_hub_can_be_stopped(
    main: Node, shops: list[Node], server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    [shop, _] = shops
    write(shop, range(3))
    monkeypatch.setattr(transport, "BACKOFF_S", (3_600.0,) * 6)
    monkeypatch.setattr(transport, "WAIT_MAX_S", 3_600.0)
    with FaultyLine(server.port, [(0, None)]) as line:
        waiting = shop.operator.start("stepwell.sync.push", over(line.url, shop))
        until(lambda: not line.cuts_left, what="the first attempt")
        shop.operator.stop(waiting)
        stopped = shop.operator.wait(waiting, 60)
        ended = shop.operator.wait(shop.operator.restart(waiting), 60)

    assert (stopped is not None, ended is not None) == (True, True)
    assert ["STOPPED", "COMPLETED"] == [str(e.batch_status) for e in (stopped, ended) if e]
    assert 3 == len(rows_of(main.database, "visit", "id"))


def _failing_once(write: Any, *, at: int) -> Any:
    calls = iter(range(1, 1_000))

    def failing(*given: Any) -> Any:
        if next(calls) == at:
            raise RuntimeError("the disk is full")
        return write(*given)

    return failing


@ON_SQLITE
def test_what_is_too_large_for_the_hub_goes_in_smaller_pieces(
    main: Node, shops: list[Node], tmp_path: Path
) -> None:
    [shop, _] = shops
    [token] = meet(main, shop).values()
    (tmp_path / "shop-1.token").write_text(token, encoding="ascii")
    main.settings = replace(main.settings, sync_push_bytes_max=2_000)
    for number in range(40):
        write(shop, [number], note="".join(shop.clock.new_id() for _ in range(4)))
    with Server(make_app(main), "127.0.0.1", 0) as server:
        pushed = shop.sync.push(**over(server.url, shop))
        with shop.sync.transaction() as connection:
            for number in range(100, 200):
                values = {"id": number, "note": shop.clock.new_id()}
                connection.execute("INSERT INTO visit VALUES (:id, :note)", values)
        with pytest.raises(PeerRefused, match="it takes 2,000 at once"):
            shop.sync.push(**over(server.url, shop))

    assert pushed["requests"] > 4
    assert (40, 40) == (pushed["applied"], len(rows_of(main.database, "visit", "id")))
    assert [] == list((tmp_path / "sync-transit").iterdir())


@ON_SQLITE
def test_a_shop_that_was_restored_from_a_copy_is_told(
    main: Node, server: Server, tmp_path: Path
) -> None:
    file = tmp_path / "shop-3.db"
    with open_node(f"sqlite:///{file}", tmp_path, "shop-3") as shop:
        [token] = meet(main, shop).values()
        write(shop, range(2))
    copy = shutil.copy(file, tmp_path / "copy")
    settings = Settings(database=f"sqlite:///{file}", folder=tmp_path, sync_token=token)
    with Node.open(settings) as shop:
        write(shop, range(2, 5))
        shop.sync.push(url=server.url)
    shutil.copy(copy, file)
    with Node.open(settings) as shop, pytest.raises(NodeRestored) as refused:
        shop.sync.push(url=server.url)

    assert "up to LSN 5, the log here ends at LSN 2" in refused.value.message
    assert "sync rejoin --from FILE" in refused.value.hint


@pytest.mark.parametrize("kind", ["sqlite3", pytest.param("postgresql", marks=pytest.mark.slow)])
def test_a_hub_that_is_killed_while_it_applies_goes_on(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Goal: kill -9 in the middle of an import, a new server on the same data: equal databases.

    Method: the shop is told nothing; its own attempts last until the hub is back.
    """
    monkeypatch.setattr(transport, "ATTEMPTS", 300)
    monkeypatch.setattr(transport, "BACKOFF_S", (0.2,) * 300)
    monkeypatch.setattr(exchange, "PIECE_CHANGES", 20_000)
    folder = tmp_path / "main"
    folder.mkdir()
    main_url, shop_url = f"sqlite:///{folder}/main.db", f"sqlite:///{tmp_path}/shop-1.db"
    if kind == "postgresql":
        main_url = request.getfixturevalue("postgresql_database_url")
    with (
        open_node(main_url, folder, "main", is_main=True) as main,
        open_node(shop_url, tmp_path, "shop-1") as shop,
    ):
        [token] = meet(main, shop).values()
        (tmp_path / "shop-1.token").write_text(token, encoding="ascii")
        for group in range(40):
            with shop.sync.transaction() as connection:
                for number in range(group * 100, group * 100 + 100):
                    connection.execute("INSERT INTO visit (id) VALUES (:id)", {"id": number})
        done = _pushed_to_a_hub_that_dies(main, Folder(folder, STEPWELL_DATABASE=main_url), shop)

        assert (4_000, 0) == (done["rows"], done["quarantined"])
        assert () == compare(main, shop, tmp_path).differences
        assert 4_000 == len(rows_of(main.database, "visit", "id"))
        ends = {
            str(execution.batch_status)
            for instance in main.operator.get_job_instances("stepwell.sync.import", 0, 9)
            for execution in main.operator.get_job_executions(instance)
        }
    assert {"FAILED", "COMPLETED"} <= ends


def _pushed_to_a_hub_that_dies(main: Node, hub: Folder, shop: Node) -> dict[str, Any]:
    """What the push says that had begun when the first server was killed."""

    def first_batch_is_in() -> bool:
        with main.database.read() as reader:
            found = reader.connection.execute(
                "SELECT 1 FROM batch_step_execution WHERE step_name = 'apply' AND chunk_number > 0"
            )
            return bool(found.fetchall())

    first = hub.start("serve", "--port", "0")
    [url] = re.findall(r"http://127\.0\.0\.1:\d+", first.until("working"))
    with ThreadPoolExecutor(1) as pool:
        pushing = pool.submit(shop.sync.push, **over(url, shop))
        until(first_batch_is_in, what="the first batch")
        first.kill()
        second = hub.start("serve", "--port", url.rpartition(":")[2])
        second.until("working")
        done = pushing.result(90)
        second.kill()
    return done


# --- what is refused ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("", "the hub's URL is not given"),
        ("head-office", "must begin with https://"),
        ("ftp://head-office", "must begin with https://"),
        ("https://", "must begin with https://"),
        ("https://a:b@head-office", "holds a name or a password"),
        ("https://head-office/?token=b", "must end with the host"),
        ("https://head-office:port", "it is no URL"),
        ("http://head-office:9093", "it is not encrypted, and not this machine"),
        ("http://127.0.0.1.example", "it is not encrypted, and not this machine"),
        ("http://10.0.0.1", "it is not encrypted, and not this machine"),
    ],
)
def test_a_url_that_is_none_or_not_safe_is_refused(url: str, words: str) -> None:
    with pytest.raises(InvalidPeerUrl) as refused:
        address_of(url)

    assert words in refused.value.message
    assert "b@" not in refused.value.message + refused.value.hint
    assert "token=b" not in refused.value.message


def test_urls_that_may_be_used() -> None:
    found = address_of("https://Head-Office.example/hub/")

    assert ("head-office.example", 443, "/hub") == (found.host, found.port, found.path)
    assert 9093 == address_of("http://127.0.0.1:9093").port
    assert "::1" == address_of("http://[::1]:9093").host


def test_a_token_that_is_none_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").write_text("\n", encoding="ascii")
    (tmp_path / "two").write_text("a\nb\n", encoding="ascii")
    (tmp_path / "good").write_text("stepwell_1\n", encoding="ascii")
    remote = Remote(folder=tmp_path)
    told = []
    for file in ("", "missing", "empty", "two"):
        with pytest.raises(NoSyncToken) as refused:
            remote.given(token_file=file).read_token()
        told.append(refused.value.message)

    assert "stepwell_1" == remote.given(token_file="good").read_token()
    assert "no token is given" in told[0]
    assert "no such file" in told[1]
    assert "stepwell_1" not in repr(Remote(token="stepwell_1"))
    assert "stepwell_1" not in repr(Settings(sync_token="stepwell_1"))


class Impostor(BaseHTTPRequestHandler):
    """Answers each request with the next of ``answers``: status, headers, body."""

    answers: ClassVar[list[tuple[int, dict[str, str], bytes]]] = []
    asked: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        self.asked.append(self.headers.get("Authorization", ""))
        status, headers, body = self.answers.pop(0)
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Nothing."""


@pytest.fixture
def impostor() -> Iterator[str]:
    Impostor.answers, Impostor.asked = [], []
    with HTTPServer(("127.0.0.1", 0), Impostor) as server:
        Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Node]:
    url = f"sqlite:///{tmp_path}/shop-1.db"
    with open_node(url, tmp_path, "shop-1", token="stepwell_secret") as node:
        node.sync.add_peer("main", is_main=True)
        yield node


PROBLEM = json.dumps({"code": "wrong_node", "message": "no", "hint": "do", "fields": {}}).encode()
STATUS = {
    **dict.fromkeys(exchange.HubStatus.__struct_fields__, 0),
    "node": "other",
    "is_main": False,
    "pull_is_due": False,
}


def test_a_refusal_is_told_and_not_tried_again(shop: Node, impostor: str) -> None:
    """Goal: one request each; the hub's words, or what is wrong with the address."""
    cases = [
        ((403, {}, PROBLEM), "it answers 403: no"),
        ((302, {"Location": "https://elsewhere"}, b""), "it answers 302"),
        ((200, {}, b"<html>"), "the address answers, but not as a hub"),
        ((200, {}, b'{"node": 7}'), "its answer is not a hub's"),
        ((404, {}, b"<html>"), "it answers 404"),
    ]
    told = []
    for answer, words in cases:
        Impostor.answers = [answer]
        with pytest.raises(PeerRefused) as refused:
            shop.sync.push(url=impostor)
        assert words in refused.value.message
        told.append(refused.value.hint)
    Impostor.answers = [(200, {}, json.dumps(STATUS).encode())]
    with pytest.raises(InvalidPeer, match="node 'other' answers, not 'main'"):
        shop.sync.pull(url=impostor, client="main")

    assert ["do", "is it the address of `stepwell serve`?"] == [told[0], told[4]]
    assert "elsewhere" in told[1]
    assert ["Bearer stepwell_secret"] * 6 == Impostor.asked


def test_what_may_pass_is_tried_again_until_it_is_too_often(
    shop: Node, impostor: str, caplog: pytest.LogCaptureFixture
) -> None:
    busy = (503, {"Retry-After": "0"}, b"")
    cut = (200, {"Content-Length": "999"}, b"{}")
    Impostor.answers = [busy, (429, {}, b""), cut, (500, {}, b""), (403, {}, PROBLEM)]
    with pytest.raises(PeerRefused):
        shop.sync.push(url=impostor)
    Impostor.answers = [busy] * 20
    with caplog.at_level(logging.DEBUG), pytest.raises(PeerUnreachable) as refused:
        shop.sync.pull(url=impostor)

    assert 5 + transport.ATTEMPTS == len(Impostor.asked)
    assert "it answers 503" in refused.value.message
    assert "trying again in" in caplog.text
    assert "stepwell_secret" not in caplog.text
    # Nor in anything that is recorded.
    with shop.database.read() as reader:
        for table in ("batch_job_execution_params", "batch_job_execution", "batch_step_execution"):
            rows = reader.connection.execute(f"SELECT * FROM {table}").fetchall()
            assert "stepwell_secret" not in repr(rows)


def test_nothing_listens_and_no_tls(
    shop: Node, impostor: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transport, "ATTEMPTS", 2)
    with pytest.raises(PeerUnreachable, match="nothing listens there"):
        shop.sync.push(url="http://127.0.0.1:1")
    with pytest.raises(PeerRefused, match="cannot speak TLS"):
        shop.sync.push(url=impostor.replace("http:", "https:"))
