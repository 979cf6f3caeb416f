"""Who this node is, which others it knows, how far each has come."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from sqlalchemy import bindparam, func, insert, select, update
from sqlalchemy.dialects.postgresql import insert as upsert

from stepwell.database.prepared import Prepared
from stepwell.database.transaction import Reader, Transaction
from stepwell.errors import InvalidNodeId, NoSyncNode, SyncNodeExists
from stepwell.sync.change import NODE_ID, NODE_ID_MAX
from stepwell.sync.tables import sync_applied, sync_node, sync_peer, sync_state

Direction = Literal["in", "out"]


@dataclass(frozen=True)
class SyncNode:
    """This database as a node.

    Attributes:
        node_id: Its name, everywhere.
        is_main: Whether its word counts for master tables.
        epoch: Rises when the database was restored.
        last_lsn: The last position of its log; rows beyond it are still being sealed.
        last_seq: The number of its last own group.
        last_hlc: The greatest stamp that it has given or seen.
        horizon_lsn: The first position that is still kept.
        sealing: The raw group that is being sealed, None when none is.
        place: Where the database lay when it was last used.
    """

    node_id: str
    is_main: bool
    epoch: int
    last_lsn: int
    last_seq: int
    last_hlc: int
    horizon_lsn: int
    sealing: str | None
    place: str
    created_at: datetime


@dataclass(frozen=True)
class Peer:
    """Another node that this one has heard of."""

    node_id: str
    is_main: bool
    epoch: int
    added_at: datetime
    seen_at: datetime | None
    retired_at: datetime | None


@dataclass(frozen=True)
class SyncState:
    """How far a peer has come in this log (``out``), or this node in the peer's (``in``)."""

    client_id: str
    direction: Direction
    last_lsn: int
    peer_epoch: int
    last_hash: str | None
    last_result: str | None
    updated_at: datetime


_n = sync_node.c
_NODE_COLUMNS = (
    _n.node_id,
    _n.is_main,
    _n.epoch,
    _n.last_lsn,
    _n.last_seq,
    _n.last_hlc,
    _n.horizon_lsn,
    _n.sealing,
    _n.place,
    _n.created_at,
)
_NODE = Prepared(select(*_NODE_COLUMNS))
_LOCK_NODE = Prepared(select(*_NODE_COLUMNS).with_for_update())
_INSERT_NODE = Prepared(insert(sync_node))
_UPDATE_LOG = Prepared(
    update(sync_node).values(
        last_lsn=bindparam("last_lsn"),
        last_seq=bindparam("last_seq"),
        last_hlc=bindparam("last_hlc"),
        sealing=bindparam("sealing"),
    )
)
_UPDATE_HORIZON = Prepared(update(sync_node).values(horizon_lsn=bindparam("horizon_lsn")))
_UPDATE_EPOCH = Prepared(
    update(sync_node).values(
        epoch=bindparam("epoch"), last_seq=bindparam("last_seq"), place=bindparam("place")
    )
)

_UPDATE_PLACE = Prepared(update(sync_node).values(place=bindparam("place")))

_p = sync_peer.c
_PEER_COLUMNS = (_p.node_id, _p.is_main, _p.epoch, _p.added_at, _p.seen_at, _p.retired_at)
_PEERS = Prepared(select(*_PEER_COLUMNS).order_by(_p.node_id))
_PEER = Prepared(select(*_PEER_COLUMNS).where(_p.node_id == bindparam("node_id")))
_add = upsert(sync_peer)
_PUT_PEER = Prepared(
    _add.on_conflict_do_update(
        index_elements=[_p.node_id],
        set_={
            "is_main": _add.excluded.is_main,
            "epoch": _add.excluded.epoch,
            "seen_at": func.coalesce(_add.excluded.seen_at, _p.seen_at),
            "retired_at": None,
        },
    )
)
_RETIRE_PEER = Prepared(
    update(sync_peer)
    .where(_p.node_id == bindparam("id_"), _p.retired_at.is_(None))
    .values(retired_at=bindparam("at"))
)

_s = sync_state.c
_STATE_COLUMNS = (
    _s.client_id,
    _s.direction,
    _s.last_lsn,
    _s.peer_epoch,
    _s.last_hash,
    _s.last_result,
    _s.updated_at,
)
_STATE = Prepared(
    select(*_STATE_COLUMNS).where(
        _s.client_id == bindparam("client_id"), _s.direction == bindparam("direction")
    )
)
_STATES = Prepared(select(*_STATE_COLUMNS).order_by(_s.client_id, _s.direction))
_set = upsert(sync_state)
_PUT_STATE = Prepared(
    _set.on_conflict_do_update(
        index_elements=[_s.client_id, _s.direction],
        set_={
            name: getattr(_set.excluded, name)
            for name in ("last_lsn", "peer_epoch", "last_hash", "last_result", "updated_at")
        },
    )
)

_a = sync_applied.c
_KNOWN = Prepared(select(_a.origin, _a.epoch, func.max(_a.seq)).group_by(_a.origin, _a.epoch))


def check_node_id(node_id: str) -> None:
    """Refuse what cannot be a node's name.

    Raises:
        InvalidNodeId: with the rule.
    """
    if not NODE_ID.fullmatch(node_id):
        raise InvalidNodeId(
            f"node must be 1 to {NODE_ID_MAX} lower case letters, digits, '-' or '_', beginning"
            f" with a letter or digit, got {node_id!r}",
            hint="for example `shop-3`",
            fields={"node": node_id},
        )


def lies_at(transaction: Transaction, place: str) -> None:
    """The node goes on in another place: it is no copy of itself there."""
    transaction.execute(_UPDATE_PLACE, {"place": place})


