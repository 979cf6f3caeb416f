"""The doctor at work for the web: for one at a time, and what it has found lately.

A page may ask for that as often as it is drawn.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock

from stepwell.errors import DatabaseBusy
from stepwell.finding import Finding, Severity
from stepwell.node import Node

EVERY_S = 300.0  # Of a long history a look takes a second.
PATIENCE_S = 2.0  # By then a look for a page has ended.
_ORDER = (Severity.ERROR, Severity.WARNING, Severity.INFO)


class Examination:
    """Who may have the doctor work; threads share it.

    An examination reads the whole database: a second one at the same time would slow both.
    """

    def __init__(self, node: Node) -> None:
        self._node = node
        self._lock = Lock()
        self._examined_at_s: float | None = None

    @contextmanager
    def alone(self, verb: str) -> Iterator[None]:
        """While this is open the doctor works for nobody else.

        Raises:
            DatabaseBusy: it is at work for somebody else, and goes on to be.
        """
        if not self._lock.acquire(timeout=PATIENCE_S):
            raise DatabaseBusy(
                f"cannot {verb}: the doctor is at work for somebody else",
                hint="try again in a moment",
            )
        try:
            yield
            self._examined_at_s = self._node.clock.monotonic()
        finally:
            self._lock.release()

    def findings(self) -> list[Finding]:
        """Those of the last look, the worst first; one is made when nobody has looked lately.

        It is not thorough. While somebody else is examining these are the findings of before.
        """
        is_first = self._examined_at_s is None
        if self._lock.acquire(timeout=PATIENCE_S if is_first else 0):
            try:
                now_s = self._node.clock.monotonic()
                if self._examined_at_s is None or now_s - self._examined_at_s > EVERY_S:
                    self._node.doctor.examine(thorough=False)
                    self._examined_at_s = now_s
            finally:
                self._lock.release()
        return sorted(self._node.doctor.last, key=lambda one: _ORDER.index(one.severity))
