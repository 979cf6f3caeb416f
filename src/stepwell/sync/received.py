"""Which groups of other nodes have come, and what became of each: ``sync_applied``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from itertools import islice
from typing import Any, Literal

from sqlalchemy import bindparam, func, insert, select, update

from stepwell.database.prepared import Prepared
from stepwell.database.transaction import Reader, Transaction
from stepwell.errors import GroupMissing, HistoryForked, NodeRestored
from stepwell.sync.change import Change, hash_of, parse_version_id
from stepwell.sync.log import LogWriter, read_group
from stepwell.sync.peers import SyncNode
from stepwell.sync.tables import sync_applied

Result = Literal["applied", "conflict", "parked", "skipped", "dropped"]
# Of each epoch of an origin the last group, of each origin the last epoch.
Known = tuple[dict[tuple[str, int], int], dict[str, int]]

_a = sync_applied.c
_INSERT = Prepared(insert(sync_applied))
_LAST = Prepared(
    select(func.max(_a.seq)).where(_a.origin == bindparam("origin"), _a.epoch == bindparam("epoch"))
)
_EPOCH = Prepared(select(func.max(_a.epoch)).where(_a.origin == bindparam("origin")))
_FIND = Prepared(
    select(_a.hash, _a.result).where(
        _a.origin == bindparam("origin"),
        _a.epoch == bindparam("epoch"),
        _a.seq == bindparam("seq"),
    )
)
_COVERING = Prepared(
    select(_a.epoch)
    .where(
        _a.origin == bindparam("origin"),
        _a.epoch > bindparam("epoch"),
        _a.result == "skipped",
    )
    .limit(1)
)
_SET_RESULT = Prepared(
    update(sync_applied)
    .where(
        _a.origin == bindparam("origin_"),
        _a.epoch == bindparam("epoch_"),
        _a.seq == bindparam("seq_"),
    )
    .values(result=bindparam("result_"))
)


def last_seq(reader: Reader, origin: str, epoch: int) -> int:
    """The number of the last group of an epoch of a node that has come; 0 before the first."""
    row = reader.fetch_one(_LAST, {"origin": origin, "epoch": epoch})
    return 0 if row is None or row[0] is None else int(row[0])


def last_epoch(reader: Reader, origin: str) -> int:
    """The last epoch of a node of which anything has come; 0 for none."""
    row = reader.fetch_one(_EPOCH, {"origin": origin})
    return 0 if row is None or row[0] is None else int(row[0])


def is_covered(reader: Reader, origin: str, epoch: int) -> bool:
    """Whether this node began with a snapshot that was made in a later epoch of a node.

    Then it holds whatever the earlier epochs have left, though none of their groups has come.
    """
    return reader.fetch_one(_COVERING, {"origin": origin, "epoch": epoch}) is not None


def find_received(reader: Reader, origin: str, epoch: int, seq: int) -> tuple[str, Result] | None:
    """Hash and result of a group that has come; None when it has not."""
    row = reader.fetch_one(_FIND, {"origin": origin, "epoch": epoch, "seq": seq})
    return None if row is None else (row[0], row[1])


def insert_received(transaction: Transaction, rows: Iterable[Mapping[str, Any]]) -> None:
    """Groups have come."""
    transaction.execute_many(_INSERT, rows)


def set_result(transaction: Transaction, origin: str, epoch: int, seq: int, result: Result) -> None:
    """What became of one that was parked."""
    transaction.execute(
        _SET_RESULT, {"origin_": origin, "epoch_": epoch, "seq_": seq, "result_": result}
    )


class Receipts:
    """Which groups have come, asked and written inside one transaction of an import."""

    def __init__(
        self, transaction: Transaction, writer: LogWriter, *, received_from: str, at: datetime
    ) -> None:
        self._transaction = transaction
        self._writer = writer
        self._received_from = received_from
        self._at = at
        self._last: dict[tuple[str, int], int] = {}
        self._epochs: dict[str, int] = {}
        self._rows: list[dict[str, Any]] = []

    def is_new(self, first: Change) -> bool:
        """Whether a group has not come yet, and may come now.

        Raises:
            GroupMissing: groups of its origin are missing before it.
            NodeRestored: it is this node's own, and this node does not know it.
        """
        origin, epoch, seq = first.origin, first.epoch, first.seq
        node = self._writer.node
        if origin == node.node_id and epoch > 0:
            if (epoch, seq) > (node.epoch, self._writer.last_seq):
                raise restored(node, epoch, seq, self._writer.last_seq)
            return False
        if epoch == 0:  # Of version 1.0: its numbers have gaps.
            self.flush()
            return find_received(self._transaction, origin, epoch, seq) is None
        last = self._last_of(origin, epoch)
        is_over = epoch < self._epoch_of(origin)
        if is_over and seq > last and is_covered(self._transaction, origin, epoch):
            return False
        if seq > last + 1:
            raise missing(origin, epoch, last, seq, self._received_from)
        return seq == last + 1

    def has_come(self, version_id: str, change: Change) -> bool:
        """Whether the group of a version has come, or never will."""
        origin, epoch, seq = parse_version_id(version_id)
        if (origin, epoch, seq) == (change.origin, change.epoch, change.seq) or epoch == 0:
            return True
        node = self._writer.node
        if origin == node.node_id:
            return (epoch, seq) <= (node.epoch, self._writer.last_seq)
        if seq <= self._last_of(origin, epoch):
            return True
        # Of an epoch that is over, what has not come is lost.
        return epoch < self._epoch_of(origin)

    def require_same(self, first: Change, changes: Iterable[Change]) -> None:
        """A group that is here already must be the one that is here.

        Raises:
            HistoryForked: it has other changes.
        """
        group_hash = hash_of(changes)
        self.flush()
        origin, epoch, seq = first.origin, first.epoch, first.seq
        found = find_received(self._transaction, origin, epoch, seq)
        if found is not None:
            known: str | None = found[0]
        else:  # This node's own.
            self._writer.flush()
            own = list(islice(read_group(self._transaction, origin, epoch, seq), 1))
            logged = read_group(self._transaction, origin, epoch, seq)
            known = hash_of(logged) if own else None
        if known is not None and known != group_hash:
            raise forked(first)

    def add(self, first: Change, group_hash: str, result: Result) -> None:
        """A group has come."""
        origin, epoch = first.origin, first.epoch
        self._rows.append(
            {
                "origin": origin,
                "epoch": epoch,
                "seq": first.seq,
                "tx_id": first.tx_id,
                "hash": group_hash,
                "result": result,
                "received_from": self._received_from,
                "applied_at": self._at,
            }
        )
        if epoch > 0:
            self.expect(first)

    def expect(self, first: Change) -> None:
        """A new group is about to be applied: the next of its origin is the one behind it."""
        self._last[first.origin, first.epoch] = first.seq
        self._epochs[first.origin] = max(self._epochs.get(first.origin, 0), first.epoch)

    def known(self) -> Known:
        """How far each origin has come, for :meth:`go_back`."""
        return dict(self._last), dict(self._epochs)

    def go_back(self, known: Known) -> None:
        """What was expected since then has not been applied."""
        self._last, self._epochs = known

    def set_result(self, origin: str, epoch: int, seq: int, result: Result) -> None:
        """What became of one that was parked."""
        self.flush()
        set_result(self._transaction, origin, epoch, seq, result)

    def flush(self) -> None:
        """Write what has been added so far."""
        if self._rows:
            insert_received(self._transaction, self._rows)
            self._rows = []

    def _last_of(self, origin: str, epoch: int) -> int:
        if (origin, epoch) not in self._last:
            self._last[origin, epoch] = last_seq(self._transaction, origin, epoch)
        return self._last[origin, epoch]

    def _epoch_of(self, origin: str) -> int:
        if origin not in self._epochs:
            self._epochs[origin] = last_epoch(self._transaction, origin)
        return self._epochs[origin]


def missing(origin: str, epoch: int, last: int, seq: int, source: str) -> GroupMissing:
    """Names what is missing."""
    gap = f"{last + 1}" if seq == last + 2 else f"{last + 1} to {seq - 1}"
    return GroupMissing(
        f"cannot apply group {seq} of node {origin!r} (epoch {epoch}): {gap} are missing here",
        hint=f"import the files before this one; or, on {source}, `stepwell sync export --to FILE`",
        fields={"origin": origin, "epoch": epoch, "first_missing": last + 1, "seq": seq},
    )


def restored(node: SyncNode, epoch: int, seq: int, last: int) -> NodeRestored:
    """Others have what this node has lost."""
    return NodeRestored(
        f"cannot apply group {seq} of node {node.node_id!r} (epoch {epoch}): it is this node's own,"
        f" which ends at group {last} of epoch {node.epoch}: it was restored from an older copy",
        hint="`stepwell sync rejoin`, before anything else is written here",
        fields={"origin": node.node_id, "epoch": epoch, "seq": seq, "last_seq": last},
    )


def forked(first: Change) -> HistoryForked:
    """Two groups of one name."""
    return HistoryForked(
        f"cannot apply group {first.seq} of node {first.origin!r} (epoch {first.epoch}): another"
        " group of this name is here: two databases have written as this node",
        hint=f"find the copy of node {first.origin!r} that is still in use;"
        " on the one that is to go on, `stepwell sync rejoin`",
        fields={"origin": first.origin, "epoch": first.epoch, "seq": first.seq},
    )
