"""The part of ``node.sync`` that takes: imports, what they left for a person, a new beginning."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import islice
from pathlib import Path
from typing import TypeVar

from stepwell.database.transaction import Transaction
from stepwell.sync import bootstrap, log, peers, receipt, snapshot
from stepwell.sync.apply import Applied, Applier, applying
from stepwell.sync.audit import record_audit
from stepwell.sync.bootstrap import Bootstrapped
from stepwell.sync.bundle import Meta
from stepwell.sync.bundle_reader import Bundle, Checked, open_bundle
from stepwell.sync.change import Change, Values
from stepwell.sync.conflict import (
    Conflict,
    Status,
    count_waiting,
    get_conflict,
    list_conflicts,
)
from stepwell.sync.door import Door
from stepwell.sync.peers import SyncNode
from stepwell.sync.preflight import Preflight, preflight
from stepwell.sync.quarantine import (
    Quarantined,
    count_open,
    get_quarantined,
    list_quarantine,
)
from stepwell.sync.resolution import Resolved, Take, reopen, resolve

Answer = TypeVar("Answer")


class Receiving(Door):
    """See the module."""

    # --- files

    def preflight(self, file: str | Path) -> Preflight:
        """Read a whole file; answer what an import would do. Nothing is written.

        Raises:
            NoSuchBundle, ForeignFile, BundleTorn, BundleDamaged, …: the file cannot be read.
        """
        self._require_node()
        log.seal_all(self.database)
        with self.database.read() as reader:
            return preflight(reader, open_bundle(Path(file)), at=self._clock.now())

    def meta_of(self, file: str | Path) -> Meta:
        """The first line of a file.

        Raises:
            NoSuchBundle, ForeignFile, BundleTorn, BundleDamaged, …: it cannot be read.
        """
        return open_bundle(Path(file)).meta

    def finish_import(
        self, bundle: Bundle, checked: Checked, counts: Mapping[str, int]
    ) -> tuple[int | None, int]:
        """For the job: every group of a file is in.

        Answers how far its source has come in this log, and how many groups wait in quarantine.
        """
        meta, at = bundle.meta, self._clock.now()
        result = ", ".join(f"{number} {what}" for what, number in counts.items() if number)

        def fact(transaction: Transaction) -> tuple[int | None, int]:
            detail: dict[str, object] = {"from": meta.source_node, "to_lsn": checked.to_lsn}
            self._audit(transaction, "import", str(bundle.path), {**detail, **counts})
            told = f"imported up to LSN {checked.to_lsn}: {result or 'nothing new'}"
            acknowledged = receipt.finish(transaction, meta, checked, result=told, at=at)
            return acknowledged, count_open(transaction)

        return self.database.run(fact, what=f"record the import of {str(bundle.path)!r}")

    # --- what waits for a person

    def list_conflicts(
        self, *, status: Status | None = None, before: int | None = None, limit: int = 100
    ) -> list[Conflict]:
        """A page of conflicts, the newest first."""
        self._require_node()
        with self.database.read() as reader:
            page = {"limit": limit} | ({} if before is None else {"before": before})
            return list_conflicts(reader, status=status, **page)

    def count_conflicts(self) -> int:
        """How many wait for a person."""
        self._require_node()
        with self.database.read() as reader:
            return count_waiting(reader)

    def get_conflict(self, conflict_id: int) -> Conflict:
        """The conflict of this id.

        Raises:
            NoSuchConflict: there is none.
        """
        self._require_node()
        with self.database.read() as reader:
            return get_conflict(reader, conflict_id)

    def resolve(
        self,
        conflict_id: int,
        *,
        take: Take,
        values: Values | None = None,
        expected_state: str | None = None,
        actor: str = "",
    ) -> Resolved:
        """Settle a conflict: a transaction of this node, which travels like any other.

        ``expected_state`` is the ``state`` of the conflict that somebody has read; without it
        what a person has decided stays.

        Raises:
            NoSuchConflict: there is none of this id.
            CannotResolve: it cannot be settled so, or somebody has decided it meanwhile.
        """
        return self._apply(
            lambda applier: resolve(
                applier, conflict_id, take, values=values, expected_state=expected_state
            ),
            what=f"resolve conflict {conflict_id}",
            actor=actor,
        )

    def reopen(self, conflict_id: int, *, actor: str = "") -> None:
        """Have a conflict wait for a person again; its rows stay as they are until then.

        Raises:
            NoSuchConflict: there is none of this id.
            CannotResolve: it waits already.
        """
        self._require_node()
        at, by = self._clock.now(), actor or self._actor
        self.database.run(
            lambda transaction: reopen(transaction, conflict_id, at=at, actor=by),
            what=f"reopen conflict {conflict_id}",
        )

    def count_quarantine(self) -> int:
        """How many groups wait."""
        self._require_node()
        with self.database.read() as reader:
            return count_open(reader)

    def list_quarantine(
        self, *, is_open: bool | None = True, before: int | None = None, limit: int = 100
    ) -> list[Quarantined]:
        """A page of parked groups, the newest first; ``is_open`` None: also closed ones."""
        self._require_node()
        with self.database.read() as reader:
            page = {"limit": limit} | ({} if before is None else {"before": before})
            return list_quarantine(reader, is_open=is_open, **page)

    def get_quarantined(self, quarantine_id: int) -> Quarantined:
        """The parked group of this id.

        Raises:
            NoSuchQuarantine: there is none.
        """
        self._require_node()
        with self.database.read() as reader:
            return get_quarantined(reader, quarantine_id)

    def changes_in_quarantine(self, quarantine_id: int, *, limit: int = 100) -> list[Change]:
        """The first changes of a parked group.

        Raises:
            NoSuchQuarantine: there is none.
        """
        self._require_node()
        with self.database.read() as reader:
            parked = get_quarantined(reader, quarantine_id)
            group = log.read_group(reader, parked.origin, parked.epoch, parked.seq)
            return list(islice(group, limit))

    def retry(self, quarantine_id: int, *, actor: str = "") -> Applied:
        """Try a parked group again.

        Raises:
            NoSuchQuarantine, CannotResolve: there is none that waits.
        """
        return self._apply(
            lambda applier: self._told("retry", quarantine_id, applier, applier.retry),
            what=f"retry quarantined group {quarantine_id}",
            actor=actor,
        )

    def retry_all(self, *, actor: str = "") -> list[Applied]:
        """Try every parked group again; answers those that were applied."""
        return self._apply(
            lambda applier: applier.retry_all(), what="retry quarantined groups", actor=actor
        )

    def drop(self, quarantine_id: int, *, actor: str = "") -> Applied:
        """Give a parked group up: its effect never comes here.

        Raises:
            NoSuchQuarantine, CannotResolve: there is none that waits.
        """
        return self._apply(
            lambda applier: self._told("drop", quarantine_id, applier, applier.drop),
            what=f"drop quarantined group {quarantine_id}",
            actor=actor,
        )

    def _told(
        self,
        action: str,
        quarantine_id: int,
        applier: Applier,
        do: Callable[[int], Applied],
    ) -> Applied:
        applied = do(quarantine_id)
        record_audit(
            applier.transaction,
            at=applier.at,
            actor=applier.actor,
            action=action,
            subject=f"quarantined group {quarantine_id}",
            detail={"result": applied.result},
        )
        return applied

    def _apply(self, do: Callable[[Applier], Answer], *, what: str, actor: str) -> Answer:
        self._require_node()
        by = actor or self._actor

        def fact(transaction: Transaction) -> Answer:
            at = self._clock.now()
            node = peers.own_node(transaction)
            with applying(transaction, source_node=node.node_id, at=at, actor=by) as applier:
                return do(applier)

        return self.database.run(fact, what=what)

    # --- a new beginning

    def bootstrap(self, file: str | Path, *, new_epoch: bool = False) -> Bootstrapped:
        """Put the rows of a snapshot in the place of all tracked rows; all of it or nothing.

        ``new_epoch`` is for a database that was restored: what it wrote since is given up.

        Raises:
            CannotBootstrap: the tables do not fit, or changes of this node would be lost.
            NoSuchBundle, ForeignFile, BundleTorn, BundleDamaged, …: the file cannot be read.
            ConstraintViolation: other rows need what would go, or rows cannot be inserted.
        """
        self._require_node()
        opened = snapshot.open_snapshot(Path(file))
        done = bootstrap.bootstrap(self.database, opened, at=self._clock.now(), new_epoch=new_epoch)
        detail: dict[str, object] = {
            "from": done.head.source_node,
            "lsn": done.head.lsn,
            "rows": done.rows,
            "epoch": done.epoch,
        }
        self.database.run(
            lambda t: self._audit(t, "rejoin" if new_epoch else "bootstrap", str(file), detail),
            what=f"record the beginning from {str(file)!r}",
        )
        return done

    def rejoin(self) -> SyncNode:
        """Begin a new epoch: this database was restored, or moved, and goes on from where it is.

        What it had written after the copy was made stays where it was sent; with a snapshot
        (:meth:`bootstrap`, ``new_epoch``) it comes back.
        """
        self._require_node()

        def fact(transaction: Transaction) -> SyncNode:
            node = peers.lock_node(transaction)
            place = str(self.database.path or "")
            peers.begin_epoch(transaction, node.epoch + 1, place=place)
            self._audit(transaction, "rejoin", node.node_id, {"epoch": node.epoch + 1})
            return peers.own_node(transaction)

        return self.database.run(fact, what="begin a new epoch")
