"""A connection to a hub that can be given up while it waits, whatever it waits for.

Guarantees: within ``LOOK_S`` of a stop nobody waits any more, for a connection, a handshake, room
to send or an answer; nor longer than a limit for a hub that is silent. Only a name's resolution
is the system's own and ends when it ends.
"""

from __future__ import annotations

import errno
import io
import os
import socket
import ssl
from collections.abc import Callable
from selectors import EVENT_READ, EVENT_WRITE, DefaultSelector
from types import TracebackType
from typing import Any, Self, TypeVar

T = TypeVar("T")

LOOK_S = 0.2
_UNDER_WAY = (errno.EINPROGRESS, errno.EWOULDBLOCK)


class Line:
    """What ``http.client`` takes for a socket; closed when the block ends, and not before.

    Args:
        go_on: Called while it waits; what it raises ends the wait.

    Raises:
        TimeoutError: nothing moved for the seconds that the wait may take.
        OSError, ssl.SSLError: the connection's own.
    """

    def __init__(self, host: str, port: int, *, within_s: float, go_on: Callable[[], None]) -> None:
        self._go_on = go_on
        self._within_s = within_s
        self._socket = self._connected(host, port)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._socket.close()

    def encrypt(self, context: ssl.SSLContext, host: str) -> None:
        """Shake hands; what is sent before is in the clear.

        Raises:
            ssl.SSLCertVerificationError: the context does not trust who answers.
        """
        encrypted = context.wrap_socket(
            self._socket, server_hostname=host, do_handshake_on_connect=False
        )
        self._socket = encrypted
        self._patiently(encrypted.do_handshake, EVENT_READ)

    def be_patient(self, within_s: float) -> None:
        """How long the other side may be silent from now on."""
        self._within_s = within_s

    # --- as http.client calls it ----------------------------------------------------------------

    def sendall(self, data: Any) -> None:
        """Send all of it."""
        left = memoryview(data).cast("B")
        while left:
            part = left
            left = left[self._patiently(lambda: self._socket.send(part), EVENT_WRITE) :]  # noqa: B023 - called now

    def makefile(self, mode: str) -> io.BufferedReader:
        """What comes, to be read as a file is."""
        assert mode == "rb"
        return io.BufferedReader(_Coming(self), io.DEFAULT_BUFFER_SIZE)

    def receive_into(self, buffer: Any) -> int:
        """Fill what comes first into the buffer; 0: no more will come."""
        return self._patiently(lambda: self._socket.recv_into(buffer), EVENT_READ)

    def close(self) -> None:
        """Nothing: ``http.client`` closes before the answer is read, and means its own end."""

    # --- waiting --------------------------------------------------------------------------------

    def _connected(self, host: str, port: int) -> socket.socket:
        failed = OSError(errno.EHOSTUNREACH, "it has no address")
        for family, kind, protocol, _, address in socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM
        ):
            one = socket.socket(family, kind, protocol)
            try:
                one.settimeout(0)
                one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                code = one.connect_ex(address)
                if code in _UNDER_WAY:
                    self._wait(one, EVENT_WRITE)
                    code = one.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
                if code:
                    raise OSError(code, os.strerror(code))
            except OSError as error:
                one.close()
                failed = error
            except BaseException:
                one.close()
                raise
            else:
                return one
        raise failed

    def _patiently(self, act: Callable[[], T], event: int) -> T:
        while True:
            try:
                return act()
            except ssl.SSLWantReadError:  # Either side of TLS may have to do the other first.
                wanted = EVENT_READ
            except ssl.SSLWantWriteError:
                wanted = EVENT_WRITE
            except BlockingIOError:
                wanted = event
            self._wait(self._socket, wanted)

    def _wait(self, one: socket.socket, event: int) -> None:
        waited_s = 0.0
        with DefaultSelector() as selector:
            selector.register(one, event)
            while True:
                self._go_on()
                if selector.select(LOOK_S):
                    return
                waited_s += LOOK_S
                if waited_s >= self._within_s:
                    raise TimeoutError


class _Coming(io.RawIOBase):
    def __init__(self, line: Line) -> None:
        self._line = line

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        return self._line.receive_into(buffer)
