"""How far this node has come in a peer's log, kept in the transaction of what it came by (L8).

The cursor moves only over what was seen: a file that begins behind a hole, or that leaves things
out because it was written for somebody else, is applied all the same and moves nothing. What is
missing is then found group by group: the groups of each origin are numbered without gaps.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from stepwell.database.transaction import Reader, Transaction
from stepwell.sync import peers
from stepwell.sync.acknowledge import acknowledge
from stepwell.sync.bundle import Meta
from stepwell.sync.bundle_reader import Checked
from stepwell.sync.peers import SyncState


def moves_cursor(reader: Reader, meta: Meta) -> bool:
    """Whether a file goes on where this node stands in its source's log, or before."""
    node = peers.own_node(reader)
    if meta.client_id not in ("", node.node_id):
        return False
    state = peers.find_state(reader, meta.source_node, "in")
    if state is not None and meta.epoch > state.peer_epoch:
        return True  # Its log begins anew, or goes on where a copy of it was made.
    return meta.from_lsn <= (0 if state is None else state.last_lsn) + 1


def reach(transaction: Transaction, meta: Meta, lsn: int, *, at: datetime) -> None:
    """Everything up to ``lsn`` is applied or in quarantine, in this very transaction."""
    if moves_cursor(transaction, meta):
        _set(transaction, meta, lsn, None, f"importing, LSN {lsn} is reached", at)


def finish(
    transaction: Transaction, meta: Meta, checked: Checked, *, result: str, at: datetime
) -> int | None:
    """The whole file is in: its source is a peer, has acknowledged what it knows of this node.

    Answers how far the source has come in this node's log; None when the file does not say.
    """
    peer = peers.find_peer(transaction, meta.source_node)
    is_main = meta.is_main if meta.epoch else peer is not None and peer.is_main
    epoch = max(meta.epoch, peer.epoch if peer is not None else 0)
    peers.put_peer(transaction, meta.source_node, is_main=is_main, epoch=epoch, at=at)
    if moves_cursor(transaction, meta):
        _set(transaction, meta, checked.to_lsn, checked.sha256 or None, result, at)
    if not meta.epoch:
        return None
    return acknowledge(transaction, meta.source_node, meta.received, epoch=meta.epoch, at=at)


def _set(
    transaction: Transaction, meta: Meta, lsn: int, sha256: str | None, result: str, at: datetime
) -> None:
    known = peers.find_state(transaction, meta.source_node, "in") or SyncState(
        meta.source_node, "in", 0, meta.epoch, None, None, at
    )
    is_new_epoch = meta.epoch > known.peer_epoch
    peers.set_state(
        transaction,
        replace(
            known,
            last_lsn=lsn if is_new_epoch else max(lsn, known.last_lsn),
            peer_epoch=max(meta.epoch, known.peer_epoch),
            last_hash=sha256 or known.last_hash,
            last_result=result,
            updated_at=at,
        ),
    )
