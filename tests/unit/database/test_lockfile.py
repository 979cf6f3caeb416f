"""A lock that is a file: one holder, whoever asks, and none after its death."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from stepwell.database.lockfile import LockFile
from tests.unit.database.statements import line_of, program

HOLDER = """
import sys
from pathlib import Path
from stepwell.database.lockfile import LockFile
print(LockFile(Path(sys.argv[1])).acquire(), flush=True)
sys.stdin.read()
"""


def test_one_holder_among_the_threads_of_a_process(tmp_path: Path) -> None:
    first, second = LockFile(tmp_path / "lock"), LockFile(tmp_path / "lock")

    assert first.acquire()
    assert not second.acquire()
    assert not first.acquire()
    assert "this process" == second.holder()
    second.release()  # It holds nothing.
    assert not LockFile(tmp_path / "lock").acquire()
    first.release()
    assert not (tmp_path / "lock").exists()
    assert second.acquire()
    second.release()


def test_one_holder_among_processes_until_its_death(tmp_path: Path) -> None:
    lock = LockFile(tmp_path / "lock")
    with program(HOLDER, str(tmp_path / "lock")) as holder:
        assert "True" == line_of(holder)
        assert not lock.acquire()
        assert f"pid {holder.pid}" == lock.holder()
        os.kill(holder.pid, signal.SIGKILL)
        holder.wait()

    assert lock.acquire()
    lock.release()


def test_a_lock_on_a_file_that_was_deleted_is_worth_nothing(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with program(HOLDER, str(path)) as holder:
        assert "True" == line_of(holder)
        path.unlink()
        lock = LockFile(path)

        assert lock.acquire()
        lock.release()
