"""Whoever asks too often, too much or too slowly is refused, and holds nothing meanwhile."""

from __future__ import annotations

import json
import socket
import ssl
import urllib.error
import urllib.request
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from stepwell import Job, Node, TaskletStep
from stepwell.errors import CannotServe, TooManyRequests
from stepwell.repository.tokens import create_token
from stepwell.settings import Settings
from stepwell.testing import FrozenClock
from stepwell.web import body, connection, rates
from stepwell.web.app import make_app
from stepwell.web.rates import Rates
from stepwell.web.server import Server, refuse_plain
from tests.support.certificates import self_signed, with_openssl
from tests.web.client import HERE, Client

WAIT_S = 30
SOON_S = 0.3
GIGABYTE = 1024**3
PIECE = b" " * 65_536
GROWTH_MAX = 48 * 1024**2


# --- how often ----------------------------------------------------------------------------------


def test_a_bucket_holds_a_minute_and_is_filled_up_steadily() -> None:
    clock = FrozenClock()
    limited = Rates(clock, per_minute=6)
    for _ in range(6):
        limited.take("a", "GET /")
    with pytest.raises(TooManyRequests) as refused:
        limited.take("a", "GET /")
    limited.take("b", "GET /")
    clock.advance(10)
    limited.take("a", "GET /")

    assert "cannot answer GET /: a has asked too often" == refused.value.message
    assert 10 == refused.value.fields["retry_after_s"]
    with pytest.raises(TooManyRequests):
        limited.take("a", "GET /")
    clock.advance(3_600)
    for _ in range(6):  # No more than a minute's worth is saved up.
        limited.take("a", "GET /")
    with pytest.raises(TooManyRequests):
        limited.take("a", "GET /")


def test_without_a_limit_nothing_is_counted_and_what_is_counted_is_bounded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(rates, "KEPT_MAX", 2)
    limited = Rates(FrozenClock(), per_minute=1)
    for who in ("a", "b", "c"):
        limited.take(who, "GET /")
    limited.take("a", "GET /")  # Forgotten, with the oldest.
    with pytest.raises(TooManyRequests):
        limited.take("c", "GET /")
    unlimited = Rates(FrozenClock(), per_minute=0)
    for _ in range(10_000):
        unlimited.take("a", "GET /")


def test_each_token_has_its_limit_and_who_guesses_is_counted_by_address(tmp_path: Path) -> None:
    clock = FrozenClock()
    settings = Settings(f"sqlite:///{tmp_path}/a.db", requests_per_minute=2, folder=tmp_path)
    with Node.open(settings, clock=clock) as node:
        app = make_app(node, on_loopback=False)
        tokens = [create_token(node.database, clock, name, "viewer") for name in ("a", "b")]
        a, b = (Client(app, token=token) for token in tokens)
        guessing = [Client(app, token=f"stepwell_{n}").get("/api/jobs") for n in range(3)]
        asked = [a.get("/api/jobs") for _ in range(3)]

        assert [401, 401, 429] == [answer.status for answer in guessing]
        assert [200, 200, 429] == [answer.status for answer in asked]
        assert "token 'a'" in asked[-1].refused(429, "too_many_requests")["message"]
        assert "30" == asked[-1].headers["retry-after"]
        assert 200 == b.get("/api/jobs").status
        Client(app).get("/health").refused(429, "too_many_requests")
        clock.advance(30)
        assert 200 == a.get("/api/jobs").status


# --- how slowly, how much -----------------------------------------------------------------------


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("limits")
    with Node.open(Settings(f"sqlite:///{folder}/a.db", folder=folder)) as node:
        node.registry.add(Job("tidy", [TaskletStep("tidy", lambda: None)]), origin="module jobs")
        with Server(make_app(node), "127.0.0.1", 0) as server:
            yield server


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "HEAD_S", SOON_S)
    monkeypatch.setattr(connection, "LINGER_S", SOON_S)
    monkeypatch.setattr(body, "SECONDS_MAX", SOON_S)


def connected(server: Server) -> socket.socket:
    return socket.create_connection(("127.0.0.1", server.port), timeout=WAIT_S)


def head(line: str, **headers: str) -> bytes:
    named = {"Host": HERE, **{name.replace("_", "-"): value for name, value in headers.items()}}
    lines = [line, *(f"{name}: {value}" for name, value in named.items()), "", ""]
    return "\r\n".join(lines).encode()


def until_closed(client: socket.socket) -> bytes:
    """Everything that comes until the server ends the connection."""
    told = b""
    with suppress(ConnectionResetError):
        while part := client.recv(65_536):
            told += part
    return told


