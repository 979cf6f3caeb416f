"""The server: uvicorn on a thread, so that the main thread keeps signals and the worker.

It listens when :meth:`Server.__enter__` returns, and answers until the block is left: while what
runs here is being stopped, its progress can still be looked at.
"""

from __future__ import annotations

import errno
import socket
import ssl
from pathlib import Path
from threading import Thread
from types import TracebackType
from typing import Self

import uvicorn
from fastapi import FastAPI

from stepwell.errors import CannotServe
from stepwell.web.auth import is_loopback
from stepwell.web.connection import Connection, limit_unread
from stepwell.web.events import Events

GRACE_S = 5  # For answers that are under way, then connections are closed.
CONNECTIONS_MAX = 512
HEADER_BYTES_MAX = 64 * 1024


class Server:
    """One address that answers with an application.

    Args:
        certificate: PEM files of the certificate and of its key; None: plain HTTP.
    """

    def __init__(
        self, app: FastAPI, host: str, port: int, *, certificate: tuple[Path, Path] | None = None
    ) -> None:
        self._host = host
        self._events: Events = app.state.face.events
        self._socket = _listen(host, port)
        self.port = int(self._socket.getsockname()[1])
        self._scheme = "http" if certificate is None else "https"
        config = uvicorn.Config(
            app,
            log_config=None,  # Its lines are ours.
            access_log=False,
            server_header=False,
            proxy_headers=False,  # Whoever connects is who asks.
            limit_concurrency=CONNECTIONS_MAX,
            timeout_graceful_shutdown=GRACE_S,
            h11_max_incomplete_event_size=HEADER_BYTES_MAX,
            ws="none",
            http=Connection,
            loop="asyncio",
            ssl_certfile=None if certificate is None else str(certificate[0]),
            ssl_keyfile=None if certificate is None else str(certificate[1]),
        )
        try:
            config.load()
        except (OSError, ssl.SSLError) as error:
            self._socket.close()
            raise CannotServe(
                f"cannot serve on {host}:{port}: the certificate cannot be read, {error}",
                hint="`--tls-cert` and `--tls-key` name PEM files",
            ) from error
        self._server = uvicorn.Server(config)
        self._thread = Thread(
            target=self._server.run, args=([self._socket],), name="stepwell-web", daemon=True
        )

    @property
    def url(self) -> str:
        """Where it answers."""
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"{self._scheme}://{host}:{self.port}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._events.close()  # A listener would keep its connection for ever.
        self._server.should_exit = True
        self._thread.join(GRACE_S + 5)
        self._socket.close()


def refuse_open_door(host: str, *, has_tokens: bool) -> None:
    """Refuse an address that others can reach while no token keeps them out.

    Raises:
        CannotServe: nobody would be asked who he is.
    """
    if not is_loopback(host) and not has_tokens:
        raise CannotServe(
            f"cannot serve on {host!r}: others can reach it, and there is no token",
            hint="`stepwell token create NAME --role operator` makes one; or leave `--host` out",
            fields={"host": host},
        )


def refuse_plain(host: str, *, require_tls: bool, has_certificate: bool) -> None:
    """Refuse to send tokens in the clear where the settings forbid it.

    Raises:
        CannotServe: there is no certificate, and others can reach the address.
    """
    if require_tls and not has_certificate and not is_loopback(host):
        raise CannotServe(
            f"cannot serve on {host!r}: require_tls is set, and there is no certificate",
            hint="give `--tls-cert` and `--tls-key`; or listen on this machine, behind a proxy",
            fields={"host": host},
        )


def _listen(host: str, port: int) -> socket.socket:
    """A socket that listens, so that a client never comes too early."""
    try:
        [(family, _, _, _, address), *_] = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        listening = socket.socket(family, socket.SOCK_STREAM)
    except OSError as error:
        raise CannotServe(
            f"cannot serve on {host}:{port}: {error.strerror}", hint="correct `--host`"
        ) from error
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        limit_unread(listening)
        listening.bind(address)
        listening.listen(CONNECTIONS_MAX)
    except OSError as error:
        listening.close()
        in_use = error.errno == errno.EADDRINUSE
        raise CannotServe(
            f"cannot serve on {host}:{port}: {'it is in use' if in_use else error.strerror}",
            hint="another server has it? `--port N` takes another one",
            fields={"host": host, "port": port},
        ) from error
    return listening
