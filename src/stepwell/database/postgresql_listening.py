"""A session that listens to a PostgreSQL server, on a thread of its own.

Guarantee: it only ever makes somebody look sooner. A notice that is lost, with its session or
before there was one, is no fault: whoever listens looks again after a while all the same.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from threading import Event, Thread
from typing import Any

from stepwell.clock import Clock
from stepwell.errors import DatabaseError

HEARS_CLOSE_S = 0.2  # How long a wait for a notice does not see that nobody wants it any more.
AGAIN_S = 5.0  # Between two tries to have a session.

logger = logging.getLogger(__name__)


class ListeningSession:
    """Calls ``heard`` for each notice on a channel, and whenever a session begins to listen.

    Args:
        connect: Opens a session.
        driver_error: What a session raises that was lost.
    """

    def __init__(
        self,
        connect: Callable[[], Any],
        driver_error: type[Exception],
        clock: Clock,
        channel: str,
        heard: Callable[[], None],
    ) -> None:
        self._connect = connect
        self._driver_error = driver_error
        self._clock = clock
        self._channel = channel
        self._heard = heard
        self._over = Event()
        self._thread = Thread(target=self._run, name="stepwell-listening", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End the thread and its session."""
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._over.is_set():
            try:
                with self._connect() as session:
                    self._listen(session)
            except (DatabaseError, self._driver_error) as error:
                logger.info("nobody listens for %s, it is tried again: %s", self._channel, error)
                self._clock.wait(self._over, AGAIN_S)

    def _listen(self, session: Any) -> None:
        session.execute(f"LISTEN {self._channel}")
        self._heard()  # Of what was announced before.
        while not self._over.is_set():
            for _notice in session.notifies(timeout=HEARS_CLOSE_S, stop_after=1):
                self._heard()
