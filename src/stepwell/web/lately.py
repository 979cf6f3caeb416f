"""How executions went lately, worked out once for all who look at the same state.

These are the questions that read thousands of rows. Their answer is kept until something is
committed to the history, and for a few seconds at most, because the window moves on; so a page that
many browsers fetch again at the same change costs the database one answer.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from datetime import timedelta
from threading import Lock
from typing import Any, NamedTuple, TypeVar

from stepwell.clock import Clock
from stepwell.database.connect import Database
from stepwell.database.transaction import Reader
from stepwell.repository.browse import count_by_status
from stepwell.repository.history import newest_change_id
from stepwell.repository.statistics import (
    Statistics,
    Window,
    p95_since,
    statistics_by_day,
    statistics_since,
)

KEPT_S = 10.0
KEPT_MAX = 100  # Windows of different lengths.

Answer = TypeVar("Answer")


class _Kept(NamedTuple):
    newest_change: int
    at_s: float
    answer: Any


class Lately:
    """The answers of one server. Threads share it; each answer is worked out by one of them."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._lock = Lock()
        self._kept: dict[Hashable, _Kept] = {}

    def window(self, reach: timedelta) -> Window:
        """The statistics of what has ended within ``reach``."""
        return self._answer(
            ("window", reach), lambda reader: statistics_since(reader, self._clock.now() - reach)
        )

    def window_before(self, reach: timedelta) -> Window:
        """The statistics of the window of this length that went before."""

        def look(reader: Reader) -> Window:
            until = self._clock.now() - reach
            return statistics_since(reader, until - reach, until=until)

        return self._answer(("before", reach), look)

    def p95_s(self, reach: timedelta) -> float | None:
        """What 95 in 100 of the completed executions of all jobs did not exceed."""
        return self._answer(
            ("p95", reach), lambda reader: p95_since(reader, self._clock.now() - reach)
        )

    def by_day(self, days: int) -> dict[str, Statistics]:
        """How many ended on each of the last days in UTC."""
        return self._answer(
            ("by day", days), lambda reader: statistics_by_day(reader, self._clock.now(), days)
        )

    def counts(self) -> list[tuple[str, str, int]]:
        """How many of the last executions each job has with each status."""
        return self._answer("counts", count_by_status)

    def _answer(self, question: Hashable, look: Callable[[Reader], Answer]) -> Answer:
        with self._lock, self._database.read() as reader:
            newest, now_s = newest_change_id(reader), self._clock.monotonic()
            kept = self._kept.get(question)
            if kept is None or kept.newest_change != newest or now_s - kept.at_s > KEPT_S:
                if len(self._kept) >= KEPT_MAX:
                    self._kept.clear()
                kept = self._kept[question] = _Kept(newest, now_s, look(reader))
            answer: Answer = kept.answer
            return answer
