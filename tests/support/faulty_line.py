"""A TCP connection that is cut when so many bytes have passed."""

from __future__ import annotations

import socket
import struct
from contextlib import suppress
from threading import Thread
from types import TracebackType
from typing import Self

_RESET = struct.pack("ii", 1, 0)  # SO_LINGER with no time: a close is a reset.


class FaultyLine:
    """Listens on a port of its own and passes bytes on; the first connections are cut.

    Args:
        cuts: For each connection in turn the bytes ``(there, back)`` after which it is cut, None:
            never in that direction. Later ones are whole.
    """

    def __init__(self, port: int, cuts: list[tuple[int | None, int | None]]) -> None:
        self._to = port
        self._cuts = list(cuts)
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listening.getsockname()[1]}"
        self._passing: list[Thread] = []
        self._open: list[socket.socket] = []

    def __enter__(self) -> Self:
        self._accepting = Thread(target=self._accept, daemon=True)
        self._accepting.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        self._accepting.join()
        for passing in self._passing:
            passing.join()
        for one in self._open:
            one.close()

    @property
    def cuts_left(self) -> int:
        return len(self._cuts)

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                near, _ = self._listening.accept()
                self._open.append(near)
                there, back = self._cuts.pop(0) if self._cuts else (None, None)
                try:
                    far = socket.create_connection(("127.0.0.1", self._to))
                except OSError:
                    _cut(near)
                    continue
                self._open.append(far)
                for source, target, limit in ((near, far, there), (far, near, back)):
                    passing = Thread(target=_pass, args=(source, target, limit), daemon=True)
                    passing.start()
                    self._passing.append(passing)


def _pass(source: socket.socket, target: socket.socket, limit: int | None) -> None:
    passed = 0
    try:
        while data := source.recv(65536):
            if limit is not None and passed + len(data) > limit:
                target.sendall(data[: limit - passed])
                _cut(source)
                _cut(target)
                return
            target.sendall(data)
            passed += len(data)
        target.shutdown(socket.SHUT_WR)
    except OSError:
        _cut(source)
        _cut(target)


def _cut(one: socket.socket) -> None:
    with suppress(OSError):
        one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        one.shutdown(socket.SHUT_RDWR)
    with suppress(OSError):
        one.close()
