"""The routes that look: every answer is the document that the command line prints with --json."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Header, Path, Query
from starlette.responses import StreamingResponse

from stepwell.jsl.source import JobFile
from stepwell.looks.comparing import comparison_json
from stepwell.looks.definitions import Definition, definition_json, fault_json
from stepwell.looks.representation import (
    change_json,
    details_json,
    execution_json,
    look_json,
    overview_json,
    partition_json,
    schedule_json,
    skip_json,
    why_json,
    window_json,
)
from stepwell.repository import browse
from stepwell.repository.executions import get_execution
from stepwell.repository.history import list_changes
from stepwell.repository.partitions import list_partition_executions
from stepwell.repository.steps import list_skips, list_steps
from stepwell.runner.skipped import every_skip
from stepwell.web.documents import ID_MAX
from stepwell.web.face import Asked, Face, Viewer, problems

router = APIRouter(tags=["look"])

PAGE_MAX = 1_000

Json = dict[str, Any]
Id = Annotated[int, Path(ge=1, le=ID_MAX, description="An execution's id.")]
Limit = Annotated[int, Query(ge=1, le=PAGE_MAX, description="How many at most.")]
SHOWN = 20  # As in `stepwell status ID`.
JSON_LINES = "application/x-ndjson"
_LINES: dict[int | str, dict[str, Any]] = {
    200: {"description": "Lines of JSON.", "content": {JSON_LINES: {}}}
}


@router.get("/api/status", responses=problems())
def status(face: Asked, _caller: Viewer) -> Json:
    """What runs, waits and failed lately."""
    return overview_json(face.watch().overview())


@router.get("/api/stats", responses=problems(422))
def show_statistics(
    face: Asked,
    _caller: Viewer,
    job: Annotated[str | None, Query(description="Only of this job.")] = None,
    hours: Annotated[int, Query(ge=1, le=24 * 366, description="How far it reaches back.")] = 24,
) -> Json:
    """How executions went over a window: success rate, failures, durations; by job.

    Of those that ended since `since`, among the last 10,000; durations are of the completed ones.
    """
    window = face.lately.window(timedelta(hours=hours))
    return window_json(window if job is None else window.only(job))


@router.get("/api/jobs", responses=problems())
def list_jobs(face: Asked, _caller: Viewer) -> Json:
    """The jobs that can be started here."""
    return {"jobs": [definition_json(Definition.of(found)) for found in face.node.registry]}


@router.get("/api/jobs/{job}", responses=problems(404))
def show_job(job: str, face: Asked, _caller: Viewer) -> Json:
    """One job: parameters with types and defaults, steps, schedules, last execution."""
    definition = Definition.of(face.node.registry.find(job))
    own = [s for s in face.node.schedules.list_schedules() if s.schedule.job_name == job]
    with face.node.database.read() as reader:
        last = browse.list_executions(reader, job_name=job, count=1)
    return {
        **definition_json(definition),
        "schedules": [schedule_json(schedule) for schedule in own],
        "last_execution": execution_json(last[0]) if last else None,
    }


@router.get("/api/jobs/{job}/check", responses=problems(404))
def check_job(job: str, face: Asked, _caller: Viewer) -> Json:
    """Everything that is wrong with the file of a job, each with its line and a hint.

    A job that a module defines has none: what is wrong with it was refused when it was loaded.
    """
    found = face.node.registry.find(job)
    faults = found.source.check() if isinstance(found.source, JobFile) else []
    return {
        "job": found.name,
        "file": str(found.source.path) if isinstance(found.source, JobFile) else None,
        "can_start": not any(fault.is_error for fault in faults),
        "faults": [fault_json(fault) for fault in faults],
    }


@router.get("/api/executions", responses=problems(422))
def list_executions(
    face: Asked,
    _caller: Viewer,
    job: Annotated[str | None, Query(description="Only of this job.")] = None,
    status: Annotated[list[str] | None, Query(description="Only with one of these.")] = None,
    before: Annotated[int | None, Query(ge=1, le=ID_MAX, description="Only older ones.")] = None,
    limit: Limit = 50,
) -> Json:
    """One page of executions, the newest first; `next_before` asks for the next one.

    With `status` a request looks at 10,000 executions at most, or at all of a job that has few: a
    page may be short, or empty, although there are more. There are no more when `next_before` is
    null.
    """
    with face.node.database.read() as reader:
        newest = browse.newest_execution_id(reader) + 1
        oldest = min(before or newest, newest) - browse.WALKED_EXECUTIONS
        is_narrow = bool(status) and oldest > 1
        if is_narrow and job is not None:
            is_narrow = browse.has_many_instances(reader, job)
        page = browse.list_executions(
            reader,
            job_name=job,
            statuses=status or (),
            before_id=before,
            after_id=oldest - 1 if is_narrow else None,
            count=limit,
        )
        found = [get_execution(reader, execution.execution_id) for execution in page]
    more = found[-1].execution_id if len(found) == limit else oldest if is_narrow else None
    return {
        "executions": [execution_json(execution) for execution in found],
        "next_before": more,
    }


@router.get("/api/executions/{execution_id}", responses=problems(404, 422))
def show_execution(execution_id: Id, face: Asked, _caller: Viewer) -> Json:
    """One execution in full, with the partitions that failed or were partial."""
    watch = face.watch()
    return details_json(watch.details(execution_id, partitions_max=SHOWN, skips_max=SHOWN))


@router.get("/api/executions/{execution_id}/steps", responses=problems(404, 422))
def show_steps(execution_id: Id, face: Asked, _caller: Viewer) -> Json:
    """An execution with its owner and its steps: how far it is."""
    return look_json(face.watch().look(execution_id))


@router.get("/api/executions/{execution_id}/partitions", responses=problems(404, 422))
def list_partitions(
    execution_id: Id,
    face: Asked,
    _caller: Viewer,
    step: Annotated[str | None, Query(description="Only of this step.")] = None,
    after: Annotated[int, Query(ge=-1, le=ID_MAX, description="Behind this number.")] = -1,
    limit: Limit = PAGE_MAX,
) -> Json:
    """One page of the partitions of a step, of the first partitioned one unless it is named."""
    with face.node.database.read() as reader:
        get_execution(reader, execution_id)
        steps = [
            one
            for one in list_steps(reader, execution_id)
            if one.partition_total is not None and step in (None, one.step_name)
        ]
        found = (
            list_partition_executions(
                reader, steps[0].step_execution_id, after_number=after, count=limit
            )
            if steps
            else []
        )
    return {
        "step": steps[0].step_name if steps else None,
        "partitions": [partition_json(partition) for partition in found],
        "next_after": found[-1].number if len(found) == limit else None,
    }


@router.get("/api/executions/{execution_id}/skips", responses=problems(404, 422))
def show_skips(
    execution_id: Id,
    face: Asked,
    _caller: Viewer,
    after: Annotated[int, Query(ge=0, le=ID_MAX, description="Behind this one.")] = 0,
    limit: Limit = 100,
) -> Json:
    """One page of the items that an execution has left out."""
    with face.node.database.read() as reader:
        get_execution(reader, execution_id)
        skips = list_skips(reader, execution_id, count=limit, after=after)
        total = browse.count_skips(reader, execution_id)
    return {
        "skip_count": total,
        "skips": [skip_json(skip) for skip in skips],
        "next_after": skips[-1].skip_id if len(skips) == limit else None,
    }


@router.get(
    "/api/executions/{execution_id}/skips/export",
    responses={**problems(404, 422), **_LINES},
    response_class=StreamingResponse,
)
def export_skips(execution_id: Id, face: Asked, _caller: Viewer) -> StreamingResponse:
    """Every skipped item of an execution, a line of JSON each."""
    database = face.node.database
    with database.read() as reader:
        get_execution(reader, execution_id)
    return StreamingResponse(
        (
            json.dumps(skip_json(skip), ensure_ascii=False) + "\n"
            for skip in every_skip(database, execution_id)
        ),
        media_type=JSON_LINES,
    )


@router.get("/api/diff", responses=problems(404, 422))
def compare(
    face: Asked,
    _caller: Viewer,
    first: Annotated[int, Query(ge=1, le=ID_MAX, description="One execution.")],
    second: Annotated[int, Query(ge=1, le=ID_MAX, description="Another one.")],
) -> Json:
    """Two executions side by side, and what is not the same; they need not be of one job."""
    watch = face.watch()
    return comparison_json(watch.look(first), watch.look(second))


@router.get("/api/executions/{execution_id}/history", responses=problems(404, 422))
def show_history(execution_id: Id, face: Asked, _caller: Viewer) -> Json:
    """Every change of status of an execution and of its steps, the oldest first."""
    with face.node.database.read() as reader:
        get_execution(reader, execution_id)
        changes = list_changes(reader, execution_id)
    return {"history": [change_json(change) for change in changes]}


@router.get("/api/executions/{execution_id}/why", responses=problems(404, 422))
def why(execution_id: Id, face: Asked, _caller: Viewer) -> Json:
    """Why an execution does not run, or has not ended."""
    return why_json(face.node.operator.why(execution_id))


_STREAM: dict[int | str, dict[str, Any]] = {
    200: {"description": "Events.", "content": {"text/event-stream": {}}}
}
LastEventId = Annotated[
    int | None, Header(ge=0, le=ID_MAX, description="Go on behind this change.")
]


@router.get(
    "/api/executions/{execution_id}/events",
    responses={**problems(404, 422), **_STREAM},
    response_class=StreamingResponse,
)
def tell_execution(
    execution_id: Id, face: Asked, _caller: Viewer, last_event_id: LastEventId = None
) -> StreamingResponse:
    """Server-Sent Events of one execution: `change` of status, `look` for how far it is."""
    face.watch().look(execution_id)
    return _stream(face, execution_id, last_event_id)


@router.get("/api/events", responses={**problems(422), **_STREAM}, response_class=StreamingResponse)
def tell_all(face: Asked, _caller: Viewer, last_event_id: LastEventId = None) -> StreamingResponse:
    """Server-Sent Events of all executions."""
    return _stream(face, None, last_event_id)


def _stream(face: Face, execution_id: int | None, after: int | None) -> StreamingResponse:
    face.events.require_room()
    return StreamingResponse(
        face.events.listen(execution_id, after), media_type="text/event-stream"
    )
