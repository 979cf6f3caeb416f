"""The part of ``node.sync`` that takes: imports, what they left for a person, a new beginning."""

from __future__ import annotations

from pathlib import Path

from stepwell.database.transaction import Transaction
from stepwell.sync import bootstrap, peers, snapshot
from stepwell.sync.bootstrap import Bootstrapped
from stepwell.sync.door import Door
from stepwell.sync.peers import SyncNode


class Receiving(Door):
    """See the module."""

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