@pytest.mark.parametrize(
    "said",
    [b"", b"GET", b"GET /health HTTP/1.1\r\nHost: "],
    ids=["nothing", "a word", "half a head"],
)
def test_a_head_that_does_not_come_ends_the_connection(
    server: Server, impatient: None, said: bytes
) -> None:
    with connected(server) as client:
        client.sendall(said)

        assert b"" == until_closed(client)


def test_who_speaks_in_time_is_answered_until_he_stops_in_the_middle(
    server: Server, impatient: None
) -> None:
    with connected(server) as client:
        for _ in range(3):
            client.sendall(head("GET /health HTTP/1.1"))
            told = b""
            while not told.endswith(b'{"status":"ok"}'):
                told += client.recv(65_536)
            assert told.startswith(b"HTTP/1.1 200 OK")
        client.sendall(b"GET /h")

        assert b"" == until_closed(client)


def test_a_body_that_drips_is_refused(server: Server, impatient: None) -> None:
    with connected(server) as client:
        client.sendall(head("POST /api/batch/tidy HTTP/1.1", Content_Length="100") + b"{")
        told = until_closed(client)

    assert b"413" in told.splitlines()[0]
    assert b"it did not come within" in told


def test_a_body_that_nobody_reads_holds_no_connection(server: Server, impatient: None) -> None:
    with connected(server) as client:
        client.sendall(head("GET /health HTTP/1.1", Content_Length="100") + b"{")
        assert b"200 OK" in until_closed(client)


@pytest.mark.parametrize("told_length", [True, False])
def test_a_gigabyte_is_refused_with_memory_flat(
    server: Server, impatient: None, told_length: bool
) -> None:
    """Method: a client that does not listen while it sends."""
    before = memory()
    sizes = {"Content_Length": str(GIGABYTE)} if told_length else {"Transfer_Encoding": "chunked"}
    with connected(server) as client:
        client.sendall(head("POST /api/batch/tidy HTTP/1.1", **sizes))
        sent = send(client, pieces(chunked=not told_length))
        with suppress(OSError):
            answer = client.recv(65_536)
            assert b"413" in answer.splitlines()[0]

    assert sent
    assert memory() - before < GROWTH_MAX
    with urllib.request.urlopen(f"{server.url}/health", timeout=WAIT_S) as answered:
        assert {"status": "ok"} == json.load(answered)


def test_a_head_without_end_is_refused_with_memory_flat(server: Server) -> None:
    before = memory()
    with connected(server) as client:
        client.sendall(b"GET /health HTTP/1.1\r\nX: ")
        sent = send(client, (b"x" * 65_536 for _ in range(1_000)))
        told = until_closed(client)

    assert sent < 100 * 65_536 or b"400" in told
    assert memory() - before < GROWTH_MAX


def pieces(*, chunked: bool) -> Iterator[bytes]:
    frame = b"%x\r\n%s\r\n" % (len(PIECE), PIECE) if chunked else PIECE
    for _ in range(GIGABYTE // len(PIECE)):
        yield frame


def send(client: socket.socket, parts: Iterable[bytes]) -> int:
    """Send until the server wants no more; answers how much."""
    sent = 0
    with suppress(OSError):
        for part in parts:
            client.sendall(part)
            sent += len(part)
    return sent


def memory() -> int:
    """Bytes of this process, which is the server's."""
    pages = int(Path("/proc/self/statm").read_text("ascii").split()[1])
    return pages * 4096


# --- TLS ----------------------------------------------------------------------------------------


def test_tls_can_be_required_for_all_but_this_machine() -> None:
    for host in ("0.0.0.0", "shop.example"):
        with pytest.raises(CannotServe, match="require_tls is set"):
            refuse_plain(host, require_tls=True, has_certificate=False)
        refuse_plain(host, require_tls=True, has_certificate=True)
        refuse_plain(host, require_tls=False, has_certificate=False)
    refuse_plain("127.0.0.1", require_tls=True, has_certificate=False)


@with_openssl
def test_with_a_certificate_only_tls_is_spoken(tmp_path: Path) -> None:
    certificate, key = self_signed(tmp_path, "DNS:localhost")
    trusting = ssl.create_default_context(cafile=str(certificate))
    with (
        Node.open(replace(Settings(f"sqlite:///{tmp_path}/a.db"), folder=tmp_path)) as node,
        Server(make_app(node), "localhost", 0, certificate=(certificate, key)) as server,
    ):
        with urllib.request.urlopen(f"{server.url}/health", timeout=WAIT_S, context=trusting) as a:
            assert {"status": "ok"} == json.load(a)
        with pytest.raises((urllib.error.URLError, ConnectionError)):
            urllib.request.urlopen(f"http://localhost:{server.port}/health", timeout=WAIT_S)
