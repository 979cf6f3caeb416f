"""May this file be opened in WAL mode at all?

WAL needs memory that all processes share and locks that all of them see. Network filesystems and
the ones that carry a host's files into a virtual machine have neither, and corrupt the database
*without an error* (sqlite.org/wal.html, "all processes must be on the same host computer"). So the
type is looked up before WAL is asked for.

Linux reads ``/proc/self/mountinfo``. On other systems the type is unknown and nothing is refused;
they are not tried.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from stepwell.errors import CannotOpenDatabase, DatabaseReadOnly, UnsafeFilesystem

_SHARED_BY_NETWORK = {
    *("nfs", "nfs4", "cifs", "smb3", "smbfs", "afs", "coda", "ncpfs", "ceph", "glusterfs"),
    *("lustre", "gpfs", "beegfs", "orangefs", "ocfs2", "gfs2"),
}
_CARRIED_INTO_A_MACHINE = {"9p", "virtiofs", "vboxsf", "prl_fs", "vmhgfs", "drvfs", "fakeowner"}
# A FUSE filesystem may be anything; these sit on a local disk and pass locks and memory on.
_SAFE_FUSE = {"fuse.fuse-overlayfs", "fuse.ext2fs", "fuse.bindfs", "fuse.mergerfs"}

_OCTAL = re.compile(r"\\([0-7]{3})")


def refuse_what_cannot_be_opened(location: str, path: str, *, create: bool) -> None:
    """Refuse a path that SQLite would answer with "unable to open database file", and say why.

    Raises:
        CannotOpenDatabase, DatabaseReadOnly: with the fact that decides and the way out.
    """
    refuse_what_is_not_there(location, path, create=create)
    file = Path(path)
    for part, noun in ((file, "the file"), (file.parent, "its folder")):
        if part.exists() and not os.access(part, os.W_OK):
            raise DatabaseReadOnly(
                f"cannot open database {location!r}: {noun} is read-only for this user",
                hint="let this user write the file and its folder, or copy the file elsewhere",
                fields={"database": location},
            )


def refuse_what_is_not_there(location: str, path: str, *, create: bool = False) -> None:
    """Refuse a path that nobody could read a database from, or with ``create`` make one at.

    Raises:
        CannotOpenDatabase: with the fact that decides and the way out.
    """
    file = Path(path)
    exists = file.exists()
    fact, hint = "", ""
    if file.is_dir():
        fact, hint = "it is a folder", "name a file in it"
    elif not file.parent.is_dir():
        fact = f"folder {str(file.parent)!r} does not exist"
        hint = "create the folder, or correct the path"
    elif not exists and not create:
        fact, hint = "there is no such file", "correct the path; `stepwell init` creates it"
    elif exists and not os.access(file, os.R_OK):
        fact, hint = "this user may not read it", "let this user read and write the file"
    if fact:
        raise CannotOpenDatabase(
            f"cannot open database {location!r}: {fact}", hint=hint, fields={"database": location}
        )


def refuse_unsafe_filesystem(location: str, path: str) -> None:
    """Refuse a file on a filesystem that is known, or likely, to corrupt it.

    Raises:
        UnsafeFilesystem: with the reason and the ways out.
    """
    filesystem = filesystem_of(path)
    reason = why_unsafe(filesystem)
    if reason:
        raise UnsafeFilesystem(
            f"cannot open database {location!r}: it lies on filesystem {filesystem!r}, {reason}",
            hint="move it to a local disk (in a container: a named volume), use PostgreSQL for"
            " several machines, or set allow_unsafe_filesystem if you know better",
            fields={"database": location, "filesystem": filesystem},
        )


def why_unsafe(filesystem: str) -> str:
    """The reason to refuse this type, empty when it is fine or unknown."""
    if filesystem in _SHARED_BY_NETWORK:
        return "which is shared over a network and corrupts SQLite's log without an error"
    if filesystem in _CARRIED_INTO_A_MACHINE:
        return "which carries a host's files into a machine and corrupts SQLite's log without error"
    if filesystem.startswith("fuse.") and filesystem not in _SAFE_FUSE:
        return "which does not keep the locks and shared memory that SQLite's log needs"
    return ""


def filesystem_of(path: str) -> str:
    """The type of the filesystem that holds a real path, such as ``ext4``; empty when unknown."""
    try:
        mounts = Path("/proc/self/mountinfo").read_text("utf-8", errors="surrogateescape")
    except OSError:
        return ""
    return filesystem_in(mounts, path)


def filesystem_in(mounts: str, path: str) -> str:
    """The type at ``path`` by the text of ``/proc/self/mountinfo`` (``man 5 proc``).

    The longest mount point that is a prefix of the path holds it; of equal ones the last, which
    was mounted over the others.
    """
    best_length, best_type = -1, ""
    for line in mounts.splitlines():
        left, separator, right = line.partition(" - ")
        fields = left.split(" ")
        if not separator or len(fields) < 5:
            continue
        point = _OCTAL.sub(lambda found: chr(int(found[1], 8)), fields[4])
        inside = path == point or path.startswith(point.rstrip("/") + os.sep)
        if inside and len(point) >= best_length:
            best_length, best_type = len(point), right.split(" ")[0]
    return best_type
