"""The pages of jobs: which there are, one with its form and history, and what a start would do."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Depends
from starlette.requests import Request
from starlette.responses import Response

from stepwell.errors import StepwellError
from stepwell.looks.definitions import Definition
from stepwell.looks.planning import PARTITIONS_SHOWN
from stepwell.looks.reading import Look
from stepwell.looks.representation import problem_json
from stepwell.repository import browse
from stepwell.runner.dry_run import DryRun, dry_run
from stepwell.runner.skipped import ORIGIN as BUILT_IN
from stepwell.web.drawing import draw_page
from stepwell.web.executions import stages_by_id
from stepwell.web.face import Asked, Face, Operator, Viewer
from stepwell.web.flow_picture import ELEMENTS_MAX, draw_flow
from stepwell.web.form import fields_of
from stepwell.web.history import Wanted, list_history
from stepwell.web.pictures import draw_durations
from stepwell.web.problems import status_of
from stepwell.web.questions import SHOWN

router = APIRouter(include_in_schema=False)

DAY = timedelta(hours=24)
A_MOMENT = timedelta(minutes=1)  # So old may the answer be.
DURATIONS = 40  # Bars of the chart.
DUE_TIMES = 5
LINES = "stepwell.lines"  # No parameter has a dot in its name.
AGAIN = "stepwell.again"


@router.get("/jobs")
def list_jobs(face: Asked, _caller: Viewer) -> Response:
    """The jobs that can be started here."""
    found = [Definition.of(registered) for registered in face.node.registry]
    definitions = sorted(found, key=lambda one: one.origin == BUILT_IN)
    window = face.lately.window(DAY)
    return draw_page("jobs.html", face, definitions=definitions, window=window)


@router.get("/jobs/{job}")
def show_job(
    job: str, face: Asked, _caller: Viewer, wanted: Annotated[Wanted, Depends()]
) -> Response:
    """One job: what of it runs, a form that starts it, its definition, times and history."""
    definition = Definition.of(face.node.registry.find(job))
    running = _running(face, job)
    with face.node.database.read() as reader:
        latest = browse.list_executions(reader, job_name=job, count=DURATIONS)
    begun = next((one for one in latest if one.start_time is not None), None)
    last = None if begun is None else face.watch().look(begun.execution_id)
    return draw_page(
        "job.html",
        face,
        definition=definition,
        fields=fields_of(definition, {}, {}),
        given=Given(),
        running=running,
        stages=stages_by_id(face, running),
        flow=_flow(definition, last),
        last=last,
        schedules=_schedules(face, job),
        bars=draw_durations(latest[::-1]),
        **last_day(face),
        listing=list_history(face, wanted, job=job),
        events="/api/events",
    )


@dataclass(frozen=True)
class Given:
    """What somebody has filled in."""

    values: dict[str, str] = field(default_factory=dict)
    lines: str = ""
    again: bool = False

    @classmethod
    def of(cls, request: Request) -> Given:
        """From the query; what is empty was not given."""
        values = {name: value for name, value in request.query_params.items() if value}
        lines = values.pop(LINES, "")
        again = values.pop(AGAIN, "") == "true"
        return cls(values, lines, again)

    @property
    def parameters(self) -> dict[str, object]:
        """The parameters of a start, those of the lines among them."""
        pairs = (line.split("=", 1) for line in self.lines.splitlines() if "=" in line)
        return {**{name.strip(): value.strip() for name, value in pairs}, **self.values}


@router.get("/jobs/{job}/plan")
def show_plan(job: str, request: Request, face: Asked, _caller: Operator) -> Response:
    """What a start with these parameters would do; as ``stepwell plan``, nothing is recorded."""
    definition = Definition.of(face.node.registry.find(job))
    given = Given.of(request)
    planned: DryRun | None = None
    problem: dict[str, Any] | None = None
    status = 200
    try:
        ready = face.node.operator.ready_jobs.prepare(job, given.parameters)
        database = face.node.database
        with database.read() as reader:
            planned = dry_run(reader, database.liveness, ready, again=given.again)
    except StepwellError as error:
        problem, status = problem_json(error), status_of(error)
    faults = problem["fields"].get("parameters", {}) if problem else {}
    return draw_page(
        "plan.html",
        face,
        status,
        definition=definition,
        fields=fields_of(definition, given.values, faults if isinstance(faults, dict) else {}),
        given=given,
        planned=planned,
        partitions_shown=PARTITIONS_SHOWN,
        problem=problem,
    )


def last_day(face: Face) -> dict[str, Any]:
    """How the last 24 hours went, and whether the window had to be cut."""
    window = face.lately.window(DAY)
    return {"window": window, "is_cut": window.since > face.node.clock.now() - DAY + A_MOMENT}


def _running(face: Face, job: str) -> list[Look]:
    """What of a job is at work, the oldest first."""
    with face.node.database.read() as reader:
        found = browse.list_running(reader)
    ids = [e.execution_id for e in found if e.job_name == job and e.owner_id is not None]
    watch = face.watch()
    return [watch.look(execution_id) for execution_id in ids[:SHOWN]]


def _flow(definition: Definition, last: Look | None) -> Any:
    """The picture of the definition, with how its steps stand in the last execution."""
    if len(definition.elements) > ELEMENTS_MAX:
        return None
    steps = [] if last is None else [progress.step for progress in last.steps]
    words = {
        step.step_name: str(step.result if step.result == "PARTIAL" else step.batch_status)
        for step in steps
    }
    return draw_flow(definition.job, words)


def _schedules(face: Face, job: str) -> list[dict[str, Any]]:
    """The schedules of a job, with their next times."""
    now = face.node.clock.now()
    found = []
    for recorded in face.node.schedules.list_schedules():
        schedule = recorded.schedule
        if schedule.job_name != job:
            continue
        due = []
        if recorded.paused_at is None:
            with suppress(StepwellError):  # A zone that this machine does not know.
                due = schedule.times.preview(now, DUE_TIMES)
        found.append({"recorded": recorded, "schedule": schedule, "due": due})
    return found
