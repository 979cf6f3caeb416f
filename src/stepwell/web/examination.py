"""What the doctor has found lately: a page may ask as often as it is drawn."""

from __future__ import annotations

from threading import Lock

from stepwell.finding import Finding, Severity
from stepwell.node import Node

EVERY_S = 300.0  # Of a long history a look takes a second.
_ORDER = (Severity.ERROR, Severity.WARNING, Severity.INFO)


class Examination:
    """The findings of the last look; when nobody looks, one that is not thorough now and then.

    Threads share it.
    """

    def __init__(self, node: Node) -> None:
        self._node = node
        self._lock = Lock()
        self._examined_at_s: float | None = None

    def findings(self) -> list[Finding]:
        """The worst first; while somebody else is examining, those of before."""
        if self._lock.acquire(blocking=self._examined_at_s is None):
            try:
                now_s = self._node.clock.monotonic()
                if self._examined_at_s is None or now_s - self._examined_at_s > EVERY_S:
                    self._node.doctor.examine(thorough=False)
                    self._examined_at_s = now_s
            finally:
                self._lock.release()
        return sorted(self._node.doctor.last, key=lambda one: _ORDER.index(one.severity))
