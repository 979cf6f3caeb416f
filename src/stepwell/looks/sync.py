"""How far other nodes are, and this one with them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from stepwell.sync.change import Change
from stepwell.sync.log import first_for, read_changes
from stepwell.sync.peers import Peer, SyncState
from stepwell.sync.session import Sync, SyncStatus


@dataclass(frozen=True)
class PeerLook:
    """A peer, what it has of this node's log, and what this node has of its.

    Attributes:
        sent: How far it has come here; None when it was never sent anything.
        taken: How far this node has come in its log; None when nothing of it was ever taken.
        lag_lsn: How many positions of the log here it has not acknowledged; it may have written
            all of them itself.
        is_behind: Whether there is a change among them that it lacks.
        behind_since: When the oldest such change was written.
    """

    peer: Peer
    sent: SyncState | None
    taken: SyncState | None
    lag_lsn: int
    is_behind: bool
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
        lacks = _first_that_it_lacks(sync, peer.node_id, last) if lag else None
        since = None if lacks is None else _written(lacks)
        taken_here = taken.get(peer.node_id)
        found.append(PeerLook(peer, state, taken_here, lag, lacks is not None, since))
    return found


def _first_that_it_lacks(sync: Sync, node_id: str, after_lsn: int) -> Change | None:
    with sync.database.read() as reader:
        lsn = first_for(reader, node_id, after_lsn)
        found = read_changes(reader, lsn - 1, until_lsn=lsn, limit=1) if lsn is not None else []
    return found[0] if found else None


def _written(change: Change) -> datetime | None:
    try:
        written = datetime.fromisoformat(change.created_at)
    except ValueError:  # A file of another program may say anything.
        return None
    return written.replace(tzinfo=UTC) if written.tzinfo is None else written
