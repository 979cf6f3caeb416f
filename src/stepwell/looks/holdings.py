"""Who has what, as JSON: the processes at work, pools and locks; see ``docs/cli.md``."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

from stepwell.looks.representation import owner_json
from stepwell.looks.text import iso_utc, seconds_between

if TYPE_CHECKING:
    from stepwell.repository.at_work import OwnerAtWork
    from stepwell.repository.holdings import Holding
    from stepwell.repository.owners import Owner
    from stepwell.repository.pools import Pool


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


def holding_json(
    holding: Holding, owner: Owner | None, dead: Mapping[int, bool], now: datetime
) -> dict[str, Any]:
    """A lock, and who has it or waits for it."""
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
            "is_dead": dead[holding.owner_id],
        },
        "since": iso_utc(holding.since),
        "age_s": seconds_between(holding.since, now),
        "ttl_s": holding.ttl_s,
        "is_overdue": holding.is_overdue,
    }
