"""Copies of a database: made, found, proven, put back."""

from __future__ import annotations

from stepwell.errors.error import Kind, StepwellError


class BackupError(StepwellError):
    """A copy cannot be made or used as it was asked for; nothing was changed."""

    kind = Kind.USAGE


class NoSuchBackup(BackupError):
    """Neither the folder of backups nor the path holds such a copy."""

    kind = Kind.NOT_FOUND


class BackupExists(BackupError):
    """There is a backup of this name already; none is ever overwritten."""

    kind = Kind.CONFLICT


class BackupUnderWay(BackupError):
    """Another process makes, prunes, verifies or restores at the same place right now."""

    kind = Kind.UNAVAILABLE


class BackupUnproven(BackupError):
    """A database file alone, without manifest and log: nobody can tell what it lacks."""

    kind = Kind.USAGE


class BackupDamaged(BackupError):
    """The copy is torn or altered, or what it holds contradicts itself."""

    kind = Kind.CORRUPT


class ManifestTooNew(BackupError):
    """A newer Stepwell wrote the manifest."""

    kind = Kind.CORRUPT


class DatabaseInUse(BackupError):
    """A restore while somebody works on the database."""

    kind = Kind.CONFLICT


class CopyRefused(BackupError):
    """A database cannot be copied there, or not now; the message says what keeps it from it."""

    kind = Kind.CONFLICT


class CopyDiffers(BackupError):
    """A row of the copy is not that of the source; the copy stays closed."""

    kind = Kind.CORRUPT