def init_node(
    transaction: Transaction, node_id: str, *, is_main: bool, at: datetime, place: str
) -> SyncNode:
    """Make this database a node; the same call again changes nothing.

    Raises:
        InvalidNodeId: the name cannot be one.
        SyncNodeExists: it is another node already.
    """
    check_node_id(node_id)
    found = find_node(transaction)
    if found is not None:
        if (found.node_id, found.is_main) == (node_id, is_main):
            return found
        kind = "main" if found.is_main else "client"
        raise SyncNodeExists(
            f"cannot make this database {'main ' if is_main else ''}node {node_id!r}:"
            f" it is {kind} node {found.node_id!r}",
            hint="a node keeps its name; for another one use another database",
            fields={"node": found.node_id, "is_main": found.is_main},
        )
    transaction.execute(
        _INSERT_NODE,
        {
            "one": 1,
            "node_id": node_id,
            "is_main": int(is_main),
            "epoch": 1,
            "last_lsn": 0,
            "last_seq": 0,
            "last_hlc": 0,
            "horizon_lsn": 1,
            "sealing": None,
            "place": place,
            "created_at": at,
        },
    )
    return own_node(transaction)


def find_node(reader: Reader) -> SyncNode | None:
    """This database as a node; None when it is none."""
    row = reader.fetch_one(_NODE)
    return None if row is None else _node(row)


def own_node(reader: Reader, location: str = "this database") -> SyncNode:
    """This database as a node.

    Raises:
        NoSyncNode: it is none.
    """
    found = find_node(reader)
    if found is None:
        raise NoSyncNode(location)
    return found


def lock_node(transaction: Transaction) -> SyncNode:
    """The same, and nobody else gives LSNs until the end of the transaction."""
    row = transaction.fetch_one(_LOCK_NODE)
    if row is None:
        raise NoSyncNode("this database")
    return _node(row)


def save_log_state(
    transaction: Transaction, *, last_lsn: int, last_seq: int, last_hlc: int, sealing: str | None
) -> None:
    """How far the log has come; for ``log.py``."""
    transaction.execute(
        _UPDATE_LOG,
        {"last_lsn": last_lsn, "last_seq": last_seq, "last_hlc": last_hlc, "sealing": sealing},
    )


def set_horizon(transaction: Transaction, lsn: int) -> None:
    """What is before ``lsn`` is pruned, in the transaction that does it."""
    transaction.execute(_UPDATE_HORIZON, {"horizon_lsn": lsn})


def begin_epoch(transaction: Transaction, epoch: int, *, place: str) -> None:
    """From now on this node's groups are numbered from 1 again, in a new epoch."""
    transaction.execute(_UPDATE_EPOCH, {"epoch": epoch, "last_seq": 0, "place": place})


def list_peers(reader: Reader) -> list[Peer]:
    """Every other node, by name."""
    return [_peer(row) for row in reader.fetch_all(_PEERS)]


def find_peer(reader: Reader, node_id: str) -> Peer | None:
    """The peer of this name, or None."""
    row = reader.fetch_one(_PEER, {"node_id": node_id})
    return None if row is None else _peer(row)


def put_peer(
    transaction: Transaction,
    node_id: str,
    *,
    is_main: bool,
    epoch: int,
    at: datetime,
    seen: bool = True,
) -> None:
    """Remember a peer, or that it was seen; a retired one is back again.

    Raises:
        InvalidNodeId: the name cannot be one.
    """
    check_node_id(node_id)
    transaction.execute(
        _PUT_PEER,
        {
            "node_id": node_id,
            "is_main": int(is_main),
            "epoch": epoch,
            "added_at": at,
            "seen_at": at if seen else None,
            "retired_at": None,
        },
    )


def retire_peer(transaction: Transaction, node_id: str, *, at: datetime) -> bool:
    """Wait for it no longer: pruning passes it. False: it is unknown, or retired already."""
    return transaction.execute(_RETIRE_PEER, {"id_": node_id, "at": at}) == 1


def find_state(reader: Reader, client_id: str, direction: Direction) -> SyncState | None:
    """How far it has come; None before the first time."""
    row = reader.fetch_one(_STATE, {"client_id": client_id, "direction": direction})
    return None if row is None else SyncState(*row)


def list_states(reader: Reader, direction: Direction | None = None) -> list[SyncState]:
    """Of all peers, in one direction or in both."""
    found = [SyncState(*row) for row in reader.fetch_all(_STATES)]
    return [state for state in found if direction in (None, state.direction)]


def set_state(transaction: Transaction, state: SyncState) -> None:
    """Store how far it has come, in the transaction of what it has come by (L8)."""
    transaction.execute(_PUT_STATE, _values(state))


def known(reader: Reader) -> dict[str, tuple[int, int]]:
    """Epoch and number of the last group of each origin that this node has, its own included.

    Of an origin's epochs the last one counts: what went before it was complete, or is lost.
    """
    found: dict[str, tuple[int, int]] = {}
    for origin, epoch, seq in reader.fetch_all(_KNOWN):
        found[origin] = max(found.get(origin, (0, 0)), (epoch, seq))
    node = own_node(reader)
    found[node.node_id] = (node.epoch, node.last_seq)
    return found


def _node(row: tuple[Any, ...]) -> SyncNode:
    return SyncNode(row[0], bool(row[1]), *row[2:])


def _peer(row: tuple[Any, ...]) -> Peer:
    return Peer(row[0], bool(row[1]), *row[2:])


def _values(state: SyncState) -> Mapping[str, Any]:
    return {
        "client_id": state.client_id,
        "direction": state.direction,
        "last_lsn": state.last_lsn,
        "peer_epoch": state.peer_epoch,
        "last_hash": state.last_hash,
        "last_result": state.last_result,
        "updated_at": state.updated_at,
    }
