"""A group on its way into this node, and what became of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from stepwell.sync.change import Change
from stepwell.sync.quarantine import Reason
from stepwell.sync.received import Result
from stepwell.sync.scene import CannotPlace

CHANGES_AT_ONCE = 1_000  # Of a longer group only a page is held in memory.

Pages = Callable[[], Iterable[Sequence[Change]]]


@dataclass(frozen=True)
class Applied:
    """What became of one group.

    Attributes:
        result: ``applied``; ``conflict``: applied, and a version of a row lost; ``parked``;
            ``skipped``: it was here already; ``dropped``.
        rows: How many rows it wrote.
        conflicts: How many were decided.
        quarantine_id, reason, message: Why it is parked.
        line, table_name, pk_json: The change that could not be placed.
        released: Parked groups that could be applied behind it.
    """

    origin: str
    epoch: int
    seq: int
    tx_id: str
    result: Result
    rows: int = 0
    conflicts: int = 0
    quarantine_id: int | None = None
    reason: Reason | None = None
    message: str = ""
    line: int | None = None
    table_name: str | None = None
    pk_json: str | None = None
    released: tuple[int, ...] = ()

    def having(self, released: tuple[int, ...]) -> Applied:
        """The same, and who was released behind it."""
        return replace(self, released=released) if released else self


@dataclass(frozen=True)
class Group:
    """A group, wherever its changes are read from.

    Attributes:
        first: Its first change: it tells what all have in common.
        pages: Its changes, as often as one likes.
        hlc: The greatest stamp.
        line_of: Where the change of an LSN stands in its file.
    """

    first: Change
    pages: Pages
    is_long: bool
    hlc: int
    line_of: Callable[[int], int | None]

    def applied(self, result: Result, **fields: Any) -> Applied:
        """What became of it."""
        first = self.first
        return Applied(first.origin, first.epoch, first.seq, first.tx_id, result, **fields)

    def parked(self, found: CannotPlace, quarantine_id: int | None = None) -> Applied:
        """Why it waits."""
        lsn, key = self.first.lsn if found.lsn is None else found.lsn, found.key
        return self.applied(
            "parked",
            quarantine_id=quarantine_id,
            reason=found.reason,
            message=found.message,
            line=self.line_of(lsn),
            table_name=None if key is None else key.table_name,
            pk_json=None if key is None else key.pk_json,
        )
