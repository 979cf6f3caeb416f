"""The copy that is made before the first repair: a backup like any other."""

from __future__ import annotations

from pathlib import Path

from stepwell.backup.copy import create_backup
from stepwell.backup.folder import BackupFolder
from stepwell.database.connect import Database
from stepwell.database.copies import copies_of
from stepwell.doctor.examine import examine_copy
from stepwell.settings import Settings


def backup_into(folder: BackupFolder, database: Database) -> str:
    """Copy ``database`` as it is, broken or not, and answer where the copy stands.

    Raises:
        BackupError, DatabaseError: no copy was made; nothing is to be repaired then.
    """
    now = database.clock.now()
    name = f"before-repair-{now.strftime('%Y%m%dT%H%M%S%fZ')}"
    create_backup(
        folder,
        copies_of(database.url, clock=database.clock, options=database.options),
        name,
        clock=database.clock,
        examine=examine_copy,
        of_anything=True,
    )
    return str(folder.copy_path(name))


def backup_beside(database: Database) -> str:
    """The same into ``backups`` beside a SQLite file, or in the working folder."""
    beside = database.path.parent if database.path is not None else Path.cwd()
    return backup_into(BackupFolder(beside / "backups", may_be_made=True), database)


def folder_of(settings: Settings) -> BackupFolder:
    """Where the settings have backups stand; only the default folder is made when missing."""
    named = Path(settings.backup_folder).expanduser()
    is_default = settings.backup_folder == Settings.backup_folder
    return BackupFolder(settings.folder / named, may_be_made=is_default)
