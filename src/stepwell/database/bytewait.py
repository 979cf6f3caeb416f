"""Waiting for a locked byte, with a limit: the operating system's wait has none.

Who waits in the operating system is woken at the unlock, in the order in which they came; a process
that is killed or stopped while it waits holds nobody up. But such a wait cannot be ended. So it is
a thread's, and whoever has had enough leaves that thread to wait alone: it gives the byte back as
soon as it comes.
"""

from __future__ import annotations

from threading import Event, Lock, Thread

from stepwell.database.bytelock import lock_when_free, try_lock, unlock

TRIES_AGAIN_AFTER_S = 0.001  # Where the operating system does not wait.


class ByteWaiter:
    """Locks one byte of a file, for one thread of this process at a time.

    Its own thread is begun by the first who has to wait.
    """

    def __init__(self, descriptor: int, byte: int) -> None:
        self._descriptor = descriptor
        self._byte = byte
        self._state = Lock()
        self._is_waiting = False  # The thread: at most one at a time, a process's locks are one.
        self._is_wanted = False
        self._thread: Thread | None = None
        self._asked, self._granted = Lock(), Lock()
        self._asked.acquire()
        self._granted.acquire()
        self._closed = Event()

    def acquire(self, timeout_s: float) -> bool:
        """Wait for the byte, at most ``timeout_s``; say whether it came."""
        with self._state:
            # While the thread waits for somebody who has left, its lock would be taken for ours.
            if not self._is_waiting:
                if try_lock(self._descriptor, self._byte):
                    return True
                self._begin()
            self._is_wanted = True
        try:
            return self._granted.acquire(timeout=timeout_s) or self._leave()
        except BaseException:
            if self._leave():
                self.release()
            raise

    def release(self) -> None:
        """Give the byte back."""
        unlock(self._descriptor, self._byte)

    def close(self) -> None:
        """End the thread; the caller closes the file, and so drops the lock."""
        with self._state:
            self._closed.set()
            if self._thread is not None and not self._is_waiting:
                self._asked.release()

    def _begin(self) -> None:
        if self._thread is None:
            self._thread = Thread(target=self._run, name="stepwell-gate", daemon=True)
            self._thread.start()
        self._is_waiting = True
        self._asked.release()

    def _leave(self) -> bool:
        """It is not wanted any more; say whether it came just now."""
        with self._state:
            self._is_wanted = False
            return self._granted.acquire(blocking=False)

    def _run(self) -> None:
        while self._asked.acquire() and not self._closed.is_set():
            while not lock_when_free(self._descriptor, self._byte):
                if self._closed.wait(TRIES_AGAIN_AFTER_S):
                    return
            with self._state:
                if self._closed.is_set():
                    return  # The descriptor may be another file's by now.
                self._is_waiting = False
                if self._is_wanted:
                    self._is_wanted = False
                    self._granted.release()
                else:
                    self.release()
