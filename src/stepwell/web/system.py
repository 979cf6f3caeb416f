"""Whether the server is well, in words for a proxy and in numbers for Prometheus."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response

from stepwell.errors import DatabaseError
from stepwell.repository import browse
from stepwell.web.description import describe
from stepwell.web.face import Asked, Viewer, problems, take_by_address
from stepwell.web.metrics import CONTENT_TYPE

router = APIRouter(tags=["system"])


_TOO_OFTEN: dict[int | str, dict[str, Any]] = {429: problems()[429]}
_FAILING = {"description": "The database does not answer.", "content": {"application/json": {}}}


@router.get("/health", responses={**_TOO_OFTEN, 503: _FAILING})
def health(request: Request, face: Asked) -> Response:
    """Whether this server can answer: it reads the database. It needs no token and tells no more.

    `status` is ok, ending (what runs here is being stopped) or failing.
    """
    take_by_address(request, face)
    try:
        with face.node.database.read() as reader:
            browse.newest_execution_id(reader)
    except DatabaseError:
        return JSONResponse({"status": "failing"}, 503)
    return JSONResponse({"status": "ending" if face.is_ending() else "ok"})


@router.get("/metrics", responses=problems(), response_class=PlainTextResponse)
def metrics(face: Asked, _caller: Viewer) -> Response:
    """Numbers for Prometheus, read from the database at this moment."""
    return Response(face.metrics.text(), media_type=CONTENT_TYPE)


@router.get("/openapi.json", responses=problems())
def openapi(request: Request, _caller: Viewer) -> dict[str, Any]:
    """The description of this API."""
    return describe(request.app)
