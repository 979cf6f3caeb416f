"""What one process shares on one database file: the writer gate and the owners file.

POSIX locks belong to the process and drop when *any* descriptor of the file is closed. So there is
one descriptor a file and process, whatever the number of Database objects, closed with the last.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path
from threading import Lock

from stepwell.database.bytelock import first_lock_of_others, is_locked, try_lock, unlock
from stepwell.database.gate import WriterGate
from stepwell.errors import CannotOpenDatabase, DatabaseFull, DatabaseReadOnly


class ProcessFile:
    """The lock files beside one database; only :class:`ProcessFiles` makes one."""

    def __init__(self, database_path: str, driver: str) -> None:
        self.driver = driver
        self.users = 0
        self._database_path = database_path
        self._gate_descriptor = _open_beside(database_path, "-gate")
        self._owners_descriptor: int | None = None
        self._owners_held: set[int] = set()
        self._owners = Lock()
        self.gate = WriterGate(database_path, self._gate_descriptor)

    @property
    def is_shared(self) -> bool:
        """Whether more than one part of this process uses the database."""
        return self.users > 1

    def hold_owner(self, owner_id: int) -> bool:
        """Lock the owner's byte until :meth:`release_owner` or the end of this process."""
        with self._owners:
            if try_lock(self._owners_file(), owner_id):
                self._owners_held.add(owner_id)
                return True
            return False

    def holds_owner(self, owner_id: int) -> bool:
        """Whether this process holds the owner's byte."""
        return owner_id in self._owners_held

    def release_owner(self, owner_id: int) -> None:
        """Give the owner's byte back; from now on it counts as dead."""
        with self._owners:
            if owner_id in self._owners_held:
                self._owners_held.remove(owner_id)
                unlock(self._owners_file(), owner_id)

    def owner_is_dead(self, owner_id: int) -> bool:
        """Whether no living process holds the owner's byte."""
        with self._owners:
            # The system only tells of the others' locks.
            if owner_id in self._owners_held:
                return False
            return not is_locked(self._owners_file(), owner_id)

    def any_living_owner(self) -> tuple[int, str] | None:
        """An owner that lives, by its id and process, if there is any at all.

        The bytes are asked and not the table: it may be damaged, or of another epoch.
        """
        with self._owners:
            if self._owners_held:
                return min(self._owners_held), "this process"
            found = first_lock_of_others(self._owners_file())
        if found is None:
            return None
        byte, pid = found
        return byte, f"pid {pid}" if pid else "another process"

    def close(self) -> None:
        """Close the descriptors, and so drop every lock."""
        self.gate.close()
        os.close(self._gate_descriptor)
        if self._owners_descriptor is not None:
            os.close(self._owners_descriptor)

    def forget_locks(self) -> None:
        """Start afresh in a forked child: no lock is inherited, other threads do not exist."""
        self._owners = Lock()
        self._owners_held = set()
        self.gate.forget()

    def _owners_file(self) -> int:
        if self._owners_descriptor is None:
            self._owners_descriptor = _open_beside(self._database_path, "-owners")
        return self._owners_descriptor


class ProcessFiles:
    """One ProcessFile for each database that this process has open, whoever opened it."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._files: dict[str, ProcessFile] = {}

    def share(self, database_path: str, driver: str) -> ProcessFile:
        """The one of this real path, with one more user.

        Raises:
            CannotOpenDatabase: the process has it open with another copy of SQLite; the two would
                drop each other's locks (sqlite.org/howtocorrupt.html).
        """
        with self._lock:
            if database_path not in self._files:
                self._files[database_path] = ProcessFile(database_path, driver)
            file = self._files[database_path]
            if file.driver != driver:
                raise CannotOpenDatabase(
                    f"cannot open database {database_path!r} with {driver}:"
                    f" this process has it open with {file.driver}",
                    hint="use one value of sqlite_driver in one process",
                    fields={"database": database_path, "driver": driver},
                )
            file.users += 1
            return file

    def give_up(self, database_path: str) -> None:
        """One user less; with the last one the descriptors are closed."""
        with self._lock:
            file = self._files[database_path]
            file.users -= 1
            if not file.users:
                self._files.pop(database_path).close()

    def forget(self) -> None:
        """Start afresh in a forked child."""
        self._lock = Lock()
        for file in self._files.values():
            file.forget_locks()


PROCESS_FILES = ProcessFiles()


def _open_beside(database_path: str, suffix: str) -> int:
    """Open or create a lock file with the database's own permissions, for whoever may write it."""
    path = database_path + suffix
    try:
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            return os.open(path, os.O_RDWR)
        Path(path).chmod(Path(database_path).stat().st_mode & 0o777)
    except OSError as error:
        refusal = DatabaseFull if error.errno == errno.ENOSPC else DatabaseReadOnly
        raise refusal(
            f"cannot open database {database_path!r}: its lock file {path!r} cannot be written,"
            f" {(error.strerror or str(error)).lower()}",
            hint="let this user write the file and its folder, or copy the database elsewhere",
            fields={"database": database_path, "lock_file": path},
        ) from error
    return descriptor


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=PROCESS_FILES.forget)
