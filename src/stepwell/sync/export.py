"""What a file for a peer holds: a part of the log, and who wrote it; nothing is sent twice in vain.

A file says everything since the LSN that its client has acknowledged, so that one that was lost
on its way is in the next one. Exporting moves no cursor: only what comes back from the client does
(:mod:`stepwell.sync.acknowledge`).
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from difflib import get_close_matches
from pathlib import Path

from stepwell.database.connect import Database
from stepwell.database.transaction import Reader, Transaction
from stepwell.database.types import utc_text
from stepwell.errors import BehindHorizon, InvalidLsn, NoSuchPeer, PeerRetired, StepwellError
from stepwell.sync import baseline, capture, log, peers
from stepwell.sync.bundle import End, Meta
from stepwell.sync.bundle_reader import open_bundle
from stepwell.sync.bundle_writer import Written, stream_bundle, write_bundle_files
from stepwell.sync.change import Change
from stepwell.sync.peers import Peer, SyncState
from stepwell.sync.schema import VERSION
from stepwell.sync.table import tracked_tables

# How far an export is: changes looked at, and how many there are to look at.
Tell = Callable[[int, int], None]


@dataclass(frozen=True)
class Exported:
    """What an export has done.

    Attributes:
        meta: The first line of the file.
        written: Its parts and counts.
    """

    meta: Meta
    written: Written


def get_peer(reader: Reader, node_id: str, purpose: str) -> Peer:
    """The live peer of this name.

    Raises:
        NoSuchPeer: there is none.
        PeerRetired: it was given up.
    """
    found = peers.find_peer(reader, node_id)
    if found is None:
        known = [peer.node_id for peer in peers.list_peers(reader)]
        close = get_close_matches(node_id, known, n=1)
        raise NoSuchPeer(
            f"cannot {purpose} peer {node_id!r}: no peer of this name is known here",
            hint=(f"did you mean {close[0]!r}? " if close else "")
            + f"`stepwell sync peers add {node_id}` makes it known",
            fields={"peer": node_id, "known": known},
        )
    if found.retired_at is not None:
        raise PeerRetired(
            f"cannot {purpose} peer {node_id!r}: it was retired at {utc_text(found.retired_at)}",
            hint=f"`stepwell sync peers add {node_id}` takes it back",
            fields={"peer": node_id},
        )
    return found


def prepare(
    database: Database,
    *,
    client: str | None,
    since: int | None,
    at: datetime,
    file_id: str,
    changes_max: int | None = None,
) -> Meta:
    """Put everything committed into the log; answer the first line of a file that holds it.

    With ``changes_max`` of the first so many only, and the rest of the group that they end in.

    Raises:
        CaptureBroken: a change may have been missed.
        NoSuchPeer, PeerRetired: the client is not one.
        BehindHorizon, InvalidLsn: the log does not hold what is asked for.
    """
    with database.read() as reader:
        capture.require_capture(reader)
    baseline.log_baselines(database, at=at)
    log.seal_all(database)
    with database.read() as reader:
        # Again: what has happened since the first look is in the log, or would be missing in it.
        capture.require_capture(reader)
        node = peers.own_node(reader, database.location)
        state = None
        if client is not None:
            get_peer(reader, client, "export for")
            state = peers.find_state(reader, client, "out")
        after = since
        if after is None:  # For anybody: whatever is kept.
            after = state.last_lsn if state else 0 if client else node.horizon_lsn - 1
        _require_kept(after, node.horizon_lsn, node.last_lsn, client)
        until = node.last_lsn
        if changes_max is not None and until - after > changes_max:
            until = log.end_of_group(reader, after + changes_max)
        return Meta(
            tx_id=file_id,
            source_node=node.node_id,
            epoch=node.epoch,
            is_main=node.is_main,
            client_id=client or "",
            exported_at=utc_text(at),
            from_lsn=after + 1,
            to_lsn=until,
            schema_version=VERSION,
            schemas={t.name: t.fingerprint for t in tracked_tables(reader).values()},
            known=peers.known(reader),
            received={
                each.client_id: (each.peer_epoch, each.last_lsn)
                for each in peers.list_states(reader, "in")
                if each.peer_epoch
            },
            prev_hash=(state.last_hash if state else None) or "",
        )


def export(
    database: Database,
    path: Path,
    meta: Meta,
    *,
    part_bytes_max: int | None = None,
    tell: Tell | None = None,
) -> Exported:
    """Write the file of ``meta``, whole or not at all.

    One that is there is written over when it is this very export, begun before a crash.

    Raises:
        BundleExists, CompressionMissing, BundleTooLarge, DatabaseError: see ``bundle_writer``.
    """
    written = write_bundle_files(
        path,
        meta,
        _changes(database, meta, tell),
        part_bytes_max=part_bytes_max,
        replace=is_of(path, meta.tx_id),
    )
    return Exported(meta, written)


def stream(database: Database, meta: Meta) -> Generator[bytes, None, End]:
    """The same file in blocks, for whoever takes them; returns its last line.

    No transaction is open while a block is being taken.
    """
    return stream_bundle(meta, _changes(database, meta, None))


def record(transaction: Transaction, meta: Meta, sha256: str, *, at: datetime) -> None:
    """Remember what the client was sent last; how far it has come it says itself."""
    client = meta.client_id
    if not client:
        return
    peer = peers.find_peer(transaction, client)
    known = peers.find_state(transaction, client, "out") or SyncState(
        client, "out", 0, peer.epoch if peer else 0, None, None, at
    )
    sent = replace(
        known,
        last_hash=sha256,
        last_result=f"sent up to LSN {meta.to_lsn}",
        updated_at=at,
    )
    peers.set_state(transaction, sent)


def is_of(path: Path, file_id: str) -> bool:
    """Whether there is a file of this id already."""
    if not path.is_file():
        return False
    try:
        return open_bundle(path).meta.tx_id == file_id
    except StepwellError:
        return False


def _require_kept(after: int, horizon: int, last: int, client: str | None) -> None:
    for_client = f" --client {client}" if client else ""
    if after + 1 < horizon:
        raise BehindHorizon(
            f"cannot export changes behind LSN {after}: the log begins at LSN {horizon}, what was"
            " before is pruned",
            hint="`stepwell sync bootstrap --to FILE` writes all rows for a node that begins anew",
            fields={"since": after, "horizon": horizon},
        )
    if after > last:
        raise InvalidLsn(
            f"cannot export changes behind LSN {after}: the log ends at LSN {last}",
            hint=f"`stepwell sync export --to FILE{for_client} --since {last}` would be empty",
            fields={"since": after, "last_lsn": last},
        )


def _changes(database: Database, meta: Meta, tell: Tell | None) -> Iterator[Change]:
    after, total = meta.from_lsn - 1, meta.to_lsn - meta.from_lsn + 1
    for change in log.changes_of(database, after, meta.to_lsn, not_for=meta.client_id or None):
        yield change
        if tell is not None and change.lsn % log.READ_AT_ONCE == 0:
            tell(change.lsn - after, total)
    if tell is not None:
        tell(total, total)
