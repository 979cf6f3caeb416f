"""A clock for tests: time passes when the test says so, or when somebody sleeps."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from threading import Event, Lock

from stepwell.clock import Clock

BEGINS_AT = datetime(2026, 11, 20, 1, 0, 0, tzinfo=UTC)

# A pause this short is one between two tries at something that another process has; that one needs
# real time to get on.
_REAL_PAUSE_S_MAX = 0.05
_LOOK_AGAIN_S = 0.002


class FrozenClock(Clock):
    """Stands still until ``advance``; every answer is the same in each run of a test.

    >>> clock = FrozenClock()
    >>> clock.advance(90)
    >>> clock.now().isoformat()
    '2026-11-20T01:01:30+00:00'

    Threads may share it. ``sleep`` advances it instead of waiting, but for pauses of some
    milliseconds, which are waited as well. ``wait`` really waits for its event, until the clock
    was advanced beyond the timeout.
    """

    def __init__(self, begins_at: datetime = BEGINS_AT) -> None:
        self._now = begins_at
        self._monotonic = 1_000.0
        self._id = 0
        self._lock = Lock()

    def advance(self, seconds: float) -> None:
        """Let ``seconds`` pass."""
        with self._lock:
            self._now += timedelta(seconds=seconds)
            self._monotonic += seconds

    def set_back(self, seconds: float) -> None:
        """Put the wall clock back, as an administrator might; durations are not touched (S13)."""
        with self._lock:
            self._now -= timedelta(seconds=seconds)

    def now(self) -> datetime:
        """The chosen time."""
        return self._now

    def monotonic(self) -> float:
        """Seconds that pass with ``advance`` and ``sleep`` alone."""
        return self._monotonic

    def sleep(self, seconds: float) -> None:
        """Pass ``seconds`` at once."""
        if seconds <= _REAL_PAUSE_S_MAX:
            super().sleep(seconds)
        self.advance(seconds)

    def wait(self, event: Event, timeout_s: float | None) -> bool:
        """Wait for ``event``, or until the test has let ``timeout_s`` pass."""
        if timeout_s is None:
            return super().wait(event, None)
        deadline = self.monotonic() + timeout_s
        while not super().wait(event, _LOOK_AGAIN_S):
            if self.monotonic() >= deadline:
                return event.is_set()
        return True

    def jitter(self, low: float, high: float) -> float:
        """The middle."""
        return (low + high) / 2

    def new_id(self) -> str:
        """1, 2, 3, … as 32 hexadecimal digits."""
        with self._lock:
            self._id += 1
            return f"{self._id:032x}"

    def zone_name(self) -> str:
        """Everywhere the same."""
        return "UTC"
