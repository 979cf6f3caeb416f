"""The tracking view: exact at every moment, for whoever reads it (scenario E, S161)."""

from __future__ import annotations

import math
from typing import Any

import pytest

from stepwell import (
    ChunkStep,
    Job,
    Node,
    PartitionedStep,
    PartitionResult,
    Skip,
    StepContext,
    TaskletStep,
)
from stepwell.repository import browse
from stepwell.testing import FrozenClock
from tests.conformance.stories import (
    Blocked,
    Toggle,
    findings,
    nothing,
    rows,
    until,
)

VIEW = (
    "SELECT status, result, completed_subtasks, total_subtasks, progress_percent"
    " FROM batch_job_execution_tracking ORDER BY execution_id"
)


def test_progress_is_exact_at_every_observation(node: Node, other: Node) -> None:
    """Method: every partition looks at the view from a connection of somebody else's."""
    seen: list[tuple[Any, ...]] = []

    def look() -> None:
        seen.extend(rows(other, VIEW))

    def run(number: int) -> PartitionResult:
        look()
        return PartitionResult.success(rows=number)

    job = Job(
        "recalc",
        steps=[
            TaskletStep("before", look),
            PartitionedStep("days", [0, 1, 2, 3, 4, 5, 6], run, executor="inline"),
            TaskletStep("after", look),
        ],
    )
    node.operator.run(job)

    done = [0, 0, 1, 2, 3, 4, 5]
    assert [
        ("STARTED", None, None, None, None),
        *(("STARTED", None, n, 7, 100 * n // 7) for n in sorted({0, *done, 6})),
        ("STARTED", None, 7, 7, 100),
    ] == seen
    assert [("COMPLETED", "COMPLETED", 7, 7, 100)] == rows(node, VIEW)


def test_progress_never_falls_and_never_passes_the_total(node: Node, other: Node) -> None:
    """Method: threads, some of the partitions fail, a reader looks all the time; then a restart."""
    toggle = Toggle()
    seen: list[tuple[int, int, int]] = []

    def run(number: int) -> PartitionResult:
        if number % 5 == 0 and not toggle.works:
            raise ValueError(number)
        return PartitionResult.success()

    job = Job("recalc", steps=[PartitionedStep("days", list(range(60)), run, workers=3)])
    for works in (False, True):
        toggle.works = works
        execution_id = node.operator.start(job)
        until(lambda: seen.extend(looked(other)) or ended_by_now(other, execution_id))  # noqa: B023
        node.operator.wait(execution_id)
    by_execution: dict[int, list[tuple[int, int]]] = {}
    for execution_id, completed, total in seen:
        by_execution.setdefault(execution_id, []).append((completed, total))

    for observed in by_execution.values():
        assert observed == sorted(observed)
        assert {60} == {total for _, total in observed}
        assert 60 >= max(completed for completed, _ in observed)
    assert [
        ("FAILED", "FAILED", 60, 60, 100),
        ("COMPLETED", "COMPLETED", 60, 60, 100),
    ] == rows(node, VIEW)
    assert [] == findings(node)


def looked(node: Node) -> list[Any]:
    return rows(
        node,
        "SELECT execution_id, completed_subtasks, total_subtasks"
        " FROM batch_job_execution_tracking WHERE total_subtasks IS NOT NULL",
    )


def ended_by_now(node: Node, execution_id: int) -> bool:
    return not node.operator.get_job_execution(execution_id).batch_status.is_running


def test_kept_partitions_of_a_restart_count_from_its_plan_on(node: Node, other: Node) -> None:
    toggle = Toggle()
    seen: list[tuple[Any, ...]] = []

    def run(number: int) -> None:
        if toggle.works:
            seen.append(rows(other, VIEW)[-1])
        elif number >= 2:
            raise ValueError(number)

    job = Job("recalc", steps=[PartitionedStep("days", [0, 1, 2, 3], run, executor="inline")])
    node.operator.run(job)
    toggle.works = True
    node.operator.run(job)

    assert [("STARTED", None, 2, 4, 50), ("STARTED", None, 3, 4, 75)] == seen
    assert [("FAILED", "FAILED", 4, 4, 100), ("COMPLETED", "COMPLETED", 4, 4, 100)] == rows(
        node, VIEW
    )


@pytest.mark.parametrize(
    ("results", "result", "details"),
    [
        (["success", "success"], "COMPLETED", None),
        (["success", "partial"], "PARTIAL", "partitions: 0 failed, 1 partial"),
        (["failure", "success"], "PARTIAL", "partitions: 1 failed, 0 partial"),
    ],
)
def test_the_result_is_what_the_partitions_were(
    results: list[str], result: str, details: str | None, node: Node
) -> None:
    def run(name: str) -> PartitionResult:
        return getattr(PartitionResult, name)("as asked")

    step = PartitionedStep("days", results, run, executor="inline", tolerated_failures=1)
    node.operator.run(Job("recalc", steps=[step]))

    assert [("COMPLETED", result, 2, 2, 100, details)] == rows(
        node,
        "SELECT status, result, completed_subtasks, total_subtasks, progress_percent, details"
        " FROM batch_job_execution_tracking",
    )


def test_a_job_without_partitions_counts_its_steps_at_its_end(node: Node) -> None:
    blocked = Blocked()
    steps = [TaskletStep("first", nothing), TaskletStep("second", blocked)]
    execution_id = node.operator.start(Job("plain", steps=steps))
    until(blocked.begun.is_set)
    before = rows(node, VIEW)
    blocked.release.set()
    node.operator.wait(execution_id)
    node.operator.run(
        Job("fails", steps=[TaskletStep("first", nothing), TaskletStep("second", Toggle())])
    )

    assert [("STARTED", None, None, None, None)] == before
    assert [("COMPLETED", "COMPLETED", 2, 2, 100), ("FAILED", "FAILED", 1, 2, 50)] == rows(
        node, VIEW
    )


def test_an_empty_plan_is_complete(node: Node) -> None:
    node.operator.run(
        Job("recalc", steps=[PartitionedStep("days", [], lambda day: None, executor="inline")])
    )

    assert [("COMPLETED", "COMPLETED", 0, 0, 100)] == rows(node, VIEW)
    assert [] == findings(node)


# --- the counters behind it --------------------------------------------------------------------


def test_the_counters_of_a_chunk_step_equal_its_events(node: Node) -> None:
    """Goal: S132, S133. Method: filtered, skipped and written items of one run, by hand."""

    def process(item: int) -> int | None:
        if item == 3:
            raise ValueError("three")
        return None if item % 4 == 0 else item

    def write(items: list[int], step: StepContext) -> None:
        step.connection.executemany("INSERT INTO made (id) VALUES (:id)", [(i,) for i in items])

    with node.database.write() as transaction:
        transaction.connection.execute("CREATE TABLE made (id INTEGER PRIMARY KEY)")
    job = Job(
        "billing",
        steps=[
            ChunkStep(
                "load",
                range(1, 11),
                process,
                write,
                chunk_size=3,
                skip=Skip(ValueError, limit=1),
            )
        ],
    )
    execution = node.operator.run(job)

    (step,) = node.operator.get_step_executions(execution.execution_id)
    metrics = step.metrics
    assert (10, 7, 2, 4, 0) == (
        metrics.read_count,
        metrics.write_count,
        metrics.filter_count,
        metrics.commit_count,
        metrics.rollback_count,
    )
    assert (0, 1, 0) == (
        metrics.read_skip_count,
        metrics.process_skip_count,
        metrics.write_skip_count,
    )
    assert [(n,) for n in (1, 2, 5, 6, 7, 9, 10)] == rows(node, "SELECT id FROM made ORDER BY id")
    assert [("process", 3, "3", "ValueError", "three")] == rows(
        node, "SELECT phase, position, item, error_type, error_message FROM batch_skip"
    )
    assert [] == findings(node)


# --- the times of partitions ----------------------------------------------------------------------


@pytest.mark.parametrize("number", [1, 2, 3, 19, 20, 21, 100])
def test_times_of_partitions_are_those_of_its_rows(
    number: int, node: Node, clock: FrozenClock
) -> None:
    """Method: the clock is advanced by odd parts of a second; the ranks are counted in Python."""
    seconds = [n * 0.100_1 + 0.000_001 * (n % 3) for n in range(number)][::-1]

    def take(n: int) -> None:
        clock.advance(seconds[n])

    steps = [
        TaskletStep("before", nothing),
        PartitionedStep("days", range(number), take, executor="inline"),
        PartitionedStep("one", [0], lambda: clock.advance(3), executor="inline"),
        PartitionedStep("none", [], lambda: None, executor="inline"),
    ]
    execution = node.operator.run(Job("recalc", steps=steps))
    days, one = node.operator.get_step_executions(execution.execution_id)[1:3]
    with node.database.read() as reader:
        found = browse.partition_times(reader, execution.execution_id)

    ranked = sorted(seconds)
    rank = {percent: ranked[math.ceil(number * percent / 100) - 1] for percent in (50, 95)}
    assert found == {
        days.step_execution_id: (
            number,
            *(pytest.approx(s, abs=1e-6) for s in (ranked[0], rank[50], rank[95], ranked[-1])),
        ),
        one.step_execution_id: (1, 3, 3, 3, 3),
    }


def test_the_times_of_a_restart_are_those_of_what_it_ran(node: Node, clock: FrozenClock) -> None:
    """S156: kept partitions took their time in an earlier execution."""
    toggle = Toggle()

    def run(n: int) -> None:
        clock.advance(n)
        if n == 3 and not toggle.works:
            raise ValueError(n)

    job = Job("recalc", steps=[PartitionedStep("days", [1, 2, 3], run, executor="inline")])
    node.operator.run(job)
    toggle.works = True
    again = node.operator.run(job)
    with node.database.read() as reader:
        first, second = (browse.partition_times(reader, i) for i in (1, again.execution_id))

    assert [(3, 1, 2, 3, 3)] == list(first.values())
    assert [(1, 3, 3, 3, 3)] == list(second.values())
