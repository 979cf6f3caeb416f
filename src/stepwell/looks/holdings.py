"""Who has what, as JSON: the processes at work, pools and locks; see ``docs/cli.md``."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from stepwell.looks.representation import owner_json
from stepwell.looks.text import iso_utc, seconds_between
from stepwell.repository.holdings import Holding, list_holdings
from stepwell.repository.owners import Owner, find_owner

if TYPE_CHECKING:
    from stepwell.database.connect import Database
    from stepwell.repository.at_work import OwnerAtWork
    from stepwell.repository.pools import Pool


@dataclass(frozen=True)
class Held:
    """A lock as it is at one moment, with whoever has it or waits for it."""

    holding: Holding
    owner: Owner | None
    is_dead: bool
    at: datetime


def list_held(database: Database, *, at: datetime) -> list[Held]:
    """Run locks, resources and named locks."""
    with database.read() as reader:
        holdings = list_holdings(reader, now=at)
        owners = {h.owner_id: find_owner(reader, h.owner_id) for h in holdings}
    # Whether somebody is alive is asked outside: on PostgreSQL it needs a transaction of its own.
    dead = {owner_id: database.liveness.is_dead(owner_id) for owner_id in owners}
    return [Held(h, owners[h.owner_id], dead[h.owner_id], at) for h in holdings]


def at_work_json(each: OwnerAtWork) -> dict[str, Any]:
    """A process, since when it works, and what it runs."""
    return {
        **(owner_json(each.owner, is_dead=each.is_dead) or {}),
        "started_at": iso_utc(each.owner.started_at),
        "stop_requested_at": iso_utc(each.owner.stop_requested_at),
        "stop_reason": each.owner.stop_reason,
        "execution_ids": list(each.execution_ids),
    }


def pool_json(pool: Pool) -> dict[str, Any]:
    """A pool, and who is in it."""
    return {
        "pool": pool.name,
        "size": pool.size,
        "configured_size": pool.configured_size,
        "execution_ids": list(pool.holders),
        "waiting": pool.waiting,
    }


def holding_json(held: Held) -> dict[str, Any]:
    """A lock, and who has it or waits for it."""
    holding, owner = held.holding, held.owner
    return {
        "kind": holding.kind,
        "lock": holding.name,
        "mode": holding.mode,
        "waits": holding.waits,
        "fence": holding.fence,
        "execution_id": holding.execution_id,
        "owner": {
            "owner_id": holding.owner_id,
            "host": owner.host if owner else None,
            "pid": owner.pid if owner else None,
            "purpose": owner.purpose if owner else None,
            "is_dead": held.is_dead,
        },
        "since": iso_utc(holding.since),
        "age_s": seconds_between(holding.since, held.at),
        "ttl_s": holding.ttl_s,
        "is_overdue": holding.is_overdue,
    }
