"""Begins a node anew from a snapshot: its tracked rows become those of the node that wrote it.

One transaction: rows, versions, what counts as received, and the cursor commit together, or nothing
does. A node that has changes of its own which the snapshot lacks is refused: they would be lost.
After a restore the same brings a node back, in a new epoch, because its old numbers have been used;
then its log begins anew, too.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime

import msgspec
from sqlalchemy import bindparam, delete, insert, update

from stepwell.database.connect import Database
from stepwell.database.prepared import Prepared
from stepwell.database.shape import quoted
from stepwell.database.transaction import Transaction
from stepwell.errors import CannotBootstrap
from stepwell.sync import capture, log, peers
from stepwell.sync.change import NULL, decode_values
from stepwell.sync.peers import SyncNode, SyncState
from stepwell.sync.record_file import RecordFile
from stepwell.sync.rows import insert_row
from stepwell.sync.snapshot import Head, SnapshotRow, parents_first
from stepwell.sync.table import TrackedTable, tracked_tables
from stepwell.sync.tables import (
    change_log,
    sync_applied,
    sync_quarantine,
    sync_quarantine_key,
    sync_row,
)

VERSIONS_AT_ONCE = 1_000

_r, _q = sync_row.c, sync_quarantine.c
_FORGET = Prepared(delete(sync_row).where(_r.table_name == bindparam("name_")))
_VERSION = Prepared(insert(sync_row))
_APPLIED = Prepared(insert(sync_applied))
_FORGET_LOG = Prepared(delete(change_log))
_FORGET_APPLIED = Prepared(delete(sync_applied))
_FORGET_KEYS = Prepared(delete(sync_quarantine_key))
_CLOSE = Prepared(
    update(sync_quarantine)
    .where(_q.closed_at.is_(None))
    .values(closed_at=bindparam("at"), outcome="dropped")
)

_row_decoder = msgspec.json.Decoder(SnapshotRow)


@dataclass(frozen=True)
class Bootstrapped:
    """What a node has begun with.

    Attributes:
        rows: Rows that are alive.
        tombstones: Keys of rows that were deleted.
        epoch: This node's own, from now on.
    """

    head: Head
    rows: int
    tombstones: int
    epoch: int


def bootstrap(
    database: Database, snapshot: RecordFile[Head], *, at: datetime, new_epoch: bool = False
) -> Bootstrapped:
    """Take all rows of tracked tables away and put those of the snapshot in their place.

    ``new_epoch``: this database was restored, and numbers beyond its last one have been used.

    Raises:
        CannotBootstrap: the tables do not fit, or changes of this node would be lost.
        BundleTorn, BundleDamaged, …: the file is not whole.
        ConstraintViolation: rows of other tables need what would go, or rows cannot be inserted.
    """
    snapshot.check()

    def fact(transaction: Transaction) -> Bootstrapped:
        writer = log.begin_apply(transaction)
        node, head = writer.node, snapshot.head
        tables = tracked_tables(transaction)
        _require_fit(snapshot, node, tables)
        _require_nothing_lost(snapshot, node, writer.last_seq, new_epoch=new_epoch)
        with capture.echo(transaction):
            _clear(transaction, tables)
            rows, tombstones = _fill(transaction, snapshot, tables)
        _take_as_received(transaction, head, node, at)
        writer.last_hlc = max(writer.last_hlc, head.last_hlc)
        epoch = node.epoch
        known_epoch, _ = head.known.get(node.node_id, (0, 0))
        # A copy may be from before the last new epoch, in which nothing may have been written: its
        # number is used all the same, a cursor at its source stands in it.
        own_epoch = max(known_epoch, head.heard.get(node.node_id, 0))
        if new_epoch or own_epoch > node.epoch:
            epoch = max(node.epoch, own_epoch) + 1
            writer.last_seq = writer.last_lsn = 0
            _begin_log(transaction)
        writer.finish()
        if epoch != node.epoch:
            peers.begin_epoch(transaction, epoch, place=str(database.path or ""))
        return Bootstrapped(head, rows, tombstones, epoch)

    return database.run(fact, what=f"begin anew from {str(snapshot.path)!r}")


def _require_fit(
    snapshot: RecordFile[Head], node: SyncNode, tables: dict[str, TrackedTable]
) -> None:
    head = snapshot.head
    if head.source_node == node.node_id:
        raise _refused(snapshot, f"node {node.node_id!r} wrote it itself", "take another node's")
    for name, fingerprint in head.schemas.items():
        if name not in tables:
            raise _refused(
                snapshot,
                f"table {name!r} is not tracked here",
                f"`stepwell sync track {name}`, when the application's migrations have made it",
            )
        if tables[name].fingerprint != fingerprint:
            raise _refused(
                snapshot,
                f"table {name!r} has other columns there",
                "bring both nodes' tables to one version first",
            )
    more = sorted(tables.keys() - head.schemas.keys())
    if more:
        raise _refused(
            snapshot,
            f"table {more[0]!r} is tracked here, and not on {head.source_node}",
            f"`stepwell sync untrack {more[0]}`, or track it there and write the file again",
        )


def _require_nothing_lost(
    snapshot: RecordFile[Head], node: SyncNode, last_seq: int, *, new_epoch: bool
) -> None:
    head = snapshot.head
    known_epoch, known_seq = head.known.get(node.node_id, (0, 0))
    lacks = last_seq and (node.epoch, last_seq) > (known_epoch, known_seq)
    if lacks and not new_epoch:
        kept = known_seq if known_epoch == node.epoch else 0
        raise _refused(
            snapshot,
            f"it lacks {last_seq - kept} groups of this node, which would be lost",
            f"`stepwell sync export --to FILE --since 0`, import that on {head.source_node},"
            " and write the snapshot again",
        )


def _refused(snapshot: RecordFile[Head], fact: str, hint: str) -> CannotBootstrap:
    return CannotBootstrap(
        f"cannot begin anew from {str(snapshot.path)!r}: {fact}",
        hint=hint,
        fields={"file": str(snapshot.path)},
    )


def _clear(transaction: Transaction, tables: dict[str, TrackedTable]) -> None:
    transaction.ask(transaction.application.defer_foreign_keys)
    for table in reversed(parents_first(tables.values())):
        transaction.connection.execute(f"DELETE FROM {quoted(table.name)}")
        transaction.execute(_FORGET, {"name_": table.name})


def _fill(
    transaction: Transaction, snapshot: RecordFile[Head], tables: dict[str, TrackedTable]
) -> tuple[int, int]:
    rows = tombstones = 0
    for many in _pages(snapshot):
        transaction.execute_many(_VERSION, (_version(row) for row in many))
        for row in many:
            if row.row == NULL:
                tombstones += 1
            else:
                insert_row(transaction, tables[row.table_name].shape, decode_values(row.row))
                rows += 1
    return rows, tombstones


def _pages(snapshot: RecordFile[Head]) -> Iterator[list[SnapshotRow]]:
    page: list[SnapshotRow] = []
    for lines, line in snapshot.lines():
        try:
            page.append(_row_decoder.decode(line))
        except (ValueError, RecursionError) as error:
            raise lines.damaged(str(error)) from error
        if len(page) == VERSIONS_AT_ONCE:
            yield page
            page = []
    yield page


def _version(row: SnapshotRow) -> dict[str, object]:
    origin, epoch, seq, hlc, causal_length, authority = row.version
    return {
        "table_name": row.table_name,
        "pk_json": bytes(row.pk_json).decode("utf-8"),
        "origin": origin,
        "epoch": epoch,
        "seq": seq,
        "hlc": hlc,
        "causal_length": causal_length,
        "authority": authority,
        "column_versions": row.column_versions,
    }


def _begin_log(transaction: Transaction) -> None:
    """What stood in it is in the snapshot, or given up: nobody may get it any more."""
    transaction.execute(_FORGET_LOG)
    peers.set_horizon(transaction, 1)
    for state in peers.list_states(transaction, "out"):
        peers.set_state(transaction, replace(state, last_lsn=0))


def _take_as_received(transaction: Transaction, head: Head, node: SyncNode, at: datetime) -> None:
    """Every group that is in the rows counts as applied; what was parked here is in them, too."""
    transaction.execute(_CLOSE, {"at": at})
    transaction.execute(_FORGET_KEYS)
    transaction.execute(_FORGET_APPLIED)
    known = {origin: last for origin, last in head.known.items() if origin != node.node_id}
    transaction.execute_many(
        _APPLIED,
        (
            {
                "origin": origin,
                "epoch": epoch,
                "seq": seq,
                "tx_id": "",
                "hash": head.hashes.get(origin, ""),
                "result": "skipped",
                "received_from": head.source_node,
                "applied_at": at,
            }
            for origin, (epoch, seq) in known.items()
            if seq
        ),
    )
    peers.put_peer(transaction, head.source_node, is_main=head.is_main, epoch=head.epoch, at=at)
    peers.set_state(
        transaction,
        SyncState(head.source_node, "in", head.lsn, head.epoch, None, "bootstrapped", at),
    )
