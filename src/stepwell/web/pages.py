"""The dashboard: every page is drawn here, from the same looks as the API's answers.

The page in a browser asks for itself again when something was committed, and its forms call the
API; there is no second way to do anything.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from datetime import timedelta
from typing import Annotated, Any
from urllib.parse import parse_qs

from fastapi import APIRouter, Path, Query
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, RedirectResponse, Response

from stepwell.errors import NoSuchJob, StepwellError, TokenRequired
from stepwell.looks.definitions import Definition
from stepwell.looks.reading import Look
from stepwell.looks.representation import problem_json
from stepwell.looks.stages import Stage, stages_of
from stepwell.looks.text import count
from stepwell.repository import browse
from stepwell.repository.executions import get_execution
from stepwell.repository.partitions import list_partition_executions
from stepwell.repository.tokens import VIEWER
from stepwell.web.auth import COOKIE, admit
from stepwell.web.body import bounded_body
from stepwell.web.documents import ID_MAX
from stepwell.web.drawing import draw_page
from stepwell.web.face import Asked, Face, Viewer, face_of, take_by_address
from stepwell.web.problems import answer_problem, status_of
from stepwell.web.questions import SHOWN, Id

router = APIRouter(include_in_schema=False)

PAGE = 50
NAMED_MAX = 40  # So many partitions stand there by name; more are a grid of cells.
DAY = timedelta(hours=24)
A_MOMENT = timedelta(minutes=1)  # So old may the answer be.
DAYS = 14  # Of the chart.
BAR_HEIGHT = 100
STATIC = ("stepwell.css", "desk.css", "stepwell.js")
# The shape and the colour of a partition's cell.
_KINDS = {"SUCCESS": "s", "PARTIAL": "p", "FAILURE": "f", "STARTED": "r"}


@router.get("/")
def overview(face: Asked, _caller: Viewer) -> Response:
    """What runs, waits and failed lately."""
    found = face.watch().overview()
    return draw_page(
        "overview.html",
        face,
        overview=found,
        stages=_stages(face, found.running),
        **_last_day(face),
        bars=_bars(face),
        events="/api/events",
    )


@router.get("/executions")
def list_executions(
    face: Asked,
    _caller: Viewer,
    job: str | None = None,
    before: Annotated[int | None, Query(ge=1, le=ID_MAX)] = None,
) -> Response:
    """One page of executions, the newest first."""
    found = _executions(face, job, before)
    return draw_page(
        "executions.html",
        face,
        job=job,
        page=found,
        next_before=found[-1].execution_id if len(found) == PAGE else None,
        events="/api/events",
    )


@router.get("/executions/{execution_id}")
def show_execution(execution_id: Id, face: Asked, _caller: Viewer) -> Response:
    """One execution with its steps, its partitions as a grid, and what can be done with it."""
    details = face.watch().details(execution_id, partitions_max=SHOWN, skips_max=SHOWN)
    is_running = details.look.execution.batch_status.is_running
    stages = _stages(face, [details.look])[execution_id] if is_running else []
    return draw_page(
        "execution.html",
        face,
        details=details,
        others=[stage for stage in stages if stage.progress is None],
        grids=_grids(face, details.look.steps),
        troubled=[one for found in details.partitions.values() for one in found],
        events=f"/api/executions/{execution_id}/events" if is_running else None,
    )


@router.get("/jobs")
def list_jobs(face: Asked, _caller: Viewer) -> Response:
    """The jobs that can be started here."""
    definitions = [Definition.of(found) for found in face.node.registry]
    return draw_page("jobs.html", face, definitions=definitions)


@router.get("/jobs/{job}")
def show_job(job: str, face: Asked, _caller: Viewer) -> Response:
    """One job: what of it runs, a form that starts it, its last 24 hours and executions."""
    definition = Definition.of(face.node.registry.find(job))
    running = _running(face, job)
    return draw_page(
        "job.html",
        face,
        definition=definition,
        running=running,
        stages=_stages(face, running),
        **_last_day(face),
        page=_executions(face, job, None)[:10],
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


def _executions(face: Face, job: str | None, before: int | None) -> list[Any]:
    with face.node.database.read() as reader:
        page = browse.list_executions(reader, job_name=job, before_id=before, count=PAGE)
        return [get_execution(reader, execution.execution_id) for execution in page]


def _running(face: Face, job: str) -> list[Look]:
    """What of a job is at work, the oldest first."""
    with face.node.database.read() as reader:
        found = browse.list_running(reader)
    ids = [e.execution_id for e in found if e.job_name == job and e.owner_id is not None]
    watch = face.watch()
    return [watch.look(execution_id) for execution_id in ids[:SHOWN]]


def _stages(face: Face, looks: Sequence[Look]) -> dict[int, list[Stage]]:
    """Of each execution, with the steps that are to come when its job is known here."""
    registry = face.node.registry
    names: dict[str, list[str]] = {}
    for job in {look.execution.job_name for look in looks}:
        with suppress(NoSuchJob):
            names[job] = Definition.of(registry.find(job)).step_names
    return {
        look.execution_id: stages_of(look, names.get(look.execution.job_name, ())) for look in looks
    }


def _last_day(face: Face) -> dict[str, Any]:
    """How the last 24 hours went, and whether the window had to be cut."""
    window = face.lately.window(DAY)
    return {"window": window, "is_cut": window.since > face.node.clock.now() - DAY + A_MOMENT}


def _bars(face: Face) -> list[dict[str, Any]]:
    """Of each of the last days, what ended, stacked: kind, top and height of each part."""
    days = face.lately.by_day(DAYS)
    most = max(one.judged for one in days.values()) or 1
    bars = []
    for day, one in days.items():
        parts, top = [], float(BAR_HEIGHT)
        for kind, number in (("s", one.completed), ("p", one.partial), ("f", one.failed)):
            height = BAR_HEIGHT * number / most
            top -= height
            if number:
                parts.append((kind, round(top, 1), round(height, 1)))
        bars.append({"day": day, "found": one, "parts": parts})
    return bars


def _grids(face: Face, steps: Any) -> list[dict[str, Any]]:
    grids = []
    with face.node.database.read() as reader:
        for progress in steps:
            step = progress.step
            if step.partition_total is None:
                continue
            states = browse.list_partition_states(reader, step.step_execution_id)
            shown = [(number, outcome or status) for number, status, outcome in states]
            counts = Counter(word for _, word in shown)
            kept = (step.partition_total or 0) - len(states)
            words = [f"{count(n)} {word}" for word, n in sorted(counts.items())]
            words += [f"{count(kept)} not here: kept from before, or not begun"] if kept else []
            are_few = len(states) <= NAMED_MAX
            grids.append(
                {
                    "step": step.step_name,
                    "counts": " · ".join(words),
                    "named": list_partition_executions(
                        reader, step.step_execution_id, count=NAMED_MAX
                    )
                    if are_few
                    else [],
                    "cells": []
                    if are_few
                    else [(_KINDS.get(word, "w"), number) for number, word in shown],
                }
            )
    return grids
