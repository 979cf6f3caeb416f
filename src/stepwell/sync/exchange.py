"""A node and its hub over HTTP: pieces of the log, each a file of changes that is whole.

Guarantees: a piece ends where a transaction does, so whatever has come there is applied, and an
exchange that was broken off goes on behind it; how far the hub has come it says itself.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from stepwell.database.durable import disk_refusal
from stepwell.errors import InvalidPeer, NodeRestored, PeerRefused
from stepwell.sync.bundle_reader import open_bundle
from stepwell.sync.export import Exported
from stepwell.sync.remote import Remote, address_of
from stepwell.sync.transport import Transport

if TYPE_CHECKING:
    from stepwell.sync.session import Sync

Answer = TypeVar("Answer")

# Applied within a proxy's patience, and little to send again when the connection is cut.
PIECE_CHANGES = 20_000
ERRORS_MAX = 20
_TOLD_OF_AN_ERROR = ("table", "pk_json", "reason", "message", "quarantine_id")


class HubStatus(msgspec.Struct, frozen=True):
    """What a hub says of itself, and of the node that asks.

    Attributes:
        node, epoch, is_main: The hub.
        last_lsn, horizon_lsn: Of its log.
        next_lsn, peer_epoch: From where on it lacks changes of this node, in which epoch.
        acknowledged_lsn: How far it believes that this node has come.
        pull_is_due: It has changes that this node lacks.
        push_bytes_max: What it takes at once.
    """

    node: str
    epoch: int
    is_main: bool
    last_lsn: int
    horizon_lsn: int
    next_lsn: int
    peer_epoch: int
    acknowledged_lsn: int
    pull_is_due: bool
    push_bytes_max: int


class Report(msgspec.Struct, frozen=True):
    """What a hub says of a push."""

    execution_id: int
    node: str
    epoch: int
    applied: int
    skipped: int
    conflicts: int
    quarantined: int
    waiting: int
    next_lsn: int
    peer_epoch: int
    errors: list[dict[str, Any]]


@dataclass
class Pushed:
    """What a push has done so far, over all its pieces.

    Attributes:
        client: The hub.
        rows: Changes that were sent.
        applied, skipped, conflicts, quarantined: Groups, as the hub counts them.
        waiting: Groups in the hub's quarantine.
        errors: The first that it could not apply.
    """

    client: str
    from_lsn: int
    to_lsn: int
    pull_is_due: bool
    rows: int = 0
    groups: int = 0
    applied: int = 0
    skipped: int = 0
    conflicts: int = 0
    quarantined: int = 0
    waiting: int = 0
    requests: int = 0
    errors: list[dict[str, Any]] = field(default_factory=list)

    def add(self, exported: Exported, report: Report) -> None:
        """One more piece is there."""
        self.rows += exported.written.rows
        self.groups += exported.written.groups
        self.to_lsn = exported.written.to_lsn
        self.applied += report.applied
        self.skipped += report.skipped
        self.conflicts += report.conflicts
        self.quarantined += report.quarantined
        self.waiting = report.waiting
        self.requests += 1
        for error in report.errors[: ERRORS_MAX - len(self.errors)]:
            self.errors.append({name: str(error.get(name))[:200] for name in _TOLD_OF_AN_ERROR})


class Exchange:
    """A node and the hub that a :class:`Remote` names.

    Args:
        client: The node that must answer there; empty: any peer.
        stop: Asked now and then; True raises ``Stopped``.

    Raises:
        InvalidPeerUrl, NoSyncToken: nothing was sent.
    """

    def __init__(
        self, sync: Sync, remote: Remote, *, client: str = "", stop: Callable[[], bool]
    ) -> None:
        address = address_of(remote.url)
        self._transport = Transport(address, remote.read_token(), sync.clock, stop=stop)
        self._url = address.shown
        self._sync = sync
        self._client = client
        self._folder = remote.folder / remote.transit
        self._name = sync.node().node_id

    def status(self) -> HubStatus:
        """Ask the hub where it stands.

        Raises:
            InvalidPeer, NoSuchPeer, PeerRetired: another node answers than one that is known here.
            PeerRefused, PeerUnreachable: none does.
        """
        query: dict[str, object] = {"client_id": self._name}
        expected = self._client or self._only_main()
        taken = self._sync.state(expected, "in") if expected else None
        if taken is not None:
            query["from_lsn"] = taken.last_lsn + 1
        status = self._convert(self._transport.get("/sync/status", query), HubStatus)
        if status.node == self._name:
            raise self._wrong(status.node, "it is this node itself")
        if self._client and status.node != self._client:
            raise self._wrong(status.node, f"node {status.node!r} answers, not {self._client!r}")
        self._sync.get_peer(status.node, "exchange changes with")
        if status.node != expected and self._sync.state(status.node, "in") is not None:
            self._client = status.node  # Known only now, and with it what was taken from there.
            return self.status()
        return status

    def _only_main(self) -> str:
        mains = [p.node_id for p in self._sync.list_peers() if p.is_main and p.retired_at is None]
        return mains[0] if len(mains) == 1 else ""

    # --- there

    def push(self, *, save: Callable[[Pushed], None], tell: Callable[[int, int], None]) -> Pushed:
        """Send what the hub lacks; ``save`` is called when a piece of it is there.

        Raises:
            NodeRestored: the hub has changes that this node does not know.
            what :meth:`status` and an export raise.
        """
        status = self.status()
        node = self._sync.status().node
        since = status.next_lsn - 1 if status.peer_epoch == node.epoch else 0
        if since > node.last_lsn:
            raise NodeRestored(
                f"cannot push to {status.node!r}: it has this node's changes up to LSN {since}, the"
                f" log here ends at LSN {node.last_lsn}",
                hint="a copy was restored? On the hub `stepwell sync bootstrap --to FILE`, here"
                " `stepwell sync rejoin --from FILE`",
                fields={"peer": status.node, "lsn": since, "last_lsn": node.last_lsn},
            )
        last_lsn = self._sync.prepare_export(client=status.node, since=since).to_lsn
        pushed = Pushed(status.node, since + 1, since, status.pull_is_due)
        is_owed = self._owes_receipt(status)
        while pushed.to_lsn < last_lsn or is_owed:
            exported = self._piece(pushed.to_lsn, status)
            try:
                report = self._convert(self._transport.send("/sync/push", self._outgoing), Report)
            finally:
                with suppress(OSError):
                    self._outgoing.unlink(missing_ok=True)
            if report.peer_epoch == node.epoch:
                self._sync.acknowledged(status.node, report.next_lsn - 1, epoch=report.epoch)
            pushed.add(exported, report)
            is_owed = False
            save(pushed)
            tell(pushed.to_lsn - since, max(last_lsn, pushed.to_lsn) - since)
        return pushed

    @property
    def _outgoing(self) -> Path:
        return self._folder / f"{self._name}-push.jsonl.gz"

    def _owes_receipt(self, status: HubStatus) -> bool:
        """Whether the hub keeps changes for this node that are here already."""
        taken = self._sync.state(status.node, "in")
        return (
            taken is not None
            and taken.peer_epoch == status.epoch
            and status.acknowledged_lsn < taken.last_lsn <= status.last_lsn
        )

    def _piece(self, since: int, status: HubStatus) -> Exported:
        changes_max = PIECE_CHANGES
        while True:
            self._make_folder()
            with suppress(OSError):
                self._outgoing.unlink(missing_ok=True)
            exported = self._sync.export(
                self._outgoing, client=status.node, since=since, changes_max=changes_max
            )
            size = self._outgoing.stat().st_size
            if size <= status.push_bytes_max:
                return exported
            if changes_max == 1:
                self._outgoing.unlink(missing_ok=True)
                raise PeerRefused(
                    f"cannot push to {status.node!r}: the transaction behind LSN {since} has"
                    f" {size:,} bytes, it takes {status.push_bytes_max:,} at once",
                    hint="carry it as a file, `stepwell sync push --file FILE`; or there raise"
                    " sync_push_bytes_max",
                    fields={"peer": status.node, "bytes_max": status.push_bytes_max},
                )
            changes_max = max(1, changes_max // 4)

    # --- and back

    def fetch(
        self,
        count: int,
        *,
        save: Callable[[str, int], None],
        tell: Callable[[int, int], None],
    ) -> None:
        """Get what the hub has for this node, into files; ``count`` of them an earlier try got.

        ``save`` is called with their name, in which a star is the number, and how many there are.

        Raises:
            BundleTorn, BundleDamaged, …: what came is not what a hub sends.
            what :meth:`status` raises; PeerRefused with 410 when the hub keeps it no longer.
        """
        status = self.status()
        if not all(self._incoming(number).is_file() for number in range(1, count + 1)):
            count = 0
        if not count:
            self._make_folder()
            self._clear()
        taken = self._sync.state(status.node, "in")
        is_known = taken is not None and taken.peer_epoch == status.epoch
        first = after = taken.last_lsn if taken is not None and is_known else 0
        if count:
            after = open_bundle(self._incoming(count)).meta.to_lsn
        while after < status.last_lsn or not count:
            path = self._incoming(count + 1)
            self._transport.fetch(
                "/sync/pull",
                {"client_id": self._name, "from_lsn": after + 1, "limit": PIECE_CHANGES},
                path,
                tell=lambda _: None,
            )
            bundle = open_bundle(path)
            checked = bundle.check()
            if bundle.meta.source_node != status.node or checked.to_lsn < after:
                raise self._wrong(bundle.meta.source_node, "other changes came than were asked for")
            after = checked.to_lsn
            count += 1
            save(str(self._incoming("*")), count)
            tell(after - first, max(after, status.last_lsn) - first)

    def _incoming(self, number: object) -> Path:
        return self._folder / f"{self._name}-pull-{number}.jsonl.gz"

    def _clear(self) -> None:
        for path in self._folder.glob(f"{self._name}-pull-*"):
            with suppress(OSError):
                path.unlink()

    def _make_folder(self) -> None:
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise disk_refusal(error, f"use the folder {str(self._folder)!r}") from error

    # --- answers that are none

    def _convert(self, document: dict[str, Any], into: type[Answer]) -> Answer:
        try:
            return msgspec.convert(document, into)
        except msgspec.ValidationError as error:
            raise PeerRefused(
                f"cannot exchange changes with {self._url!r}: its answer is not a hub's, {error}",
                hint="is it the address of `stepwell serve`, of this release?",
                fields={"url": self._url},
            ) from error

    def _wrong(self, node: str, fact: str) -> InvalidPeer:
        return InvalidPeer(
            f"cannot exchange changes with {self._url!r}: {fact}",
            hint="correct sync_url or `--url`; `stepwell sync peers list` shows the nodes",
            fields={"url": self._url, "node": node},
        )
