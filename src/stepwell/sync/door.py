"""What every part of ``node.sync`` shares: the database, the clock, and who asks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from stepwell.clock import Clock
from stepwell.database.connect import Database
from stepwell.database.transaction import Transaction
from stepwell.errors import NoSyncNode
from stepwell.sync import peers
from stepwell.sync.audit import record_audit
from stepwell.sync.peers import SyncNode
from stepwell.sync.remote import Remote
from stepwell.sync.schema import is_made

# Runs a built-in job by name; answers what its last step has left.
RunJob = Callable[[str, Mapping[str, object]], dict[str, Any]]


class Door:
    """One database, perhaps a node, and the one who comes to it.

    Attributes:
        is_apart: The batch tables are in another database: no commit holds both.
        remote: The hub with which changes are exchanged over HTTP.
    """

    def __init__(
        self,
        database: Database,
        clock: Clock,
        *,
        actor: str = "library",
        is_apart: bool = False,
        remote: Remote | None = None,
        run: RunJob | None = None,
    ) -> None:
        self.database = database
        self.is_apart = is_apart
        self.remote = remote or Remote()
        self._run = run
        self._clock = clock
        self._actor = actor

    @property
    def is_node(self) -> bool:
        """Whether ``init`` has been called for this database, ever."""
        if not is_made(self.database):
            return False
        with self.database.read() as reader:
            return peers.find_node(reader) is not None

    def node(self) -> SyncNode:
        """This database as a node.

        Raises:
            NoSyncNode: it is none.
        """
        self._require_node()
        with self.database.read() as reader:
            return peers.own_node(reader, self.database.location)

    @property
    def actor(self) -> str:
        """Who comes, for the audit."""
        return self._actor

    @property
    def clock(self) -> Clock:
        """The time, as it was injected."""
        return self._clock

    def new_file_id(self) -> str:
        """An id by which a file is known, in all its parts."""
        return self._clock.new_id()

    def _require_node(self) -> None:
        if not self.is_node:
            raise NoSyncNode(self.database.location)

    def _audit(
        self,
        transaction: Transaction,
        action: str,
        subject: str,
        detail: dict[str, object] | None = None,
    ) -> None:
        record_audit(
            transaction,
            at=self._clock.now(),
            actor=self._actor,
            action=action,
            subject=subject,
            detail=detail,
        )
