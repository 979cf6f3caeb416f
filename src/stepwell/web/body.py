"""The body of a request: bounded in size and time before anything looks at it, then JSON."""

from __future__ import annotations

import asyncio
import re
from typing import Any

import msgspec
from starlette.requests import ClientDisconnect, Request

from stepwell.errors import InvalidRequest, RequestTooLarge

BYTES_MAX = 1024 * 1024  # Parameters, no data: what is larger is a mistake or an attack.
_NUL = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")
SECONDS_MAX = 20.0  # A body that drips in holds a connection, nothing else.


async def json_body(request: Request) -> dict[str, Any]:
    """The JSON object of a request; empty where nothing was sent.

    Raises:
        RequestTooLarge: more than ``BYTES_MAX`` bytes, or ``SECONDS_MAX`` were not enough.
        InvalidRequest: it is no JSON object.
    """
    text = await bounded_body(request)
    if not text.strip():
        return {}
    try:
        value = msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise InvalidRequest(
            f"cannot read the body: it is no JSON ({error})",
            hint="""for example -H 'Content-Type: application/json' -d '{"day": "2026-11-20"}'""",
        ) from None
    if _NUL.search(text):
        raise InvalidRequest(
            "cannot read the body: a text in it holds a NUL, which no database takes",
            hint="leave \\u0000 out",
        )
    if not isinstance(value, dict):
        raise InvalidRequest(
            f"cannot read the body: it must be a JSON object, got {_kind(value)}",
            hint='for example {"day": "2026-11-20"}',
        )
    return value


async def bounded_body(request: Request) -> bytes:
    """The body as it was sent.

    Raises:
        RequestTooLarge, InvalidRequest: see :func:`json_body`.
    """
    told = request.headers.get("content-length", "")
    if told.isdigit() and int(told) > BYTES_MAX:
        raise _too_large()
    parts, size = [], 0
    try:
        async with asyncio.timeout(SECONDS_MAX):
            async for part in request.stream():
                size += len(part)
                if size > BYTES_MAX:
                    raise _too_large()
                parts.append(part)
    except TimeoutError:
        raise RequestTooLarge(
            f"cannot read the body: it did not come within {SECONDS_MAX:g} s",
            hint="send it at once",
        ) from None
    except ClientDisconnect:
        raise InvalidRequest("cannot read the body: the connection was cut") from None
    return b"".join(parts)


def _too_large() -> RequestTooLarge:
    return RequestTooLarge(
        f"cannot read the body: it is larger than {BYTES_MAX} bytes",
        hint="parameters are small; put data where the job reads it",
        fields={"bytes_max": BYTES_MAX},
    )


def _kind(value: object) -> str:
    match value:
        case None:
            return "null"
        case bool() | int() | float():
            return "a number or a truth value"
        case str():
            return "a text"
        case _:
            return "a list"
