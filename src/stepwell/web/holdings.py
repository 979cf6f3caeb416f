"""Who has what: the processes at work, pools and locks; shown, sized, asked to end, released."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Query

from stepwell.looks.holdings import at_work_json, holding_json, list_held, pool_json
from stepwell.looks.representation import owner_json
from stepwell.repository.at_work import list_at_work
from stepwell.web.documents import ID_MAX, Reason, Releasing, body, describes, refused
from stepwell.web.face import Asked, Operator, Viewer, problems
from stepwell.web.questions import Json

_REFUSALS = problems(400, 404, 409, 413, 422)

router = APIRouter(tags=["holdings"])

OwnerId = Annotated[int, Path(ge=1, le=ID_MAX, description="As `/api/owners` shows it.")]


@router.get("/api/owners", responses=problems())
def list_owners(face: Asked, _caller: Viewer) -> Json:
    """The processes at work."""
    return {"owners": [at_work_json(each) for each in list_at_work(face.node.database)]}


@router.post("/api/owners/{owner_id}/stop", responses=_REFUSALS, openapi_extra=describes(Reason))
def stop_owner(
    owner_id: OwnerId, face: Asked, caller: Operator, asked: Annotated[Reason, body(Reason)]
) -> Json:
    """Ask a process to end."""
    owner = face.node.operator.stop_owner(owner_id, actor=caller.actor, reason=asked.reason)
    return owner_json(owner, is_dead=False) or {}


@router.get("/api/pools", responses=problems())
def list_pools(face: Asked, _caller: Viewer) -> Json:
    """The pools: size, who is in each, how many wait."""
    return {"pools": [pool_json(pool) for pool in face.node.pools.list()]}


@router.put("/api/pools/{name}", responses=problems(400, 422))
def set_pool(
    name: str, face: Asked, _caller: Operator, size: Annotated[int, Query(ge=0, le=ID_MAX)]
) -> Json:
    """Make a pool, or change its size."""
    face.node.pools.set(name, size)
    [now] = [pool for pool in face.node.pools.list() if pool.name == name]
    return pool_json(now)


@router.get("/api/locks", responses=problems())
def list_locks(face: Asked, _caller: Viewer) -> Json:
    """Run locks, resources and named locks: who has them, since when."""
    found = list_held(face.node.database, at=face.node.clock.now())
    return {"locks": [holding_json(held) for held in found]}


@router.post("/api/locks/release", responses=_REFUSALS, openapi_extra=describes(Releasing))
def release_lock(
    face: Asked, caller: Operator, asked: Annotated[Releasing, body(Releasing)]
) -> Json:
    """Release a named lock whose owner is proven dead; with `force` also one whose owner lives.

    The owner is not stopped: when it next extends or releases the lock it is told that it has lost
    it. Run locks and resources end with their execution: recover it.
    """
    if asked.force and not asked.reason:
        raise refused(
            "reason",
            "it is required to release a lock by force; its owner is told",
            example='{"lock": "till", "force": true, "reason": "the till is off"}',
        )
    reason = caller.signed(asked.reason)
    taken = face.node.locks.take(asked.lock, reason=reason, force=asked.force, fence=asked.fence)
    return {"released": [{"lock": each.name, "fence": each.fence} for each in taken]}
