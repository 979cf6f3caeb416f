"""Requests to a hub: tried again when the connection or the hub fails, never when it refuses.

Guarantees: an answer is whole or it was not there; what is sent again is the same bytes; after a
refusal (4xx) nothing is sent again; a redirection is not followed, so a token goes nowhere else; a
stop ends a request wherever it is, see :mod:`.line`.
"""

from __future__ import annotations

import json
import logging
import os
import socket
import ssl
import zlib
from collections.abc import Callable, Iterator, Mapping
from http.client import HTTP_PORT, HTTPS_PORT, HTTPConnection, HTTPException, HTTPResponse
from pathlib import Path
from typing import Any, Self, TypeVar
from urllib.parse import urlencode

from stepwell.clock import Clock
from stepwell.database.durable import disk_refusal
from stepwell.errors import PeerRefused, PeerUnreachable
from stepwell.sync.line import Line
from stepwell.sync.remote import Address

T = TypeVar("T")

ATTEMPTS = 7
BACKOFF_S = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0)  # Between them; longer when the hub asks for it.
WAIT_MAX_S = 60.0
CONNECT_S = 20.0
ANSWER_S = 300.0  # The hub applies what was pushed before it answers, and others before it.
BLOCK_BYTES = 64 * 1024
_PROBLEM_BYTES_MAX = 64 * 1024
_AGAIN = (408, 425, 429)
_CUT = "the connection was cut"
_EXPIRED = 10  # As OpenSSL numbers what is wrong with a certificate.
_OTHER_NAMES = (62, 64)

logger = logging.getLogger("stepwell.sync")


class Stopped(Exception):
    """Whoever waits for the exchange has asked to stop it."""


class _Again(Exception):
    """It may work the next time."""

    def __init__(self, reason: str, wait_s: float = 0.0) -> None:
        super().__init__(reason)
        self.reason = reason
        self.wait_s = wait_s


