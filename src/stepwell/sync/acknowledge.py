"""How far a peer has come in this node's log, told by what it says that it has received.

A file of a peer names of each origin the last group that the peer has (``known``). So nothing has
to be answered: the next file the other way round is the receipt. A cursor never passes a group that
the peer has not (L8 seen from the other side), so a lost file is sent again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime

from sqlalchemy import bindparam, select

from stepwell.database.prepared import Prepared
from stepwell.database.transaction import Reader, Transaction
from stepwell.sync import peers
from stepwell.sync.log import READ_AT_ONCE
from stepwell.sync.peers import SyncState
from stepwell.sync.tables import change_log

Known = Mapping[str, tuple[int, int]]

_c = change_log.c
_GROUPS = Prepared(
    select(_c.lsn, _c.origin, _c.epoch, _c.seq, _c.source_node)
    .where(_c.lsn > bindparam("after"), _c.lsn <= bindparam("until"))
    .order_by(_c.lsn)
    .limit(READ_AT_ONCE)
)


def acknowledge(
    transaction: Transaction, node_id: str, known: Known, *, epoch: int, at: datetime
) -> int:
    """Move the cursor of a peer to the last change before one that it lacks; answers the LSN.

    It moves back only when the peer has begun a new epoch: it was restored, and has lost some.
    """
    node = peers.own_node(transaction)
    state = peers.find_state(transaction, node_id, "out") or SyncState(
        node_id, "out", node.horizon_lsn - 1, epoch, None, None, at
    )
    is_new_epoch = epoch > state.peer_epoch
    after = node.horizon_lsn - 1 if is_new_epoch else state.last_lsn
    reached = received_until(transaction, node_id, known, after, node.last_lsn)
    if reached != state.last_lsn or epoch != state.peer_epoch:
        moved = replace(state, last_lsn=reached, peer_epoch=epoch, updated_at=at)
        peers.set_state(transaction, moved)
    return reached


def received_until(reader: Reader, node_id: str, known: Known, after: int, until: int) -> int:
    """The last LSN up to which a peer that knows ``known`` has everything."""
    while after < until:
        rows = reader.fetch_all(_GROUPS, {"after": after, "until": until})
        if not rows:
            return until
        for lsn, origin, epoch, seq, source_node in rows:
            has_it = node_id in (origin, source_node)
            if not has_it and (epoch, seq) > known.get(origin, (-1, 0)):
                return int(lsn) - 1
        after = rows[-1][0]
    return until
