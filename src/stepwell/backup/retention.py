"""Which copies are kept: the newest, and those that are not old yet; the newest one always.

A rule that is not given allows the deletion; all that are given must. Only copies of the same
database count together, and only those whose manifest can be read are ever deleted.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from stepwell.backup.folder import Backup, BackupFolder
from stepwell.errors import BackupError


@dataclass(frozen=True)
class Retention:
    """What is kept.

    Attributes:
        keep_newest: How many of the newest copies, whatever their age.
        keep_for: Copies up to this age, however many.
    """

    keep_newest: int | None = None
    keep_for: timedelta | None = None

    def __post_init__(self) -> None:
        fact = ""
        if self.keep_newest is None and self.keep_for is None:
            fact = "neither a number nor an age says what is kept"
        elif self.keep_newest is not None and self.keep_newest < 1:
            fact = f"the newest one is always kept, got {self.keep_newest}"
        elif self.keep_for is not None and self.keep_for <= timedelta(0):
            fact = f"the age must be above 0, got {self.keep_for}"
        if fact:
            raise BackupError(
                f"cannot prune backups: {fact}",
                hint="for example `stepwell backup prune --keep 7 --older-than 30d`",
            )

    def superfluous(self, backups: list[Backup], now: datetime) -> list[Backup]:
        """The copies that no rule keeps, the oldest first; ``backups`` are of one database."""
        newest_first = sorted(
            (b for b in backups if b.manifest is not None),
            key=lambda backup: backup.manifest.created_at if backup.manifest else now,
            reverse=True,
        )
        kept_by_number = self.keep_newest or 1
        return [
            backup
            for backup in reversed(newest_first[kept_by_number:])
            if backup.manifest is not None
            and (self.keep_for is None or now - backup.manifest.created_at > self.keep_for)
        ]


def prune_backups(
    folder: BackupFolder, location: str, retention: Retention, *, now: datetime, delete: bool
) -> list[Backup]:
    """The copies of the database at ``location`` that are not kept; ``delete`` deletes them.

    Each is deleted by itself: a kill leaves some of them, whole, for the next time.
    """
    if not delete:
        return retention.superfluous(_of(folder, location), now)
    with folder.writing("prune backups"):
        found = retention.superfluous(_of(folder, location), now)
        for backup in found:
            folder.delete(backup.name)
        return found


def _of(folder: BackupFolder, location: str) -> list[Backup]:
    return [
        b for b in folder.backups() if b.manifest is not None and b.manifest.database == location
    ]
