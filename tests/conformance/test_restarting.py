"""Restart: the conditions of section 7 in their order, and what a restart goes on from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import date
from typing import Any

import pytest

from stepwell import (
    BatchStatus,
    ChunkStep,
    Job,
    Node,
    Parameters,
    PartitionedStep,
    PartitionResult,
    StepContext,
    TaskletStep,
)
from stepwell.errors import (
    BatchError,
    JobExecutionAlreadyComplete,
    JobExecutionNotMostRecent,
    JobRestartError,
    NoSuchJobExecution,
)
from stepwell.repository.partitions import list_partition_executions
from stepwell.repository.plans import list_plan
from tests.conformance.stories import (
    Toggle,
    counts,
    ended,
    findings,
    nothing,
    owned,
    rows,
    statuses,
    tasklet_job,
    waiting,
)


class Range(Parameters):
    start_date: date


def restart(node: Node, execution_id: int) -> Any:
    return node.operator.wait(node.operator.restart(execution_id))


# --- the conditions, each with every later one broken too --------------------------------------


def unknown(node: Node) -> int:
    return 77


def not_most_recent(node: Node) -> int:
    """Not the last, which is COMPLETED; and the job is not restartable."""
    first = ended(node, "billing", BatchStatus.FAILED)
    ended(node, "billing", BatchStatus.COMPLETED)
    return first.execution_id


def in_status(status: BatchStatus) -> Callable[[Node], int]:
    def make(node: Node) -> int:
        if status is BatchStatus.ABANDONED:
            failed = ended(node, "billing", BatchStatus.FAILED)
            return node.operator.abandon(failed.execution_id).execution_id
        if status.is_running:
            return owned(node, "billing", status).execution_id
        return ended(node, "billing", status).execution_id

    return make


CONDITIONS: list[tuple[str, Callable[[Node], int], type[BatchError], str]] = [
    ("1 unknown", unknown, NoSuchJobExecution, "cannot find execution 77"),
    (
        "2 not most recent",
        not_most_recent,
        JobExecutionNotMostRecent,
        "cannot restart execution 1: execution 2 of the same instance is more recent",
    ),
    (
        "3 COMPLETED",
        in_status(BatchStatus.COMPLETED),
        JobExecutionAlreadyComplete,
        "cannot restart execution 1: it is COMPLETED",
    ),
    *(
        (
            f"4 {status}",
            in_status(status),
            JobRestartError,
            f"cannot restart execution 1: it is {status}",
        )
        for status in (
            BatchStatus.ABANDONED,
            BatchStatus.STARTING,
            BatchStatus.STARTED,
            BatchStatus.STOPPING,
        )
    ),
    (
        "4 waiting",
        lambda node: waiting(node, "billing").execution_id,
        JobRestartError,
        "cannot restart execution 1: it is STARTING",
    ),
    (
        "5 not restartable",
        in_status(BatchStatus.FAILED),
        JobRestartError,
        "cannot restart execution 1: job 'billing' says restartable=False",
    ),
]


@pytest.mark.parametrize(
    ("make", "error_class", "message"),
    [condition[1:] for condition in CONDITIONS],
    ids=[condition[0] for condition in CONDITIONS],
)
def test_the_first_broken_condition_is_the_one_that_is_named(
    make: Callable[[Node], int],
    error_class: type[BatchError],
    message: str,
    node: Node,
    other: Node,
) -> None:
    job = tasklet_job("billing", nothing, restartable=False, parameters=Range)
    node.registry.add(job, origin="the test")
    execution_id = make(other)
    before = counts(node)

    with pytest.raises(error_class) as refused:
        node.operator.restart(execution_id, {"startDate": "nonsense"})

    assert refused.value.message.startswith(message)
    assert before == counts(node)


@pytest.mark.parametrize(
    "parameters", [None, {"startDate": "nonsense"}, {"startDate": "2026-11-21"}]
)
def test_parameters_that_are_invalid_or_of_another_instance_are_refused(
    parameters: dict[str, str] | None, node: Node
) -> None:
    """Goal: condition 6 and S10. Method: the model has changed, is broken, or has another key."""
    old = tasklet_job("billing", Toggle(), parameters=None if parameters is None else Range)
    failed = node.operator.run(old, {} if parameters is None else {"startDate": "2026-11-20"})
    node.registry.add(tasklet_job("billing", nothing, parameters=Range), origin="the test")
    before = counts(node)

    with pytest.raises((JobRestartError,)) as refused:
        node.operator.restart(failed.execution_id, parameters)

    assert "cannot restart" in refused.value.message
    assert before == counts(node)


def test_a_restart_uses_the_parameters_of_its_execution_or_the_ones_given(node: Node) -> None:
    seen: list[Any] = []
    toggle = Toggle()

    def work(step: StepContext) -> None:
        seen.append(step.parameters.start_date)
        toggle(step)

    node.registry.add(tasklet_job("billing", work, parameters=Range), origin="the test")
    first = node.operator.run("billing", {"startDate": "2026-11-20"})
    second = restart(node, first.execution_id)
    toggle.works = True
    third = node.operator.wait(
        node.operator.restart(second.execution_id, {"start_date": date(2026, 11, 20)})
    )

    assert third is not None
    assert [date(2026, 11, 20)] * 3 == seen
    assert [1, 1, 1] == [e.instance_id for e in (first, second, third)]
    assert ["FAILED", "FAILED", "COMPLETED"] == [e.batch_status for e in (first, second, third)]
    assert 1 == len({node.operator.get_parameters(n) for n in (1, 2, 3)})
    assert [] == findings(node)


# --- S65: what a restart runs ------------------------------------------------------------------


def test_a_restart_runs_what_is_not_complete_and_goes_on_behind_the_last_commit(
    node: Node,
) -> None:
    """Goal: S65, S68, S72. Method: a chunk fails in the middle of its second chunk."""
    toggle, calls, written = Toggle(), [], []

    def process(item: int) -> int:
        if item == 5 and not toggle.works:
            raise ValueError("five")
        return item

    def write(items: list[int], step: StepContext) -> None:
        step.context["written"] = step.context.get("written", 0) + len(items)
        written.append((items, step.idempotency_key.rpartition("/")[2]))

    def count(name: str) -> Callable[[], None]:
        return lambda: calls.append(name)

    job = Job(
        "billing",
        steps=[
            TaskletStep("once", count("once")),
            TaskletStep("always", count("always"), allow_start_if_complete=True),
            ChunkStep("load", range(1, 8), process, write, chunk_size=3),
        ],
    )
    failed = node.operator.run(job)
    toggle.works = True
    completed = node.operator.run(job)

    first, second = (
        node.operator.get_step_executions(e.execution_id)[-1] for e in (failed, completed)
    )
    assert ["once", "always", "always"] == calls
    assert [([1, 2, 3], "1"), ([4, 5, 6], "2"), ([7], "3")] == written
    assert [("FAILED", 3, 3, 1, 1), ("COMPLETED", 4, 4, 2, 0)] == [
        (
            step.batch_status,
            step.metrics.read_count,
            step.metrics.write_count,
            step.metrics.commit_count,
            step.metrics.rollback_count,
        )
        for step in (first, second)
    ]
    assert [("3", '{"written":3}'), ("7", '{"written":7}')] == rows(
        node,
        "SELECT s.reader_checkpoint, c.serialized_context FROM batch_step_execution s"
        " JOIN batch_step_execution_context c ON c.step_execution_id = s.step_execution_id"
        " WHERE s.step_name = 'load' ORDER BY s.step_execution_id",
    )
    assert ["always", "load"] == [
        step.step_name for step in node.operator.get_step_executions(completed.execution_id)
    ]
    assert ("load", None) == (completed.last_step, completed.current_step)
    assert [] == findings(node)


def test_the_context_of_a_failed_step_is_restored_although_nothing_was_committed(
    node: Node,
) -> None:
    """Goal: S72, S99. Method: the first chunk fails; the reader opens at None, the data is kept."""
    opened: list[Any] = []
    seen: list[Any] = []
    toggle = Toggle()

    class Reader:
        def open(self, checkpoint: Any, step: StepContext) -> None:
            opened.append(checkpoint)
            seen.append(dict(step.context))
            step.context["opened"] = len(opened)
            self._items = [1, 2]

        def read(self) -> int | None:
            if not toggle.works:
                raise ValueError("not today")
            return self._items.pop() if self._items else None

        def checkpoint(self) -> int:
            return 2

        def close(self) -> None:
            """Nothing to give back."""

    job = Job("billing", steps=[ChunkStep("load", Reader(), None, list)])
    node.operator.run(job)
    toggle.works = True
    completed = node.operator.run(job)

    assert BatchStatus.COMPLETED == completed.batch_status
    assert [None, None] == opened
    assert [{}, {"opened": 1}] == seen


def test_a_tasklet_goes_on_from_the_context_of_its_last_transaction(node: Node) -> None:
    toggle = Toggle()

    def work(step: StepContext) -> None:
        with step.transaction() as connection:
            connection.execute("CREATE TABLE IF NOT EXISTS made (id INTEGER PRIMARY KEY)")
        for number in range(step.context.get("made", 0) + 1, 6):
            with step.transaction() as connection:
                connection.execute("INSERT INTO made (id) VALUES (:id)", (number,))
                step.context["made"] = number
                if number == 3 and not toggle.works:
                    raise ValueError("three")

    job = tasklet_job("billing", work)
    failed = node.operator.run(job)
    made = rows(node, "SELECT id FROM made ORDER BY id")
    # The transaction of number 3 is gone, and with it what it said in the context (S185): else the
    # restart would pass over a row that is not there, and end COMPLETED without it.
    toggle.works = True
    completed = node.operator.run(job)

    assert [(1,), (2,)] == made
    assert ["FAILED", "COMPLETED"] == [failed.batch_status, completed.batch_status]
    assert [(1,), (2,), (3,), (4,), (5,)] == rows(node, "SELECT id FROM made ORDER BY id")


def test_a_completed_step_that_runs_again_begins_anew_with_its_data(node: Node) -> None:
    """Goal: S65, S68, S99. Method: the next step fails once."""
    toggle = Toggle()
    opened: list[tuple[Any, Any]] = []

    class Reader:
        def open(self, checkpoint: Any, step: StepContext) -> None:
            opened.append((checkpoint, step.context.get("runs", 0)))
            step.context["runs"] = step.context.get("runs", 0) + 1
            self._left = 2

        def read(self) -> int | None:
            self._left -= 1
            return self._left if self._left >= 0 else None

        def checkpoint(self) -> str:
            return "at the end"

        def close(self) -> None:
            """Nothing to give back."""

    job = Job(
        "billing",
        steps=[
            ChunkStep("load", Reader(), None, list, allow_start_if_complete=True),
            TaskletStep("after", toggle),
        ],
    )
    node.operator.run(job)
    toggle.works = True
    node.operator.run(job)

    assert [(None, 0), (None, 1)] == opened


def test_the_definition_is_used_as_it_now_is(node: Node) -> None:
    """Goal: S63. Method: the failed step has another function, and a new step behind it."""
    failed = node.operator.run(tasklet_job("billing", Toggle()))
    changed = Job("billing", steps=[TaskletStep("only", nothing), TaskletStep("new", nothing)])
    completed = node.operator.run(changed)

    assert (failed.instance_id, BatchStatus.COMPLETED) == (
        completed.instance_id,
        completed.batch_status,
    )
    assert ["only", "new"] == [
        step.step_name for step in node.operator.get_step_executions(completed.execution_id)
    ]


def test_a_restart_with_nothing_left_to_run_completes(node: Node) -> None:
    """Goal: S12, S51. Method: the job is stopped although its last step has ended."""
    execution = owned(node, "billing", BatchStatus.STARTED)
    node.operator.recover(execution.execution_id, force=True, reason="the test")
    first = node.operator.run(tasklet_job("billing", nothing))
    with pytest.raises(JobExecutionAlreadyComplete):
        node.operator.restart(first.execution_id)

    assert [
        (None, None, "STARTING", "runner", None),
        (None, "STARTING", "STARTED", "runner", None),
        (None, "STARTED", "FAILED", "operator", "the test"),
    ] == statuses(node, execution.execution_id)
    assert [] == findings(node)


# --- S156: partitions --------------------------------------------------------------------------


@pytest.mark.parametrize("executor", ["inline", "threads"])
def test_a_restart_keeps_the_plan_and_runs_only_unsuccessful_partitions(
    executor: Any, node: Node
) -> None:
    toggle = Toggle()
    plans: list[int] = []
    ran: list[tuple[int, str, int]] = []

    def partitions() -> dict[str, date]:
        plans.append(1)
        return {f"day-{n}": date(2026, 11, n) for n in range(1, 5 + len(plans))}

    def run(day: date, step: StepContext) -> PartitionResult:
        step.context["runs"] = step.context.get("runs", 0) + 1
        ran.append((step.partition or 0, day.isoformat(), step.context["runs"]))
        if day.day == 2 and not toggle.works:
            raise ValueError("two")
        if day.day == 3 and not toggle.works:
            return PartitionResult.failure("three")
        if day.day == 4:
            return PartitionResult.partial("half", rows=1)
        return PartitionResult.success(rows=2)

    job = Job("recalc", steps=[PartitionedStep("days", partitions, run, executor=executor)])
    failed = node.operator.run(job)
    toggle.works = True
    completed = node.operator.run(job)

    first, second = (
        node.operator.get_step_executions(e.execution_id)[0] for e in (failed, completed)
    )
    with node.database.read() as reader:
        plan = list_plan(reader, first.step_execution_id)
        attempts = [
            [
                (a.number, a.name, a.batch_status, a.outcome)
                for a in list_partition_executions(reader, step.step_execution_id)
            ]
            for step in (first, second)
        ]
    assert 1 == len(plans)
    assert ["day-1", "day-2", "day-3", "day-4", "day-5"] == [p.name for p in plan]
    assert [(1, "2026-11-02", 2), (2, "2026-11-03", 2)] == sorted(ran[5:])
    assert [
        [
            (0, "day-1", "COMPLETED", "SUCCESS"),
            (1, "day-2", "FAILED", "FAILURE"),
            (2, "day-3", "FAILED", "FAILURE"),
            (3, "day-4", "COMPLETED", "PARTIAL"),
            (4, "day-5", "COMPLETED", "SUCCESS"),
        ],
        [
            (1, "day-2", "COMPLETED", "SUCCESS"),
            (2, "day-3", "COMPLETED", "SUCCESS"),
        ],
    ] == attempts
    assert [("FAILED", 5, 5, 2, 1), ("COMPLETED", 5, 5, 0, 1)] == [
        (
            s.batch_status,
            s.partition_total,
            s.partition_completed,
            s.partition_failed,
            s.partition_partial,
        )
        for s in (first, second)
    ]
    assert ("PARTIAL", "PARTIAL", "PARTIAL") == (
        second.result,
        second.exit_status,
        completed.result,
    )
    assert [] == findings(node)


def test_a_partitioned_step_that_runs_again_gets_a_new_plan(node: Node) -> None:
    """Goal: S158. Method: the next step fails once; the plan grows meanwhile."""
    toggle, size = Toggle(), [2]
    ran: list[tuple[int, int]] = []

    def run(number: int, step: StepContext) -> None:
        step.context["runs"] = step.context.get("runs", 0) + 1
        ran.append((number, step.context["runs"]))

    days = PartitionedStep("days", lambda: list(range(size[0])), run, executor="inline")
    job = Job(
        "recalc",
        steps=[replace(days, allow_start_if_complete=True), TaskletStep("after", toggle)],
    )
    node.operator.run(job)
    toggle.works, size[0] = True, 3
    completed = node.operator.run(job)

    assert [(0, 1), (1, 1), (0, 1), (1, 1), (2, 1)] == ran
    assert [3, 3] == [
        getattr(node.operator.get_step_executions(completed.execution_id)[0], name)
        for name in ("partition_total", "partition_completed")
    ]
    assert [] == findings(node)