class Transport:
    """Requests to one address.

    Args:
        stop: Asked now and then; True raises :class:`Stopped`.
    """

    def __init__(
        self, address: Address, token: str, clock: Clock, *, stop: Callable[[], bool]
    ) -> None:
        self._address = address
        self._token = token
        self._clock = clock
        self._stop = stop

    def get(self, route: str, query: Mapping[str, object]) -> dict[str, Any]:
        """A JSON document.

        Raises:
            PeerRefused, PeerUnreachable: it did not come.
        """
        return self._tried("GET", route, query, None, _document)

    def send(self, route: str, file: Path) -> dict[str, Any]:
        """POST a file of changes that is gzip; the JSON document that is answered.

        Raises:
            PeerRefused, PeerUnreachable: it was refused, or never came there whole.
        """
        return self._tried("POST", route, {}, file, _document)

    def fetch(
        self, route: str, query: Mapping[str, object], to: Path, *, tell: Callable[[int], None]
    ) -> None:
        """Write what is answered to a file, as gzip; ``tell`` hears how many bytes have come.

        Raises:
            PeerRefused, PeerUnreachable: it never came whole.
        """

        def take(response: HTTPResponse) -> None:
            is_packed = response.headers.get("Content-Encoding", "").lower() == "gzip"
            packer = None if is_packed else zlib.compressobj(6, zlib.DEFLATED, zlib.MAX_WBITS | 16)
            size = 0
            with _NewFile(to) as file:
                # Chunks end with a mark: an answer that was cut raises IncompleteRead.
                while block := response.read(BLOCK_BYTES):
                    self._go_on()
                    file.write(block if packer is None else packer.compress(block))
                    size += len(block)
                    tell(size)
                if response.length:
                    raise _Again(_CUT)  # Of a body with a length a block is only shorter.
                if packer is not None:
                    file.write(packer.flush())

        self._tried("GET", route, query, None, take)

    # --- one request, several times -------------------------------------------------------------

    def _tried(
        self,
        method: str,
        route: str,
        query: Mapping[str, object],
        file: Path | None,
        take: Callable[[HTTPResponse], T],
    ) -> T:
        target = self._address.path + route + (f"?{urlencode(query)}" if query else "")
        begun_at = self._clock.monotonic()
        for attempt in range(ATTEMPTS):
            self._go_on()
            try:
                return self._once(method, target, file, take)
            except _Again as again:
                if attempt + 1 == ATTEMPTS:
                    raise self._unreachable(again.reason, begun_at) from again
                wait_s = min(WAIT_MAX_S, max(BACKOFF_S[attempt], again.wait_s))
                logger.warning(
                    "%s %s: %s; trying again in %g s",
                    method,
                    self._address.shown + route,
                    again.reason,
                    wait_s,
                )
                self._wait(wait_s)
        raise AssertionError  # The last attempt has returned or raised.

    def _once(
        self, method: str, target: str, file: Path | None, take: Callable[[HTTPResponse], T]
    ) -> T:
        address = self._address
        try:
            with Line(address.host, address.port, within_s=CONNECT_S, go_on=self._go_on) as line:
                if address.is_encrypted:
                    self._encrypt(line)
                line.be_patient(ANSWER_S)
                with self._answer(line, method, target, file) as response:
                    return self._taken(response, take)
        except (OSError, HTTPException) as error:
            raise _Again(_reason(error)) from error

    def _taken(self, response: HTTPResponse, take: Callable[[HTTPResponse], T]) -> T:
        if response.status >= 500 or response.status in _AGAIN:
            raise _Again(_problem(response)[0], _retry_after(response))
        if response.status != 200:
            raise self._refused(response)
        if response.length is None and not response.chunked:
            # Its head was cut: what is left of it looks whole.
            raise _Again(_CUT)
        return take(response)

    def _encrypt(self, line: Line) -> None:
        address = self._address
        try:
            line.encrypt(ssl.create_default_context(), address.host)
        except ssl.SSLCertVerificationError as error:
            raise PeerRefused(
                f"cannot trust {address.shown!r}: {error.verify_message or 'its certificate'}",
                hint=_trust_hint(error),
                fields={"url": address.shown},
            ) from error
        except ssl.SSLEOFError as error:
            raise _Again(_CUT) from error
        except ssl.SSLError as error:
            raise PeerRefused(
                f"cannot speak TLS with {address.shown!r}: {error.reason or error}",
                hint="is it the hub's port, and does the hub serve https?",
                fields={"url": address.shown},
            ) from error

    def _answer(self, line: Line, method: str, target: str, file: Path | None) -> HTTPResponse:
        address = self._address
        connection = HTTPConnection(address.host, address.port)
        connection.default_port = HTTPS_PORT if address.is_encrypted else HTTP_PORT
        connection.sock = line
        headers = {
            "Authorization": f"Bearer {self._token}",
            "Accept-Encoding": "gzip",
            "User-Agent": "stepwell",
        }
        if file is None:
            connection.request(method, target, headers=headers)
            return connection.getresponse()
        headers |= {
            "Content-Type": "application/x-ndjson",
            "Content-Encoding": "gzip",
            "Content-Length": str(file.stat().st_size),
        }
        try:
            connection.request(method, target, body=self._blocks(file), headers=headers)
        except ConnectionError:
            # A hub that refuses does not read on: perhaps its answer is here already.
            return connection.getresponse()
        return connection.getresponse()

    def _blocks(self, file: Path) -> Iterator[bytes]:
        with file.open("rb") as opened:
            while block := opened.read(BLOCK_BYTES):
                self._go_on()
                yield block

    # --- waiting and errors ---------------------------------------------------------------------

    def _go_on(self) -> None:
        if self._stop():
            raise Stopped

    def _wait(self, seconds: float) -> None:
        until = self._clock.monotonic() + seconds
        while (left_s := until - self._clock.monotonic()) > 0:
            self._go_on()
            self._clock.sleep(min(0.2, left_s))

    def _unreachable(self, reason: str, begun_at: float) -> PeerUnreachable:
        took_s = self._clock.monotonic() - begun_at
        return PeerUnreachable(
            f"cannot reach {self._address.shown!r}: {reason}"
            f" ({ATTEMPTS} attempts in {took_s:.0f} s)",
            hint="try again later: nothing is lost, and what has come is not sent twice; or carry"
            " files, `stepwell sync push --file FILE` and `stepwell sync pull --file FILE`",
            fields={"url": self._address.shown, "attempts": ATTEMPTS},
        )

    def _refused(self, response: HTTPResponse) -> PeerRefused:
        told, problem = _problem(response)
        hint = str(problem.get("hint", ""))
        location = response.headers.get("Location", "")
        if 300 <= response.status < 400:
            hint = f"it leads elsewhere, and a token does not follow: {location[:200]!r}"
        elif response.status == 401:
            hint = "on the hub, `stepwell token create NAME --role sync --node NODE` makes another"
        elif not problem:
            hint = "is it the address of `stepwell serve`?"
        return PeerRefused(
            f"cannot exchange changes with {self._address.shown!r}: {told}",
            hint=hint,
            fields={
                "url": self._address.shown,
                "status": response.status,
                "code": problem.get("code", ""),
            },
        )


