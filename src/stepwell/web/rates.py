"""How often somebody may ask: a bucket of requests for each token and each address.

A bucket holds a minute's worth and is filled up steadily, so a page that asks for many things at
once is not held up, and a loop that never waits is. What is kept is bounded: of those who have not
asked for longest nothing is remembered, and by then their buckets are mostly full again.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from threading import Lock

from stepwell.clock import Clock
from stepwell.errors import TooManyRequests

KEPT_MAX = 10_000
_MINUTE_S = 60.0


class Rates:
    """The buckets of one server. Threads share it.

    Args:
        per_minute: Requests in a minute, and at once; 0: any number.
    """

    def __init__(self, clock: Clock, per_minute: int) -> None:
        self._clock = clock
        self._per_minute = per_minute
        self._lock = Lock()
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, who: str, request: str) -> None:
        """Count a request of ``who``; ``request`` names it in a refusal.

        Raises:
            TooManyRequests: the bucket is empty; the error says when it is not any more.
        """
        if not self._per_minute:
            return
        a_request_s = _MINUTE_S / self._per_minute
        with self._lock:
            now = self._clock.monotonic()
            left, since = self._buckets.pop(who, (float(self._per_minute), now))
            left = min(float(self._per_minute), left + (now - since) / a_request_s)
            is_allowed = left >= 1
            self._buckets[who] = (left - is_allowed, now)
            while len(self._buckets) > KEPT_MAX:
                self._buckets.popitem(last=False)
        if not is_allowed:
            wait_s = math.ceil((1 - left) * a_request_s)
            raise TooManyRequests(request, f"{who} has asked too often", retry_after_s=wait_s)
