"""What every route shares: the node, who asks, and what a route says of refusals."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Depends
from starlette.requests import Request

from stepwell.errors import TokenRequired
from stepwell.looks.reading import Watch
from stepwell.looks.restarting import restart_in
from stepwell.node import Node
from stepwell.repository.tokens import OPERATOR, SYNC, VIEWER
from stepwell.web.auth import NOBODY, Caller, admit
from stepwell.web.events import Events
from stepwell.web.examination import Examination
from stepwell.web.lately import Lately
from stepwell.web.metrics import Metrics
from stepwell.web.rates import Rates

_MEANINGS = {
    400: "The request cannot be read.",
    401: "No token, or one that opens nothing.",
    403: "The token has another role.",
    404: "It is not there.",
    409: "The state forbids it; the message says what to change first.",
    410: "It was there, and is no more.",
    413: "The body is too large.",
    422: "A value breaks its rule; `fields` names it.",
    429: "Too much at once: try again after `Retry-After` seconds.",
    503: "The database is busy, or the server is about to end: try again.",
}


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """What the API's description says of refusals."""
    return {
        status: {"description": _MEANINGS[status]}
        for status in sorted({400, 401, 403, 429, 503, *statuses})
    }


@dataclass(frozen=True)
class Face:
    """One node as the web shows it.

    Attributes:
        on_loopback: Only this machine can reach the server.
        is_ending: Whether new work is refused.
        events: What is told to those who listen.
        examination: The doctor at work for the web, and what it has found lately.
        form_key: Random; a form of a caller without a token proves by it that it is drawn here.
        lately: How executions went lately.
        metrics: Its numbers for Prometheus.
        rates: How often each caller has asked.
    """

    node: Node
    on_loopback: bool
    is_ending: Callable[[], bool]
    events: Events
    examination: Examination
    form_key: str
    lately: Lately
    metrics: Metrics
    rates: Rates

    @classmethod
    def of(cls, node: Node, *, on_loopback: bool, is_ending: Callable[[], bool]) -> Face:
        """The face of a node."""
        watch = Watch(node.database, node.clock, restart=restart_in(node.settings))
        events = Events(node.database, node.clock, watch)
        rates = Rates(node.clock, node.settings.requests_per_minute)
        lately = Lately(node.database, node.clock)
        return cls(
            node,
            on_loopback,
            is_ending,
            events,
            examination=Examination(node),
            form_key=node.clock.new_id(),
            lately=lately,
            metrics=Metrics(node, lately),
            rates=rates,
        )

    def watch(self) -> Watch:
        """Looks at executions; one a request, because a rate belongs to who has looked twice."""
        node = self.node
        return Watch(node.database, node.clock, restart=restart_in(node.settings))


class Admitted:
    """The dependency of a route that asks for a role; its value is the caller."""

    def __init__(self, role: str) -> None:
        self.role = role

    def __call__(self, request: Request) -> Caller:
        """Look at who asks and how often, before anything of the request is read."""
        face = face_of(request)
        return admitted(request, face, self.role)


def admitted(request: Request, face: Face, role: str) -> Caller:
    """The caller, if he may, and has not asked too often.

    Each token has a limit of its own. Whoever comes with none, or with one that opens nothing, is
    counted by his address, so that guessing is slow and looking tokens up stays cheap.

    Raises:
        TokenRequired, RoleRequired: see :func:`.admit`.
        TooManyRequests: the limit of the settings is reached.
    """
    what, headers = f"{request.method} {request.url.path}", request.headers
    try:
        caller = admit(face.node, what, role, headers, on_loopback=face.on_loopback)
    except TokenRequired:
        take_by_address(request, face)
        raise
    if caller.name is None:
        take_by_address(request, face)
    else:
        face.rates.take(f"token {caller.name!r}", what)
    return caller


def take_by_address(request: Request, face: Face) -> None:
    """Count a request by the address that it comes from.

    Raises:
        TooManyRequests: the limit of the settings is reached.
    """
    host = request.client.host if request.client is not None else "an unknown address"
    face.rates.take(host, f"{request.method} {request.url.path}")


def face_of(request: Request) -> Face:
    """The face of the application that was asked."""
    face = request.app.state.face
    assert isinstance(face, Face)
    return face


def role_of(route: Any) -> str:
    """The role that a route asks for; ``public`` for none."""
    asked = list(route.dependant.dependencies)
    while asked:
        dependency = asked.pop(0)
        if isinstance(dependency.call, Admitted):
            return dependency.call.role
        asked += dependency.dependencies
    return NOBODY


Asked = Annotated[Face, Depends(face_of)]
Viewer = Annotated[Caller, Depends(Admitted(VIEWER))]
Operator = Annotated[Caller, Depends(Admitted(OPERATOR))]
SyncNode = Annotated[Caller, Depends(Admitted(SYNC))]
