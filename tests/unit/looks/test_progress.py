"""Rates and remaining times: exact where the database knows, silent where nobody does."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from stepwell.execution.records import Metrics, StepExecution
from stepwell.execution.status import BatchStatus
from stepwell.looks import text
from stepwell.looks.progress import Meter, StepProgress, since_start

BEGAN = datetime(2026, 11, 20, 21, 4, 5, tzinfo=UTC)


def step(**changes: Any) -> StepExecution:
    fields = dict.fromkeys(StepExecution.__dataclass_fields__)
    known = {
        "step_execution_id": 1,
        "step_name": "load",
        "batch_status": BatchStatus.STARTED,
        "start_time": BEGAN,
        "create_time": BEGAN,
        "metrics": Metrics(),
        "chunk_number": 0,
    }
    return StepExecution(**{**fields, **known, **changes})


def partitions(completed: int, total: int = 100, **changes: Any) -> StepExecution:
    return step(partition_total=total, partition_completed=completed, **changes)


def test_partitions_have_a_total_a_rate_and_a_remaining_time() -> None:
    meter = Meter()
    meter.measure(partitions(10), 0.0)

    progress = meter.measure(partitions(30), 2.0)

    assert (30, 100, "partitions", 30) == (
        progress.done,
        progress.total,
        progress.unit,
        progress.percent,
    )
    assert (10.0, 7.0) == (progress.rate_per_s, progress.eta_s)


def test_a_chunk_step_has_a_rate_and_no_remaining_time() -> None:
    meter = Meter()
    meter.measure(step(chunk_number=1, metrics=Metrics(read_count=100)), 0.0)

    progress = meter.measure(step(chunk_number=2, metrics=Metrics(read_count=600)), 1.0)

    assert (600, None, "read", 500.0, None, None) == (
        progress.done,
        progress.total,
        progress.unit,
        progress.rate_per_s,
        progress.eta_s,
        progress.percent,
    )


def test_what_a_step_says_of_itself_is_its_progress() -> None:
    said = step(progress_done=3, progress_total=4, progress_label="files")

    progress = Meter().measure(said, 0.0)

    assert (3, 4, "files", 75) == (progress.done, progress.total, progress.unit, progress.percent)


def test_the_rate_is_that_of_the_last_seconds() -> None:
    meter = Meter()
    for second in range(100):
        meter.measure(partitions(min(second, 50), 1_000), float(second))

    assert 10 / 16 == meter.measure(partitions(60, 1_000), 100.0).rate_per_s


def test_two_looks_at_once_and_a_step_that_stands_say_nothing() -> None:
    meter = Meter()
    meter.measure(partitions(10), 0.0)

    assert meter.measure(partitions(20), 0.1).rate_per_s is None
    assert Meter().measure(partitions(10), 0.0).rate_per_s is None
    assert since_start(partitions(0), BEGAN + timedelta(seconds=9)).rate_per_s is None


def test_a_step_that_has_ended_has_no_rate() -> None:
    meter = Meter()
    meter.measure(partitions(10), 0.0)

    ended = meter.measure(partitions(100, batch_status=BatchStatus.COMPLETED), 5.0)

    assert (100, None, None) == (ended.percent, ended.rate_per_s, ended.eta_s)


def test_a_first_look_at_a_restart_counts_only_what_was_done_since() -> None:
    """80 of 100 were kept: 10 in 5 seconds leave 10, that is 5 seconds more."""
    progress = since_start(partitions(90), BEGAN + timedelta(seconds=5), done_before=80)

    assert (2.0, 5.0) == (progress.rate_per_s, progress.eta_s)


def test_hundred_percent_means_all() -> None:
    assert 99 == StepProgress(step(), 9_999, 10_000, "partitions").percent
    assert 100 == StepProgress(step(), 0, 0, "partitions").percent
    assert replace(StepProgress(step(), None, None, "")).percent is None


def test_values_are_written_for_people() -> None:
    assert ["0.00 s", "0.41 s", "12.3 s", "4 min 12 s", "2 h 3 min", "3 d 4 h", ""] == [
        text.duration(seconds)
        for seconds in (-1, 0.41, 12.34, 252, 7_400, 3 * 86_400 + 14_500, None)
    ]
    assert ["5,100/s", "3.2/s", "12.0/min", ""] == [
        text.rate(per_s) for per_s in (5_100.4, 3.21, 0.2, None)
    ]
    assert ["4,096 bytes", "1.2 MB", "3.0 GB"] == [
        text.size(number) for number in (4_096, 1_234_567, 3_000_000_000)
    ]
    assert ("1 item", "2,000 items") == (text.how_many(1, "item"), text.how_many(2_000, "item"))
    assert "two lines" == text.one_line("two\nlines")
    assert "abc…" == text.shorten("abcdefgh", 4)
    assert "2026-11-20T21:04:05.000000Z" == text.iso_utc(BEGAN)


def test_the_remaining_time_is_a_range_that_narrows_with_what_was_done() -> None:
    def told(done: int, eta_s: float | None) -> tuple[float, float] | None:
        return StepProgress(partitions(done), done, 100, "partitions", 1.0, eta_s).eta_range_s

    chunks = StepProgress(step(chunk_number=4), 9_000, None, "read", 1.0, 60.0)
    own = StepProgress(step(progress_done=100), 100, 200, "pages", 1.0, 60.0)

    assert (30.0, 120.0) == told(4, 60.0)
    assert (50.0, 72.0) == told(100, 60.0)
    assert (30.0, 120.0) == chunks.eta_range_s
    assert (50.0, 72.0) == own.eta_range_s
    assert told(4, None) is None


def test_a_range_is_told_in_one_unit() -> None:
    expected = {
        (0.2, 0.8): "under 1 s",
        (40.0, 75.0): "40 to 75 s",
        (238.0, 362.0): "4 to 6 min",
        (179.0, 181.0): "about 3 min",
        (5_400.0, 9_000.0): "1.5 to 2.5 h",
        (250_000.0, 400_000.0): "2.9 to 4.6 d",
    }

    assert expected == {given: text.between(*given) for given in expected}
