"""``node.sync``: the change log of one database, for programs and for the faces.

Every method opens its own transactions. Whatever tells of the log seals first, so that it tells of
everything that is committed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from stepwell.database.guarded import GuardedConnection
from stepwell.database.transaction import Transaction
from stepwell.sync import baseline, capture, lag, log, peers
from stepwell.sync.audit import Audit, list_audit
from stepwell.sync.change import Lineage
from stepwell.sync.lag import Lag
from stepwell.sync.peers import Direction, Peer, SyncNode, SyncState
from stepwell.sync.policy import check_policy, encode_policy, parse_policy
from stepwell.sync.provenance import Provenance, find_provenance
from stepwell.sync.receiving import Receiving
from stepwell.sync.schema import make_tables
from stepwell.sync.sending import Sending
from stepwell.sync.table import TrackedTable, find_table, tracked_tables

_LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class SyncStatus:
    """Where a node stands.

    Attributes:
        sealed: How many changes this look itself has put into the log.
        faults: Tables whose changes may be missed.
    """

    node: SyncNode
    tables: list[TrackedTable]
    faults: list[capture.CaptureFault]
    peers: list[Peer]
    states: list[SyncState]
    sealed: int


class Sync(Sending, Receiving):
    """The change log of one database.

    >>> with Node.open("sqlite:///shop.db") as node:
    ...     node.sync.init("shop-1")
    ...     node.sync.track("visit_daily")
    ...     with node.sync.transaction(actor="till") as connection:
    ...         connection.execute("INSERT INTO visit_daily (store, day) VALUES (1, '2026-11-20')")
    """

    # --- being a node

    def init(self, node_id: str, *, is_main: bool = False) -> SyncNode:
        """Make this database a node; the same call again changes nothing.

        Raises:
            InvalidNodeId: the name cannot be one.
            SyncNodeExists: it is another node already.
        """
        peers.check_node_id(node_id)
        make_tables(self.database)

        def fact(transaction: Transaction) -> SyncNode:
            was = peers.find_node(transaction)
            place = str(self.database.path or "")
            at = self._clock.now()
            node = peers.init_node(transaction, node_id, is_main=is_main, at=at, place=place)
            if was is None:
                self._audit(transaction, "init", node_id, {"is_main": is_main})
            return node

        return self.database.run(fact, what=f"make database {self.database.location!r} a node")

    def status(self) -> SyncStatus:
        """Where the node stands, with everything sealed that is committed.

        Raises:
            NoSyncNode: it is none.
        """
        self._require_node()
        sealed = log.seal_all(self.database)
        with self.database.read() as reader:
            return SyncStatus(
                node=peers.own_node(reader, self.database.location),
                tables=list(tracked_tables(reader).values()),
                faults=capture.faults(reader),
                peers=peers.list_peers(reader),
                states=peers.list_states(reader),
                sealed=sealed,
            )

    def state(self, client_id: str, direction: Direction = "out") -> SyncState | None:
        """How far a peer has come in this node's log; None before the first time.

        With direction ``in`` how far this node has come in the peer's.
        """
        self._require_node()
        with self.database.read() as reader:
            return peers.find_state(reader, client_id, direction)

    def lags(self) -> list[Lag]:
        """How far each peer is behind what is sealed; nothing is sealed for it."""
        with self.database.read() as reader:
            return lag.lags(reader, self._clock.now())

    # --- what is captured

    def track(self, table: str, *, policy: str = "lww", with_rows: bool = True) -> TrackedTable:
        """Capture a table from now on; again: mend its triggers, announce what they did not see.

        ``with_rows`` False leaves out the rows that are there already. A policy is given once;
        tracking again keeps it. The answer names counters (rule ``delta``) whose triggers were gone
        for a time: what was added to them then is not known, and does not travel.

        Raises:
            CannotTrack: it has no declared key, or is no table.
            InvalidPolicy: the table cannot be decided so.
            NoSyncNode: the database is none.
        """
        self._require_node()
        asked = parse_policy(policy)

        def fact(transaction: Transaction) -> tuple[str, ...]:
            at = self._clock.now()
            counters: tuple[str, ...] = ()
            text = encode_policy(asked)
            changed = capture.track(transaction, table, at=at, policy=text, baseline=with_rows)
            for tracked in tracked_tables(transaction).values():
                if tracked.name.lower() == table.lower():
                    check_policy(asked, tracked.shape)
                    counters = baseline.uncounted(tracked)
            if changed:
                detail: dict[str, object] = {"with_rows": with_rows}
                if counters:
                    detail["uncounted"] = counters
                self._audit(transaction, "track", table, detail)
            return counters

        uncounted = self.database.run(fact, what=f"track table {table!r}")
        baseline.log_baselines(self.database, at=self._clock.now())
        with self.database.read() as reader:
            application = reader.application
            shape = reader.ask(lambda connection: application.table(connection, table))
            found = find_table(reader, shape.name if shape is not None else table)
        assert found is not None
        return replace(found, uncounted=uncounted)

    def untrack(self, table: str) -> None:
        """Capture a table no longer; what is logged stays.

        Raises:
            TableNotTracked: it is not captured.
        """
        self._require_node()

        def fact(transaction: Transaction) -> None:
            capture.untrack(transaction, table)
            self._audit(transaction, "untrack", table)

        self.database.run(fact, what=f"untrack table {table!r}")

    @contextmanager
    def transaction(self, *, actor: str = "") -> Iterator[GuardedConnection]:
        """A write transaction whose changes are one group, exactly this transaction.

        A transaction of any other program is captured, too; on SQLite what several of them wrote
        one after the other is one group.
        """
        self._require_node()
        lineage = Lineage(actor=actor) if actor else None
        with self.database.write() as transaction:
            capture.tell(transaction, self._clock.new_id(), lineage)
            yield transaction.connection

    # --- the built-in jobs, run to their end

    def import_(self, file: str | Path, *, batch_size: int = 1_000) -> dict[str, Any]:
        """Apply a file of changes; what became of its groups, as ``stepwell sync import --json``.

        Raises:
            NoSuchBundle, BundleTorn, GroupMissing, ImportRefused, …: nothing of it was applied.
        """
        return self._run_job("stepwell.sync.import", {"file": str(file), "batch_size": batch_size})

    def push(
        self, *, to: str | Path = "", url: str = "", client: str = "", token_file: str = ""
    ) -> dict[str, Any]:
        """Give ``client`` what it lacks: by a file, or (without ``to``) over HTTP to the hub.

        Raises:
            InvalidPeerUrl, NoSyncToken, PeerUnreachable, PeerRefused: nothing more came there.
            what :meth:`export` raises.
        """
        parameters = {"to": str(to), "url": url, "client": client, "token_file": token_file}
        return self._run_job("stepwell.sync.push", parameters)

    def pull(
        self, *, file: str | Path = "", url: str = "", client: str = "", token_file: str = ""
    ) -> dict[str, Any]:
        """Apply what a peer has for this node: a file, or (without one) over HTTP from the hub.

        Raises:
            what :meth:`push` and :meth:`import_` raise.
        """
        parameters = {"file": str(file), "url": url, "client": client, "token_file": token_file}
        return self._run_job("stepwell.sync.pull", parameters)

    def _run_job(self, name: str, parameters: Mapping[str, object]) -> dict[str, Any]:
        assert self._run is not None, "only a node runs jobs"
        self._require_node()
        return self._run(name, parameters)

    # --- looking back

    def provenance(self, table: str, key: Mapping[str, str]) -> Provenance:
        """What a row is here and which run of which job, on which node, has written it.

        Raises:
            TableNotTracked, InvalidKey, NoSuchRow: see :func:`.find_provenance`.
        """
        self._require_node()
        log.seal_all(self.database)
        with self.database.read() as reader:
            return find_provenance(reader, table, key)

    def audit(
        self, *, since: datetime | None = None, before: int | None = None, limit: int = 100
    ) -> list[Audit]:
        """Who did what, a page, the newest first; ``before`` is the last id of the page before."""
        self._require_node()
        with self.database.read() as reader:
            page = {"limit": limit} | ({} if before is None else {"before": before})
            return list_audit(reader, since=since or _LONG_AGO, **page)
