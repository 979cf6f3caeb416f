"""The application: routes, who may use them, and where errors end."""

from __future__ import annotations

from collections.abc import Callable

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from stepwell.errors import StepwellError
from stepwell.node import Node
from stepwell.web import (
    actions,
    care,
    conflicts,
    executions,
    holdings,
    jobs,
    pages,
    questions,
    schedules,
    sync_api,
    system,
)
from stepwell.web.desk.routes import PAGES
from stepwell.web.door import Door
from stepwell.web.face import Face
from stepwell.web.hub import Hub
from stepwell.web.problems import answer_http, invalid_request

# What programs ask; each a module with its routes.
API = (actions, questions, holdings, schedules, care, conflicts, sync_api, system)


def make_app(
    node: Node, *, on_loopback: bool = True, is_ending: Callable[[], bool] = lambda: False
) -> FastAPI:
    """The ASGI application over a node whose jobs are loaded.

    ``on_loopback`` says that only this machine can reach it: programs here need no token then.
    ``is_ending`` is asked whether new work is refused, because the server is about to end.
    """
    # Its pages would be fetched from elsewhere, and the description asks for a token.
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    app.state.hub = Hub(node, is_ending=is_ending)
    app.state.face = Face.of(node, on_loopback=on_loopback, is_ending=is_ending)
    for routes in (*API, pages, executions, jobs, *PAGES):
        app.include_router(routes.router)
    app.add_exception_handler(StepwellError, pages.answer)
    app.add_exception_handler(RequestValidationError, _answer_invalid)
    app.add_exception_handler(HTTPException, answer_http)
    app.add_middleware(Door, clock=node.clock)
    return app


def _answer_invalid(request: Request, error: Exception) -> Response:
    return pages.answer(request, invalid_request(request, error))
