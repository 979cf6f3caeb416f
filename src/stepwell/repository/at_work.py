"""The processes at work on one database: who they are, what they run, how one is asked to end."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime

from stepwell.clock import Clock
from stepwell.database.connect import Database
from stepwell.errors import JobExecutionNotRunning, NoSuchOwner, OwnerHasEnded
from stepwell.repository import owners, verbs
from stepwell.repository.executions import owned_executions
from stepwell.repository.history import Because
from stepwell.repository.owners import Owner


@dataclass(frozen=True)
class OwnerAtWork:
    """An owner whose end nobody has recorded yet, with what it runs."""

    owner: Owner
    is_dead: bool
    execution_ids: tuple[int, ...]


def list_at_work(database: Database) -> list[OwnerAtWork]:
    """Every process that has not ended, the oldest first; the dead among them are told apart."""
    with database.read() as reader:
        known = owners.live_owners(reader)
        running = owned_executions(reader)
    return [
        OwnerAtWork(
            owner,
            database.liveness.is_dead(owner.owner_id),
            tuple(e.execution_id for e in running if e.owner_id == owner.owner_id),
        )
        for owner in known
    ]


def request_end(database: Database, clock: Clock, owner_id: int, because: Because) -> Owner:
    """Ask a process to end: a worker to end gracefully, any other to stop what it runs.

    Raises:
        NoSuchOwner: no owner has this id.
        OwnerHasEnded: its end is recorded, or it is proven dead.
    """
    with database.read() as reader:
        owner = owners.find_owner(reader, owner_id)
        running = [e for e in owned_executions(reader) if e.owner_id == owner_id]
    if owner is None:
        raise NoSuchOwner(owner_id)
    is_dead = owner.ended_at is None and database.liveness.is_dead(owner_id)
    if owner.ended_at is not None or is_dead:
        raise OwnerHasEnded(owner_id, str(owner), is_dead=is_dead)
    at = clock.now()
    reason = because.reason or f"asked by {because.actor}"
    database.run(lambda t: owners.request_end(t, owner_id, reason, at=at))
    if owner.purpose not in owners.WORKING:
        for execution in running:
            _request_stop(database, execution.execution_id, because, at)
    return owner


def asked_to_end(database: Database, owner_id: int) -> str | None:
    """Why this owner was asked to end; None when nobody has."""
    with database.read() as reader:
        owner = owners.find_owner(reader, owner_id)
    return None if owner is None or owner.stop_requested_at is None else owner.stop_reason


def _request_stop(database: Database, execution_id: int, because: Because, at: datetime) -> None:
    with suppress(JobExecutionNotRunning):  # It has ended by itself meanwhile.
        database.run(lambda t: verbs.request_stop(t, execution_id, because, at=at))
