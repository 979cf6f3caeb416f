"""Proof of life and proof of death of the processes that own executions (S33).

Death is proven, not guessed: a missed heartbeat proves nothing. A process holds a lock that the
operating system, or the server, takes from it when it ends, however it ends; whoever can take that
lock has the proof. A process that is merely stopped or starved keeps it (S189).

- SQLite: one byte of the file ``<database>-owners``, at the owner's id. The file is never deleted;
  host names mean nothing, the file is local.
- PostgreSQL: a session's advisory lock, on a connection that does nothing else; and a lease that
  the owner renews, by the server's clock. Either that is gone is proof: a frozen process keeps its
  session, but not its lease.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import TypeVar

from stepwell.database.dialect import Dialect, KeptConnection
from stepwell.database.epoch import is_of_an_earlier_epoch, owners_of_an_earlier_epoch
from stepwell.database.transaction import Reader, Transaction
from stepwell.errors import DatabaseBusy

T = TypeVar("T")


class Liveness:
    """The owners of one database: this process's own, and whether another one is dead.

    ``Database.liveness`` is the one that belongs to a database.
    """

    def __init__(self, dialect: Dialect, read: Callable[[], Reader]) -> None:
        self._dialect = dialect
        self._read = read

    @property
    def heartbeat_s(self) -> float | None:
        """How often the owner's timer asks :meth:`keeps`; None: it need not (SQLite)."""
        return self._dialect.heartbeat_s

    def hold(self, owner_id: int, transaction: Transaction) -> None:
        """Prove that this owner is alive, from before its row is visible until its end.

        Called inside the transaction that inserts the owner's row, so that nobody ever sees a row
        without its proof. When that transaction is rolled back the proof is given up.

        Raises:
            DatabaseBusy: another process has the proof of this id.
        """
        if not self._dialect.hold_owner(owner_id):
            raise DatabaseBusy(
                f"cannot hold owner {owner_id}: another process holds it",
                hint="`stepwell status` shows what is at work",
                fields={"owner_id": owner_id, "database": self._dialect.location},
            )
        transaction.after_rollback(lambda: self._dialect.release_owner(owner_id))

    def release(self, owner_id: int) -> None:
        """The owner's work is done; from now on it counts as dead."""
        self._dialect.release_owner(owner_id)

    def keeps(self, owner_id: int) -> bool:
        """Whether this process has its proof still; for the owner's own timer.

        On PostgreSQL this renews the lease, and replaces a lost session. Meanwhile others may have
        recovered the owner's executions, their fences say so (S35); if they have recorded its
        death, the answer is False: the process must become another owner.
        """
        return self._dialect.keeps_owner(owner_id)

    def is_dead(self, owner_id: int) -> bool:
        """Whether the owner is proven dead; never for one that this process holds.

        One of an earlier epoch is: whatever lives of it can write nothing any more (``epoch.py``).
        """
        with self._read() as reader:
            return is_of_an_earlier_epoch(reader, owner_id) or reader.ask(
                lambda connection: self._dialect.owner_is_dead(connection, owner_id)
            )

    def dead_among(self, owner_ids: Collection[int]) -> set[int]:
        """Those of many who are proven dead; as many statements for a thousand as for one.

        Every worker asks it of every other one, twice a second.
        """
        if not owner_ids:
            return set()
        with self._read() as reader:
            past = owners_of_an_earlier_epoch(reader) & set(owner_ids)
            rest = set(owner_ids) - past
            return past | reader.ask(lambda connection: self._dialect.dead_owners(connection, rest))

    def end_sessions(self, owner_id: int) -> int:
        """End what a dead or frozen owner still has open at a server; answers how many (S34).

        On SQLite there is no server: a process stopped inside a write transaction blocks the
        others until it goes on or is killed, and their error names it (S189).
        """
        return self._ask(lambda connection: self._dialect.end_sessions(connection, owner_id))

    def _ask(self, question: Callable[[KeptConnection], T]) -> T:
        with self._read() as reader:
            return reader.ask(question)
