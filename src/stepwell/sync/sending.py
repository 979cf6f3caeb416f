"""The part of ``node.sync`` that gives: exports, snapshots, digests; and for whom it keeps."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from stepwell.database.transaction import Transaction
from stepwell.errors import InvalidPeer, NoSuchPeer
from stepwell.sync import digest, export, log, peers, prune, snapshot
from stepwell.sync.acknowledge import acknowledge
from stepwell.sync.bundle import Meta
from stepwell.sync.bundle_writer import require_free
from stepwell.sync.door import Door
from stepwell.sync.export import Exported, Tell
from stepwell.sync.peers import Peer
from stepwell.sync.prune import Pruning


class Sending(Door):
    """See the module."""

    # --- files

    def prepare_export(
        self,
        *,
        client: str | None = None,
        since: int | None = None,
        file_id: str | None = None,
        to: str | Path | None = None,
        changes_max: int | None = None,
    ) -> Meta:
        """Seal everything; answer what an export for ``client`` would speak of.

        Raises:
            what :meth:`export` raises before it writes; BundleExists when ``to`` is taken.
        """
        self._require_node()
        if to is not None:
            require_free(Path(to))
        return export.prepare(
            self.database,
            client=client,
            since=since,
            at=self._clock.now(),
            file_id=file_id or self.new_file_id(),
            changes_max=changes_max,
        )

    def export(
        self,
        to: str | Path,
        *,
        client: str | None = None,
        since: int | None = None,
        file_id: str | None = None,
        part_bytes_max: int | None = None,
        changes_max: int | None = None,
        tell: Tell | None = None,
    ) -> Exported:
        """Write the changes behind LSN ``since`` to a file that is whole or not there.

        By default those behind the last one that ``client`` has acknowledged, or all. Its own
        changes and what it has delivered are left out. An export with the ``file_id`` of one that
        was broken off takes its place. With ``changes_max`` it holds the first so many, and ends
        where a transaction does.

        Raises:
            CaptureBroken: a change may have been missed.
            NoSuchPeer, PeerRetired: the client is not one.
            BehindHorizon, InvalidLsn: the log does not hold what is asked for.
            BundleExists, CompressionMissing, BundleTooLarge, DatabaseError: it cannot be written.
        """
        meta = self.prepare_export(
            client=client, since=since, file_id=file_id, changes_max=changes_max
        )
        exported = export.export(
            self.database, Path(to), meta, part_bytes_max=part_bytes_max, tell=tell
        )
        self._record_export(meta, str(to), exported.written.rows, exported.written.sha256)
        return exported

    def stream_export(self, meta: Meta, *, to: str) -> Iterator[bytes]:
        """The file that :meth:`prepare_export` has spoken of, in blocks; ``to`` tells who takes it.

        No transaction is open while a block is being taken. That it was sent is recorded when the
        last one was.
        """
        end = yield from export.stream(self.database, meta)
        self._record_export(meta, to, end.rows, end.sha256)

    def _record_export(self, meta: Meta, to: str, rows: int, sha256: str) -> None:
        detail: dict[str, object] = {
            "client": meta.client_id,
            "from_lsn": meta.from_lsn,
            "to_lsn": meta.to_lsn,
            "rows": rows,
        }

        def fact(transaction: Transaction) -> None:
            export.record(transaction, meta, sha256, at=self._clock.now())
            self._audit(transaction, "export", to, detail)

        self.database.run(fact, what=f"record the export to {to!r}")

    def write_snapshot(self, to: str | Path) -> snapshot.Head:
        """Write all rows with their versions to a file, for a node that begins anew.

        Raises:
            CaptureBroken: a change may have been missed.
            BundleExists, CompressionMissing, DatabaseError: it cannot be written.
        """
        self._require_node()
        head = snapshot.write_snapshot(
            self.database, Path(to), self._clock, file_id=self.new_file_id()
        )
        self.database.run(
            lambda t: self._audit(t, "snapshot", str(to), {"lsn": head.lsn}),
            what=f"record snapshot {str(to)!r}",
        )
        return head

    def write_digest(self, to: str | Path) -> digest.Head:
        """Write what this node holds as hashes, for :meth:`verify` on another one.

        Raises:
            BundleExists, CompressionMissing, DatabaseError: it cannot be written.
        """
        self._require_node()
        return digest.write_digest(self.database, Path(to), self._clock, file_id=self.new_file_id())

    def verify(self, file: str | Path, *, peer: str | None = None) -> digest.Verified:
        """Compare this node's rows with the digest of another one; nothing is written.

        Raises:
            InvalidPeer: it is the digest of another node than ``peer``.
            NoSuchBundle, ForeignFile, BundleTorn, BundleDamaged, …: the file cannot be read.
        """
        self._require_node()
        opened = digest.open_digest(Path(file))
        source = opened.head.source_node
        if peer not in (None, source):
            raise InvalidPeer(
                f"cannot verify peer {peer!r}: {str(file)!r} is of node {source!r}",
                hint=f"`stepwell sync verify {source} --from {file}`",
                fields={"peer": peer, "source_node": source},
            )
        return digest.compare(self.database, opened)

    def find_main(self) -> str:
        """The one live main that is known here, to which a push goes.

        Raises:
            NoSuchPeer: there is none, or there are several.
        """
        mains = [p.node_id for p in self.list_peers() if p.is_main and p.retired_at is None]
        if len(mains) != 1:
            told = f"several are: {', '.join(mains)}" if mains else "none is"
            raise NoSuchPeer(
                f"cannot find the main node to push to: {told} known here",
                hint="name it with `--client NAME`"
                if mains
                else "`stepwell sync peers add NAME --main` makes it known",
                fields={"known": mains},
            )
        return mains[0]

    def holds_for(self, client: str, *, after_lsn: int) -> bool:
        """Whether this node's log has a change behind an LSN that a peer lacks."""
        self._require_node()
        with self.database.read() as reader:
            return log.holds_for(reader, client, after_lsn)

    def acknowledged(self, peer: str, lsn: int, *, epoch: int) -> None:
        """A peer in its epoch has said itself that it has this node's log up to an LSN."""

        def fact(transaction: Transaction) -> None:
            node = peers.own_node(transaction)
            received = {node.node_id: (node.epoch, lsn)}
            acknowledge(transaction, peer, received, epoch=epoch, at=self._clock.now())

        self.database.run(fact, what=f"record how far {peer!r} is")

    def pull_is_due(self, peer: str) -> str:
        """Why a peer's changes should be taken before the next push to it; empty when nothing is.

        By files nobody is told what a peer has; but what it was sent last it has not answered yet.
        """
        self._require_node()
        with self.database.read() as reader:
            sent = peers.find_state(reader, peer, "out")
            taken = peers.find_state(reader, peer, "in")
        if taken is None:
            return f"a pull is due: nothing of {peer} was ever imported here"
        if sent is not None and sent.last_hash is not None and sent.updated_at > taken.updated_at:
            return f"a pull is due: nothing of {peer} was imported since the last push to it"
        return ""

    # --- the others

    def list_peers(self) -> list[Peer]:
        """Every other node that is known here, by name."""
        self._require_node()
        with self.database.read() as reader:
            return peers.list_peers(reader)

    def get_peer(self, node_id: str, purpose: str) -> Peer:
        """The live peer of this name; ``purpose`` completes "cannot … peer".

        Raises:
            NoSuchPeer, PeerRetired: there is none.
        """
        self._require_node()
        with self.database.read() as reader:
            return export.get_peer(reader, node_id, purpose)

    def add_peer(self, node_id: str, *, is_main: bool = False) -> Peer:
        """Make another node known, so that changes are kept for it; a retired one is back.

        Raises:
            InvalidNodeId: the name cannot be one.
            InvalidPeer: it is this node's own.
        """
        self._require_node()

        def fact(transaction: Transaction) -> Peer:
            if node_id == peers.own_node(transaction).node_id:
                raise InvalidPeer(
                    f"cannot add peer {node_id!r}: it is this node itself",
                    hint="name another node; `stepwell sync status` shows this one",
                    fields={"peer": node_id},
                )
            was = peers.find_peer(transaction, node_id)
            epoch = was.epoch if was is not None else 1
            at = self._clock.now()
            peers.put_peer(transaction, node_id, is_main=is_main, epoch=epoch, at=at, seen=False)
            self._audit(transaction, "add_peer", node_id, {"is_main": is_main})
            found = peers.find_peer(transaction, node_id)
            assert found is not None
            return found

        return self.database.run(fact, what=f"add peer {node_id!r}")

    def retire_peer(self, node_id: str) -> None:
        """Keep nothing for a peer any longer.

        Raises:
            NoSuchPeer, PeerRetired: it is none, or is given up already.
        """
        self._require_node()

        def fact(transaction: Transaction) -> None:
            export.get_peer(transaction, node_id, "retire")
            peers.retire_peer(transaction, node_id, at=self._clock.now())
            self._audit(transaction, "retire_peer", node_id)

        self.database.run(fact, what=f"retire peer {node_id!r}")

    def prune(self, *, dry_run: bool = False) -> Pruning:
        """Take away what every live peer has acknowledged; answers what, and who holds the rest.

        With ``dry_run`` nothing is changed. Without a live peer nothing is taken away: nobody has
        said yet that it has anything.
        """
        self._require_node()
        with self.database.read() as reader:
            planned = prune.plan(reader)
        if planned.changes and not dry_run:
            prune.prune(self.database, planned)
            detail: dict[str, object] = {"changes": planned.changes}
            self.database.run(
                lambda t: self._audit(t, "prune", f"below LSN {planned.below_lsn}", detail),
                what="record the pruning",
            )
        return planned
