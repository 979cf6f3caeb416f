"""Ask an ASGI application in this process, as a server would ask it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

HERE = "localhost:9093"


@dataclass(frozen=True)
class Answer:
    """What came back."""

    status: int
    headers: dict[str, str]
    text: str

    @property
    def json(self) -> Any:
        return json.loads(self.text)

    def refused(self, status: int, code: str) -> Any:
        """It is a refusal of this status and code; its document."""
        assert (status, code) == (self.status, self.json["code"]), self.text
        assert "application/problem+json" == self.headers["content-type"]
        assert ["code", "message", "hint", "fields"] == list(self.json)
        return self.json


class Client:
    """Requests to one application; ``token`` and ``host`` stand in every one."""

    def __init__(self, app: Any, *, token: str | None = None, host: str = HERE) -> None:
        self._app = app
        self._headers = {"host": host}
        if token is not None:
            self._headers["authorization"] = f"Bearer {token}"

    def get(self, target: str, **headers: str) -> Answer:
        return self.ask("GET", target, headers=headers)

    def post(self, target: str, document: Any = None, **headers: str) -> Answer:
        parts = () if document is None else (json.dumps(document).encode(),)
        return self.ask("POST", target, parts, headers)

    def ask(
        self,
        method: str,
        target: str,
        parts: Iterable[bytes] = (),
        headers: dict[str, str] | None = None,
    ) -> Answer:
        """One request; its body comes in ``parts``."""
        path, _, query = target.partition("?")
        sent = {
            **self._headers,
            **{name.replace("_", "-"): value for name, value in (headers or {}).items()},
        }
        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": unquote(path),
            "raw_path": path.encode(),
            "query_string": query.encode(),
            "headers": [(n.lower().encode(), v.encode()) for n, v in sent.items()],
            "client": ("127.0.0.1", 50000),
            "server": ("127.0.0.1", 9093),
            "state": {},
        }
        return asyncio.run(_answer(self._app, scope, parts))


async def _answer(app: Any, scope: dict[str, Any], parts: Iterable[bytes]) -> Answer:
    told: list[dict[str, Any]] = []
    ended = asyncio.Event()
    incoming = _messages(parts, ended)

    async def send(message: dict[str, Any]) -> None:
        told.append(message)
        if message["type"] == "http.response.body" and not message.get("more_body"):
            ended.set()

    await app(scope, lambda: anext(incoming), send)
    headers = {name.decode(): value.decode() for name, value in told[0]["headers"]}
    text = b"".join(message.get("body", b"") for message in told[1:]).decode()
    return Answer(told[0]["status"], headers, text)


async def _messages(parts: Iterable[bytes], ended: asyncio.Event) -> AsyncIterator[dict[str, Any]]:
    for part in parts:
        yield {"type": "http.request", "body": part, "more_body": True}
    yield {"type": "http.request", "body": b"", "more_body": False}
    await ended.wait()
    yield {"type": "http.disconnect"}
