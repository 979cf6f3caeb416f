"""The writer gate: one writer at a time, first among the threads, then among the processes.

SQLite's own write lock is unfair and starves: beside eight busy writers a heartbeat waited seconds.
The gate is a lock on one byte of a file beside the database. It guarantees
nothing about the data: ``BEGIN IMMEDIATE`` does that, behind the gate, also against programs that
do not know it.

- The order is always: the turn of the thread, the gate, BEGIN; and back.
- The operating system wakes who waits, in order (``bytewait.py``). A process that has just left may
  come back before the one that was woken is there, which costs nobody more than a few turns and
  saves the time of a hand-over. (Four processes that tried again after 100-300 µs instead took 1.3
  to 2 times as long a turn, the waiting alone a third of two cores.)
- A thread that is inside asks again only by mistake: it is refused, it would wait for itself.
- Whoever waits too long learns who holds it: the operating system knows the process, and each
  process wrote its name into the file when it entered first. (Signing at every entry would cost
  more than the lock: after a commit's fsync even a few lines of Python run three times slower.)
"""

from __future__ import annotations

import os
import re
from collections import deque
from contextlib import suppress
from threading import Lock, get_ident

from stepwell.database.bytelock import holder_pid
from stepwell.database.bytewait import ByteWaiter
from stepwell.errors import DatabaseBusy, StepUsageError

RETRY_AFTER_S = (100e-6, 300e-6)  # Behind the gate, when a program that does not know it is inside.

# Beyond the text: Windows lets nobody read a locked byte.
_GATE_BYTE = 1 << 30
_NAMES_BYTES_MAX = 16 * 1024
_NAME = re.compile(r"pid (\d+) ")


class Turn:
    """A lock that threads get in the order in which they asked for it.

    ``threading.Lock`` may be taken again by the thread that has just released it, for as long as
    that thread keeps the interpreter; whoever waits could starve. Here the one who releases hands
    over: the lock stays taken and the longest waiting thread is woken.
    """

    def __init__(self) -> None:
        self._taken = Lock()
        self._waiting: deque[Lock] = deque()

    def acquire(self, timeout_s: float) -> bool:
        """Wait for the turn, at most ``timeout_s``; say whether it came."""
        if self._taken.acquire(blocking=False):
            return True
        mine = Lock()
        mine.acquire()
        self._waiting.append(mine)
        # It may have become free before it was known that somebody waits.
        if self._taken.acquire(blocking=False):
            self._waiting.remove(mine)
            return True
        if mine.acquire(timeout=timeout_s):
            return True
        try:
            self._waiting.remove(mine)
        except ValueError:
            return True  # It was handed over just as the time ran out.
        return False

    def release(self) -> None:
        """Hand the turn to the thread that has waited longest, or set it free."""
        while True:
            if self._waiting:
                self._waiting.popleft().release()
                return
            self._taken.release()
            # Somebody may have begun to wait in between; the next holder, if any, wakes it.
            if not self._waiting or not self._taken.acquire(blocking=False):
                return


class WriterGate:
    """The gate of one database file, shared by everything in this process that writes it."""

    def __init__(self, database_path: str, descriptor: int) -> None:
        self._database_path = database_path
        self._descriptor = descriptor
        self._byte = ByteWaiter(descriptor, _GATE_BYTE)
        self._turn = Turn()
        self._thread = 0
        self._named = False

    def enter(self, timeout_s: float, owner: str, what: str) -> None:
        """Wait for this thread's turn and for the gate; then nobody else writes through a gate.

        ``owner`` is the free text by which others know this process, ``what`` completes the message
        "cannot …".

        Raises:
            DatabaseBusy: it was not free within ``timeout_s``; the message names the holder.
            StepUsageError: this thread is already inside.
        """
        thread = get_ident()
        if self._thread == thread:
            raise StepUsageError(
                f"cannot {what}: this thread is inside another write transaction",
                hint="use the open transaction, or open this one after its end",
            )
        if not self._turn.acquire(timeout_s):
            raise self._busy(what, timeout_s, "another thread of this process")
        try:
            if not self._byte.acquire(timeout_s):
                raise self._busy(what, timeout_s, self._holder())
            if not self._named:
                self._write_name(owner)
        except BaseException:
            self._byte.release()  # Harmless when it was not locked.
            self._turn.release()
            raise
        self._thread = thread

    def leave(self) -> None:
        """Let the next one in."""
        if not self._thread:
            return  # A forked child leaves what only its parent has entered.
        self._thread = 0
        self._byte.release()
        self._turn.release()

    def close(self) -> None:
        """Nobody enters any more; the caller closes the file."""
        self._byte.close()

    def forget(self) -> None:
        """Start afresh in a forked child, which inherits no lock and no other thread."""
        self._byte = ByteWaiter(self._descriptor, _GATE_BYTE)
        self._turn = Turn()
        self._thread = 0
        self._named = False

    def _busy(self, what: str, timeout_s: float, holder: str) -> DatabaseBusy:
        return DatabaseBusy(
            f"cannot {what}: the write lock of database {self._database_path!r} was not free"
            f" for {timeout_s:g} s, it is held by {holder}",
            hint="`stepwell status` shows what is at work; ask that process to end",
            fields={"database": self._database_path, "holder": holder, "timeout_s": timeout_s},
        )

    def _holder(self) -> str:
        pid = holder_pid(self._descriptor, _GATE_BYTE)
        if not pid:
            return "another process"
        return self._names().get(pid, f"pid {pid}")

    def _names(self) -> dict[int, str]:
        text = os.pread(self._descriptor, _NAMES_BYTES_MAX, 0).decode(errors="replace")
        found = ((_NAME.match(line), line) for line in text.splitlines())
        return {int(match[1]): line for match, line in found if match}

    def _write_name(self, owner: str) -> None:
        """Write who this process is; forget processes that are no more. Only inside the gate."""
        self._named = True
        if os.name == "posix":
            names = {pid: name for pid, name in self._names().items() if _is_alive(pid)}
            names[os.getpid()] = f"pid {os.getpid()} ({owner})"
            text = "".join(f"{name}\n" for name in names.values()).encode()
            # The name only serves a message; a full disk is the commit's to report.
            with suppress(OSError):
                os.ftruncate(self._descriptor, 0)
                os.pwrite(self._descriptor, text[-_NAMES_BYTES_MAX:], 0)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True
