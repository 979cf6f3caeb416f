"""Locks, pools and owners: who has what since when, whether they live, and how one lets go."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.responses import Response

from stepwell.errors import InvalidSetting, LockError, StepwellError
from stepwell.looks.holdings import list_held
from stepwell.repository.at_work import list_at_work
from stepwell.repository.history import Because
from stepwell.repository.pools import SIZE_MAX
from stepwell.web.desk.desk import Acting, Desk, Looking

router = APIRouter(include_in_schema=False)

EVENTS = "/api/events"  # What is held moves with what runs.
SHOWN_MAX = 200  # Of what is held right now; the rest is counted.


@router.get("/locks")
def show_locks(desk: Looking) -> Response:
    """Run locks, resources and named locks."""
    return _locks(desk)


@router.post("/locks/release")
def release(desk: Acting) -> Response:
    """Release a named lock whose owner is proven dead; by force also one whose owner lives."""
    form = desk.form
    name, by_force = form.exact("lock"), form.is_checked("force")

    def act() -> str:
        if by_force and form.reason is None:
            raise LockError(
                f"cannot release lock {name!r} by force: a reason is required",
                hint="write one beside the box; its owner is told",
                fields={"lock": name},
            )
        reason = desk.caller.signed(form.reason)
        locks = desk.face.node.locks
        locks.take(name, reason=reason, force=by_force, fence=form.number("fence"))
        return "released"

    return desk.carry_out(act, to="/locks", draw=lambda error: _locks(desk, error))


@router.get("/pools")
def show_pools(desk: Looking) -> Response:
    """The pools: size, who is in each, how many wait."""
    return _pools(desk)


@router.post("/pools/set")
def set_pool(desk: Acting) -> Response:
    """Make a pool, or change its size."""
    form = desk.form

    def act() -> str:
        if not form.exact("pool"):
            raise InvalidSetting(
                "a pool must have a name, got none", hint="write one", fields={"pool": ""}
            )
        size = form.needed("size", low=0, high=SIZE_MAX)
        desk.face.node.pools.set(form.exact("pool"), size)
        return "pool_set"

    return desk.carry_out(act, to="/pools", draw=lambda error: _pools(desk, error))


@router.get("/owners")
def show_owners(desk: Looking) -> Response:
    """The processes at work."""
    return _owners(desk)


@router.post("/owners/stop")
def stop_owner(desk: Acting) -> Response:
    """Ask a process to end."""

    def act() -> str:
        desk.face.node.operator.stop_owner(
            desk.form.needed("owner_id"), actor=desk.caller.actor, reason=desk.form.reason
        )
        return "asked_to_end"

    return desk.carry_out(act, to="/owners", draw=lambda error: _owners(desk, error))


@router.post("/recover")
def recover(desk: Acting) -> Response:
    """Mark FAILED whatever dead owners have left."""

    def act() -> str:
        because = Because(desk.caller.actor, desk.form.reason)
        found = desk.face.node.repository.recover_dead(because)
        return "recovered" if found else "nothing_to_recover"

    return desk.carry_out(act, to="/owners", draw=lambda error: _owners(desk, error))


def _locks(desk: Desk, problem: StepwellError | None = None) -> Response:
    node = desk.face.node
    held = list_held(node.database, at=node.clock.now())
    return desk.draw(
        "locks.html",
        problem,
        held=held[:SHOWN_MAX],
        more=max(0, len(held) - SHOWN_MAX),
        events=EVENTS,
    )


def _pools(desk: Desk, problem: StepwellError | None = None) -> Response:
    return desk.draw(
        "pools.html",
        problem,
        pools=desk.face.node.pools.list(),
        size_max=SIZE_MAX,
        holders_max=20,
        events=EVENTS,
    )


def _owners(desk: Desk, problem: StepwellError | None = None) -> Response:
    at_work = list_at_work(desk.face.node.database)
    return desk.draw(
        "owners.html",
        problem,
        at_work=at_work[:SHOWN_MAX],
        more=max(0, len(at_work) - SHOWN_MAX),
        ids_max=20,
        somebody_is_dead=any(each.is_dead for each in at_work),
        events=EVENTS,
    )
