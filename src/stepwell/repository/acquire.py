"""Locks for programs: acquire, wait, extend, release; on any number of threads and processes.

A free lock is acquired in one short transaction and released in another. Whoever must wait has a
row in the queue and looks whether its turn has come: often when it is the next one, seldom when
many are in front of it. Looking writes nothing and blocks nobody.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from dataclasses import replace
from threading import Event, get_ident
from threading import Lock as ThreadLock
from types import TracebackType
from typing import Self

from stepwell.clock import Clock
from stepwell.database.connect import Database
from stepwell.database.transaction import Reader, Transaction
from stepwell.errors import LockError, LockHeld, LostLock, NoSuchLock, StepwellError
from stepwell.repository.locks import (
    Lock,
    Mode,
    end_lock,
    extend_lock,
    in_the_way,
    list_of_name,
    release_lock,
    request_lock,
)
from stepwell.repository.owners import end_owner, find_owner, register_owner

WAIT_S = 30.0  # As long as a writer waits for the database itself.
NAME_CHARACTERS_MAX = 200
_NAME = re.compile(rf"[^\s\x00-\x1f\x7f]([^\x00-\x1f\x7f]{{0,{NAME_CHARACTERS_MAX - 1}}})")
LOOK_AFTER_S = 0.001  # The next one in the queue; each one in front of it adds as much.
LOOK_AFTER_S_MAX = 0.25  # Also how late a dead holder may be noticed.
_PATIENCE = 20  # After a minute of waiting nobody minds another second: a part of what was waited.

logger = logging.getLogger("stepwell.locks")


class HeldLock:
    """A lock that this process has; ``with`` releases it at its end.

    Attributes:
        name: What was locked.
        mode: ``write`` excludes everybody else, ``read`` only those who write.
        fence: A number that rises with each holder of the name. What you write elsewhere may carry
            it, so that a late write of an earlier holder can be told and refused.
    """

    def __init__(self, locks: Locks, lock: Lock) -> None:
        self._locks = locks
        self._lock = lock
        self._released = False
        self.name, self.mode, self.fence = lock.name, lock.mode, lock.fence

    def extend(self, ttl_s: int | None = None) -> None:
        """Say that the work goes on; proves that the lock is still this owner's.

        ``ttl_s`` replaces the time within which the next word will come.

        Raises:
            LostLock: it was taken by force, or this owner was taken for dead.
        """
        self._lock = self._locks.extend(self._lock, ttl_s)

    def release(self) -> None:
        """Let go; a second time does nothing.

        Raises:
            LostLock: it was taken meanwhile, so others may have had it.
        """
        if not self._released:
            self._released = True
            self._locks.release(self._lock)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            self.release()
        except StepwellError:
            if error is None:
                raise
            # The exception of the work counts; this one may well be its consequence.
            logger.warning("lock %r could not be released", self.name, exc_info=True)


class Locks:
    """The named locks of one database; ``Node.locks`` is one. Threads may share it.

    Attributes:
        owner: Who this process is; a program that runs executions has one owner for both.
    """

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self.owner: Callable[[], int] = self._register_once
        self._owner_id: int | None = None
        self._registering = ThreadLock()
        # What each thread has: a second lock of the same name would wait for the first for ever.
        self._held: dict[int, tuple[int, str]] = {}

    def acquire(
        self,
        name: str,
        *,
        mode: Mode = "write",
        wait_s: float | None = WAIT_S,
        priority: int = 0,
        ttl_s: int | None = None,
        execution_id: int | None = None,
        stop: Callable[[], bool] | None = None,
    ) -> HeldLock:
        """Have a lock, as soon as nothing is in the way; use it with ``with``.

        >>> with node.locks.acquire("reports", mode="read"):
        ...     copy_reports()

        Args:
            name: Any text of 1 to 200 characters; the same name is the same lock everywhere.
            mode: ``write`` excludes everybody else, ``read`` only those who write.
            wait_s: How long to wait at most; 0: not at all, None: for ever.
            priority: A higher number goes first; among equals the longest wait does.
            ttl_s: Within that time it will be extended. A lock that was not is shown as overdue; it
                stays its owner's as long as that lives.
            execution_id: The execution on whose behalf it is; recovery frees it with that.
            stop: Asked while waiting; True ends the wait.

        Raises:
            LockHeld: it did not become free in time; the message names who is in the way.
            LockError: the arguments are wrong, or this thread has the lock already.
        """
        _refuse_bad(name, mode, wait_s, ttl_s)
        mine = (get_ident(), name)
        if mine in self._held.values():
            raise LockError(
                f"cannot acquire lock {name!r}: this thread has it already",
                hint="release it first; it would wait for itself",
                fields={"lock": name},
            )
        now = self._clock.now()
        wanted = Lock(0, name, mode, self.owner(), execution_id, priority, now, None, ttl_s, None)
        lock, blocking = self._request(wanted, waits=wait_s != 0)
        if lock is None:
            raise self._held_by_others(wanted, blocking, 0.0)
        if lock.acquired_at is None:
            lock = self._wait(lock, blocking, wait_s, stop)
        self._held[lock.fence] = mine
        return HeldLock(self, lock)

    def extend(self, lock: Lock, ttl_s: int | None = None) -> Lock:
        """See :meth:`HeldLock.extend`."""
        _refuse_bad(lock.name, lock.mode, None, ttl_s)
        now, ttl_s = self._clock.now(), ttl_s or lock.ttl_s
        self._database.run(
            lambda t: extend_lock(t, lock, ttl_s=ttl_s, at=now), what=f"extend lock {lock.name!r}"
        )
        return replace(lock, ttl_s=ttl_s, renewed_at=now)

    def release(self, lock: Lock) -> None:
        """See :meth:`HeldLock.release`."""
        self._held.pop(lock.fence, None)
        self._database.run(lambda t: release_lock(t, lock), what=f"release lock {lock.name!r}")

    def take(self, name: str, *, reason: str, force: bool, fence: int | None = None) -> list[Lock]:
        """Take a lock from its owners, those proven dead, or by ``force`` the living too.

        ``fence`` chooses one of several that read. Answers what was taken.

        Raises:
            NoSuchLock: nobody has it.
            LockHeld: an owner lives, and ``force`` is False; nothing was taken.
        """
        said = f"taken by {'force' if force else 'an operator'}" + (f": {reason}" if reason else "")

        def fact(transaction: Transaction) -> list[Lock]:
            transaction.take_turn(f"lock {name}")
            held = [
                lock
                for lock in list_of_name(transaction, name)
                if lock.acquired_at is not None and fence in (None, lock.fence)
            ]
            if not held:
                raise NoSuchLock(name)
            living = [lock for lock in held if not self._database.liveness.is_dead(lock.owner_id)]
            if living and not force:
                raise _owner_lives(transaction, living[0])
            for lock in held:
                end_lock(transaction, lock, said, at=self._clock.now())
            return held

        return self._database.run(fact, what=f"release lock {name!r}")

    def close(self) -> None:
        """End the owner that this made for itself; what it still has is free for others then."""
        with self._registering:
            owner_id, self._owner_id = self._owner_id, None
            if owner_id is not None:
                self._database.run(lambda t: end_owner(t, owner_id, at=self._clock.now()))
                self._database.liveness.release(owner_id)

    def _register_once(self) -> int:
        with self._registering:
            if self._owner_id is None:
                liveness = self._database.liveness
                self._owner_id = self._database.run(
                    lambda t: register_owner(t, liveness, self._clock, "locks")
                )
            return self._owner_id

    # --- waiting -----------------------------------------------------------------------------

    def _request(self, wanted: Lock, *, waits: bool) -> tuple[Lock | None, list[Lock]]:
        return self._database.run(
            lambda t: request_lock(
                t, wanted, self._database.liveness, at=self._clock.now(), waits=waits
            ),
            what=f"acquire lock {wanted.name!r}",
        )

    def _wait(
        self,
        place: Lock,
        blocking: list[Lock],
        wait_s: float | None,
        stop: Callable[[], bool] | None,
    ) -> Lock:
        """The lock, once nothing is in the way of this place in the queue; else it is given up."""
        clock, nothing = self._clock, Event()
        began = moved_at = proved_at = clock.monotonic()
        try:
            while True:
                waited_s = clock.monotonic() - began
                if (wait_s is not None and waited_s >= wait_s) or (stop is not None and stop()):
                    raise self._held_by_others(place, blocking, waited_s)
                pause_s = max(
                    LOOK_AFTER_S * len(blocking), (began + waited_s - moved_at) / _PATIENCE
                )
                left_s = pause_s if wait_s is None else wait_s - waited_s
                clock.wait(nothing, min(pause_s, left_s, LOOK_AFTER_S_MAX))
                before = blocking
                with self._database.read() as reader:
                    blocking = in_the_way(list_of_name(reader, place.name), place)
                now = clock.monotonic()
                if blocking != before:
                    moved_at = now
                # The proof of a death costs more than a look.
                if not blocking or now - proved_at >= LOOK_AFTER_S_MAX:
                    proved_at = now
                    lock, blocking = self._request(place, waits=True)
                    if lock is not None and lock.acquired_at is not None:
                        return lock
        except BaseException:
            self._give_up(place)
            raise

    def _give_up(self, place: Lock) -> None:
        try:
            self._database.run(lambda t: release_lock(t, place))
        except LostLock:
            return  # It is gone already.
        except StepwellError:
            # The place stays as long as this process: it is in the others' way until then.
            logger.warning("the place in the queue of lock %r stays", place.name, exc_info=True)

    # --- refusals ----------------------------------------------------------------------------

    def _held_by_others(self, wanted: Lock, blocking: list[Lock], waited_s: float) -> LockHeld:
        first = blocking[0]
        with self._database.read() as reader:
            who = holder_text(reader, first)
        what = "has it" if first.acquired_at is not None else "waits in front"
        more = f" (and {len(blocking) - 1} more)" if len(blocking) > 1 else ""
        after = f", after {waited_s:.1f} s" if waited_s else ""
        return LockHeld(
            f"cannot acquire lock {wanted.name!r} to {wanted.mode}: {who} {what}{more}{after}",
            hint="`stepwell lock list` shows who holds and who waits",
            fields={
                "lock": wanted.name,
                "mode": wanted.mode,
                "owner_id": first.owner_id,
                "execution_id": first.execution_id,
                "fence": first.fence,
            },
        )


def holder_text(reader: Reader, lock: Lock) -> str:
    """``execution 4 of owner 2 (pid 71 on shop-3)``."""
    owner = find_owner(reader, lock.owner_id) or f"owner {lock.owner_id}"
    return f"{owner}" if lock.execution_id is None else f"execution {lock.execution_id} of {owner}"


def _refuse_bad(name: str, mode: str, wait_s: float | None, ttl_s: int | None) -> None:
    if not _NAME.fullmatch(name):
        fact = f"its name must be 1 to {NAME_CHARACTERS_MAX} printable characters, got {name!r}"
    elif mode not in ("read", "write"):
        fact = f"mode must be 'read' or 'write', got {mode!r}"
    elif wait_s is not None and not wait_s >= 0:
        fact = f"wait_s must be seconds of 0 or more, or None, got {wait_s!r}"
    elif ttl_s is not None and (ttl_s != int(ttl_s) or ttl_s < 1):
        fact = f"ttl_s must be whole seconds of 1 or more, or None, got {ttl_s!r}"
    else:
        return
    raise LockError(f"cannot acquire lock {name!r}: {fact}", hint="correct the call")


def _owner_lives(reader: Reader, lock: Lock) -> LockHeld:
    return LockHeld(
        f"cannot release lock {lock.name!r}: {holder_text(reader, lock)} has it and is alive",
        hint=f"if it hangs: `stepwell lock release {lock.name} --force --reason …`",
        fields={"lock": lock.name, "owner_id": lock.owner_id, "fence": lock.fence},
    )