class _NewFile:
    """A file that is written; what the disk refuses is no fault of the connection."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> Self:
        try:
            self._file = self._path.open("wb")
        except OSError as error:
            raise disk_refusal(error, "keep what was pulled") from error
        return self

    def write(self, data: bytes) -> None:
        try:
            self._file.write(data)
        except OSError as error:
            raise disk_refusal(error, "keep what was pulled") from error

    def __exit__(self, *_: object) -> None:
        try:
            self._file.close()
        except OSError as error:
            raise disk_refusal(error, "keep what was pulled") from error


def _document(response: HTTPResponse) -> dict[str, Any]:
    text = response.read()
    try:
        found = json.loads(text)
    except ValueError:
        found = None
    if not isinstance(found, dict) or "node" not in found:
        raise PeerRefused(
            "cannot exchange changes: the address answers, but not as a hub",
            hint="is it the address of `stepwell serve`?",
        )
    return found


def _problem(response: HTTPResponse) -> tuple[str, dict[str, Any]]:
    """What a refusal says, in words, and its document; none when it is not ours."""
    text = response.read(_PROBLEM_BYTES_MAX)
    try:
        found = json.loads(text)
        return f"it answers {response.status}: {found['message']}", found
    except (ValueError, KeyError, TypeError):
        return f"it answers {response.status} {response.reason}", {}


def _trust_hint(error: ssl.SSLCertVerificationError) -> str:
    if error.verify_code in _OTHER_NAMES:
        return "name the hub in the URL as its certificate does"
    if error.verify_code == _EXPIRED:
        return "is the clock right here? Else the hub needs a new one, `stepwell serve --tls-cert`"
    named = os.environ.get("SSL_CERT_FILE", "")  # OpenSSL passes over a file that is not there.
    if named and not Path(named).is_file():
        return f"the variable SSL_CERT_FILE names {named!r}, and there is no such file"
    return "the variable SSL_CERT_FILE names a file of certificates to trust"


def _retry_after(response: HTTPResponse) -> float:
    text = response.headers.get("Retry-After", "")
    return float(text) if text.isdigit() else 0.0


def _reason(error: BaseException) -> str:
    if isinstance(error, TimeoutError):
        return "it does not answer in time"
    if isinstance(error, socket.gaierror):
        return "its name is not known here"
    if isinstance(error, ConnectionRefusedError):
        return "nothing listens there"
    if isinstance(error, (ConnectionError, HTTPException, ssl.SSLError)):
        return _CUT
    if isinstance(error, OSError) and error.strerror:
        return error.strerror[:1].lower() + error.strerror[1:]
    return type(error).__name__
