"""What cares for the database: the doctor, copies, and old executions deleted."""

from __future__ import annotations

import logging
from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Path, Query

from stepwell.backup.copy import create_backup, name_for
from stepwell.backup.folder import NAME_CHARACTERS_MAX
from stepwell.backup.restore import verify_backup
from stepwell.backup.retention import Retention, prune_backups
from stepwell.database.copies import Copies, copies_of
from stepwell.doctor.copy import folder_of
from stepwell.doctor.doctor import fingerprint
from stepwell.doctor.examine import examine_copy
from stepwell.execution.status import BatchStatus
from stepwell.looks.backups import backup_json, manifest_json, proof_json
from stepwell.looks.findings import findings_json, outcome_json, repairs_json
from stepwell.repository.purge import CLOSED, PurgeRule, list_purgeable, purge_some
from stepwell.repository.repair_log import list_repairs
from stepwell.web.documents import Copying, Pruning, Purging, Repairing, age, body, describes
from stepwell.web.face import Asked, Face, Operator, Viewer, problems
from stepwell.web.questions import Json

PURGE_S = 10.0  # Then what is left is told, and deleted by the next request.
_REFUSALS = problems(400, 404, 409, 413, 422)

logger = logging.getLogger("stepwell.web")

router = APIRouter(tags=["care"])

BackupName = Annotated[
    str,
    Path(
        pattern=rf"^[A-Za-z0-9][A-Za-z0-9._@+-]{{0,{NAME_CHARACTERS_MAX - 1}}}$",
        description="As `/api/backups` shows it; no path.",
    ),
]


@router.get("/api/doctor", responses=problems())
def examine(
    face: Asked,
    _caller: Viewer,
    quick: Annotated[
        bool, Query(description="Read no whole file; only the last executions.")
    ] = False,
) -> Json:
    """What is wrong, why, and what would mend it; `plan` names what a repair would do now."""
    doctor = face.node.doctor
    with face.examination.alone("examine"):
        found = doctor.examine(thorough=not quick)
    return {**findings_json(found, doctor), "plan": fingerprint(found)}


@router.get("/api/doctor/repairs", responses=problems())
def show_repairs(face: Asked, _caller: Viewer) -> Json:
    """The repairs that were made, the last one first."""
    with face.node.database.read() as reader:
        return {"repairs": repairs_json(list_repairs(reader))}


@router.post("/api/doctor/repair", responses=_REFUSALS, openapi_extra=describes(Repairing))
def repair(face: Asked, caller: Operator, asked: Annotated[Repairing, body(Repairing)]) -> Json:
    """Make a copy, repair what can be repaired, look again; `findings` are those that are left."""
    doctor = face.node.doctor
    with face.examination.alone("repair"):
        logger.info("%s has a repair made", caller.actor)
        outcome = doctor.repair(only=asked.only, expected_plan=asked.expect, actor=caller.actor)
    return outcome_json(outcome, outcome.after, doctor)


@router.get("/api/backups", responses=problems())
def list_backups(face: Asked, _caller: Viewer) -> Json:
    """The copies of the folder, the oldest first."""
    folder = folder_of(face.node.settings)
    return {"folder": str(folder.path), "backups": [backup_json(each) for each in folder.backups()]}


@router.post("/api/backups", status_code=201, responses=_REFUSALS, openapi_extra=describes(Copying))
def make_backup(face: Asked, _caller: Operator, asked: Annotated[Copying, body(Copying)]) -> Json:
    """Copy the database while it is used, check the copy, and write its manifest.

    It answers when that is done; to have it run beside, start the job `stepwell.backup`.
    """
    folder, copies, clock = folder_of(face.node.settings), _copies(face), face.node.clock
    manifest = create_backup(
        folder,
        copies,
        asked.name if asked.name is not None else name_for(copies.location, clock.now()),
        clock=clock,
        examine=examine_copy,
    )
    return {"path": str(folder.copy_path(manifest.name)), **manifest_json(manifest)}


@router.post("/api/backups/prune", responses=_REFUSALS, openapi_extra=describes(Pruning))
def prune(face: Asked, _caller: Operator, asked: Annotated[Pruning, body(Pruning)]) -> Json:
    """Show, or delete, the copies of this database that are too many and too old."""
    found = prune_backups(
        folder_of(face.node.settings),
        _copies(face).location,
        Retention(asked.keep, age("older_than", asked.older_than)),
        now=face.node.clock.now(),
        delete=asked.delete,
    )
    return {"deleted": asked.delete, "backups": [backup_json(each) for each in found]}


@router.post("/api/backups/{name}/verify", responses=problems(400, 404, 409, 422))
def verify(name: BackupName, face: Asked, _caller: Operator) -> Json:
    """Rehearse a restore: unfold the copy, check it, compare it with its manifest, examine it."""
    folder = folder_of(face.node.settings)
    folder.get(name)  # What is no name of a copy would be looked for as a path.
    return proof_json(verify_backup(folder, _copies(face), name, examine=examine_copy))


@router.post("/api/purge", responses=_REFUSALS, openapi_extra=describes(Purging))
def purge(face: Asked, caller: Operator, asked: Annotated[Purging, body(Purging)]) -> Json:
    """Count, or delete, instances that have ended long ago, with all that was recorded of them.

    It deletes for some seconds at most; `is_complete` False: ask again for the rest.
    """
    rule = PurgeRule(
        older_than=age("older_than", asked.older_than),
        keep_newest=asked.keep,
        job_name=asked.job,
        statuses=tuple(map(BatchStatus, asked.status)) if asked.status else CLOSED,
    )
    if not asked.delete:
        with face.node.database.read(what="look for old executions") as reader:
            counts = [
                found.execution_count for found in list_purgeable(reader, rule, now=_now(face))
            ]
        return _purged(asked, len(counts), sum(counts), None)
    logger.info("%s has old executions deleted: %s", caller.actor, rule)
    return _delete(face, asked, rule)


def _delete(face: Face, asked: Purging, rule: PurgeRule) -> Json:
    clock, now = face.node.clock, _now(face)
    ends_at = clock.monotonic() + PURGE_S
    instances = executions = rows = after = 0
    while (some := purge_some(face.node.database, rule, now=now, after_id=after)) is not None:
        instances += some.instance_count
        executions += some.execution_count
        rows += some.row_count
        after = some.seen_id
        if clock.monotonic() > ends_at or face.is_ending():
            return _purged(asked, instances, executions, rows, is_complete=False)
    return _purged(asked, instances, executions, rows)


def _purged(
    asked: Purging, instances: int, executions: int, rows: int | None, *, is_complete: bool = True
) -> Json:
    return {
        "deleted": asked.delete,
        "instances": instances,
        "executions": executions,
        "rows": rows,
        "is_complete": is_complete,
    }


def _now(face: Face) -> datetime:
    return face.node.clock.now()


def _copies(face: Face) -> Copies:
    database = face.node.database
    return copies_of(database.url, clock=database.clock, options=database.options)
