"""The built-in job ``stepwell.backup``: a copy made, proven, and the superfluous ones deleted.

Killed anywhere it leaves a whole copy or none. A restart goes on in the step that was killed; the
name of the copy is recorded before the copy is made, so a copy that is whole is not made again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import Field, field_validator

from stepwell.job.age import read_age, require_age
from stepwell.job.job import Job
from stepwell.job.parameters import Parameters
from stepwell.job.step import TaskletStep
from stepwell.maintenance.examination import exit_status, shown, tell
from stepwell.maintenance.maintained import Care

if TYPE_CHECKING:
    from stepwell.backup.folder import BackupFolder
    from stepwell.database.copies import Copies

NAME = "stepwell.backup"


class Copying(Parameters):
    """What the job is asked to do.

    Attributes:
        name: Of the copy; without one the database and the time.
        verify: Rehearse the restore of it.
        keep: The newest so many copies of this database stay.
        older_than: Those stay too that are not older than this, such as ``30d``.
    """

    name: str | None = None
    verify: bool = True
    keep: int | None = Field(None, ge=1)
    older_than: str | None = None

    _is_an_age = field_validator("older_than")(require_age)

    @field_validator("name")
    @classmethod
    def _is_one(cls, name: str | None) -> str | None:
        from stepwell.backup.folder import check_name
        from stepwell.errors import BackupError

        try:
            return None if name is None else check_name(name)
        except BackupError as error:
            raise ValueError(error.message.partition(": ")[2]) from None


def backup_job(care: Care) -> Job:
    """The job that makes a backup; see :class:`Copying`.

    It is COMPLETED whatever the doctor finds in the copy, with the exit status FINDINGS then; a
    copy that cannot be made or proven fails it.
    """
    return Job(
        NAME,
        description="copies the database, proves the copy, deletes superfluous ones",
        parameters=Copying,
        identity="each-start",
        run_lock="job",
        steps=[
            TaskletStep("create", lambda step: _create(step, care)),
            TaskletStep("verify", lambda step: _verify(step, care)),
            TaskletStep("prune", lambda step: _prune(step, care)),
        ],
    )


def _create(step: Any, care: Care) -> str:
    from stepwell.backup.copy import create_backup, name_for
    from stepwell.doctor.examine import examine_copy

    folder, copies = _place(care)
    clock = care().clock
    name = step.context.get("backup")
    if name is None:
        name = step.parameters.name or name_for(copies.location, clock.now())
        folder.refuse_existing(name)
        step.context["backup"] = name
        with step.transaction():
            """Commits the name."""
    if not folder.copy_path(name).exists():
        create_backup(folder, copies, name, clock=clock, examine=examine_copy)
    manifest = folder.get(name).manifest
    assert manifest is not None
    step.job.context["backup"] = name
    step.context |= {
        "path": str(folder.copy_path(name)),
        "bytes": manifest.copy_bytes,
        "rows": manifest.rows,
        "findings": manifest.findings_count,
    }
    return tell(step, "FINDINGS" if manifest.findings_count else "CLEAN")


def _verify(step: Any, care: Care) -> str:
    from stepwell.backup.restore import verify_backup
    from stepwell.doctor.examine import examine_copy

    if not step.parameters.verify:
        return "NOT ASKED"
    folder, copies = _place(care)
    proof = verify_backup(folder, copies, step.job.context["backup"], examine=examine_copy)
    step.context = shown(proof.findings)
    return tell(step, exit_status(proof.findings))


def _prune(step: Any, care: Care) -> str | None:
    from stepwell.backup.retention import Retention, prune_backups

    asked: Copying = step.parameters
    if asked.keep is None and asked.older_than is None:
        return "NOT ASKED"
    folder, copies = _place(care)
    retention = Retention(asked.keep, read_age(asked.older_than) if asked.older_than else None)
    now = care().clock.now()
    deleted = prune_backups(folder, copies.location, retention, now=now, delete=True)
    step.context = {"deleted": [backup.name for backup in deleted]}
    return None


def _place(care: Care) -> tuple[BackupFolder, Copies]:
    from stepwell.database.copies import copies_of
    from stepwell.doctor.copy import folder_of

    database = care().database
    copies = copies_of(database.url, clock=database.clock, options=database.options)
    return folder_of(care().settings), copies
