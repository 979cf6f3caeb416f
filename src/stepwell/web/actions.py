"""The routes that change something: the operator's verbs, with who asked and why."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Query
from starlette.responses import Response

from stepwell.errors import DatabaseBusy, InvalidRequest
from stepwell.looks.planning import PARTITIONS_SHOWN, plan_json
from stepwell.looks.representation import execution_json
from stepwell.repository.history import Because
from stepwell.runner.dry_run import dry_run
from stepwell.runner.skipped import NAME as SKIPS
from stepwell.runner.skipped import every_skip, parameters_of_retry, reasons_to_keep
from stepwell.web.body import json_body
from stepwell.web.documents import ID_MAX, Reason, Recovering, Restarting, body, describes
from stepwell.web.face import Asked, Face, Operator, problems
from stepwell.web.questions import Id, Json

PRIORITY_MAX = 2**31 - 1

_ANY_OBJECT = {
    "requestBody": {
        "content": {"application/json": {"schema": {"type": "object"}}},
        "description": "The job's parameters, in snake_case or camelCase.",
    }
}
_REFUSALS = problems(400, 404, 409, 413, 422)

router = APIRouter(tags=["act"])

Body = Annotated[dict[str, Any], Depends(json_body)]
Again = Annotated[bool, Query(description="A new instance, although one is complete.")]
IdempotencyKey = Annotated[
    str | None,
    Header(max_length=200, description="A second start with this key is the first one."),
]


@router.post(
    "/api/batch/{job}",
    status_code=202,
    responses=_REFUSALS,
    openapi_extra=_ANY_OBJECT,
)
def start(
    job: str,
    face: Asked,
    caller: Operator,
    parameters: Body,
    response: Response,
    again: Again = False,
    idempotency_key: IdempotencyKey = None,
) -> Json:
    """Start a job in the server's process; the answer is its execution as it was recorded."""
    refuse_while_ending(face, f"start job {job!r}")
    execution_id = face.node.operator.start(
        job,
        parameters,
        again=again,
        triggered_by=caller.name,
        idempotency_key=idempotency_key,
    )
    return created(face, execution_id, response)


@router.post(
    "/api/register/{job}",
    status_code=202,
    responses=_REFUSALS,
    openapi_extra=_ANY_OBJECT,
)
def register(
    job: str,
    face: Asked,
    caller: Operator,
    parameters: Body,
    response: Response,
    priority: Annotated[int | None, Query(ge=-PRIORITY_MAX, le=PRIORITY_MAX)] = None,
    at: Annotated[datetime | None, Query(description="Not before; with its offset.")] = None,
    after: Annotated[int | None, Query(ge=1, le=ID_MAX, description="Not before this one.")] = None,
    again: Again = False,
    idempotency_key: IdempotencyKey = None,
) -> Json:
    """Record an execution for the workers."""
    execution_id = face.node.operator.register(
        job,
        parameters,
        priority=priority,
        run_after=at,
        after=after,
        again=again,
        triggered_by=caller.name,
        idempotency_key=idempotency_key,
    )
    return created(face, execution_id, response)


@router.post(
    "/api/plan/{job}",
    responses=_REFUSALS,
    openapi_extra=_ANY_OBJECT,
)
def plan(
    job: str,
    face: Asked,
    _caller: Operator,
    parameters: Body,
    again: Again = False,
    partitions: Annotated[
        bool, Query(description="Every partition, not only the first ones.")
    ] = False,
) -> Json:
    """What a start with these parameters would do, or why it would be refused; it records nothing.

    Of the job's code only what looks at parameters is called, such as its lists of partitions.
    """
    database = face.node.database
    ready = face.node.operator.ready_jobs.prepare(job, parameters)
    with database.read() as reader:
        planned = dry_run(reader, database.liveness, ready, again=again)
    return plan_json(planned, None if partitions else PARTITIONS_SHOWN)


@router.post(
    "/api/executions/{execution_id}/stop",
    responses=_REFUSALS,
    openapi_extra=describes(Reason),
)
def stop(
    execution_id: Id, face: Asked, caller: Operator, asked: Annotated[Reason, body(Reason)]
) -> Json:
    """Ask an execution to stop after its current chunk; answers at once."""
    stopped = face.node.operator.stop(execution_id, actor=caller.actor, reason=asked.reason)
    return _shown(face, stopped.execution_id)


