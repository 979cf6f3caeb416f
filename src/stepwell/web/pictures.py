"""Pictures as numbers: where each part of a chart stands; the templates make SVG of them.

A grid of cells is one path a kind of cell, whose dashes are the cells: ten thousand of them are a
few kilobytes, and a browser draws and redraws them at once.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from typing import Any, NamedTuple

from stepwell.repository.statistics import Statistics

PITCH = 10  # Of a cell, with the gap to the next one.
CELL = 8
LABEL = 44  # What stands left of a row: the number of its first cell.
CELLS_MAX = 10_000  # Of one picture; there are pages of more.
# So many cells a row, and the pixels of each where there is room; rows begin at round numbers.
_ROWS = ((100, 20, 22), (1_000, 50, 16), (CELLS_MAX, 100, 8))

TIMELINE = 1_000.0  # Its width.
SLIVER = 4.0  # The least that is seen of a bar.
BAR_HEIGHT = 100

COMPLETED, PARTIAL, FAILED, STOPPED = "completed", "partial", "failed", "stopped"
RUNNING, WAITING, NOT_HERE = "running", "waiting", "not-here"
KIND_OF = {
    "SUCCESS": COMPLETED,
    "COMPLETED": COMPLETED,
    "PARTIAL": PARTIAL,
    "FAILURE": FAILED,
    "FAILED": FAILED,
    "STOPPED": STOPPED,
    "ABANDONED": STOPPED,
    "STARTED": RUNNING,
    "STOPPING": RUNNING,
}
# Where the first dash of a kind begins, and how long the dash of a single cell is.
_DASH = {
    COMPLETED: (0.0, 4.0, 8.0),
    PARTIAL: (0.0, 6.0, 8.0),
    FAILED: (4.0, 4.0, 0.1),
    STOPPED: (0.0, 4.0, 8.0),
    RUNNING: (2.0, 4.0, 4.0),
    WAITING: (4.0, 4.0, 0.1),
    NOT_HERE: (2.0, 4.0, 4.0),
}


@dataclass(frozen=True)
class Cells:
    """A grid of numbered cells.

    Attributes:
        first: The number of the first cell; ``total`` is of all pages.
        pixels: Its width where there is room.
        paths: Of each kind that there is, the path whose dashes are its cells.
        labels: Of some rows the number of the first cell, and where its text stands.
        chosen: The place of the cell that somebody looks at.
    """

    first: int
    total: int
    columns: int
    width: int
    height: int
    pixels: int
    paths: dict[str, str]
    labels: tuple[tuple[int, int], ...]
    chosen: tuple[int, int] | None


def draw_cells(kinds: Mapping[int, str], total: int, *, chosen: int | None = None) -> Cells:
    """The cells of ``kinds`` by number, those that are missing as not here; one page of them."""
    first = (chosen or 0) // CELLS_MAX * CELLS_MAX
    last = min(total, first + CELLS_MAX)
    number_of_cells = last - first
    columns, pixels = next((c, p) for upto, c, p in _ROWS if number_of_cells <= upto)
    rows = -(-number_of_cells // columns)
    paths: dict[str, list[str]] = {}
    for row in range(rows):
        begin = first + row * columns
        numbers = range(begin, min(begin + columns, last))
        for kind, run in groupby(numbers, key=lambda number: kinds.get(number, NOT_HERE)):
            at, *more = run
            left, middle, dash = _DASH[kind]
            x = LABEL + (at - begin) * PITCH + left
            length = len(more) * PITCH + dash
            paths.setdefault(kind, []).append(f"M{x:g} {row * PITCH + middle:g}h{length:g}")
    every = 1 if rows <= 10 else 10
    place = None if chosen is None else _place(chosen - first, columns)
    return Cells(
        first=first,
        total=total,
        columns=columns,
        width=LABEL + columns * PITCH,
        height=rows * PITCH,
        pixels=(LABEL + columns * PITCH) * pixels // PITCH,
        paths={kind: "".join(paths[kind]) for kind in _DASH if kind in paths},
        labels=tuple((first + row * columns, row * PITCH + 7) for row in range(0, rows, every)),
        chosen=place,
    )


def _place(offset: int, columns: int) -> tuple[int, int]:
    return LABEL + offset % columns * PITCH, offset // columns * PITCH


class Span(NamedTuple):
    """A bar on a timeline that is ``TIMELINE`` wide."""

    left: float
    width: float


def draw_spans(
    times: Iterable[tuple[datetime | None, datetime | None]], *, until: datetime
) -> list[Span | None]:
    """A bar for each pair of begin and end; without an end it goes on ``until`` now."""
    pairs = [(begin, end or until) for begin, end in times]
    begins = [begin for begin, _ in pairs if begin is not None]
    if not begins:
        return [None] * len(pairs)
    first = min(begins)
    whole_s = max((max(end for _, end in pairs) - first).total_seconds(), 1e-6)
    spans: list[Span | None] = []
    for begin, end in pairs:
        if begin is None:
            spans.append(None)
            continue
        left = TIMELINE * (begin - first).total_seconds() / whole_s
        width = max(SLIVER, TIMELINE * (end - begin).total_seconds() / whole_s)
        spans.append(Span(round(min(left, TIMELINE - SLIVER), 1), round(width, 1)))
    return spans


def draw_days(days: Mapping[str, Statistics]) -> list[dict[str, Any]]:
    """Of each day what ended, stacked: kind, top and height of each part."""
    most = max((one.judged for one in days.values()), default=0) or 1
    bars = []
    for day, one in days.items():
        parts, top = [], float(BAR_HEIGHT)
        counted = ((COMPLETED, one.completed), (PARTIAL, one.partial), (FAILED, one.failed))
        for kind, number in counted:
            height = BAR_HEIGHT * number / most
            top -= height
            if number:
                parts.append((kind, round(max(top, 0), 1), round(height, 1)))
        bars.append({"day": day, "found": one, "parts": parts})
    return bars


class Bar(NamedTuple):
    """How long one execution took, as a bar of a chart that is ``BAR_HEIGHT`` high."""

    execution: Any
    kind: str
    seconds: float
    height: float


def draw_durations(executions: Sequence[Any]) -> list[Bar]:
    """A bar for each execution that has begun and ended, in the order given."""
    took = [
        (one, (one.end_time - one.start_time).total_seconds())
        for one in executions
        if one.start_time is not None and one.end_time is not None
    ]
    longest = max((seconds for _, seconds in took), default=0) or 1
    return [
        Bar(
            one,
            KIND_OF.get("PARTIAL" if one.result == "PARTIAL" else str(one.batch_status), STOPPED),
            seconds,
            round(max(2.0, BAR_HEIGHT * seconds / longest), 1),
        )
        for one, seconds in took
    ]
