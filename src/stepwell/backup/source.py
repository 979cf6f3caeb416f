"""What a person means by a name or a path: a backup, or the files of a stopped node."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from stepwell.backup.folder import COPY, MANIFEST, BackupFolder
from stepwell.backup.manifest import Manifest, read_manifest
from stepwell.database.copies import Copies, CopyFiles
from stepwell.errors import BackupError, BackupUnproven, DatabaseInUse

_BESIDE = ("-wal", "-shm", "-journal")


@dataclass(frozen=True)
class Source:
    """A copy that is to be verified or restored.

    Attributes:
        name: As it was asked for.
        manifest: None when there is none; then the copy's own word is all there is.
    """

    name: str
    files: CopyFiles
    manifest: Manifest | None


def find_source(
    folder: BackupFolder, copies: Copies, name: str, *, purpose: str, unverified: bool
) -> Source:
    """The copy that ``name`` means: a backup of the folder first, then a path.

    ``purpose`` completes "cannot …"; ``unverified`` takes a lone database file too.

    Raises:
        NoSuchBackup, BackupError: there is no such thing, or it is no copy.
        BackupDamaged, ManifestTooNew: its manifest cannot be read.
        DatabaseInUse: the files are of a node that is not stopped.
        BackupUnproven: a database file alone.
    """
    path = Path(name)
    is_path = len(path.parts) > 1 or path.is_absolute() or path.exists()
    if folder.copy_path(name).is_file() and (len(path.parts) == 1 or not path.exists()):
        path = folder.copy_path(name)
    elif not is_path:
        path = folder.get(name).path
    path = _the_copy(path)
    if not path.exists():
        path = folder.get(name).path
    _refuse_no_copy(copies, path, purpose)
    manifest_path = path.with_name(path.name.removesuffix(COPY) + MANIFEST)
    has_manifest = path.name.endswith(COPY) and manifest_path.exists()
    manifest = read_manifest(manifest_path) if has_manifest else None
    files = _files_of_a_node(copies, path, purpose, manifest=manifest, unverified=unverified)
    return Source(name, files, manifest)


def _the_copy(path: Path) -> Path:
    """The copy, when its manifest, its log or its shared memory was named."""
    if path.name.endswith(MANIFEST):
        return path.with_name(path.name.removesuffix(MANIFEST) + COPY)
    for suffix in _BESIDE:
        main = path.with_name(path.name.removesuffix(suffix))
        if path.name.endswith(suffix) and main.exists():
            return main
    return path


def _refuse_no_copy(copies: Copies, path: Path, purpose: str) -> None:
    fact, hint = "", ""
    if path.is_dir():
        fact, hint = "it is a folder", "name a copy in it"
    elif copies.is_database(path):
        fact = "it is the database itself"
        hint = "`stepwell backup list` shows the copies"
    elif not os.access(path, os.R_OK):
        fact, hint = "this user may not read it", "let this user read the file"
    elif not copies.is_mine(CopyFiles(path)):
        fact = f"it is no copy of a {copies.kind} database"
        hint = "name a file that `stepwell backup create` made of such a database"
    if fact:
        raise BackupError(f"cannot {purpose} {str(path)!r}: {fact}", hint=hint)


def _files_of_a_node(
    copies: Copies, path: Path, purpose: str, *, manifest: Manifest | None, unverified: bool
) -> CopyFiles:
    """The file with its log; a database file without one may lack what was committed last."""
    user = copies.user_of(path)
    if user:
        raise DatabaseInUse(
            f"cannot {purpose} {str(path)!r}: {user} has it open",
            hint="stop what uses it, or copy it with `stepwell backup create --database URL`",
            fields={"path": str(path)},
        )
    files = copies.files_of(path)
    if manifest is None and copies.may_lack_commits(files) and not unverified:
        raise BackupUnproven(
            f"cannot {purpose} {str(path)!r}: it is a database file alone, without a manifest and"
            " without its log; what was committed last may be missing",
            hint="name a backup, or the file with its -wal beside it; `--unverified` takes it as it"
            " is, unless a check finds it damaged",
            fields={"path": str(path)},
        )
    return files
