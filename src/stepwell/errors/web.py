"""What the web face refuses: the address, the token, the role, the request itself."""

from __future__ import annotations

from stepwell.errors.error import Kind, StepwellError


class WebError(StepwellError):
    """The web face and its tokens."""

    kind = Kind.USAGE


class InvalidRequest(WebError):
    """The request cannot be read, or names what no route takes; nothing was done."""


class RequestTooLarge(WebError):
    """The body of a request is over its limit, or came too slowly; it was not read to its end."""


class TooManyRequests(WebError):
    """Somebody asks more often than the settings allow, or too many push at once."""

    kind = Kind.UNAVAILABLE

    def __init__(self, request: str, fact: str, *, retry_after_s: int) -> None:
        super().__init__(
            f"cannot answer {request}: {fact}",
            hint=f"try again in {retry_after_s} s",
            fields={"retry_after_s": retry_after_s},
        )


class TokenRequired(WebError):
    """No token was sent, or one that nobody has, has expired or was revoked."""

    def __init__(self, request: str, fact: str) -> None:
        super().__init__(
            f"cannot answer {request}: {fact}",
            hint="send `Authorization: Bearer TOKEN`; `stepwell token create NAME` makes one",
            fields={},
        )


class RoleRequired(WebError):
    """The token has not the role that the route asks for, or a foreign page sent the request."""


class WrongNode(WebError):
    """A token of role sync stands for another node than the request speaks for."""


class CannotServe(WebError):
    """The address, the certificate or the installation forbids to serve there."""


class NoSuchToken(WebError):
    """No token has this name."""

    kind = Kind.NOT_FOUND

    def __init__(self, name: str) -> None:
        super().__init__(
            f"cannot find token {name!r}: there is none of this name",
            hint="`stepwell token list` shows all",
            fields={"token": name},
        )


class TokenExists(WebError):
    """A token has this name; a name is used once, so that the history stays true."""

    kind = Kind.CONFLICT

    def __init__(self, name: str) -> None:
        super().__init__(
            f"cannot create token {name!r}: there is one of this name, or was",
            hint="take another name; `stepwell token list` shows all",
            fields={"token": name},
        )
