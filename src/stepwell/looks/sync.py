"""How far other nodes are, and this one with them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from stepwell.sync.log import read_changes
from stepwell.sync.peers import Peer, SyncState
from stepwell.sync.session import Sync, SyncStatus


@dataclass(frozen=True)
class PeerLook:
    """A peer, what it has of this node's log, and what this node has of its.

    Attributes:
        sent: How far it has come here; None when it was never sent anything.
        taken: How far this node has come in its log; None when nothing of it was ever taken.
        lag_lsn: How many positions of the log here it has not acknowledged.
        behind_since: When the oldest of them was written; None when there is none.
    """

    peer: Peer
    sent: SyncState | None
    taken: SyncState | None
    lag_lsn: int
    behind_since: datetime | None


def peers_of(sync: Sync, status: SyncStatus) -> list[PeerLook]:
    """Every peer by name; nothing is kept for one that is retired, so it lags behind nothing."""
    sent = {s.client_id: s for s in status.states if s.direction == "out"}
    taken = {s.client_id: s for s in status.states if s.direction == "in"}
    found = []
    for peer in status.peers:
        state = sent.get(peer.node_id)
        last = state.last_lsn if state is not None else 0
        lag = status.node.last_lsn - last if peer.retired_at is None else 0
        since = _written_behind(sync, last, status.node.last_lsn) if lag else None
        found.append(PeerLook(peer, state, taken.get(peer.node_id), lag, since))
    return found


def _written_behind(sync: Sync, lsn: int, last_lsn: int) -> datetime | None:
    with sync.database.read() as reader:
        changes = read_changes(reader, lsn, until_lsn=last_lsn, limit=1)
    if not changes:
        return None
    try:
        written = datetime.fromisoformat(changes[0].created_at)
    except ValueError:  # A file of another program may say anything.
        return None
    return written.replace(tzinfo=UTC) if written.tzinfo is None else written
