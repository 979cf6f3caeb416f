"""Server-Sent Events from committed history: one poller, however many listen.

Guarantees: what is told was committed; a listener that comes back with its ``Last-Event-ID`` is
told every change since; nobody who listens slowly holds up another one. The poller works while
somebody listens, and reads once for all.

- ``change``: a change of status, with the id of its row in the history.
- ``look``: an execution with its steps, whenever what is recorded of it has changed; without an id,
  because the next one says all that this one did.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Iterable
from contextlib import suppress
from threading import Event, Lock, Thread
from typing import Any

from stepwell.clock import Clock
from stepwell.database.connect import Database
from stepwell.errors import DatabaseBusy, NoSuchJobExecution, StepwellError
from stepwell.execution.records import StatusChange
from stepwell.looks.reading import Look, Watch
from stepwell.looks.representation import change_json, look_json
from stepwell.repository.history import list_changes_after, newest_change_id

POLL_S = 0.5
QUIET_S = 15.0  # Then a comment is sent, so that a listener that has gone is noticed.
LISTENERS_MAX = 256
WAITING_MAX = 2_000  # Events that a listener has not taken; it is cut off, and may come back.
# Of two transactions the later id may commit first on a server: so far back is looked again.
OVERLAP = 200

logger = logging.getLogger("stepwell.web")


class Listener:
    """One connection; what it has not taken yet waits here."""

    def __init__(self, execution_id: int | None, after: int | None) -> None:
        self._loop = asyncio.get_running_loop()
        self._waiting: asyncio.Queue[str | None] = asyncio.Queue()
        self.execution_id = execution_id
        self.after = after

    def wants(self, execution_id: int) -> bool:
        """Whether events of this execution are for it."""
        return self.execution_id in (None, execution_id)

    def tell(self, text: str | None) -> None:
        """Hand over an event; None ends it. Called by any thread."""
        try:
            self._loop.call_soon_threadsafe(self._put, text)
        except RuntimeError:
            return  # Its loop has ended, and the connection with it.

    def _put(self, text: str | None) -> None:
        self._waiting.put_nowait(None if self._waiting.qsize() > WAITING_MAX else text)

    async def events(self) -> AsyncIterator[str]:
        """What it is told, until it ends."""
        while True:
            try:
                async with asyncio.timeout(QUIET_S):
                    text = await self._waiting.get()
            except TimeoutError:
                text = ": nothing new\n\n"
            if text is None:
                return
            yield text


class Events:
    """The one poller of a server, and those who listen."""

    def __init__(self, database: Database, clock: Clock, watch: Watch) -> None:
        self._database = database
        self._clock = clock
        self._watch = watch
        self._listeners: list[Listener] = []
        self._lock = Lock()
        self._wake = Event()
        self._thread: Thread | None = None
        self._closed = False
        self._newest = 0
        self._told: set[int] = set()
        self._looks: dict[int, Look] = {}

    async def listen(
        self, execution_id: int | None = None, after: int | None = None
    ) -> AsyncIterator[str]:
        """The events of one execution, or of all, behind the change ``after``; unending."""
        listener = Listener(execution_id, after)
        self._add(listener)
        try:
            yield "retry: 1000\n\n"
            async for text in listener.events():
                yield text
        finally:
            with self._lock:
                self._listeners.remove(listener)

    def run_once(self) -> None:
        """Read what is new, and tell it to everybody whom it concerns."""
        with self._lock:
            listeners = list(self._listeners)
        looks = {look.execution_id: look for look in self._watch.unended()}
        with self._database.read() as reader:
            if not self._newest:
                self._newest = newest_change_id(reader)
                self._told = set(range(self._newest - OVERLAP, self._newest + 1))
            found = list_changes_after(reader, self._newest - OVERLAP)
            # Those who come back together have heard the same: one look for each place.
            places = {one.after for one in listeners if one.after is not None}
            newest = max([self._newest, *(change.history_id for change in found)])
            missed = {
                after: list_changes_after(reader, after) if after < newest else []
                for after in places
            }
            behind = {
                listener: missed[listener.after]
                for listener in listeners
                if listener.after is not None
            }
        new = [change for change in found if change.history_id not in self._told]
        self._told = {change.history_id for change in found}
        self._newest = max([self._newest, *self._told])
        for execution_id in {c.execution_id for c in new} | self._looks.keys():
            if execution_id not in looks:  # Its end is told, too.
                looks.update(self._look(execution_id))
        # Of those that have ended before somebody came.
        over = {one.execution_id for one in behind if one.execution_id not in looks}
        ended = {i: self._look(i) for i in over if i is not None}
        changed = [
            look for i, look in looks.items() if _recorded(look) != _recorded(self._looks.get(i))
        ]
        for listener in listeners:
            if listener in behind:
                listener.after = None
                wanted = listener.execution_id
                now = looks if wanted is None else ended.get(wanted, looks)
                _tell_all(listener, behind[listener], now.values())
            else:
                _tell_all(listener, new, changed)
        self._looks = {
            i: look for i, look in looks.items() if look.execution.batch_status.is_running
        }

    def close(self) -> None:
        """Tell what is new a last time, then end every listener and the poller."""
        with self._lock:
            self._closed = True
            poller = self._thread
        self._wake.set()
        if poller is not None:
            poller.join()

    def require_room(self) -> None:
        """Refuse one listener too many, before its answer begins.

        Raises:
            DatabaseBusy: too many listen already.
        """
        if self._closed or len(self._listeners) >= LISTENERS_MAX:
            raise DatabaseBusy(
                "cannot tell events: too many listen already, or the server is about to end",
                hint="try again later; `/api/executions/ID` can be asked at any time",
            )

    def _look(self, execution_id: int) -> dict[int, Look]:
        """One that has ended; nothing when it was purged meanwhile."""
        with suppress(NoSuchJobExecution):
            return {execution_id: self._watch.look(execution_id)}
        return {}

    def _add(self, listener: Listener) -> None:
        with self._lock:
            if listener.after is None:
                listener.after = self._newest or 2**62  # The first round tells how things stand.
            self._listeners.append(listener)
            if self._thread is None:
                self._thread = Thread(target=self._poll, name="stepwell-events", daemon=True)
                self._thread.start()
        self._wake.set()

    def _poll(self) -> None:
        is_last = False
        while not is_last:
            self._wake.clear()
            with self._lock:
                is_last = self._closed
                if not self._listeners:
                    self._thread = None
                    self._newest, self._looks = 0, {}
                    return
            try:
                self.run_once()
            except StepwellError as error:
                logger.warning("looking for events failed, it is tried again: %s", error)
            if not is_last:
                self._clock.wait(self._wake, POLL_S)
        with self._lock:
            for listener in self._listeners:
                listener.tell(None)


def _tell_all(listener: Listener, changes: Iterable[StatusChange], looks: Iterable[Look]) -> None:
    for change in changes:
        if listener.wants(change.execution_id):
            document = {"execution_id": change.execution_id, **change_json(change)}
            listener.tell(_event("change", document, change.history_id))
    for look in looks:
        if listener.wants(look.execution_id):
            listener.tell(_event("look", look_json(look)))


def _recorded(look: Look | None) -> object:
    """What the database holds; rates and durations change always."""
    return None if look is None else (look.execution, [p.step for p in look.steps])


def _event(name: str, document: dict[str, Any], history_id: int | None = None) -> str:
    number = "" if history_id is None else f"id: {history_id}\n"
    return f"{number}event: {name}\ndata: {json.dumps(document)}\n\n"
