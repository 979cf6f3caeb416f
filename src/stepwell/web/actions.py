"""The routes that change something: the operator's verbs, with who asked and why."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Depends, Header, Path, Query
from starlette.responses import Response

from stepwell.errors import DatabaseBusy, InvalidRequest
from stepwell.looks.holdings import pool_json
from stepwell.looks.representation import execution_json, owner_json, schedule_json
from stepwell.repository.history import Because
from stepwell.web.body import json_body
from stepwell.web.face import Asked, Face, Operator, problems
from stepwell.web.questions import ID_MAX, Id, Json

PRIORITY_MAX = 2**31 - 1

_ANY_OBJECT = {
    "requestBody": {
        "content": {"application/json": {"schema": {"type": "object"}}},
        "description": "The job's parameters, in snake_case or camelCase.",
    }
}
_REASON = {
    "requestBody": {
        "content": {
            "application/json": {
                "schema": {"type": "object", "properties": {"reason": {"type": "string"}}}
            }
        },
        "description": "Why; it goes to the history.",
    }
}

_REFUSALS = problems(400, 404, 409, 413, 422)

router = APIRouter(tags=["act"])

Body = Annotated[dict[str, Any], Depends(json_body)]
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
    again: Annotated[bool, Query(description="A new instance, although one is complete.")] = False,
    idempotency_key: IdempotencyKey = None,
) -> Json:
    """Start a job in the server's process; the answer is its execution as it was recorded."""
    _refuse_while_ending(face, f"start job {job!r}")
    execution_id = face.node.operator.start(
        job,
        parameters,
        again=again,
        triggered_by=caller.name,
        idempotency_key=idempotency_key,
    )
    return _created(face, execution_id, response)


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
    again: bool = False,
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
    return _created(face, execution_id, response)


@router.post(
    "/api/executions/{execution_id}/stop",
    responses=_REFUSALS,
    openapi_extra=_REASON,
)
def stop(execution_id: Id, face: Asked, caller: Operator, body: Body) -> Json:
    """Ask an execution to stop after its current chunk; answers at once."""
    asked = _Asked.of(body)
    stopped = face.node.operator.stop(execution_id, actor=caller.actor, reason=asked.reason)
    return _shown(face, stopped.execution_id)


@router.post(
    "/api/executions/{execution_id}/restart",
    status_code=202,
    responses=_REFUSALS,
    openapi_extra=_REASON,
)
def restart(
    execution_id: Id, face: Asked, caller: Operator, body: Body, response: Response
) -> Json:
    """Run a failed or stopped execution again, from where it stopped; answers the new one.

    `parameters` in the body replace all of its own; a job in Jakarta Batch XML needs them.
    """
    _refuse_while_ending(face, f"restart execution {execution_id}")
    asked = _Asked.of(body)
    new_id = face.node.operator.restart(
        execution_id, asked.parameters, actor=caller.actor, reason=asked.reason
    )
    return _created(face, new_id, response)


@router.post(
    "/api/executions/{execution_id}/abandon",
    responses=_REFUSALS,
    openapi_extra=_REASON,
)
def abandon(execution_id: Id, face: Asked, caller: Operator, body: Body) -> Json:
    """Close an ended execution for ever: its instance never restarts."""
    asked = _Asked.of(body)
    face.node.operator.abandon(execution_id, actor=caller.actor, reason=asked.reason)
    return _shown(face, execution_id)


@router.post(
    "/api/executions/{execution_id}/priority",
    responses=_REFUSALS,
    openapi_extra=_REASON,
)
def set_priority(
    execution_id: Id,
    face: Asked,
    caller: Operator,
    body: Body,
    priority: Annotated[int, Query(ge=-PRIORITY_MAX, le=PRIORITY_MAX)],
) -> Json:
    """Change the place of an execution in the queue; a higher number goes first."""
    asked = _Asked.of(body)
    face.node.operator.set_priority(execution_id, priority, actor=caller.actor, reason=asked.reason)
    return _shown(face, execution_id)


