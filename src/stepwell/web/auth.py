"""Who asks: a token with a role, or a program of this machine.

Guarantees: whoever comes with a token comes with a valid one. Without one only a request is heard
that was sent to a loopback name, by no proxy and by no page of another site: a browser that was
lured to a foreign page cannot start a job, and neither can a name that was made to lead here.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from http.cookies import CookieError, SimpleCookie
from ipaddress import ip_address
from urllib.parse import urlsplit

from stepwell.errors import RoleRequired, TokenRequired
from stepwell.node import Node
from stepwell.repository.tokens import OPERATOR, SYNC, VIEWER, find_token

NOBODY = "public"  # The role of a route that asks for none.
_OPENS = {VIEWER: (VIEWER,), OPERATOR: (VIEWER, OPERATOR)}
COOKIE = "stepwell_token"
_FORWARDED = ("forwarded", "x-forwarded-for", "x-forwarded-host", "x-real-ip")


@dataclass(frozen=True)
class Caller:
    """Whoever sent a request.

    Attributes:
        name: Of the token; None for a program of this machine without one.
        node: That a token of role ``sync`` stands for; empty for every other caller.
    """

    name: str | None
    roles: tuple[str, ...]
    node: str = ""

    @property
    def actor(self) -> str:
        """What the history says of who asked."""
        return self.name or "operator"

    def signed(self, reason: str | None) -> str:
        """A reason with who gives it in front, for what knows no actor."""
        return ": ".join(filter(None, [self.name, reason]))


def is_loopback(host: str) -> bool:
    """Whether an address or a name leads to this machine alone."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def admit(
    node: Node, request: str, role: str, headers: Mapping[str, str], *, on_loopback: bool
) -> Caller:
    """The caller, if he may do what asks for ``role``; ``request`` names it in a refusal.

    Raises:
        TokenRequired: there is no token where one is needed, or it opens nothing.
        RoleRequired: the token opens other things, or a foreign page sent the request.
    """
    _refuse_foreign_page(request, headers)
    caller = _caller(node, request, headers, on_loopback=on_loopback)
    if role == SYNC and caller.name is None:
        raise TokenRequired(request, "a token says which node asks, on this machine too")
    if role not in caller.roles:
        raise RoleRequired(
            f"cannot answer {request}: token {caller.name!r} has not the role {role}",
            hint=f"`stepwell token create NAME --role {role}"
            f"{' --node NODE' if role == SYNC else ''}` makes one that has it",
            fields={"token": caller.name, "role": role},
        )
    return caller


def secret_of(headers: Mapping[str, str]) -> str | None:
    """What the caller has shown of himself; None for a program of this machine."""
    return headers.get("authorization") or _from_cookie(headers)


def _caller(node: Node, request: str, headers: Mapping[str, str], *, on_loopback: bool) -> Caller:
    given = secret_of(headers)
    if given is None:
        if on_loopback and _is_of_this_machine(headers):
            return Caller(None, _OPENS[OPERATOR])
        raise TokenRequired(request, "no token was sent")
    scheme, _, secret = given.partition(" ")
    if scheme.lower() != "bearer" or not secret.strip():
        raise TokenRequired(request, "the header Authorization holds no bearer token")
    with node.database.read() as reader:
        token = find_token(reader, secret.strip())
    if token is None:
        raise TokenRequired(request, "nobody has this token")
    if not token.is_valid(node.clock.now()):
        ended = "was revoked" if token.revoked_at is not None else "has expired"
        raise TokenRequired(request, f"token {token.name!r} {ended}")
    return Caller(token.name, _OPENS.get(token.role, (token.role,)), token.node or "")


def _from_cookie(headers: Mapping[str, str]) -> str | None:
    """What a browser sends that has signed in."""
    kept = SimpleCookie()
    with suppress(CookieError):
        kept.load(headers.get("cookie", ""))
    return f"Bearer {kept[COOKIE].value}" if COOKIE in kept else None


def _is_of_this_machine(headers: Mapping[str, str]) -> bool:
    if any(name in headers for name in _FORWARDED):
        return False  # A proxy on this machine speaks for anybody.
    host = urlsplit(f"//{headers.get('host', '')}").hostname
    return host is not None and is_loopback(host)


def _refuse_foreign_page(request: str, headers: Mapping[str, str]) -> None:
    origin = headers.get("origin")
    if origin is None:
        return  # No browser, or the page's own GET.
    if urlsplit(origin).netloc != headers.get("host"):
        raise RoleRequired(
            f"cannot answer {request}: a page of another site sent it",
            hint="call the API from a program, or from the dashboard itself",
            fields={"origin": origin},
        )
