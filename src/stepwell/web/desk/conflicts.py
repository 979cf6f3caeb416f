"""The conflict desk: what two nodes did to one row, side by side, and a person's decision."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Annotated, Literal

import msgspec
from fastapi import APIRouter, Path, Query
from starlette.responses import Response

from stepwell.errors import StepwellError
from stepwell.looks.conflicts import NO_ROW, ColumnLook, compare
from stepwell.sync.change import Values, decode_values
from stepwell.sync.conflict import Conflict
from stepwell.web.desk.desk import Acting, Desk, Form, Looking, invalid
from stepwell.web.documents import ID_MAX

router = APIRouter(include_in_schema=False)

PAGE = 50
VALUE_CHARACTERS = 2_000  # Of one that is shown; a longer one is not edited in a browser.
_VALUE = "value."  # In front of the name of a column, in a form.

Status = Literal["decided", "waiting", "resolved"]
Before = Annotated[int | None, Query(ge=1, le=ID_MAX)]
ConflictId = Annotated[int, Path(ge=1, le=ID_MAX)]


@router.get("/conflicts")
def list_conflicts(desk: Looking, status: Status | None = None, before: Before = None) -> Response:
    """One page of conflicts, the newest first."""
    page = desk.sync.list_conflicts(status=status, before=before, limit=PAGE)
    return desk.draw(
        "conflicts.html",
        page=page,
        chosen=status,
        waiting=desk.sync.count_conflicts(),
        next_before=page[-1].conflict_id if len(page) == PAGE else None,
    )


@router.get("/conflicts/{conflict_id}")
def show_conflict(conflict_id: ConflictId, desk: Looking) -> Response:
    """Both images of one, the one that they came from, and how it can be settled."""
    return _conflict(desk, conflict_id)


@router.post("/conflicts/{conflict_id}/resolve")
def resolve(conflict_id: ConflictId, desk: Acting) -> Response:
    """Settle it by one side's image, or by values; also one that is settled, in another way."""
    form = desk.form

    def act() -> str:
        take = form.text("take")
        if take not in ("ours", "theirs", "values"):
            raise invalid("take", f"it must be ours, theirs or values, got {take!r}")
        desk.sync.resolve(
            conflict_id,
            take=take,  # type: ignore[arg-type]
            values=_values(form) if take == "values" else None,
            expected_state=form.exact("state"),
            actor=desk.caller.actor,
        )
        return "resolved"

    return _on_conflict(desk, conflict_id, act)


@router.post("/conflicts/{conflict_id}/reopen")
def reopen(conflict_id: ConflictId, desk: Acting) -> Response:
    """Have it wait for a person again."""

    def act() -> str:
        desk.sync.reopen(conflict_id, actor=desk.caller.actor)
        return "reopened"

    return _on_conflict(desk, conflict_id, act)


def _on_conflict(desk: Desk, conflict_id: int, act: Callable[[], str]) -> Response:
    return desk.carry_out(
        act,
        to=f"/conflicts/{conflict_id}",
        draw=lambda error: _conflict(desk, conflict_id, error),
    )


def _conflict(desk: Desk, conflict_id: int, problem: StepwellError | None = None) -> Response:
    found = desk.sync.get_conflict(conflict_id)
    columns = compare(found)
    return desk.draw(
        "conflict.html",
        problem,
        found=found,
        columns=columns,
        editable=[each for each in columns if _is_editable(found, each)],
        value_prefix=_VALUE,
        value_max=VALUE_CHARACTERS,
        given=desk.form.given if problem is not None else {},
    )


def _is_editable(conflict: Conflict, column: ColumnLook) -> bool:
    """Whether another value of it can be written here: what differs, and is no key."""
    is_key = column.name in json.loads(conflict.pk_json)
    is_short = len(column.ours) <= VALUE_CHARACTERS
    return bool(column.differs) and not is_key and is_short and conflict.kind != "children"


def _values(form: Form) -> Values:
    """The columns that were filled in: each value as a file of changes writes it."""
    found: Values = {}
    for field, text in form.given.items():
        name = field.removeprefix(_VALUE)
        if name == field or text.strip() in ("", NO_ROW):
            continue
        try:
            value = decode_values(msgspec.json.encode({name: msgspec.Raw(text.encode())}))
            if list(value) != [name]:
                raise ValueError("it is several values")
        except (ValueError, RecursionError) as error:
            raise invalid(
                name, f'it must be JSON, such as 12 or "x", got {text!r}: {error}'
            ) from None
        found |= value
    if not found:
        raise invalid("take", "no value was written")
    return found
