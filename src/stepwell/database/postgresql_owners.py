"""The owners that this process proves alive to a PostgreSQL server: a session's locks, and leases.

Guarantees: the proof goes with the process, because its session does; a process that is frozen
keeps its session but not its lease, which runs out by the server's clock, not by a client's.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection
from contextlib import suppress
from threading import Lock
from typing import Any

from stepwell.database.dialect import KeptConnection
from stepwell.errors import ConnectionLost, DatabaseError

LEASE_S = 30  # Above `idle_in_transaction_session_timeout`.
HEARTBEAT_S = 10.0  # One may be late, and one lost.

# The first key of an owner's advisory lock ("step"); the second is the owner's id.
LOCK_CLASS = 0x73746570

logger = logging.getLogger(__name__)


class OwnersSession:
    """A session that does nothing else, with the advisory lock of each owner of this process.

    Its locks go with it, so it is never used for anything that could fail or hang.
    """

    def __init__(
        self,
        connect: Callable[[], Any],
        driver_error: type[Exception],
        translate: Callable[[Exception, str], DatabaseError],
    ) -> None:
        self._connect = connect
        self._driver_error = driver_error
        self._translate = translate
        self._lock = Lock()
        self._held: set[int] = set()
        self._session: Any = None

    def has(self, owner_id: int) -> bool:
        """Whether this process holds the owner."""
        return owner_id in self._held

    @property
    def held(self) -> list[int]:
        """Those that this process holds."""
        return list(self._held)

    def hold(self, owner_id: int) -> bool:
        """Take its lock; False when another session has it."""
        with self._lock:
            if self._session is None or self._session.closed:
                self._session = self._connect()
            try:
                held = self._ask_lock("pg_try_advisory_lock", owner_id)
            except ConnectionLost:  # Somebody took this process for dead, and ended its sessions.
                self._session = self._connect()
                held = self._ask_lock("pg_try_advisory_lock", owner_id)
            if held:
                self._held.add(owner_id)
            return held

    def release(self, owner_id: int) -> None:
        """Give its lock back; the session stays, for the other owners."""
        with self._lock:
            if owner_id in self._held:
                self._held.remove(owner_id)
                with suppress(ConnectionLost):  # Its locks have gone with it.
                    self._ask_lock("pg_advisory_unlock", owner_id)

    def keeps(self, owner_id: int) -> bool:
        """Renew the lease; when the session was lost the lock is taken again in a new one.

        False when the lock is another's, or when somebody has recorded that the owner is dead.
        """
        with self._lock:
            if owner_id not in self._held:
                return False
            try:
                # A session may lock again what it holds; it must then unlock as often.
                self._ask_lock("pg_try_advisory_lock", owner_id)
                return self._ask_lock("pg_advisory_unlock", owner_id) and self._renew(owner_id)
            except ConnectionLost:
                logger.warning("the session that proves owner %d alive was lost", owner_id)
        return self.hold(owner_id) and self._renew(owner_id)

    def close(self) -> None:
        """Give up the owners that are still held."""
        with self._lock:
            self._held.clear()
            session, self._session = self._session, None
        if session is not None:
            session.close()

    def forget(self) -> object:
        """In a forked child the session stays the parent's; answers what is never closed there."""
        inherited, self._session = self._session, None
        self._lock, self._held = Lock(), set()
        return inherited

    def _ask_lock(self, function: str, owner_id: int) -> bool:
        sql = f"SELECT {function}(%s, %s)"
        return self._ask(sql, (LOCK_CLASS, owner_id), f"prove that owner {owner_id} is alive")

    def _renew(self, owner_id: int) -> bool:
        return self._ask(
            "WITH renewed AS (UPDATE batch_owner SET lease_until ="
            " clock_timestamp() + %s * interval '1 second'"
            " WHERE owner_id = %s AND ended_at IS NULL)"
            " SELECT NOT EXISTS (SELECT 1 FROM batch_owner"
            " WHERE owner_id = %s AND ended_at IS NOT NULL)",
            (LEASE_S, owner_id, owner_id),
            f"renew the lease of owner {owner_id}",
        )

    def _ask(self, sql: str, values: tuple[object, ...], what: str) -> bool:
        try:
            cursor = self._session.execute(sql, values)
        except self._driver_error as error:
            raise self._translate(error, what) from error
        return bool(cursor.fetchone()[0])


def owner_is_dead(connection: KeptConnection, owner_id: int, *, is_ours: bool) -> bool:
    """Whether its lock is free, or its lease ran out by the server's clock.

    Looked up, not tried: two who try would see each other. A lease of our own says nothing to us:
    whoever asks is awake, and about to renew it.
    """
    cursor = connection.cursor
    cursor.execute(
        "SELECT NOT EXISTS (SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND granted"
        " AND classid = %s::int AND objid = %s::int AND objsubid = 2 AND database ="
        " (SELECT oid FROM pg_database WHERE datname = current_database()))"
        " OR EXISTS (SELECT 1 FROM batch_owner"
        " WHERE owner_id = %s AND lease_until < clock_timestamp() AND NOT %s)",
        (LOCK_CLASS, owner_id, owner_id, is_ours),
    )
    return bool(cursor.fetchall()[0][0])


def dead_owners(
    connection: KeptConnection, owner_ids: Collection[int], *, ours: Collection[int]
) -> set[int]:
    """The same of many at once, in one statement."""
    cursor = connection.cursor
    cursor.execute(
        "SELECT asked.id FROM unnest(%s::bigint[]) AS asked (id) WHERE asked.id NOT IN"
        " (SELECT objid::bigint FROM pg_locks WHERE locktype = 'advisory' AND granted"
        " AND classid = %s::int AND objsubid = 2 AND database ="
        " (SELECT oid FROM pg_database WHERE datname = current_database()))"
        " OR asked.id IN (SELECT owner_id FROM batch_owner WHERE ended_at IS NULL"
        " AND lease_until < clock_timestamp() AND NOT owner_id = ANY(%s::bigint[]))",
        (list(owner_ids), LOCK_CLASS, list(ours)),
    )
    return {int(row[0]) for row in cursor.fetchall()}


def end_sessions(connection: KeptConnection, owner_id: int) -> int:
    """End an owner's sessions, which all have its name as ``application_name``; how many (S34)."""
    cursor = connection.cursor
    cursor.execute(
        "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
        " WHERE application_name = %s AND datname = current_database()"
        " AND pid <> pg_backend_pid()",
        (owner_name(owner_id),),
    )
    return int(cursor.fetchall()[0][0])


def owner_name(owner_id: int) -> str:
    """The ``application_name`` of an owner's sessions, by which they are found (S34)."""
    return f"stepwell owner {owner_id}"
