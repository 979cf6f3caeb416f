"""The conflict desk: who lost against whom, what waits for a person, and what is in quarantine."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from fastapi import APIRouter, Path, Query

from stepwell.looks.conflicts import applied_json, conflict_json, quarantined_json
from stepwell.sync.change import Values, decode_values
from stepwell.web.documents import ID_MAX, Resolving, body, describes, refused
from stepwell.web.face import Asked, Operator, Viewer, problems
from stepwell.web.questions import Json, Limit

router = APIRouter(tags=["conflicts"])

ConflictId = Annotated[int, Path(ge=1, le=ID_MAX, description="As `/api/conflicts` shows it.")]
QuarantineId = Annotated[int, Path(ge=1, le=ID_MAX, description="As `/api/quarantine` shows it.")]
Before = Annotated[int | None, Query(ge=1, le=ID_MAX, description="Only older ones.")]


@router.get("/api/conflicts", responses=problems(409, 422))
def list_conflicts(
    face: Asked,
    _caller: Viewer,
    status: Literal["decided", "waiting", "resolved"] | None = None,
    before: Before = None,
    limit: Limit = 100,
) -> Json:
    """One page of conflicts, the newest first."""
    found = face.node.sync.list_conflicts(status=status, before=before, limit=limit)
    return {
        "conflicts": [conflict_json(each) for each in found],
        "next_before": found[-1].conflict_id if len(found) == limit else None,
    }


@router.get("/api/conflicts/{conflict_id}", responses=problems(404, 409, 422))
def show_conflict(conflict_id: ConflictId, face: Asked, _caller: Viewer) -> Json:
    """Both images of a conflict, and the one that they came from."""
    return conflict_json(face.node.sync.get_conflict(conflict_id))


@router.post(
    "/api/conflicts/{conflict_id}/resolve",
    responses=problems(400, 404, 409, 413, 422),
    openapi_extra=describes(Resolving),
)
def resolve(
    conflict_id: ConflictId,
    face: Asked,
    caller: Operator,
    asked: Annotated[Resolving, body(Resolving)],
) -> Json:
    """Settle a conflict; what is chosen travels to all nodes like any other change.

    Of two people who decide it at once the second gets a 409 that says what the first has decided.
    """
    if (asked.take is None) == (asked.values is None):
        raise refused("take", "either it or 'values' must be given", example='{"take": "ours"}')
    values = None if asked.values is None else _values(asked.values)
    take = asked.take or "values"
    face.node.sync.resolve(
        conflict_id, take=take, values=values, expected_state=asked.expect, actor=caller.actor
    )
    return conflict_json(face.node.sync.get_conflict(conflict_id))


@router.post("/api/conflicts/{conflict_id}/reopen", responses=problems(404, 409, 422))
def reopen(conflict_id: ConflictId, face: Asked, caller: Operator) -> Json:
    """Have a conflict wait for a person that a policy has decided, or a person before."""
    face.node.sync.reopen(conflict_id, actor=caller.actor)
    return conflict_json(face.node.sync.get_conflict(conflict_id))


@router.get("/api/quarantine", responses=problems(409, 422))
def list_quarantine(
    face: Asked,
    _caller: Viewer,
    closed: Annotated[bool, Query(description="Also those that are closed.")] = False,
    before: Before = None,
    limit: Limit = 100,
) -> Json:
    """One page of the transactions that could not be applied, the newest first."""
    is_open = None if closed else True
    found = face.node.sync.list_quarantine(is_open=is_open, before=before, limit=limit)
    return {
        "quarantine": [quarantined_json(each) for each in found],
        "next_before": found[-1].quarantine_id if len(found) == limit else None,
    }


@router.post("/api/quarantine/retry", responses=problems(409))
def retry_all(face: Asked, caller: Operator) -> Json:
    """Try every transaction again that waits; `tried` are those that were applied."""
    applied = face.node.sync.retry_all(actor=caller.actor)
    return {
        "tried": [applied_json(each) for each in applied],
        "waiting": face.node.sync.count_quarantine(),
    }


@router.get("/api/quarantine/{quarantine_id}", responses=problems(404, 409, 422))
def show_quarantined(quarantine_id: QuarantineId, face: Asked, _caller: Viewer) -> Json:
    """Why a transaction waits, and its first changes."""
    found = face.node.sync.get_quarantined(quarantine_id)
    return quarantined_json(found, face.node.sync.changes_in_quarantine(quarantine_id))


@router.post("/api/quarantine/{quarantine_id}/retry", responses=problems(404, 409, 422))
def retry(quarantine_id: QuarantineId, face: Asked, caller: Operator) -> Json:
    """Try a transaction again, after its cause is mended."""
    applied = face.node.sync.retry(quarantine_id, actor=caller.actor)
    return {"tried": [applied_json(applied)], "waiting": face.node.sync.count_quarantine()}


@router.post("/api/quarantine/{quarantine_id}/drop", responses=problems(404, 409, 422))
def drop(quarantine_id: QuarantineId, face: Asked, caller: Operator) -> Json:
    """Give a transaction up: its effect never comes here. What waited behind it is tried."""
    return applied_json(face.node.sync.drop(quarantine_id, actor=caller.actor))


def _values(given: dict[str, Any]) -> Values:
    try:
        return decode_values(msgspec.json.encode(given))
    except (ValueError, OverflowError, RecursionError) as error:
        raise refused(
            "values",
            f"they must be as files of changes write them, {error}",
            example='{"values": {"amount": 12}}',
        ) from None
