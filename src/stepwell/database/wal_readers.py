"""Which other processes read a SQLite file just now, and so hold its log back.

SQLite's readers hold a lock on one of five bytes of the ``-shm`` file. The file is not opened to
ask: closing it again would drop this process's own locks. Linux lists every lock in
``/proc/locks``; elsewhere nobody is named.
"""

from __future__ import annotations

import os
from pathlib import Path

# UNIX_SHM_BASE and WAL_READ_LOCK(0) of SQLite's source.
_FIRST_READER = 120 + 3
_READERS = range(_FIRST_READER, _FIRST_READER + 5)
COMMAND_CHARACTERS_MAX = 80


def wal_readers(database_path: str) -> list[tuple[int, str]]:
    """Process and command of each reader, the one that was started first before the others."""
    try:
        status = Path(database_path + "-shm").stat()
        lines = Path("/proc/locks").read_text("ascii", errors="replace").splitlines()
    except OSError:
        return []
    file = f"{os.major(status.st_dev):02x}:{os.minor(status.st_dev):02x}:{status.st_ino}"
    pids = {pid for line in lines for pid in _reader_of(line, file)} - {os.getpid()}
    return sorted(((pid, _command(pid)) for pid in pids), key=lambda found: _started(found[0]))


def _reader_of(line: str, file: str) -> list[int]:
    """The process of one line, such as ``1: POSIX  ADVISORY  READ 815 08:01:7 124 124``."""
    fields = line.split()
    if "->" in fields or len(fields) < 8 or fields[5] != file or not fields[6].isdigit():
        return []
    return [int(fields[4])] if int(fields[6]) in _READERS and int(fields[4]) > 0 else []


def _command(pid: int) -> str:
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return "unknown"
    return b" ".join(words).decode(errors="replace").strip()[:COMMAND_CHARACTERS_MAX] or "unknown"


def _started(pid: int) -> int:
    """In clock ticks since the machine was started; field 22 of ``man 5 proc``."""
    try:
        return int(
            Path(f"/proc/{pid}/stat").read_text("ascii", "replace").rpartition(")")[2].split()[19]
        )
    except (OSError, ValueError, IndexError):
        return 0
