"""The queue: what waits for a worker, in which order, why; and work that is registered by hand."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter, Query
from starlette.responses import Response

from stepwell.errors import StepwellError
from stepwell.repository.queue import PRIORITY_MAX, count_waiting
from stepwell.repository.why import explain_queue
from stepwell.web.desk.desk import Acting, Desk, Looking, invalid
from stepwell.web.documents import ID_MAX
from stepwell.web.questions import Id

router = APIRouter(include_in_schema=False)

PAGE = 25  # Of each it is told why it waits.

FORM_ID_MAX = 64
_REGISTERED = ("job", "lines", "priority", "at", "after")

After = Annotated[int | None, Query(ge=1, le=ID_MAX)]


@router.get("/queue")
def show_queue(desk: Looking, after: After = None) -> Response:
    """One page of what waits, the next to run first."""
    return _queue(desk, after)


@router.get("/register")
def ask_what_to_register(
    desk: Looking, job: Annotated[str, Query(max_length=200)] = ""
) -> Response:
    """A form that registers work for later."""
    return _register(desk, {"job": job})


@router.post("/register")
def register(desk: Acting) -> Response:
    """Record an execution for the workers; the same form twice is one execution."""
    form = desk.form

    def act() -> str:
        desk.face.node.operator.register(
            form.text("job"),
            _parameters(form.text("lines")),
            priority=form.number("priority", low=-PRIORITY_MAX, high=PRIORITY_MAX),
            run_after=_moment(form.text("at")),
            after=form.number("after"),
            again=form.is_checked("again"),
            triggered_by=desk.caller.name,
            idempotency_key=form.text("form_id")[:FORM_ID_MAX] or None,
        )
        return "registered"

    return desk.carry_out(act, to="/queue", draw=lambda error: _register(desk, form.given, error))


@router.get("/executions/{execution_id}/why")
def show_why(execution_id: Id, desk: Looking) -> Response:
    """Why an execution does not run, or has not ended, and what can be done about it."""
    return _why(desk, execution_id)


@router.post("/executions/{execution_id}/stop")
def stop(execution_id: Id, desk: Acting) -> Response:
    """Ask an execution to stop; one that waits leaves the queue."""

    def act() -> str:
        desk.face.node.operator.stop(execution_id, actor=desk.caller.actor, reason=desk.form.reason)
        return "asked_to_stop"

    return _on_why(desk, execution_id, act)


@router.post("/executions/{execution_id}/priority")
def set_priority(execution_id: Id, desk: Acting) -> Response:
    """Change its place in the queue."""

    def act() -> str:
        priority = desk.form.needed("priority", low=-PRIORITY_MAX, high=PRIORITY_MAX)
        desk.face.node.operator.set_priority(
            execution_id, priority, actor=desk.caller.actor, reason=desk.form.reason
        )
        return "priority_set"

    return _on_why(desk, execution_id, act)


@router.post("/executions/{execution_id}/recover")
def recover(execution_id: Id, desk: Acting) -> Response:
    """Mark it FAILED when its owner is proven dead; by force also without the proof."""

    def act() -> str:
        operator, form = desk.face.node.operator, desk.form
        before = operator.get_job_execution(execution_id)
        after = operator.recover(
            execution_id,
            force=form.is_checked("force"),
            actor=desk.caller.actor,
            reason=form.reason,
        )
        changed = before.batch_status is not after.batch_status
        return "recovered" if changed else "nothing_to_recover"

    return _on_why(desk, execution_id, act)


def _queue(desk: Desk, after: int | None) -> Response:
    node = desk.face.node
    page = explain_queue(node.database, after_id=after, count=PAGE, at=node.clock.now())
    with node.database.read() as reader:
        total = count_waiting(reader)
    return desk.draw(
        "queue.html",
        page=page,
        total=total,
        after=after,
        next_after=page[-1].execution.execution_id if len(page) == PAGE else None,
        events="/api/events",
    )


def _register(
    desk: Desk, given: Mapping[str, str], problem: StepwellError | None = None
) -> Response:
    node = desk.face.node
    return desk.draw(
        "register.html",
        problem,
        jobs=sorted(registered.name for registered in node.registry),
        given={name: given.get(name, "") for name in _REGISTERED},
        again="again" in given,
        form_id=given.get("form_id") or node.clock.new_id(),
        zone=node.clock.zone_name(),
    )


def _on_why(desk: Desk, execution_id: int, act: Callable[[], str]) -> Response:
    """Do something to an execution; its own page of reasons shows what has come of it."""
    return desk.carry_out(
        act,
        to=f"/executions/{execution_id}/why",
        draw=lambda error: _why(desk, execution_id, error),
    )


def _why(desk: Desk, execution_id: int, problem: StepwellError | None = None) -> Response:
    why = desk.face.node.operator.why(execution_id)
    execution = why.execution
    is_running = execution.batch_status.is_running
    return desk.draw(
        "why.html",
        problem,
        why=why,
        execution=execution,
        waits=is_running and execution.owner_id is None,
        is_owned=is_running and execution.owner_id is not None,
        since=execution.start_time or execution.create_time,
        priority_max=PRIORITY_MAX,
    )


def _parameters(lines: str) -> dict[str, object]:
    """``NAME=VALUE`` a line."""
    found: dict[str, object] = {}
    for line in lines.splitlines():
        name, sign, value = line.partition("=")
        if not line.strip():
            continue
        if not sign or not name.strip():
            raise invalid("lines", f"a parameter must be written NAME=VALUE, got {line!r}")
        if name.strip() in found:
            raise invalid("lines", f"parameter {name.strip()!r} is given twice")
        found[name.strip()] = value.strip()
    return found


def _moment(text: str) -> datetime | None:
    """A time as a browser writes it: local time of this machine unless it has an offset."""
    if not text:
        return None
    try:
        return datetime.fromisoformat(text).astimezone(UTC)
    except (ValueError, OverflowError):
        raise invalid("at", f"it must be a time like 2026-11-20T22:00, got {text!r}") from None
