"""The only caller of the time, sleep and random functions; everybody else has a Clock injected.

A test injects :class:`stepwell.testing.FrozenClock`, so nothing in Stepwell sleeps in a test and
every timestamp is chosen.
"""

from __future__ import annotations

import os
import random
import time
import uuid
from datetime import UTC, datetime
from pathlib import Path
from threading import Event


class Clock:
    """The machine's clock: UTC for records, a monotonic one for durations and waits."""

    def now(self) -> datetime:
        """The time as an aware UTC datetime with microseconds."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Seconds that never go backwards; only differences mean something."""
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        """Block this thread."""
        time.sleep(seconds)

    def wait(self, event: Event, timeout_s: float | None) -> bool:
        """Wait for ``event``, at most ``timeout_s`` seconds; say whether it is set."""
        return event.wait(timeout_s)

    def jitter(self, low: float, high: float) -> float:
        """A random number of seconds between the two, to keep processes out of step."""
        return random.uniform(low, high)

    def new_id(self) -> str:
        """A fresh random UUID as 32 hexadecimal digits."""
        return uuid.uuid4().hex

    def zone_name(self) -> str:
        """The IANA name of this machine's time zone; ``UTC`` where it cannot be told."""
        from zoneinfo import ZoneInfo  # Nobody who only looks at the time pays for it.

        told = os.environ.get("TZ", "").removeprefix(":")
        if not told:  # Else it has the last word, whatever the system's own zone is.
            told = str(Path("/etc/localtime").resolve()).partition("zoneinfo/")[2]
        try:
            return str(ZoneInfo(told))
        except (KeyError, ValueError, OSError):
            return "UTC"
