"""The dashboard: the overview, signing in, and what all pages need; the others have modules.

Every page is drawn by the server, from the same looks as the API's answers. In a browser it asks
for itself again when something was committed, and its forms call the API; there is no second way to
do anything.
"""

from __future__ import annotations

from typing import Annotated
from urllib.parse import parse_qs

from fastapi import APIRouter, Path
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, RedirectResponse, Response

from stepwell.errors import StepwellError, TokenRequired
from stepwell.looks.representation import problem_json
from stepwell.repository.statistics import Window
from stepwell.repository.tokens import VIEWER
from stepwell.web.auth import COOKIE, admit
from stepwell.web.body import bounded_body
from stepwell.web.drawing import draw_page
from stepwell.web.executions import stages_by_id
from stepwell.web.face import Asked, Viewer, face_of, take_by_address
from stepwell.web.jobs import DAY, last_day
from stepwell.web.pictures import draw_days
from stepwell.web.problems import answer_problem, status_of

router = APIRouter(include_in_schema=False)

DAYS = 14  # Of the chart.
STATIC = ("stepwell.css", "desk.css", "stepwell.js", "stepwell.svg")


@router.get("/")
def overview(face: Asked, _caller: Viewer) -> Response:
    """What runs, waits and failed lately, and how it went."""
    found = face.watch().overview()
    day = last_day(face)
    return draw_page(
        "overview.html",
        face,
        overview=found,
        stages=stages_by_id(face, found.running),
        **day,
        p95_s=face.lately.p95_s(DAY),
        trend=_trend(day["window"], face.lately.window_before(DAY)),
        bars=draw_days(face.lately.by_day(DAYS)),
        findings=face.examination.findings(),
        events="/api/events",
    )


@router.get("/login")
def ask_for_token() -> Response:
    """Where a browser gives its token."""
    return draw_page("login.html", problem=None)


@router.post("/login")
async def take_token(request: Request) -> Response:
    """Keep the token in a cookie that no script reads and no other site sends."""
    given = parse_qs((await bounded_body(request)).decode(errors="replace"))
    secret = given.get("token", [""])[0].strip()
    headers = {**request.headers, "authorization": f"Bearer {secret}"}
    face = face_of(request)
    try:
        take_by_address(request, face)
        await run_in_threadpool(
            admit, face.node, "POST /login", VIEWER, headers, on_loopback=face.on_loopback
        )
    except StepwellError as error:
        return draw_page("login.html", status=status_of(error), problem=error.message)
    answer = RedirectResponse("/", 303)
    answer.set_cookie(
        COOKIE,
        secret,
        httponly=True,
        samesite="strict",
        # Believed of anybody: it can only make the browser more careful.
        secure="https" in (request.url.scheme, request.headers.get("x-forwarded-proto")),
    )
    return answer


@router.get("/static/{name}")
def static(name: Annotated[str, Path(max_length=64)]) -> Response:
    """The style and the script."""
    if name not in STATIC:
        raise HTTPException(404)
    return FileResponse(f"{__file__.removesuffix('pages.py')}static/{name}")


def answer(request: Request, error: Exception) -> Response:
    """A refusal: a page for whoever looks at pages, JSON for everybody else."""
    assert isinstance(error, StepwellError)
    wants_page = "text/html" in request.headers.get("accept", "")
    if not wants_page or request.url.path.startswith("/api/"):
        return answer_problem(request, error)
    if isinstance(error, TokenRequired):
        return RedirectResponse("/login", 303)
    return draw_page("problem.html", status=status_of(error), problem=problem_json(error))


def _trend(window: Window, before: Window) -> dict[str, str]:
    """How the last 24 hours differ from the 24 before; empty where nothing can be said."""
    now, then = window.total, before.total
    trend = dict.fromkeys(("rate", "failed", "average"), "")
    if now.success_rate is not None and then.success_rate is not None:
        points = 100 * (now.success_rate - then.success_rate)
        trend["rate"] = _signed(round(points, 1), "points")
    if then.ended:
        trend["failed"] = _signed(now.failed - then.failed, "")
    if now.average_s and then.average_s:
        trend["average"] = _signed(round(100 * (now.average_s / then.average_s - 1)), "%")
    return trend


def _signed(number: float, unit: str) -> str:
    """``▲ 3 points``, ``▼ 12 %``, ``= as before``."""
    if not number:
        return "= as before"
    return f"{'▲' if number > 0 else '▼'} {abs(number):g} {unit}".rstrip()
