"""The folder where copies stand: their names, who may write there, what a killed process left.

A backup NAME is the file ``NAME.backup``: it is there or not, and its manifest
``NAME.manifest.json`` is there before it and as long as it. Everything else that begins with a dot
belongs to a process at work, or is left over from one that died.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from stepwell.backup.manifest import Manifest, read_manifest
from stepwell.database.durable import disk_refusal, sync_folder
from stepwell.database.lockfile import LockFile
from stepwell.errors import (
    BackupDamaged,
    BackupError,
    BackupExists,
    BackupUnderWay,
    ManifestTooNew,
    NoSuchBackup,
)

COPY = ".backup"
MANIFEST = ".manifest.json"
PARTIAL = ".partial"
_LOCK = ".backup-lock"

NAME_CHARACTERS_MAX = 100
_NAME = re.compile(rf"[A-Za-z0-9][A-Za-z0-9._@+-]{{0,{NAME_CHARACTERS_MAX - 1}}}")


@dataclass(frozen=True)
class Backup:
    """A copy in the folder.

    Attributes:
        manifest: None when it has none, or none that can be read.
        problem: Why it cannot be relied on, as far as a look at names and sizes tells; or empty.
    """

    name: str
    path: Path
    size_bytes: int
    manifest: Manifest | None
    problem: str = ""

    @property
    def created_at(self) -> datetime | None:
        """When it was made, by its manifest."""
        return self.manifest.created_at if self.manifest else None


class BackupFolder:
    """The copies in one folder; several databases may share it."""

    def __init__(self, path: Path, *, may_be_made: bool = False) -> None:
        self.path = path
        self._may_be_made = may_be_made

    def copy_path(self, name: str) -> Path:
        """The file of a copy."""
        return self.path / f"{name}{COPY}"

    def manifest_path(self, name: str) -> Path:
        """The file of its manifest."""
        return self.path / f"{name}{MANIFEST}"

    def partial_path(self, file: Path) -> Path:
        """Where a file is made before it has its name."""
        return self.path / f".{file.name}{PARTIAL}"

    @property
    def lock_path(self) -> Path:
        """What is locked by whoever writes here."""
        return self.path / _LOCK

    # --- reading

    def backups(self) -> list[Backup]:
        """Every copy, the oldest first; those without a readable manifest come first of all."""
        found = [self._look(path) for path in self.path.glob(f"[!.]*{COPY}") if path.is_file()]
        found.sort(key=lambda backup: backup.name)
        return sorted(found, key=lambda b: b.created_at.timestamp() if b.created_at else 0.0)

    def get(self, name: str) -> Backup:
        """The copy of this name.

        Raises:
            NoSuchBackup: with the nearest name as the hint.
        """
        if self.copy_path(name).is_file():
            return self._look(self.copy_path(name))
        close = difflib.get_close_matches(name, [backup.name for backup in self.backups()], n=1)
        raise NoSuchBackup(
            f"cannot find backup {name!r}: neither folder {str(self.path)!r} holds one of this"
            " name, nor is it the path of a file",
            hint=(f"did you mean {close[0]!r}? " if close else "")
            + "`stepwell backup list` shows what is there",
            fields={"backup": name, "folder": str(self.path)},
        )

    def _look(self, path: Path) -> Backup:
        name = path.name.removesuffix(COPY)
        size_bytes = path.stat().st_size
        manifest, problem = None, ""
        try:
            manifest = read_manifest(self.manifest_path(name))
        except ManifestTooNew as error:
            problem = error.message
        except BackupDamaged as error:
            is_there = self.manifest_path(name).exists()
            problem = error.message if is_there else "it has no manifest"
        else:
            if size_bytes != manifest.copy_bytes:
                problem = f"it is torn: {size_bytes} of {manifest.copy_bytes} bytes"
        return Backup(name, path, size_bytes, manifest, problem)

    # --- writing

    @contextmanager
    def writing(self, what: str) -> Iterator[None]:
        """Be the only one who adds and deletes copies here; first clear what the dead have left.

        Raises:
            BackupError: the folder is not there; only the default one is made.
            BackupUnderWay: somebody else is at it.
        """
        try:
            self._require_folder(what)
            lock = LockFile(self.lock_path)
            if not lock.acquire():
                raise BackupUnderWay(
                    f"cannot {what}: {lock.holder()} writes to folder {str(self.path)!r}",
                    hint="wait for its end",
                    fields={"folder": str(self.path)},
                )
            try:
                self._clear()
                yield
            finally:
                self._clear()
                lock.release()
        except OSError as error:
            raise disk_refusal(error, what) from error

    def leftovers(self) -> list[Path]:
        """What is left of copies that were never finished, or of deleted ones."""
        # SQLite may have left a journal beside one.
        partial = self.path.glob(f".*{PARTIAL}*")
        lonely = (
            path
            for path in self.path.glob(f"[!.]*{MANIFEST}")
            if not self.copy_path(path.name.removesuffix(MANIFEST)).exists()
        )
        return sorted([*partial, *lonely])

    def _clear(self) -> None:
        for leftover in self.leftovers():
            leftover.unlink(missing_ok=True)

    def delete(self, name: str) -> None:
        """Delete a copy, then its manifest; inside of :meth:`writing`."""
        self.copy_path(name).unlink()
        sync_folder(self.path)
        self.manifest_path(name).unlink(missing_ok=True)

    def refuse_existing(self, name: str) -> None:
        """Never overwrite a copy.

        Raises:
            BackupExists: there is one of this name.
        """
        if self.copy_path(name).exists():
            raise BackupExists(
                f"cannot create backup {name!r}: there is one of this name in {str(self.path)!r}",
                hint="take another name; `stepwell backup list` shows what is there",
                fields={"backup": name, "folder": str(self.path)},
            )

    def _require_folder(self, what: str) -> None:
        if self.path.is_dir():
            return
        if self._may_be_made and self.path.parent.is_dir() and not self.path.exists():
            self.path.mkdir()
            sync_folder(self.path.parent)
            return
        fact = "is not a folder" if self.path.exists() else "does not exist"
        raise BackupError(
            f"cannot {what}: folder {str(self.path)!r} {fact}",
            hint="create it, or mount the disk that it is on",
            fields={"folder": str(self.path)},
        )


def check_name(name: str) -> str:
    """The name, if it can be one.

    Raises:
        BackupError: it would be no file's name everywhere.
    """
    if not _NAME.fullmatch(name) or name.endswith((COPY, MANIFEST, PARTIAL)):
        raise BackupError(
            f"cannot create backup {name!r}: a name has letters, digits and . _ - + @, begins with"
            f" a letter or digit, and has at most {NAME_CHARACTERS_MAX} characters",
            hint="for example `stepwell backup create before-upgrade`",
            fields={"backup": name},
        )
    return name
