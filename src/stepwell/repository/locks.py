"""Named locks, to read or to write: one fact a function, inside its caller's transaction.

Guarantees: a name has at most one holder that writes, and then none that reads. What waits has its
place in a queue, the highest priority first and then the longest wait; nobody passes one who waits
in front and would be in the way. A lock is taken from its owner only when that is proven dead
(S33), or by force, and the same transaction records it. Extending and releasing need owner and
fence.

All of a name's requests take turns, so that what one of them sees is what it decides on.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from sqlalchemy import bindparam, delete, insert, select, text, update

from stepwell.database.liveness import Liveness
from stepwell.database.prepared import Prepared
from stepwell.database.tables import NOT_ENDED, batch_lock
from stepwell.database.transaction import Reader, Transaction
from stepwell.errors import LostLock
from stepwell.repository.owners import find_owner
from stepwell.repository.zero_rows import report_zero_rows

Mode = Literal["read", "write"]

_l = batch_lock.c
_COLUMNS = (
    _l.lock_id,
    _l.lock_name,
    _l.mode,
    _l.owner_id,
    _l.job_execution_id,
    _l.priority,
    _l.requested_at,
    _l.acquired_at,
    _l.ttl_s,
    _l.renewed_at,
)
_INSERTED = _COLUMNS[1:]

INSERT_LOCK = Prepared(
    insert(batch_lock)
    .values({column: bindparam(column.name) for column in _INSERTED})
    .returning(_l.lock_id)
)
LIST_OF_NAME = Prepared(
    select(*_COLUMNS)
    .where(_l.lock_name == bindparam("name_"), text(NOT_ENDED))
    .order_by(_l.priority.desc(), _l.lock_id)
)
LIST_ALL = Prepared(
    select(*_COLUMNS).where(text(NOT_ENDED)).order_by(_l.lock_name, _l.priority.desc(), _l.lock_id)
)
_own = (_l.lock_id == bindparam("id_"), _l.owner_id == bindparam("owner_"), text(NOT_ENDED))
DELETE_LOCK = Prepared(delete(batch_lock).where(*_own))
RENEW_LOCK = Prepared(
    update(batch_lock).where(*_own).values(renewed_at=bindparam("at_"), ttl_s=bindparam("ttl_"))
)
# Somebody else's: it stays, so that its owner can be told why it has it no more.
END_LOCK = Prepared(
    update(batch_lock)
    .where(_l.lock_id == bindparam("id_"), text(NOT_ENDED))
    .values(ended_at=bindparam("at_"), ended_reason=bindparam("reason_"))
)
# A place in the queue is nothing that was ever had.
DROP_WAITING = Prepared(
    delete(batch_lock).where(_l.lock_id == bindparam("id_"), _l.acquired_at.is_(None))
)
END_OF_EXECUTION = Prepared(
    update(batch_lock)
    .where(_l.job_execution_id == bindparam("execution_"), text(NOT_ENDED))
    .values(ended_at=bindparam("at_"), ended_reason=bindparam("reason_"))
)
WHY_ENDED = Prepared(select(_l.ended_at, _l.ended_reason).where(_l.lock_id == bindparam("id_")))


@dataclass(frozen=True)
class Lock:
    """A row: a lock that is held, or a place in its queue.

    Attributes:
        fence: Rises with each holder of the name; what is written elsewhere under the lock may
            carry it, so that the writes of an earlier holder can be refused.
        acquired_at: None while it waits.
        ttl_s: The holder means to extend it within that time; None: it made no such promise.
        renewed_at: When it was acquired or extended last.
    """

    fence: int
    name: str
    mode: Mode
    owner_id: int
    execution_id: int | None
    priority: int
    requested_at: datetime
    acquired_at: datetime | None
    ttl_s: int | None
    renewed_at: datetime | None

    def excludes(self, other: Lock) -> bool:
        """Whether the two may not be held at the same time."""
        return "write" in (self.mode, other.mode)

    def is_overdue(self, now: datetime) -> bool:
        """Whether its holder has not extended it in time; that alone takes it from nobody."""
        if self.ttl_s is None or self.renewed_at is None:
            return False
        return (now - self.renewed_at).total_seconds() > self.ttl_s


def in_the_way(rows: list[Lock], wanted: Lock) -> list[Lock]:
    """What ``wanted`` waits for: holders, and those in front of it in the queue; by their rank.

    A fence of 0 is that of a newcomer, who comes behind all others of its priority.
    """

    def rank(lock: Lock) -> tuple[int, bool, int]:
        return (-lock.priority, lock.fence == 0, lock.fence)

    return [
        row
        for row in rows
        if row.fence != wanted.fence
        and row.excludes(wanted)
        and (row.acquired_at is not None or rank(row) < rank(wanted))
    ]


def request_lock(
    transaction: Transaction, wanted: Lock, liveness: Liveness, *, at: datetime, waits: bool
) -> tuple[Lock | None, list[Lock]]:
    """Give the lock to ``wanted``, or a place in the queue; answers it and what it waits for.

    A free lock takes two statements. What a dead owner has, held or waiting, is out of the way
    after this. ``waits`` False: without a place in the queue, None. Asked again with the
    place that it answered before, it becomes the lock once nothing is in its way.

    Raises:
        LostLock: the place in the queue is gone.
    """
    transaction.take_turn(f"lock {wanted.name}")
    rows = list_of_name(transaction, wanted.name)
    if wanted.fence and all(row.fence != wanted.fence for row in rows):
        raise lost_lock(transaction, wanted, "wait for")
    blocking = in_the_way(rows, wanted)
    if blocking:
        blocking = _without_the_dead(transaction, blocking, wanted, liveness, at=at)
    if not blocking:
        if wanted.fence:
            # Removed and added: the fence rises in the order in which the holders had it.
            transaction.execute(DROP_WAITING, {"id_": wanted.fence})
        return _insert(transaction, wanted, acquired_at=at), []
    if not wanted.fence and waits:
        return _insert(transaction, wanted, acquired_at=None), blocking
    return (wanted if wanted.fence else None), blocking


def release_lock(transaction: Transaction, lock: Lock, *, verb: str = "release") -> None:
    """Let go of a lock, or of a place in its queue: one statement.

    Raises:
        LostLock: it was taken from this owner; the message says why.
    """
    if transaction.execute(DELETE_LOCK, {"id_": lock.fence, "owner_": lock.owner_id}) != 1:
        raise lost_lock(transaction, lock, verb)


def extend_lock(transaction: Transaction, lock: Lock, *, ttl_s: int | None, at: datetime) -> None:
    """Prove that the lock is still had and its holder still at work (a heartbeat).

    Raises:
        LostLock: it was taken from this owner; the message says why.
    """
    values = {"id_": lock.fence, "owner_": lock.owner_id, "ttl_": ttl_s, "at_": at}
    if transaction.execute(RENEW_LOCK, values) != 1:
        raise lost_lock(transaction, lock, "extend")


def end_lock(transaction: Transaction, lock: Lock, reason: str, *, at: datetime) -> None:
    """Take a lock from its owner, whose next word on it is refused with the reason."""
    if lock.acquired_at is None:
        transaction.execute(DROP_WAITING, {"id_": lock.fence})
    else:
        transaction.execute(END_LOCK, {"id_": lock.fence, "reason_": reason, "at_": at})


def end_locks_of_execution(
    transaction: Transaction, execution_id: int, reason: str, *, at: datetime
) -> None:
    """Take what the steps of an execution hold, with the execution itself (S34)."""
    values = {"execution_": execution_id, "reason_": reason, "at_": at}
    transaction.execute(END_OF_EXECUTION, values)


def list_of_name(reader: Reader, name: str) -> list[Lock]:
    """Who holds and who waits for a name, by rank."""
    return [Lock(*row) for row in reader.fetch_all(LIST_OF_NAME, {"name_": name})]


def list_locks(reader: Reader) -> list[Lock]:
    """Every lock that is held or waited for, by name and rank."""
    return [Lock(*row) for row in reader.fetch_all(LIST_ALL)]


def lost_lock(reader: Reader, lock: Lock, verb: str) -> LostLock:
    """The error of an owner whose lock is no more its own, with what is recorded of it."""
    report_zero_rows(f"lock {lock.name!r} of fence {lock.fence}", status=None, stage=None)
    row = reader.fetch_one(WHY_ENDED, {"id_": lock.fence})
    return LostLock(verb, lock.name, lock.fence, reason=row[1] if row else None)


def _insert(transaction: Transaction, wanted: Lock, *, acquired_at: datetime | None) -> Lock:
    values = {
        "lock_name": wanted.name,
        "mode": wanted.mode,
        "owner_id": wanted.owner_id,
        "job_execution_id": wanted.execution_id,
        "priority": wanted.priority,
        "requested_at": wanted.requested_at,
        "acquired_at": acquired_at,
        "ttl_s": wanted.ttl_s,
        "renewed_at": acquired_at,
    }
    row = transaction.fetch_one(INSERT_LOCK, values)
    assert row is not None
    return Lock(row[0], *values.values())  # type: ignore[arg-type]


def _without_the_dead(
    transaction: Transaction,
    blocking: list[Lock],
    wanted: Lock,
    liveness: Liveness,
    *,
    at: datetime,
) -> list[Lock]:
    dead = {
        owner_id for owner_id in {row.owner_id for row in blocking} if liveness.is_dead(owner_id)
    }
    for row in blocking:
        if row.owner_id in dead:
            owner = find_owner(transaction, row.owner_id) or f"owner {row.owner_id}"
            reason = f"{owner} is dead, owner {wanted.owner_id} has taken it over"
            end_lock(transaction, row, reason, at=at)
    return [row for row in blocking if row.owner_id not in dead]
