"""How far a peer has come in this node's log, told by the peer itself.

A file of a peer says how far it has come in each log that it reads (``received``). So nothing has
to be answered: the next file the other way round is the receipt. A cursor moves by nothing else,
so a file that was lost on its way is contained in the next one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime

from stepwell.database.transaction import Transaction
from stepwell.sync import peers
from stepwell.sync.peers import SyncState

# Of each node, its epoch and the LSN up to which its log was received.
Received = Mapping[str, tuple[int, int]]


def acknowledge(
    transaction: Transaction, node_id: str, received: Received, *, epoch: int, at: datetime
) -> int:
    """Move the cursor of a peer, whose epoch is ``epoch``, to where it says; answers the LSN.

    It moves back only when the peer has begun a new epoch: it was restored, and has lost some. What
    it says of an older epoch of this node counts no more.
    """
    node = peers.own_node(transaction)
    known = peers.find_state(transaction, node_id, "out")
    state = known or SyncState(node_id, "out", 0, epoch, None, None, at)
    own_epoch, lsn = received.get(node.node_id, (node.epoch, 0))
    reached = state.last_lsn
    if own_epoch == node.epoch:
        lsn = min(lsn, node.last_lsn)
        reached = lsn if epoch > state.peer_epoch else max(lsn, reached)
    moved = replace(state, last_lsn=reached, peer_epoch=max(epoch, state.peer_epoch))
    if moved != known:
        peers.set_state(transaction, replace(moved, updated_at=at))
    return reached
