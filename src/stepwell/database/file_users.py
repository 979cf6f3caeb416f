"""Who has a SQLite file open, and how far behind its log they read.

SQLite's own locks tell. To look at them the files must be opened, and closing a file drops every
lock that the process has on it (sqlite.org/howtocorrupt.html); so the looking is done by a process
of its own: this module, run as a program, which imports nothing of Stepwell. It never writes.

The offsets are those of sqlite.org/fileformat2.html ("the lock-byte page") and
sqlite.org/walformat.html ("the WAL-index file format"). Each lock is told of one process that holds
it; a process in another container has no number here. POSIX only: elsewhere nobody is found.
"""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from stepwell.database.dialect import OldestReader

_SHARED_FIRST, _SHARED_SIZE = 0x40000000 + 2, 510
_MARKS_OFFSET, _MARKS = 100, struct.Struct("=5I")
_MAX_FRAME_OFFSET, _MAX_FRAME = 16, struct.Struct("=I")
_READ_LOCK_FIRST, _READERS = 123, 5
_OPEN_LOCK = 128  # Held by whoever has the log open ("dead man's switch").

_LOOK_WITHIN_S = 30.0


@dataclass(frozen=True)
class LogReader:
    """A process inside a read transaction.

    Attributes:
        pid: The process; 0 where it cannot be told.
        frames_behind: How many frames the log has got since; a frame is a page.
    """

    pid: int
    frames_behind: int


@dataclass(frozen=True)
class FileUsers:
    """What one look at the locks has found.

    Attributes:
        pids: Processes that have the database open, 0 for one that cannot be told.
        readers: Those inside a read transaction, the oldest first.
    """

    pids: tuple[int, ...]
    readers: tuple[LogReader, ...]


def users_of(path: str) -> FileUsers:
    """Look at the locks of the database file at ``path``; this process counts like any other."""
    looked = subprocess.run(  # noqa: S603 - this same Python, and this file
        [sys.executable, "-I", "-S", __file__, path],
        capture_output=True,
        check=False,
        timeout=_LOOK_WITHIN_S,
    )
    if looked.returncode != 0:
        return FileUsers((), ())
    found = json.loads(looked.stdout)
    readers = [LogReader(pid, behind) for pid, behind in found["readers"]]
    return FileUsers(tuple(found["pids"]), tuple(readers))


def lagging_readers(path: str) -> list[OldestReader]:
    """Who keeps the log from being begun anew, the oldest first; none when nobody lags behind.

    Of several processes that began at the same commit the system names one.
    """
    from stepwell.database.dialect import OldestReader

    return [
        OldestReader(reader.pid, _name_of(reader.pid), reader.frames_behind, None)
        for reader in users_of(path).readers
        if reader.frames_behind
    ]


def _name_of(pid: int) -> str:
    """The command line of a process, where the system shows it."""
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return ""
    return " ".join(Path(word.decode(errors="replace")).name for word in words[:3] if word)


def _look(path: str) -> dict[str, Any]:
    pids: set[int] = set()
    readers: list[tuple[int, int]] = []
    with _descriptor(path) as file:
        pids |= _holders(file, _SHARED_FIRST, _SHARED_SIZE)
    with _descriptor(path + "-shm") as file:
        pids |= _holders(file, _OPEN_LOCK, 1)
        head = os.pread(file, _MARKS_OFFSET + _MARKS.size, 0) if file >= 0 else b""
        if len(head) == _MARKS_OFFSET + _MARKS.size:
            marks = _MARKS.unpack_from(head, _MARKS_OFFSET)
            (last,) = _MAX_FRAME.unpack_from(head, _MAX_FRAME_OFFSET)
            for slot in range(_READERS):
                for pid in _holders(file, _READ_LOCK_FIRST + slot, 1):
                    # Who reads through slot 0 needs no frame, and is as old as the log.
                    behind = last - marks[slot] if slot else last
                    readers.append((pid, max(behind, 0)))
    readers.sort(key=lambda reader: -reader[1])
    return {"pids": sorted(pids), "readers": readers}


class _descriptor:  # noqa: N801 - reads as a statement
    """The file open for reading; -1 when there is none."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._file = -1

    def __enter__(self) -> int:
        try:
            self._file = os.open(self._path, os.O_RDONLY)
        except OSError:
            self._file = -1
        return self._file

    def __exit__(self, *details: object) -> None:
        if self._file >= 0:
            os.close(self._file)


def _holders(file: int, start: int, length: int) -> set[int]:
    """A process that holds a lock in this range, if any does."""
    if file < 0 or os.name != "posix":
        return set()
    import fcntl

    is_linux = sys.platform == "linux"
    layout = struct.Struct("@hhqqi4x" if is_linux else "@qqihh")
    wanted = (fcntl.F_WRLCK, os.SEEK_SET, start, length, 0)
    if not is_linux:
        wanted = (start, length, 0, fcntl.F_WRLCK, os.SEEK_SET)
    answer = layout.unpack(fcntl.fcntl(file, fcntl.F_GETLK, layout.pack(*wanted)))
    kind, pid = (answer[0], answer[4]) if is_linux else (answer[3], answer[2])
    return set() if kind == fcntl.F_UNLCK else {max(pid, 0)}


if __name__ == "__main__":
    sys.stdout.write(json.dumps(_look(sys.argv[1])))
