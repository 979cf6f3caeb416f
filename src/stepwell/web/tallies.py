"""Numbers that only grow, added up from the database: nothing is counted twice or forgotten.

A row is added when it has ended, each once. What is remembered between two looks is the sums, the
newest id, and the ids of the few rows that had not ended; so a look reads what has come since the
last one. The sums begin with the newest rows that were there, as a program's counters begin anew
when it starts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator

from stepwell.database.transaction import Reader
from stepwell.repository.browse import newest_execution_id
from stepwell.repository.tallies import (
    Tallied,
    executions_after,
    find_execution,
    find_step,
    newest_steps,
    partition_seconds,
    steps_after,
)

KINDS = ("read", "written", "filtered", "skipped")
BEGIN_ROWS = 1_000  # So many are there from the first look on.
BEGIN_PARTITIONS = 100_000  # Unless they have more partitions than this.
PAGE_ROWS = 10_000  # A look; what is left is added by the next one.
# Of two transactions the later id may commit first on a server: so far back is looked again.
OVERLAP = 200

Labels = tuple[str, ...]


class Follower:
    """Reads rows behind a beginning, and again those that had not ended."""

    def __init__(
        self,
        begin: Callable[[Reader], int],
        page: Callable[[Reader, int, int], list[Tallied]],
        find: Callable[[Reader, int], Tallied | None],
    ) -> None:
        self._begin = begin
        self._page = page
        self._find = find
        self._newest: int | None = None
        self._known: set[int] = set()
        self._open: list[int] = []

    def follow(self, reader: Reader) -> tuple[list[Tallied], list[Tallied]]:
        """The rows that have ended since the last look, and those that have not ended yet."""
        begins = self._newest is None
        after = self._begin(reader) if self._newest is None else self._newest - OVERLAP
        found = [row for row in self._page(reader, after, PAGE_ROWS) if row.id not in self._known]
        again = (self._find(reader, row_id) for row_id in self._open)
        rows = [*found, *(row for row in again if row is not None)]
        self._newest = max([after if begins else self._newest or 0, *(row.id for row in found)])
        self._known = {
            row_id
            for row_id in {*self._known, *(row.id for row in found)}
            if row_id > self._newest - OVERLAP
        }
        unended = [row for row in rows if not row.has_ended]
        self._open = [row.id for row in unended]
        return [row for row in rows if row.has_ended], unended


class Tallies:
    """The sums of one server; one thread at a time."""

    def __init__(self) -> None:
        self._executions = Follower(
            lambda reader: newest_execution_id(reader) - BEGIN_ROWS,
            executions_after,
            find_execution,
        )
        self._steps = Follower(_begin_of_steps, steps_after, find_step)
        self.execution_seconds: dict[Labels, tuple[int, float]] = {}
        self.step_seconds: dict[Labels, tuple[int, float]] = {}
        self.partition_seconds: dict[Labels, tuple[int, float]] = {}
        self._items: Counter[Labels] = Counter()
        self._items_of_open: Counter[Labels] = Counter()

    @property
    def items(self) -> Counter[Labels]:
        """By job, step and kind, with those of steps that still run."""
        return self._items + self._items_of_open

    def add(self, reader: Reader) -> None:
        """Look at what has come since the last time."""
        ended, _ = self._executions.follow(reader)
        for execution in ended:
            _add(self.execution_seconds, execution.labels, execution.seconds)
        ended, unended = self._steps.follow(reader)
        for step in ended:
            _add(self.step_seconds, step.labels, step.seconds)
            self._items.update(_items(step))
            if step.partition_total:
                count, seconds = partition_seconds(reader, step.id)
                _add(self.partition_seconds, step.labels, seconds, count)
        self._items_of_open = Counter()
        for step in unended:
            self._items_of_open.update(_items(step))


def _begin_of_steps(reader: Reader) -> int:
    """The id behind which the first look begins: not far back, and not with too many partitions."""
    partitions, begin = 0, 0
    for step_id, total in newest_steps(reader, BEGIN_ROWS):
        partitions += total
        if partitions > BEGIN_PARTITIONS:
            return step_id
        begin = step_id - 1
    return begin


def _add(
    sums: dict[Labels, tuple[int, float]], labels: Labels, seconds: float | None, count: int = 1
) -> None:
    if seconds is not None:
        counted, together = sums.get(labels, (0, 0.0))
        sums[labels] = (counted + count, together + seconds)


def _items(step: Tallied) -> dict[Labels, int]:
    return dict(_kinds(step))


def _kinds(step: Tallied) -> Iterator[tuple[Labels, int]]:
    for kind, number in zip(KINDS, step.items, strict=True):
        if number:
            yield (*step.labels, kind), number
