"""The connections that are kept open between transactions: those that write, those that read."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from stepwell.database.dialect import Dialect, KeptConnection
from stepwell.errors import ConnectionLost

KEPT_MAX = 16  # Idle connections of a kind; more threads at once open and close theirs.


class Connections:
    """The idle connections of one kind; the last one used is the first one taken."""

    def __init__(self, dialect: Dialect, *, writes: bool) -> None:
        self._dialect = dialect
        self._writes = writes
        self._idle: deque[KeptConnection] = deque()
        # Also those in use, so that a forked child never drops, and so never closes, one.
        self._all: set[KeptConnection] = set()

    def take(self) -> KeptConnection:
        """An idle connection, or a new one."""
        try:
            return self._idle.pop()
        except IndexError:
            connection = self._dialect.connect(writes=self._writes)
            self._all.add(connection)
            return connection

    def begin(self, begin: Callable[[KeptConnection, str], None], what: str) -> KeptConnection:
        """Begin on an idle connection, or on a new one when the idle ones were lost meanwhile."""
        connection = self.take()
        try:
            begin(connection, what)
        except ConnectionLost:
            # The server was started again, say. Nothing had been sent, so nothing is lost.
            self.drop(connection)
            self.drop_idle()
            connection = self.take()
            try:
                begin(connection, what)
            except BaseException:
                self.drop(connection)
                raise
        except BaseException:
            self.give_back(connection)
            raise
        return connection

    def add(self, connection: KeptConnection) -> None:
        """Keep a connection that was made elsewhere."""
        self._all.add(connection)
        self._idle.append(connection)

    def keep(self, connection: KeptConnection) -> None:
        """Keep a sound connection for the next one, or close it when it is one too many."""
        if len(self._idle) < KEPT_MAX:
            self._idle.append(connection)
        else:
            self.drop(connection)

    def give_back(self, connection: KeptConnection) -> None:
        """Keep the connection if it is sound, else close it."""
        if self._dialect.is_lost(connection):
            self.drop(connection)
        else:
            self.keep(connection)

    def drop(self, connection: KeptConnection) -> None:
        """Close a connection that is not idle."""
        self._all.discard(connection)
        self._dialect.disconnect(connection)

    def drop_idle(self) -> None:
        """Close every idle connection."""
        while self._idle:
            self.drop(self._idle.pop())

    def forget(self) -> list[object]:
        """Start afresh without closing anything; answers what must never be closed."""
        inherited = [connection.forget() for connection in self._all]
        self._all, self._idle = set(), deque()
        return inherited
