"""A connection to a hub: given up wherever it waits, when it is stopped or the hub is silent."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from threading import Event, Thread

import pytest

from stepwell.clock import Clock
from stepwell.errors import PeerUnreachable
from stepwell.sync import line, transport
from stepwell.sync.remote import address_of
from stepwell.sync.transport import Stopped, Transport

HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n"
TOO_LATE_S = 15  # Then the hub hangs up, and whoever waits is told something else than Stopped.


class SilentHub:
    """Takes one connection, answers the first bytes with ``answer``, and says nothing more."""

    def __init__(self, answer: bytes, *, reads: bool = True) -> None:
        self._answer = answer
        self._reads = reads
        self._ended = Event()
        self.is_silent = Event()
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listening.getsockname()[1])
        self._thread = Thread(target=self._take, daemon=True)
        self._thread.start()

    def _take(self) -> None:
        with ExitStack() as kept:
            one, _ = self._listening.accept()
            kept.enter_context(one)
            if self._reads:
                one.recv(65536)
            one.sendall(self._answer)
            self.is_silent.set()
            self._ended.wait(TOO_LATE_S)

    def end(self) -> None:
        self._ended.set()
        self._thread.join()
        self._listening.close()


Asks = Callable[[Transport, Path], object]


def get(asked: Transport, _folder: Path) -> object:
    return asked.get("/sync/status", {})


def fetch(asked: Transport, folder: Path) -> object:
    return asked.fetch("/sync/pull", {}, folder / "pulled", tell=lambda _: None)


def send(asked: Transport, folder: Path) -> object:
    (folder / "pushed").write_bytes(bytes(64_000_000))  # More than any buffer on the way takes.
    return asked.send("/sync/push", folder / "pushed")


WAITS = {
    "for a handshake": ("https", b"", True, get),
    "for an answer": ("http", b"", True, get),
    "for the rest of a document": ("http", HEAD + b"{", True, get),
    "for the rest of a file": ("http", HEAD + b"{", True, fetch),
    "until it can send more": ("http", b"", False, send),
}


@pytest.fixture(params=WAITS.values(), ids=WAITS.keys())
def waits(request: pytest.FixtureRequest) -> Iterator[tuple[str, SilentHub, Asks]]:
    scheme, answer, reads, ask = request.param
    hub = SilentHub(answer, reads=reads)
    yield f"{scheme}://127.0.0.1:{hub.port}", hub, ask
    hub.end()


def test_a_stop_ends_the_wait(waits: tuple[str, SilentHub, Asks], tmp_path: Path) -> None:
    """Method: the stop is asked for when the hub has fallen silent."""
    url, hub, ask = waits
    asked = Transport(address_of(url), "token", Clock(), stop=hub.is_silent.is_set)
    with pytest.raises(Stopped):
        ask(asked, tmp_path)


def test_a_hub_that_is_silent_is_given_up(
    waits: tuple[str, SilentHub, Asks], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for limit in ("CONNECT_S", "ANSWER_S"):
        monkeypatch.setattr(transport, limit, 0.02)
    monkeypatch.setattr(transport, "ATTEMPTS", 1)
    monkeypatch.setattr(line, "LOOK_S", 0.01)
    url, _, ask = waits
    with pytest.raises(PeerUnreachable, match="it does not answer in time"):
        ask(Transport(address_of(url), "token", Clock(), stop=lambda: False), tmp_path)