@router.post("/api/recover", responses=_REFUSALS, openapi_extra=_REASON)
def recover(face: Asked, caller: Operator, body: Body) -> Json:
    """Mark executions FAILED whose process is proven dead; `execution_id` names one, `force` too.

    `force` takes it without the proof, and needs a reason.
    """
    asked = _Asked.of(body)
    if asked.execution_id is None:
        if asked.force:
            raise InvalidRequest(
                "cannot recover by force: an execution must be named",
                hint='for example {"execution_id": 7, "force": true, "reason": "it hangs"}',
            )
        found = face.node.repository.recover_dead(Because(caller.actor, asked.reason))
        return {"recovered": [execution_json(execution) for execution in found]}
    before = face.node.operator.get_job_execution(asked.execution_id)
    after = face.node.operator.recover(
        asked.execution_id, force=asked.force, actor=caller.actor, reason=asked.reason
    )
    changed = before.batch_status is not after.batch_status
    return {"recovered": [execution_json(after)] if changed else []}


@router.post(
    "/api/owners/{owner_id}/stop",
    responses=_REFUSALS,
    openapi_extra=_REASON,
)
def stop_owner(
    owner_id: Annotated[int, Path(ge=1, le=ID_MAX)], face: Asked, caller: Operator, body: Body
) -> Json:
    """Ask a process to end."""
    asked = _Asked.of(body)
    owner = face.node.operator.stop_owner(owner_id, actor=caller.actor, reason=asked.reason)
    return owner_json(owner, is_dead=False) or {}


@router.put("/api/pools/{name}", responses=problems(400, 422))
def set_pool(
    name: str, face: Asked, _caller: Operator, size: Annotated[int, Query(ge=0, le=ID_MAX)]
) -> Json:
    """Make a pool, or change its size."""
    face.node.pools.set(name, size)
    [now] = [pool for pool in face.node.pools.list() if pool.name == name]
    return pool_json(now)


@router.post("/api/schedules/{name}/pause", responses=problems(404, 409))
def pause(name: str, face: Asked, _caller: Operator) -> Json:
    """Start nothing by this schedule until it is resumed."""
    return schedule_json(face.node.schedules.pause(name))


@router.post("/api/schedules/{name}/resume", responses=problems(404, 409))
def resume(name: str, face: Asked, _caller: Operator) -> Json:
    """Go on with a paused schedule; what was due meanwhile is not caught up."""
    return schedule_json(face.node.schedules.resume(name))


@router.delete("/api/schedules/{name}", responses=problems(404, 409))
def remove_schedule(name: str, face: Asked, _caller: Operator) -> Json:
    """Take a schedule away; what it has started stays."""
    return schedule_json(face.node.schedules.remove(name))


class _Asked(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the body of an action may say."""

    reason: str | None = None
    execution_id: Annotated[int, msgspec.Meta(ge=1, le=ID_MAX)] | None = None
    force: bool = False
    parameters: dict[str, Any] | None = None

    @classmethod
    def of(cls, body: dict[str, Any]) -> _Asked:
        """The body, checked.

        Raises:
            InvalidRequest: a name that no action takes, or a value of another type.
        """
        try:
            return msgspec.convert(body, cls)
        except msgspec.ValidationError as error:
            fact = str(error)
            raise InvalidRequest(
                f"cannot read the body: {fact[:1].lower()}{fact[1:]}",
                hint='for example {"reason": "the till is counted again"}',
                fields={"parameters": {"body": fact}},
            ) from None


def _refuse_while_ending(face: Face, what: str) -> None:
    if face.is_ending():
        raise DatabaseBusy(
            f"cannot {what}: this server is about to end", hint="try again when it is back"
        )


def _created(face: Face, execution_id: int, response: Response) -> Json:
    response.headers["Location"] = f"/api/executions/{execution_id}"
    return _shown(face, execution_id)


def _shown(face: Face, execution_id: int) -> Json:
    execution = face.node.operator.get_job_execution(execution_id)
    return execution_json(execution, at=face.node.clock.now())
