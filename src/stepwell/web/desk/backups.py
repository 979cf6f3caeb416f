"""Backups: the copies of the folder, made and proven; one is put back at the machine alone."""

from __future__ import annotations

from pathlib import Path

from fastapi import APIRouter
from starlette.responses import Response

from stepwell.backup.copy import create_backup, name_for
from stepwell.backup.folder import BackupFolder
from stepwell.backup.restore import verify_backup
from stepwell.database.copies import Copies, copies_of
from stepwell.doctor.copy import folder_of
from stepwell.doctor.examine import examine_copy
from stepwell.errors import StepwellError
from stepwell.web.desk.desk import Acting, Desk, Looking

router = APIRouter(include_in_schema=False)

SHOWN_MAX = 200
FINDINGS_SHOWN = 20


@router.get("/backups")
def show_backups(desk: Looking) -> Response:
    """The copies, the newest first."""
    return _backups(desk)


@router.post("/backups/create")
def create(desk: Acting) -> Response:
    """Copy the database while it is used, and check the copy."""

    def act() -> str:
        copies = _copies(desk)
        clock = desk.face.node.clock
        name = desk.form.text("name") or name_for(copies.location, clock.now())
        create_backup(_folder(desk), copies, name, clock=clock, examine=examine_copy)
        return "backup_created"

    return desk.carry_out(act, to="/backups", draw=lambda error: _backups(desk, error))


@router.post("/backups/verify")
def verify(desk: Acting) -> Response:
    """Rehearse a restore; nothing is changed."""
    try:
        # By its name in the folder alone: nobody reads other files of this machine from here.
        name = _folder(desk).get(Path(desk.form.exact("backup")).name).name
        proof = verify_backup(_folder(desk), _copies(desk), name, examine=examine_copy)
    except StepwellError as error:
        return _backups(desk, error)
    return desk.draw(
        "verified.html",
        proof=proof,
        backup=name,
        rows=sum(proof.contents.tables.values()),
        findings=proof.findings[:FINDINGS_SHOWN],
    )


def _backups(desk: Desk, problem: StepwellError | None = None) -> Response:
    folder = _folder(desk)
    found = folder.backups()
    return desk.draw(
        "backups.html",
        problem,
        folder=folder.path,
        backups=found[::-1][:SHOWN_MAX],
        more=max(0, len(found) - SHOWN_MAX),
    )


def _folder(desk: Desk) -> BackupFolder:
    return folder_of(desk.face.node.settings)


def _copies(desk: Desk) -> Copies:
    database = desk.face.node.database
    return copies_of(database.url, clock=database.clock, options=database.options)
