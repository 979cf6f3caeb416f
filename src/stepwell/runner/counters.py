"""The counters of a chunk step: what is committed, and what the present chunk adds (S133)."""

from __future__ import annotations

from dataclasses import astuple, replace
from datetime import datetime
from typing import Any

import msgspec

from stepwell.execution.records import Metrics, SkippedItem, StepExecution
from stepwell.execution.result import MESSAGE_CHARACTERS_MAX, WriteReport, cut, message_of

ITEM_CHARACTERS_MAX = 4_000  # Enough to see what it was; the source still has the whole.


class Counters:
    """The eight metrics while a chunk is under way; a rollback restores all but the rollbacks."""

    def __init__(self, counted: Metrics) -> None:
        self.rollbacks = counted.rollback_count
        self._pending_write = (0, 0)
        self._committed = counted
        self._restore()
        # Of those of a writer's own report nobody can tell any more (S196).
        self.committed_skip_count = self.read_skip + self.process_skip

    @property
    def position(self) -> int:
        """The place of the present item among all that this step execution has read, from 1."""
        return self.read + self.read_skip

    def count_write(self, items: list[Any], report: object) -> None:
        """Count a written list, or what a writer says that it did with it (S196)."""
        if report is None or not isinstance(report, WriteReport):
            self._pending_write = (len(items), 0)
        else:
            self._pending_write = (report.written, report.skipped)

    def forget_write(self) -> None:
        """The transaction of the write was rolled back."""
        self._pending_write = (0, 0)

    def count_skip(self, phase: str) -> None:
        """Count one skipped read, process or write."""
        name = f"{phase}_skip"
        setattr(self, name, getattr(self, name) + 1)

    def metrics(self, *, commits: int = 0) -> Metrics:
        """The record of the counters, with ``commits`` more than are committed."""
        written, skipped = self._pending_write
        return Metrics(
            read_count=self.read,
            write_count=self.write + written,
            filter_count=self.filter,
            commit_count=self._committed.commit_count + commits,
            rollback_count=self.rollbacks,
            read_skip_count=self.read_skip,
            process_skip_count=self.process_skip,
            write_skip_count=self.write_skip + skipped,
        )

    def committed_metrics(self) -> Metrics:
        """What was committed last, and the rollbacks that the next commit will store (S133)."""
        return replace(self._committed, rollback_count=self.rollbacks)

    def commit(self, skip_count: int) -> None:
        """The chunk is committed: a later rollback comes back to here."""
        self._committed = self.metrics(commits=1)
        self.write, self.write_skip = (
            self._committed.write_count,
            self._committed.write_skip_count,
        )
        self._pending_write = (0, 0)
        self.committed_skip_count = skip_count

    def roll_back(self) -> None:
        """Back to the last commit; the rollback itself counts and stays (S106)."""
        self._restore()
        self._pending_write = (0, 0)
        self.rollbacks += 1

    def _restore(self) -> None:
        committed = self._committed
        self.read = committed.read_count
        self.filter = committed.filter_count
        self.write = committed.write_count
        self.read_skip = committed.read_skip_count
        self.process_skip = committed.process_skip_count
        self.write_skip = committed.write_skip_count


def add_metrics(one: Metrics, other: Metrics) -> Metrics:
    """The sums, metric by metric (S134)."""
    if other == _NONE:
        return one  # A function partition counts nothing, and there may be many.
    return Metrics(*(a + b for a, b in zip(astuple(one), astuple(other), strict=True)))


_NONE = Metrics()


def skipped_item(
    step: StepExecution, phase: str, item: Any, error: Exception, *, position: int, at: datetime
) -> SkippedItem:
    """The record of a skip: the item as JSON where it is JSON, else as Python shows it."""
    return SkippedItem(
        skip_id=0,  # The INSERT gives it.
        step_execution_id=step.step_execution_id,
        step_name=step.step_name,
        phase=phase,
        position=position,
        item=None if item is None else cut(_as_text(item), ITEM_CHARACTERS_MAX),
        error_type=type(error).__qualname__,
        error_message=cut(message_of(error), MESSAGE_CHARACTERS_MAX),
        skipped_at=at,
    )


def _as_text(item: Any) -> str:
    try:
        return msgspec.json.encode(item).decode()
    except (TypeError, ValueError, msgspec.MsgspecError):
        return repr(item)
