"""How far the peers are behind this node's log."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import bindparam, select

from stepwell.database.prepared import Prepared
from stepwell.database.transaction import Reader
from stepwell.sync.peers import find_node, list_peers, list_states
from stepwell.sync.tables import change_log

_c = change_log.c
_OLDEST_BEHIND = Prepared(
    select(_c.created_at).where(_c.lsn > bindparam("lsn_")).order_by(_c.lsn).limit(1)
)


@dataclass(frozen=True)
class Lag:
    """What one peer has not acknowledged.

    Attributes:
        lsn: So many positions of the log; those of its own changes are among them.
        seconds: The age of the oldest change among them.
    """

    peer: str
    lsn: int
    seconds: float


def lags(reader: Reader, now: datetime) -> list[Lag]:
    """The lag of every peer that is not retired; nothing is sealed for it."""
    node = find_node(reader)
    if node is None:
        return []
    acknowledged = {state.client_id: state.last_lsn for state in list_states(reader, "out")}
    found = []
    for peer in list_peers(reader):
        if peer.retired_at is None:
            lsn = acknowledged.get(peer.node_id, 0)
            row = reader.fetch_one(_OLDEST_BEHIND, {"lsn_": lsn}) if lsn < node.last_lsn else None
            since = datetime.fromisoformat(row[0]) if row is not None else now
            behind = max(0, node.last_lsn - lsn)
            found.append(Lag(peer.node_id, behind, max(0.0, (now - since).total_seconds())))
    return found
