"""Files that stay where they were put when the power fails: written through, then named.

On Windows a folder cannot be written through, and need not be.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path

from stepwell.errors import DatabaseError, DatabaseFull, DatabaseReadOnly

_NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)


def sync_file(path: Path) -> None:
    """Have the disk hold what the file holds. Never for a database that is in use."""
    descriptor = os.open(path, os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_folder(path: Path) -> None:
    """Have the disk hold the folder's names."""
    if os.name == "nt":
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_text(path: Path, text: str) -> None:
    """Write a file, through to the disk."""
    path.write_text(text, encoding="utf-8")
    sync_file(path)


def move_into_place(file: Path, target: Path) -> None:
    """Give a file that is on the disk its name; a file that has the name is never overwritten.

    Raises:
        FileExistsError: there is one.
    """
    try:
        os.link(file, target)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        if target.exists():
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(target)) from error
        file.rename(target)
    else:
        file.unlink()
    sync_folder(target.parent)


def disk_refusal(error: OSError, what: str) -> DatabaseError:
    """What the operating system refused, as "cannot ``what``: …"; raise it from the original."""
    fact = (error.strerror or str(error)).lower()
    path = str(error.filename or "")
    where = f" ({path})" if path else ""
    fields = {"path": path}
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return DatabaseFull(
            f"cannot {what}: {fact}{where}", hint="make room, then run it again", fields=fields
        )
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return DatabaseReadOnly(
            f"cannot {what}: {fact}{where}",
            hint="let this user write there, or choose another place",
            fields=fields,
        )
    return DatabaseError(
        f"cannot {what}: {fact}{where}", hint="look at the path and at the disk", fields=fields
    )
