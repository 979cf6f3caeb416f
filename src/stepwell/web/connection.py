"""One connection of the server, that nobody can hold for ever by saying little or nothing.

uvicorn waits without end for the first line of a request, and for the rest of a body that nobody
reads. Here the head of a request has a time, and a connection is closed when its answer was given
before its request was complete.
"""

from __future__ import annotations

import asyncio
import socket

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle

HEAD_S = 10.0  # For the first line and the headers, from the first byte or the connection on.
LINGER_S = 2.0  # So long what still comes is thrown away, so that the answer is read.
UNREAD_MS = 60_000  # So long an answer that nobody takes is kept.


class Connection(H11Protocol):
    """uvicorn's, with an end to each of its waits."""

    _head: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A client has come, and has nothing said yet."""
        super().connection_made(transport)
        self._expect_head()

    def data_received(self, data: bytes) -> None:
        """A part of a request."""
        super().data_received(data)
        if self.conn.their_state is not h11.IDLE:
            self._forget_head()
        elif self._head is None:
            self._expect_head()

    def on_response_complete(self) -> None:
        """The answer is given; what was not sent of the request until now is not waited for."""
        super().on_response_complete()
        if self.conn.their_state is h11.SEND_BODY:
            self.loop.call_later(LINGER_S, self._close_unless_complete, self.cycle)

    def _close_unless_complete(self, cycle: RequestResponseCycle) -> None:
        if self.cycle is cycle and self.conn.their_state is h11.SEND_BODY:
            self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """The client has gone."""
        self._forget_head()
        super().connection_lost(exc)

    def _expect_head(self) -> None:
        self._head = self.loop.call_later(HEAD_S, self.transport.abort)

    def _forget_head(self) -> None:
        if self._head is not None:
            self._head.cancel()
            self._head = None


def limit_unread(listening: socket.socket) -> None:
    """Have the system end a connection whose client takes nothing of its answer; where it can."""
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, UNREAD_MS)
