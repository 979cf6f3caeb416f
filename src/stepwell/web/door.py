"""The outermost layer: headers on every answer, and no fault that leaves as a traceback."""

from __future__ import annotations

from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from stepwell.clock import Clock
from stepwell.errors import InvalidRequest
from stepwell.web.problems import answer_fault, answer_problem

_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cache-Control": "no-store",
    "Content-Security-Policy": (
        "default-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
    ),
}


_WITH_NUL = InvalidRequest(
    "cannot answer the request: its address holds a NUL", hint="leave %00 out"
)


class Door:
    """Wraps an application; an answer that has begun is cut, because it cannot be taken back."""

    def __init__(self, app: ASGIApp, clock: Clock) -> None:
        self._app = app
        self._clock = clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand one request on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        has_begun = False

        async def send_with_headers(message: Message) -> None:
            nonlocal has_begun
            if message["type"] == "http.response.start":
                has_begun = True
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        if "\x00" in scope["path"] or b"%00" in scope["query_string"]:
            # No name holds one, and PostgreSQL takes none.
            await answer_problem(Request(scope), _WITH_NUL)(scope, receive, send_with_headers)
            return
        try:
            await self._app(scope, receive, send_with_headers)
        except Exception as error:  # noqa: BLE001 - here every fault ends
            answer = answer_fault(self._clock, Request(scope), error)
            if not has_begun:
                await answer(scope, receive, send_with_headers)
