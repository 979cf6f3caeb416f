"""Errors as answers: the one renderer of the web face, the same JSON as the command line's."""

from __future__ import annotations

import logging

from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from stepwell.clock import Clock
from stepwell.errors import (
    BehindHorizon,
    BundleDamaged,
    BundleTooLarge,
    BundleTooNew,
    BundleTorn,
    InvalidRequest,
    JobSecurityError,
    Kind,
    RequestTooLarge,
    RoleRequired,
    StepwellError,
    TokenRequired,
    TooManyRequests,
    WrongNode,
)
from stepwell.looks.representation import problem_json

logger = logging.getLogger("stepwell.web")

MEDIA_TYPE = "application/problem+json"

_STATUS_OF_KIND = {
    Kind.USAGE: 400,
    Kind.NOT_FOUND: 404,
    Kind.CONFLICT: 409,
    Kind.UNAVAILABLE: 503,
    Kind.CORRUPT: 500,
    Kind.BUG: 500,
}
_STATUS_OF_CLASS: dict[type[StepwellError], int] = {
    TokenRequired: 401,
    RoleRequired: 403,
    JobSecurityError: 403,
    WrongNode: 403,
    RequestTooLarge: 413,
    TooManyRequests: 429,
    BehindHorizon: 410,
    # A file of changes that was pushed: it is the request that is wrong, not what is here.
    BundleTorn: 400,
    BundleDamaged: 400,
    BundleTooNew: 400,
    BundleTooLarge: 413,
}
# What names something in the request that was well formed and is wrong all the same.
_NAMED = ("parameters", "parameter", "priority", "time", "size", "role", "pool", "cron")


def status_of(error: StepwellError) -> int:
    """The HTTP status that tells a program what it can do about an error."""
    found = _STATUS_OF_CLASS.get(type(error), _STATUS_OF_KIND[error.kind])
    names_field = error.kind is Kind.USAGE and any(name in error.fields for name in _NAMED)
    return 422 if found == 400 and names_field else found


def answer_problem(_request: Request, error: Exception) -> Response:
    """A refusal of Stepwell's own."""
    assert isinstance(error, StepwellError)
    status = status_of(error)
    if status >= 500:
        logger.error("%s", error, exc_info=error)
    headers = {"WWW-Authenticate": "Bearer"} if status == 401 else {}
    if status in (429, 503):
        headers["Retry-After"] = str(error.fields.get("retry_after_s", 1))
    return JSONResponse(problem_json(error), status, headers, media_type=MEDIA_TYPE)


def invalid_request(request: Request, error: Exception) -> InvalidRequest:
    """The refusal of a value in the path or the query that breaks its rule."""
    assert isinstance(error, RequestValidationError)
    faults = {str(fault["loc"][-1]): _lowered(fault["msg"]) for fault in error.errors()}
    listed = "; ".join(f"{name!r}: {what}" for name, what in faults.items())
    return InvalidRequest(
        f"cannot answer {request.method} {request.url.path}: {listed}",
        hint="`/openapi.json` shows what the route takes",
        fields={"parameters": faults},
    )


def answer_http(request: Request, error: Exception) -> Response:
    """No such route, or none of this method."""
    assert isinstance(error, HTTPException)
    what = f"{request.method} {request.url.path}"
    facts = {404: "there is no such route", 405: "the route does not take this method"}
    invalid = InvalidRequest(
        f"cannot answer {what}: {facts.get(error.status_code, str(error.detail))}",
        hint="`/openapi.json` lists the routes",
    )
    return JSONResponse(
        problem_json(invalid), error.status_code, error.headers, media_type=MEDIA_TYPE
    )


def answer_fault(clock: Clock, request: Request, error: Exception) -> Response:
    """What is no error of Stepwell's: logged whole, told with a reference alone."""
    reference = clock.new_id()[:8]
    logger.error("internal error %s at %s", reference, request.url.path, exc_info=error)
    internal = StepwellError(
        f"internal error {reference}",
        hint="please report it, with what the server has logged",
        fields={"reference": reference},
    )
    internal.code = "internal_error"
    return JSONResponse(problem_json(internal), 500, media_type=MEDIA_TYPE)


def _lowered(text: str) -> str:
    return text[:1].lower() + text[1:]
