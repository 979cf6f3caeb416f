"""Sync: this node, its tables, how far each peer is; quarantine and audit."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Annotated

from fastapi import APIRouter, Path, Query
from starlette.responses import Response

from stepwell.errors import NoSyncNode, StepwellError
from stepwell.looks.sync import peers_of
from stepwell.looks.text import shorten
from stepwell.web.desk.desk import Acting, Desk, Looking
from stepwell.web.documents import ID_MAX

router = APIRouter(include_in_schema=False)

PAGE = 50
CHANGES_SHOWN = 100
PAYLOAD_CHARACTERS = 400

Before = Annotated[int | None, Query(ge=1, le=ID_MAX)]
QuarantineId = Annotated[int, Path(ge=1, le=ID_MAX)]


@router.get("/sync")
def show_sync(desk: Looking) -> Response:
    """Where this node stands, and how far each peer has come."""
    sync = desk.face.node.sync
    if not sync.is_node:
        return desk.draw("no_sync.html", hint=NoSyncNode(sync.database.location).hint)
    status = sync.status()
    return desk.draw(
        "sync.html",
        found=status,
        faults={fault.table_name: fault.what for fault in status.faults},
        policies={table.name: _policy(table.policy) for table in status.tables},
        peers=peers_of(sync, status),
        conflicts=sync.count_conflicts(),
        quarantined=sync.count_quarantine(),
    )


@router.get("/audit")
def show_audit(desk: Looking, before: Before = None) -> Response:
    """Who did what to this node and its log, the newest first."""
    lines = desk.face.node.sync.audit(before=before, limit=PAGE)
    return desk.draw(
        "audit.html",
        lines=lines,
        next_before=lines[-1].audit_id if len(lines) == PAGE else None,
    )


@router.get("/quarantine")
def list_quarantine(
    desk: Looking,
    before: Before = None,
    all_: Annotated[bool, Query(alias="all", description="Also those that are closed.")] = False,
) -> Response:
    """Transactions that are received and cannot be applied yet."""
    return _quarantine(desk, before, is_all=all_)


@router.post("/quarantine/retry")
def retry_all(desk: Acting) -> Response:
    """Try all of them again, after their cause is mended."""

    def act() -> str:
        desk.face.node.sync.retry_all(actor=desk.caller.actor)
        return "retried_all"

    return desk.carry_out(act, to="/quarantine", draw=lambda error: _quarantine(desk, None, error))


@router.get("/quarantine/{quarantine_id}")
def show_quarantined(quarantine_id: QuarantineId, desk: Looking) -> Response:
    """Why one waits, and its first changes."""
    return _quarantined(desk, quarantine_id)


@router.post("/quarantine/{quarantine_id}/retry")
def retry(quarantine_id: QuarantineId, desk: Acting) -> Response:
    """Try it again."""

    def act() -> str:
        applied = desk.sync.retry(quarantine_id, actor=desk.caller.actor)
        return "still_waits" if applied.result == "parked" else "retried"

    return _on_quarantined(desk, quarantine_id, act)


@router.post("/quarantine/{quarantine_id}/drop")
def drop(quarantine_id: QuarantineId, desk: Acting) -> Response:
    """Give it up: its effect never comes here."""

    def act() -> str:
        desk.sync.drop(quarantine_id, actor=desk.caller.actor)
        return "dropped"

    return _on_quarantined(desk, quarantine_id, act)


def _quarantine(
    desk: Desk,
    before: int | None,
    problem: StepwellError | None = None,
    *,
    is_all: bool = False,
) -> Response:
    is_open = None if is_all else True
    page = desk.sync.list_quarantine(is_open=is_open, before=before, limit=PAGE)
    return desk.draw(
        "quarantine.html",
        problem,
        page=page,
        is_all=is_all,
        next_before=page[-1].quarantine_id if len(page) == PAGE else None,
        waiting=desk.sync.count_quarantine(),
    )


def _on_quarantined(desk: Desk, quarantine_id: int, act: Callable[[], str]) -> Response:
    return desk.carry_out(
        act,
        to=f"/quarantine/{quarantine_id}",
        draw=lambda error: _quarantined(desk, quarantine_id, error),
    )


def _quarantined(desk: Desk, quarantine_id: int, problem: StepwellError | None = None) -> Response:
    found = desk.sync.get_quarantined(quarantine_id)
    changes = desk.sync.changes_in_quarantine(quarantine_id, limit=CHANGES_SHOWN)
    return desk.draw(
        "quarantined.html",
        problem,
        found=found,
        changes=[
            {
                "op": change.op,
                "table": change.table_name,
                "key": change.key.pk_json,
                "new": ""
                if change.op == "D"
                else shorten(bytes(change.payload).decode(), PAYLOAD_CHARACTERS),
            }
            for change in changes
        ],
        shown_max=CHANGES_SHOWN,
    )


def _policy(text: str) -> str:
    return str(json.loads(text).get("rows", "lww"))
