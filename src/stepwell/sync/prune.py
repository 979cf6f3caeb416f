"""Takes away what every live peer has acknowledged, a few changes a transaction.

Versions and tombstones (``sync_row``), what was applied (``sync_applied``), conflicts and the audit
stay: no answer to a later change depends on what is pruned (L6). The changes of a group in
quarantine are kept until it is closed.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import bindparam, delete, exists, func, select

from stepwell.database.connect import Database
from stepwell.database.prepared import Prepared
from stepwell.database.transaction import Reader, Transaction
from stepwell.sync import peers
from stepwell.sync.tables import change_log, sync_quarantine

PRUNED_AT_ONCE = 10_000  # LSNs a transaction: others want to write, too.

_c, _q = change_log.c, sync_quarantine.c
_FIRST_IN_QUARANTINE = Prepared(
    select(func.min(_c.lsn)).where(
        exists().where(
            _q.origin == _c.origin,
            _q.epoch == _c.epoch,
            _q.seq == _c.seq,
            _q.closed_at.is_(None),
        )
    )
)
_DELETE = Prepared(delete(change_log).where(_c.lsn < bindparam("below")))


@dataclass(frozen=True)
class Holder:
    """A live peer, or the quarantine, for which changes are kept.

    Attributes:
        node_id: The peer; empty for the quarantine.
        after_lsn: Everything up to here it needs no more.
        changes: How many it holds back.
    """

    node_id: str
    after_lsn: int
    changes: int


@dataclass(frozen=True)
class Pruning:
    """What is pruned, or would be.

    Attributes:
        below_lsn: What stands before this is.
        changes: How many that are.
        holders: Who needs what is kept, the one that holds most first.
    """

    below_lsn: int
    changes: int
    holders: tuple[Holder, ...]


def plan(reader: Reader) -> Pruning:
    """What nobody needs any more; nothing as long as no peer is known."""
    node = peers.own_node(reader)
    acknowledged = {s.client_id: s.last_lsn for s in peers.list_states(reader, "out")}
    holders = [
        Holder(peer.node_id, lsn, node.last_lsn - lsn)
        for peer in peers.list_peers(reader)
        if peer.retired_at is None
        for lsn in [acknowledged.get(peer.node_id, node.horizon_lsn - 1)]
    ]
    if not holders:
        return Pruning(node.horizon_lsn, 0, ())
    row = reader.fetch_one(_FIRST_IN_QUARANTINE)
    if row is not None and row[0] is not None:
        holders.append(Holder("", row[0] - 1, node.last_lsn - row[0] + 1))
    below = max(node.horizon_lsn, min(h.after_lsn for h in holders) + 1)
    holders.sort(key=lambda holder: (-holder.changes, holder.node_id))
    return Pruning(below, below - node.horizon_lsn, tuple(holders))


def prune(database: Database, planned: Pruning) -> int:
    """Take away what stands before ``planned.below_lsn``; answers how many changes.

    A cursor that has moved back meanwhile is respected.
    """
    pruned = 0
    while True:

        def fact(transaction: Transaction) -> int:
            below = min(planned.below_lsn, plan(transaction).below_lsn)
            horizon = peers.lock_node(transaction).horizon_lsn
            below = min(below, horizon + PRUNED_AT_ONCE)
            if below <= horizon:
                return 0
            transaction.execute(_DELETE, {"below": below})
            peers.set_horizon(transaction, below)
            return below - horizon

        some = database.run(fact, what="prune the log of changes")
        if not some:
            return pruned
        pruned += some
