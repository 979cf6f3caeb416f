"""Pictures as numbers: each cell, bar and box where it belongs."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest

from stepwell import Decision, Flow, Job, PartitionedStep, Split, TaskletStep, on
from stepwell.web.flow_picture import FlowPicture, draw_flow
from stepwell.web.pictures import (
    CELLS_MAX,
    COMPLETED,
    FAILED,
    LABEL,
    NOT_HERE,
    PARTIAL,
    PITCH,
    RUNNING,
    STOPPED,
    WAITING,
    draw_cells,
    draw_durations,
    draw_spans,
)

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
KINDS = [COMPLETED, PARTIAL, FAILED, STOPPED, RUNNING, WAITING]


def cells_of(paths: dict[str, str], columns: int) -> dict[int, str]:
    """Which cell is of which kind, read back from the paths."""
    found = {}
    for kind, path in paths.items():
        for x, y, length in re.findall(r"M([\d.]+) ([\d.]+)h([\d.]+)", path):
            first = int((float(x) - LABEL) // PITCH) + int(float(y) // PITCH) * columns
            many = int(float(length) // PITCH) + 1
            found.update(dict.fromkeys(range(first, first + many), kind))
    return found


@pytest.mark.parametrize("total", [1, 20, 21, 101, 1_001, CELLS_MAX])
def test_every_cell_is_drawn_once_and_by_its_kind(total: int) -> None:
    kinds = {number: KINDS[number % 6] for number in range(total) if number % 7}

    cells = draw_cells(kinds, total)

    expected = {number: kinds.get(number, NOT_HERE) for number in range(total)}
    assert expected == cells_of(cells.paths, cells.columns)
    assert cells.height == PITCH * -(-total // cells.columns)


def test_what_is_alike_costs_a_line_a_row() -> None:
    cells = draw_cells(dict.fromkeys(range(CELLS_MAX), COMPLETED), CELLS_MAX)

    assert [COMPLETED] == list(cells.paths)
    assert 100 == cells.paths[COMPLETED].count("M")
    assert [0, 1_000] == [number for number, _ in cells.labels][:2]


def test_more_cells_are_on_further_pages() -> None:
    cells = draw_cells({}, 3 * CELLS_MAX - 1, chosen=2 * CELLS_MAX + 101)

    assert (2 * CELLS_MAX, (LABEL + PITCH, PITCH)) == (cells.first, cells.chosen)
    assert CELLS_MAX - 1 == len(cells_of(cells.paths, cells.columns))


def test_bars_stand_where_their_times_do() -> None:
    def at(seconds: float) -> datetime:
        return NOON + timedelta(seconds=seconds)

    times = [(at(0), at(25)), (at(25), None), (None, None), (at(100), at(100))]

    assert [(0.0, 250.0), (250.0, 750.0), None, (996.0, 4.0)] == draw_spans(times, until=at(100))
    assert [None] == draw_spans([(None, None)], until=NOON)
    assert [(0.0, 4.0)] == draw_spans([(NOON, NOON)], until=NOON)


def test_durations_are_of_what_has_begun_and_ended() -> None:
    def ran(seconds: float | None, status: str = "COMPLETED", result: str = "") -> SimpleNamespace:
        end = None if seconds is None else NOON + timedelta(seconds=seconds)
        return SimpleNamespace(
            start_time=NOON, end_time=end, batch_status=status, result=result or status
        )

    bars = draw_durations([ran(10, result="PARTIAL"), ran(40, "FAILED"), ran(None), ran(0)])

    assert [(PARTIAL, 25.0), (FAILED, 100.0), (COMPLETED, 2.0)] == [
        (bar.kind, bar.height) for bar in bars
    ]
    assert [] == draw_durations([])


def winding() -> Job:
    left, right = (Flow(name, [tasklet(f"{name}-step")]) for name in ("left", "right"))
    return Job(
        "winding",
        [
            TaskletStep("read", print, transitions=[on("EMPTY").to("report"), on("BAD").fail()]),
            Split("both", [left, right]),
            Decision("enough", lambda steps: "YES", [on("YES").to("report"), on("NO").end()]),
            PartitionedStep("share", [1, 2], print, workers=2),
            tasklet("report"),
        ],
    )


def tasklet(name: str) -> TaskletStep:
    return TaskletStep(name, print)


def test_a_job_is_drawn_with_what_leads_on() -> None:
    picture = draw_flow(winding(), {"read": "COMPLETED"})
    boxes = {box.name: box for box in picture.boxes}

    assert ["read", "both", "left", "left-step", "right", "right-step", "enough", "share"] == (
        list(boxes)[:-1]
    )
    assert ("on EMPTY: report", "on BAD: fail") == boxes["read"].notes
    assert ("COMPLETED", "") == (boxes["read"].status, boxes["report"].status)
    assert "partitioned, 2 workers" == boxes["share"].kind
    assert boxes["enough"].is_decision
    assert boxes["both"].is_frame
    # read, both and share lead on to the next; read and enough to the report, around.
    assert [3, 2] == [
        sum(is_around == ("H" in arrow) for arrow in picture.arrows) for is_around in (False, True)
    ]
    assert_nothing_overlaps(picture)


def assert_nothing_overlaps(picture: FlowPicture) -> None:
    """All is in the picture; no two boxes share a place, but a frame and what it holds."""
    for one in picture.boxes:
        assert one.place.x >= 0
        assert one.place.x + one.place.width <= picture.width
        assert one.place.y + one.place.height <= picture.height
    leaves = [box.place for box in picture.boxes if not box.is_frame]
    for number, a in enumerate(leaves):
        for b in leaves[:number]:
            assert (
                a.x >= b.x + b.width
                or b.x >= a.x + a.width
                or a.y >= b.y + b.height
                or b.y >= a.y + a.height
            )
