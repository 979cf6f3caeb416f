"""A trial: the first items of a chunk step, the first partitions of a partitioned one (S198).

The number stands in the execution's row, so that a restart of a trial is the same trial.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from stepwell.runner.artifacts import open_at
from stepwell.runner.plan import Planned


def first_partitions(planned: Planned, limit: int | None) -> Planned:
    """The plan of a trial; all of it without a limit."""
    return planned if limit is None else replace(planned, partitions=planned.partitions[:limit])


class FirstItems:
    """An ItemReader that ends after so many items; a restart goes on counting."""

    def __init__(self, reader: Any, limit: int) -> None:
        self._reader = reader
        self._limit = limit
        self._count = 0

    def open(self, checkpoint: Any, step: Any) -> None:
        """Take up the reader's own position, and how many items came before it."""
        self._count, position = (0, None) if checkpoint is None else checkpoint
        open_at(self._reader, position, step)

    def read(self) -> Any:
        """The reader's next item, or None after the last one of the trial."""
        if self._count >= self._limit:
            return None
        item = self._reader.read()
        self._count += item is not None
        return item

    def checkpoint(self) -> list[Any]:
        """Both."""
        return [self._count, self._reader.checkpoint()]

    def close(self) -> None:
        """The reader's."""
        self._reader.close()
