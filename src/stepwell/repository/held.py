"""R17, R18 and R23: what executions and owners hold, alone, and not beyond their death."""

from __future__ import annotations

from itertools import combinations

from stepwell.database.liveness import Liveness
from stepwell.database.transaction import Reader
from stepwell.finding import Finding, Repair, Severity, Statement
from stepwell.repository.blockers import read_occupancy
from stepwell.repository.explanations import EXPLANATIONS
from stepwell.repository.locks import Lock, list_locks
from stepwell.repository.rule import REPAIR_HINT


def shared_resources(reader: Reader) -> list[Finding]:
    """R17: what one execution at work has for itself, no other one has."""
    return [
        Finding(
            code="shared_resource",
            severity=Severity.ERROR,
            where=f"job execution {first}",
            what=f"it has {ours!r} while execution {second} has {theirs!r}",
            hint=f"`stepwell stop {max(first, second)}`",
            rule="R17",
            explanation=EXPLANATIONS["shared_resource"],
            execution_id=first,
        )
        for first, second, ours, theirs in read_occupancy(reader).overlaps()
    ]


def shared_locks(reader: Reader) -> list[Finding]:
    """R18: those who have a lock now; who waits for one has nothing."""
    held = [lock for lock in list_locks(reader) if lock.acquired_at is not None]
    return [
        Finding(
            code="shared_lock",
            severity=Severity.ERROR,
            where=f"lock {one.name!r}",
            what=f"owner {one.owner_id} has it to {one.mode} (fence {one.fence}) while owner"
            f" {other.owner_id} has it to {other.mode} (fence {other.fence})",
            hint=REPAIR_HINT,
            rule="R18",
            explanation=EXPLANATIONS["shared_lock"],
            repair=_end(
                min(one, other, key=lambda lock: lock.fence),
                "a later holder has it too",
                "what both have done meanwhile",
            ),
        )
        for one, other in combinations(held, 2)
        if one.name == other.name and one.excludes(other)
    ]


def stale_locks(reader: Reader, liveness: Liveness) -> list[Finding]:
    """R23: a lock, or a place in its queue, whose owner is proven dead."""
    locks = list_locks(reader)
    dead = {owner for owner in {lock.owner_id for lock in locks} if liveness.is_dead(owner)}
    return [
        Finding(
            code="stale_lock",
            severity=Severity.WARNING,
            where=f"lock {lock.name!r}",
            what=f"owner {lock.owner_id} {'waits for it' if lock.acquired_at is None else 'has it'}"
            f" to {lock.mode} (fence {lock.fence}) and is dead",
            hint=REPAIR_HINT,
            rule="R23",
            explanation=EXPLANATIONS["stale_lock"],
            repair=_end(lock, "its owner is dead", "what it had done under the lock"),
        )
        for lock in locks
        if lock.owner_id in dead
    ]


def _end(lock: Lock, why: str, cannot_know: str) -> Repair:
    """As whoever takes it over does: a holder can be told why it has it no more."""
    values = {"id": lock.fence, "owner": lock.owner_id, "reason": f"found by the doctor: {why}"}
    which = "lock_id = :id AND owner_id = :owner AND ended_at IS NULL"
    change = "UPDATE batch_lock SET ended_at = :now, ended_reason = :reason"
    if lock.acquired_at is None:
        change = "DELETE FROM batch_lock"
    return Repair(
        f"take it from owner {lock.owner_id}: {why}",
        cannot_know,
        Statement(f"SELECT 1 FROM batch_lock WHERE {which}", values),
        (Statement(f"{change} WHERE {which}", values),),
    )