@router.post(
    "/api/executions/{execution_id}/restart",
    status_code=202,
    responses=_REFUSALS,
    openapi_extra=describes(Restarting),
)
def restart(
    execution_id: Id,
    face: Asked,
    caller: Operator,
    asked: Annotated[Restarting, body(Restarting)],
    response: Response,
) -> Json:
    """Run a failed or stopped execution again, from where it stopped; answers the new one.

    `parameters` in the body replace all of its own; a job in Jakarta Batch XML needs them.
    """
    refuse_while_ending(face, f"restart execution {execution_id}")
    new_id = face.node.operator.restart(
        execution_id, asked.parameters, actor=caller.actor, reason=asked.reason
    )
    return created(face, new_id, response)


@router.post(
    "/api/executions/{execution_id}/abandon",
    responses=_REFUSALS,
    openapi_extra=describes(Reason),
)
def abandon(
    execution_id: Id, face: Asked, caller: Operator, asked: Annotated[Reason, body(Reason)]
) -> Json:
    """Close an ended execution for ever: its instance never restarts."""
    face.node.operator.abandon(execution_id, actor=caller.actor, reason=asked.reason)
    return _shown(face, execution_id)


@router.post(
    "/api/executions/{execution_id}/skips/retry",
    status_code=202,
    responses=_REFUSALS,
    openapi_extra=describes(Reason),
)
def retry_skips(
    execution_id: Id,
    face: Asked,
    caller: Operator,
    asked: Annotated[Reason, body(Reason)],
    response: Response,
) -> Json:
    """Run the skipped items of an execution again, as the job `stepwell.skips`.

    `not_retried` says how many items are left out, and why.
    """
    refuse_while_ending(face, f"retry what execution {execution_id} has skipped")
    node = face.node
    execution = node.operator.get_job_execution(execution_id)
    kept = reasons_to_keep(every_skip(node.database, execution_id), node.registry, execution)
    by = caller.signed(asked.reason)
    new_id = node.operator.start(SKIPS, parameters_of_retry(execution), triggered_by=by or None)
    return {**created(face, new_id, response), "not_retried": kept}


@router.post(
    "/api/executions/{execution_id}/priority",
    responses=_REFUSALS,
    openapi_extra=describes(Reason),
)
def set_priority(
    execution_id: Id,
    face: Asked,
    caller: Operator,
    asked: Annotated[Reason, body(Reason)],
    priority: Annotated[int, Query(ge=-PRIORITY_MAX, le=PRIORITY_MAX)],
) -> Json:
    """Change the place of an execution in the queue; a higher number goes first."""
    face.node.operator.set_priority(execution_id, priority, actor=caller.actor, reason=asked.reason)
    return _shown(face, execution_id)


@router.post("/api/recover", responses=_REFUSALS, openapi_extra=describes(Recovering))
def recover(face: Asked, caller: Operator, asked: Annotated[Recovering, body(Recovering)]) -> Json:
    """Mark executions FAILED whose process is proven dead; `execution_id` names one, `force` too.

    `force` takes it without the proof, and needs a reason.
    """
    if asked.execution_id is None:
        if asked.force:
            raise InvalidRequest(
                "cannot recover by force: an execution must be named",
                hint='for example {"execution_id": 7, "force": true, "reason": "it hangs"}',
                fields={"parameters": {"execution_id": "it is missing"}},
            )
        found = face.node.repository.recover_dead(Because(caller.actor, asked.reason))
        return {"recovered": [execution_json(execution) for execution in found]}
    before = face.node.operator.get_job_execution(asked.execution_id)
    after = face.node.operator.recover(
        asked.execution_id, force=asked.force, actor=caller.actor, reason=asked.reason
    )
    changed = before.batch_status is not after.batch_status
    return {"recovered": [execution_json(after)] if changed else []}


def refuse_while_ending(face: Face, what: str) -> None:
    """Refuse new work while what runs here is being stopped.

    Raises:
        DatabaseBusy: the server is about to end.
    """
    if face.is_ending():
        raise DatabaseBusy(
            f"cannot {what}: this server is about to end", hint="try again when it is back"
        )


def created(face: Face, execution_id: int, response: Response) -> Json:
    """The execution that an action has made, and where it is found."""
    response.headers["Location"] = f"/api/executions/{execution_id}"
    return _shown(face, execution_id)


def _shown(face: Face, execution_id: int) -> Json:
    execution = face.node.operator.get_job_execution(execution_id)
    return execution_json(execution, at=face.node.clock.now())
