"""Locks on one byte of a file: the operating system's calls behind one small module.

A lock ends with its process, whatever ends it, within milliseconds. On POSIX it belongs to the
process, not to the descriptor: closing *any* descriptor of the file drops all of them, and locking
a byte again succeeds. So a process keeps one descriptor a file (``process_file.py``) and remembers
what it holds. Children made by ``fork`` do not inherit it.

Windows and macOS are written from the documentation and not tried.
"""

from __future__ import annotations

import os
import struct
import sys

if sys.platform == "win32":
    import msvcrt

    def try_lock(descriptor: int, byte: int) -> bool:
        """Lock the byte if nobody else has it, without waiting; say whether it was free."""
        os.lseek(descriptor, byte, os.SEEK_SET)
        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True

    def unlock(descriptor: int, byte: int) -> None:
        """Give the byte back."""
        os.lseek(descriptor, byte, os.SEEK_SET)
        msvcrt.locking(descriptor, msvcrt.LK_UNLCK, 1)

    def is_locked(descriptor: int, byte: int) -> bool:
        """Whether another process holds the byte."""
        if not try_lock(descriptor, byte):
            return True
        unlock(descriptor, byte)
        return False

    def lock_when_free(descriptor: int, byte: int) -> bool:
        """Nobody is woken here: say whether it was free."""
        return try_lock(descriptor, byte)

    def holder_pid(descriptor: int, byte: int) -> int:  # noqa: ARG001 - cannot be told here
        """The process that holds the byte; 0 when nobody does, or it cannot be told."""
        return 0

    def first_lock_of_others(descriptor: int) -> tuple[int, int] | None:  # noqa: ARG001
        """The first byte that another process holds, and the process; cannot be told here."""
        return None

else:
    import fcntl

    # struct flock: Linux begins with the type, the BSDs and macOS end with it.
    _TYPE_FIRST = sys.platform == "linux"
    _FLOCK = struct.Struct("@hhqqi4x" if _TYPE_FIRST else "@qqihh")

    def try_lock(descriptor: int, byte: int) -> bool:
        """Lock the byte if nobody else has it, without waiting; say whether it was free."""
        try:
            fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, byte)
        except (BlockingIOError, PermissionError):
            return False
        return True

    def unlock(descriptor: int, byte: int) -> None:
        """Give the byte back."""
        fcntl.lockf(descriptor, fcntl.LOCK_UN, 1, byte)

    def is_locked(descriptor: int, byte: int) -> bool:
        """Whether another process holds the byte. Asked, not tried: two who try see each other."""
        return _lock_of_others(descriptor, byte, 1)[0] != fcntl.F_UNLCK

    def lock_when_free(descriptor: int, byte: int) -> bool:
        """Wait for the byte, however long; say whether it is locked now.

        False: the system takes processes that wait for each other's threads for a deadlock (EDEADLK
        of fcntl(2)), or the descriptor was closed meanwhile.
        """
        try:
            fcntl.lockf(descriptor, fcntl.LOCK_EX, 1, byte)
        except OSError:
            return False
        return True

    def holder_pid(descriptor: int, byte: int) -> int:
        """The other process that holds the byte; 0 when nobody does, or it cannot be told.

        A process in another container has no number here.
        """
        kind, _, pid = _lock_of_others(descriptor, byte, 1)
        return 0 if kind == fcntl.F_UNLCK else max(pid, 0)

    def first_lock_of_others(descriptor: int) -> tuple[int, int] | None:
        """The first byte that another process holds, and the process; None when there is none."""
        kind, byte, pid = _lock_of_others(descriptor, 0, 0)
        return None if kind == fcntl.F_UNLCK else (byte, max(pid, 0))

    def _lock_of_others(descriptor: int, byte: int, length: int) -> tuple[int, int, int]:
        """Kind, first byte and process; a length of 0 is to the end of the file and beyond."""
        wanted = (fcntl.F_WRLCK, os.SEEK_SET, byte, length, 0)
        if not _TYPE_FIRST:
            wanted = (byte, length, 0, fcntl.F_WRLCK, os.SEEK_SET)
        answer = _FLOCK.unpack(fcntl.fcntl(descriptor, fcntl.F_GETLK, _FLOCK.pack(*wanted)))
        if _TYPE_FIRST:
            return answer[0], answer[2], answer[4]
        return answer[3], answer[0], answer[2]
