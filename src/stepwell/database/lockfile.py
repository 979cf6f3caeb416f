"""A lock that is a file: one holder at a time, among processes and threads, until it ends.

The operating system takes the lock from a process that dies, so what such a process has left
behind may be cleared by the next holder. The file is deleted by whoever holds it; a lock on a file
that was deleted meanwhile counts for nothing and is tried again.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from threading import Lock
from typing import TypeVar

from stepwell.database.bytelock import holder_pid, is_locked, try_lock

T = TypeVar("T")

_BYTE = 0

# POSIX locks belong to the process: what this process holds, it could take a second time.
_held: set[str] = set()
_holding = Lock()


class LockFile:
    """The lock at one path.

    >>> lock = LockFile(folder / ".lock")
    >>> if lock.acquire():
    ...     try: ...
    ...     finally: lock.release()
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._key = os.path.realpath(path)
        self._descriptor: int | None = None

    def acquire(self) -> bool:
        """Take the lock without waiting; say whether it was free.

        Raises:
            OSError: the file cannot be made here.
        """
        with _holding:
            if self._key in _held:
                return False
            while True:
                descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600)
                if not try_lock(descriptor, _BYTE):
                    os.close(descriptor)
                    return False
                if self._is_still_there(descriptor):
                    break
                os.close(descriptor)
            _held.add(self._key)
            self._descriptor = descriptor
            return True

    def release(self) -> None:
        """Delete the file and let the next one in."""
        with _holding:
            if self._descriptor is None:
                return
            # An open file cannot be deleted on Windows.
            with suppress(OSError):
                self.path.unlink()
            os.close(self._descriptor)
            with suppress(OSError):
                if os.name == "nt":
                    self.path.unlink()
            self._descriptor = None
            _held.discard(self._key)

    def holder(self) -> str:
        """Who holds it, for a message."""
        with _holding:
            if self._key in _held:
                return "this process"
            pid = self._ask(holder_pid)
        return f"pid {pid}" if pid else "another process"

    def is_held(self) -> bool:
        """Whether anybody holds it right now."""
        with _holding:
            return self._key in _held or bool(self._ask(is_locked))

    def _ask(self, question: Callable[[int, int], T]) -> T | None:
        """Ask the system about the file, unless this process holds it: it must not close it."""
        try:
            descriptor = os.open(self.path, os.O_RDWR)
        except OSError:
            return None
        try:
            return question(descriptor, _BYTE)
        finally:
            os.close(descriptor)

    def _is_still_there(self, descriptor: int) -> bool:
        try:
            return os.path.samestat(os.fstat(descriptor), self.path.stat())
        except FileNotFoundError:
            return False
