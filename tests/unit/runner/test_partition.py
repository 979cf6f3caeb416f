"""The partitioned step against section 12 of the rulebook: plan, results, restart, stop."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from stepwell import BatchStatus, Job, Node, Parameters, PartitionedStep, PartitionResult
from stepwell.execution.records import JobExecution, PartitionExecution, StepExecution
from stepwell.repository.partitions import list_partition_executions


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    with Node.open(f"sqlite:///{tmp_path}/partition.db") as node:
        yield node


def run(
    node: Node, step: PartitionedStep, given: dict[str, object] | None = None, **job: Any
) -> tuple[JobExecution, StepExecution, list[PartitionExecution]]:
    execution = node.operator.run(Job("job", steps=[step], **job), given)
    (recorded,) = node.operator.get_step_executions(execution.execution_id)
    with node.database.read() as reader:
        attempts = list_partition_executions(reader, recorded.step_execution_id)
    return execution, recorded, attempts


def counters(step: StepExecution) -> tuple[int | None, ...]:
    return (
        step.partition_total,
        step.partition_completed,
        step.partition_failed,
        step.partition_partial,
    )


@pytest.mark.parametrize("executor", ["inline", "threads"])
def test_a_failing_partition_fails_the_step_and_alone_runs_again(node: Node, executor: Any) -> None:
    """Trace D: three partitions, number 1 raises; the restart keeps the frozen plan."""
    ran: list[int] = []
    broken = {1}

    def work(n: int) -> str:
        ran.append(n)
        if n in broken:
            raise ValueError(f"no {n}")
        return "ok"

    step = PartitionedStep("p", lambda: [0, 1, 2], work, workers=2, executor=executor)
    failed, first, attempts = run(node, step)
    broken.clear()
    completed, second, again = run(node, step)

    assert BatchStatus.FAILED is failed.batch_status
    assert (3, 3, 1, 0) == counters(first)
    assert [("SUCCESS", "ok"), ("FAILURE", "FAILED"), ("SUCCESS", "ok")] == [
        (a.outcome, a.exit_status) for a in attempts
    ]
    assert attempts[1].errors[0].failure.message == "no 1"
    assert "Traceback" in (attempts[1].errors[0].failure.trace or "")
    assert BatchStatus.COMPLETED is completed.batch_status
    assert (3, 3, 0, 0) == counters(second)
    assert [1] == [a.number for a in again]
    assert first.plan_id == second.plan_id
    assert [0, 1, 1, 2] == sorted(ran)


def test_tolerated_failures_complete_the_step_as_partial_and_run_no_more(node: Node) -> None:
    """S162, S163; the last lines of trace D."""

    def work(n: int) -> None:
        if n == 1:
            raise ValueError

    step = PartitionedStep("p", [0, 1, 2], work, tolerated_failures=1)
    execution, recorded, _ = run(node, step)

    assert ("COMPLETED", "PARTIAL", "PARTIAL") == (
        recorded.batch_status,
        recorded.result,
        recorded.exit_status,
    )
    assert ("COMPLETED", "PARTIAL") == (execution.batch_status, execution.result)


def test_inputs_arrive_as_their_annotation_says_on_the_first_run_too(node: Node) -> None:
    """S195: the same types on the first run and after a restart."""
    seen: list[object] = []

    class Range(Parameters):
        first: date
        last: date

    def days(parameters: Range) -> dict[str, date]:
        return {"a": parameters.first, "b": parameters.last}

    def work(day: date, step: Any) -> PartitionResult:
        seen.append((day, step.parameters.first))
        if len(seen) <= 2:
            return PartitionResult.failure("not yet", tries=len(seen))
        return PartitionResult.success()

    step = PartitionedStep("p", days, work, executor="inline")
    given: dict[str, object] = {"first": "2026-02-28", "last": "2026-03-01"}
    _, _, attempts = run(node, step, given, parameters=Range)
    run(node, step, given, parameters=Range)

    assert [date(2026, 2, 28), date(2026, 3, 1)] * 2 == [day for day, _ in seen]
    assert [("a", '"2026-02-28"', {"tries": 1}), ("b", '"2026-03-01"', {"tries": 2})] == [
        (a.name, a.input, a.counts) for a in attempts
    ]


def test_an_attempt_that_failed_makes_a_partial_with_its_error_and_trace(node: Node) -> None:
    """S160: what succeeded stands beside what failed, and is not run again."""

    def work(n: int, step: Any) -> None:
        for user in ("ada", "bob", "cid"):
            with step.attempt(user):
                if user == "bob":
                    raise KeyError("salary")

    execution, recorded, (attempt,) = run(node, PartitionedStep("p", [7], work))

    assert ("COMPLETED", "PARTIAL") == (execution.batch_status, execution.result)
    assert (1, 1, 0, 1) == counters(recorded)
    assert ["bob"] == [e.key for e in attempt.errors]
    assert "salary" in (attempt.message or "")


def test_a_partition_goes_on_from_its_own_context(node: Node) -> None:
    """S145, S156: what a partition committed with its context is what its next attempt gets."""
    with node.database.write() as transaction:
        transaction.connection.execute("CREATE TABLE out (n INTEGER, part INTEGER)")
    fails = {"yes": True}

    def work(n: int, step: Any) -> None:
        for part in range(step.context.get("done", 0), 4):
            with step.transaction() as connection:
                connection.execute("INSERT INTO out VALUES (:n, :p)", {"n": n, "p": part})
                step.context["done"] = part + 1
            if part == 1 and n == 2 and fails["yes"]:
                raise RuntimeError

    step = PartitionedStep("p", [1, 2], work, workers=2)
    run(node, step)
    fails["yes"] = False
    execution, _, _ = run(node, step)

    with node.database.read() as reader:
        rows = reader.connection.execute("SELECT n, part FROM out ORDER BY n, part").fetchall()
    assert BatchStatus.COMPLETED is execution.batch_status
    assert [(n, part) for n in (1, 2) for part in range(4)] == rows


def test_a_stop_lets_running_partitions_finish_and_leaves_the_rest(node: Node) -> None:
    """S146, S155: what never ran is STOPPED without a result and runs after the restart."""
    began = threading.Event()
    go_on = threading.Event()
    ran: list[int] = []

    def work(n: int) -> PartitionResult:
        ran.append(n)
        began.set()
        assert go_on.wait(30)
        return PartitionResult.success()

    job = Job("job", steps=[PartitionedStep("p", range(50), work, workers=2)])
    execution_id = node.operator.start(job)
    assert began.wait(30)
    node.operator.stop(execution_id, reason="enough")
    running = node.operator._runner._running[execution_id]
    assert running.stop_flag.wait(30)
    go_on.set()
    stopped = node.operator.wait(execution_id, 30)
    (step,) = node.operator.get_step_executions(execution_id)

    assert stopped is not None
    assert BatchStatus.STOPPED is stopped.batch_status is step.batch_status
    assert step.partition_completed is not None
    assert step.partition_completed == len(ran) < 50
    completed = node.operator.run(job)
    assert BatchStatus.COMPLETED is completed.batch_status
    assert sorted(ran) == list(range(50))


def test_an_empty_plan_completes(node: Node) -> None:
    execution, recorded, attempts = run(node, PartitionedStep("p", [], lambda n: None))

    assert BatchStatus.COMPLETED is execution.batch_status
    assert ((0, 0, 0, 0), []) == (counters(recorded), attempts)


def test_an_input_that_is_not_json_fails_the_step_before_any_partition_runs(node: Node) -> None:
    execution, recorded, attempts = run(node, PartitionedStep("p", [1, object()], lambda n: None))

    assert execution.failure is not None
    assert "ValueNotJson" == execution.failure.type
    assert "input 1 of step 'p'" in execution.failure.message
    assert (None, []) == (recorded.partition_total, attempts)


def test_a_partition_that_returns_something_else_is_a_failure(node: Node) -> None:
    _, _, (attempt,) = run(node, PartitionedStep("p", [1], lambda n: 42))

    assert ("FAILURE", "TypeError") == (attempt.outcome, attempt.errors[0].failure.type)


def test_system_exit_ends_the_partition_and_not_the_process(node: Node) -> None:
    def leave(n: int) -> None:
        raise SystemExit(3)

    execution, _, (attempt,) = run(node, PartitionedStep("p", [1], leave))

    assert ("FAILURE", "FAILED") == (attempt.outcome, execution.batch_status)


def test_progress_is_exact_whenever_anyone_looks(node: Node) -> None:
    """Law 3. Method: a reader polls the tracking view while 400 partitions run."""
    done = threading.Event()
    seen: list[tuple[int | None, int | None]] = []
    step = PartitionedStep("p", range(400), lambda n: None, workers=2)

    def look() -> None:
        while not done.is_set():
            with node.database.read() as reader:
                seen.extend(
                    reader.connection.execute(
                        "SELECT completed_subtasks, total_subtasks"
                        " FROM batch_job_execution_tracking"
                    ).fetchall()
                )

    watcher = threading.Thread(target=look)
    watcher.start()
    run(node, step)
    done.set()
    watcher.join()

    known = [(c, t) for c, t in seen if t is not None and c is not None]
    assert all(c <= t == 400 for c, t in known)
    assert [c for c, _ in known] == sorted(c for c, _ in known)
