"""Versions and fences: an update hits exactly one row, or is an error with a name (S23 to S25)."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from threading import Barrier, Thread

import pytest

from stepwell import (
    BatchStatus,
    ChunkStep,
    Job,
    Node,
    PartitionedStep,
    StepContext,
    TaskletStep,
)
from stepwell.errors import BatchError, LostOwnership, OptimisticLockingFailure
from stepwell.repository.versioned import change_job_execution
from stepwell.repository.zero_rows import ZeroRowUpdates
from stepwell.runner.running import RunningExecution
from stepwell.settings import Settings
from tests.conformance.stories import (
    ending,
    execute,
    findings,
    nothing,
    owned,
    rows,
    statuses,
    tasklet_job,
    waiting,
)

WARNING = (
    "affected 0 rows - the job may not exist or was deleted: job 'billing', job execution {},"
    " status {}, stage {}"
)


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [
        record.getMessage()
        for record in caplog.records
        if record.levelno == logging.WARNING and "affected 0 rows" in record.getMessage()
    ]


def test_versions_begin_at_0_and_rise_by_one_with_each_update(node: Node) -> None:
    def tasklet(step: StepContext) -> None:
        with step.transaction():
            step.context["a"] = 1
        with step.transaction():
            step.context["b"] = 2

    execution = node.operator.run(
        Job(
            "billing",
            steps=[
                TaskletStep("plain", nothing),
                TaskletStep("tasklet", tasklet),
                ChunkStep("chunk", [1, 2, 3], None, list, chunk_size=2),
                PartitionedStep("days", [1, 2], lambda day: None, executor="inline"),
            ],
        )
    )

    # Job: begin, two a step, end. Steps: two transactions, two chunks, plan and three hand-outs
    # with what they recorded; and each one's end.
    assert (1 + 4 * 2 + 1, 1) == (execution.version, execution.fence)
    assert [("plain", 1, 1), ("tasklet", 3, 1), ("chunk", 3, 1), ("days", 5, 1)] == [
        (step.step_name, step.version, step.fence)
        for step in node.operator.get_step_executions(execution.execution_id)
    ]
    assert [] == findings(node)


MOVED: dict[str, tuple[str, type[BatchError], str]] = {
    "version": (
        "UPDATE batch_job_execution SET version = version + 1",
        OptimisticLockingFailure,
        "cannot update job execution 1: its version is 2, this owner holds 1",
    ),
    "fence": (
        "UPDATE batch_job_execution SET fence = fence + 1",
        LostOwnership,
        "cannot update job execution 1: its fence is 2, this owner holds 1",
    ),
    "both": (
        "UPDATE batch_job_execution SET fence = fence + 1, version = version + 1",
        LostOwnership,
        "cannot update job execution 1: its fence is 2, this owner holds 1",
    ),
}


@pytest.mark.parametrize("moved", MOVED)
def test_an_update_that_misses_its_row_is_an_error_a_warning_and_a_count(
    moved: str, node: Node, caplog: pytest.LogCaptureFixture
) -> None:
    sql, error_class, message = MOVED[moved]
    record = replace(owned(node, "billing", BatchStatus.STARTED), current_step="load")
    execute(node, sql)
    before, history = ZeroRowUpdates.count, statuses(node, 1)

    with pytest.raises(error_class) as raised, node.database.write() as transaction:
        change_job_execution(
            transaction,
            record,
            at=node.clock.now(),
            **{**ending(BatchStatus.COMPLETED), "end_time": node.clock.now()},
        )

    assert message == raised.value.message
    assert [WARNING.format(1, "COMPLETED", "load")] == warnings(caplog)
    assert before + 1 == ZeroRowUpdates.count
    assert history == statuses(node, 1)
    assert BatchStatus.STARTED == node.operator.get_job_execution(1).batch_status


def test_an_update_of_a_row_that_is_gone_says_so(
    node: Node, caplog: pytest.LogCaptureFixture
) -> None:
    """Scenario B: never a silent success."""
    record = owned(node, "billing", BatchStatus.STARTED)
    execute(node, "INSERT INTO batch_purge (job_execution_id) VALUES (1)")
    for table in ("batch_status_history", "batch_job_execution_context", "batch_job_execution"):
        execute(node, f"DELETE FROM {table}")

    with pytest.raises(OptimisticLockingFailure) as raised:
        RunningExecution(node.repository, record).end(**ending(BatchStatus.COMPLETED))

    assert (
        "cannot update job execution 1: no such row exists, this owner holds version 1"
        == raised.value.message
    )
    assert [WARNING.format(1, "COMPLETED", None)] == warnings(caplog)


# --- while a job runs --------------------------------------------------------------------------


def chunks(meddle: Callable[[], None]) -> Job:
    def process(item: int) -> int:
        if item == 4:
            meddle()
        return item

    def write(items: list[int], step: StepContext) -> None:
        step.connection.executemany("INSERT INTO made (id) VALUES (:id)", [(i,) for i in items])

    return Job("billing", steps=[ChunkStep("load", range(1, 7), process, write, chunk_size=2)])


def test_a_chunk_whose_row_was_changed_rolls_back_and_fails_the_step(
    node: Node, other: Node, caplog: pytest.LogCaptureFixture
) -> None:
    """Goal: S24. Method: somebody's SQL raises the version of the step's row, once."""
    execute(node, "CREATE TABLE made (id INTEGER PRIMARY KEY)")
    meddling = ["UPDATE batch_step_execution SET version = version + 1"]
    job = chunks(lambda: execute(other, meddling.pop()) if meddling else None)
    failed = node.operator.run(job)
    by_then = rows(node, "SELECT id FROM made ORDER BY id")
    completed = node.operator.run(job)

    assert failed.failure is not None
    (step,) = node.operator.get_step_executions(failed.execution_id)
    assert ("OptimisticLockingFailure", BatchStatus.FAILED, BatchStatus.FAILED) == (
        failed.failure.type,
        failed.batch_status,
        step.batch_status,
    )
    assert [(1,), (2,)] == by_then
    assert (2, 2, 1) == (
        step.metrics.read_count,
        step.metrics.write_count,
        step.metrics.rollback_count,
    )
    assert 1 == len(warnings(caplog))
    assert BatchStatus.COMPLETED == completed.batch_status
    assert [(n,) for n in range(1, 7)] == rows(node, "SELECT id FROM made ORDER BY id")
    assert [] == findings(node)


@pytest.mark.parametrize("kind", ["chunks", "tasklet", "partitions"])
def test_an_owner_that_was_recovered_writes_nothing_more(
    kind: str, node: Node, other: Node, caplog: pytest.LogCaptureFixture
) -> None:
    """Goal: S25, S35. Method: it is recovered by force in the middle of its work."""
    execute(node, "CREATE TABLE made (id INTEGER PRIMARY KEY)")
    calls: list[str] = []

    def recover() -> None:
        if not calls:
            calls.append("recovered")
            failure = ending(BatchStatus.FAILED)["failure"]
            other.repository.settle_stray(1, failure, node.operator.owner_id)

    def write(number: int, step: StepContext) -> None:
        if number == 4:
            recover()
        with step.transaction() as connection:
            connection.execute("INSERT INTO made (id) VALUES (:id)", {"id": number})

    def tasklet(step: StepContext) -> None:
        for number in range(1, 7):
            write(number, step)

    jobs = {
        "chunks": chunks(recover),
        "tasklet": Job("billing", steps=[TaskletStep("load", tasklet)]),
        "partitions": Job(
            "billing",
            steps=[PartitionedStep("load", [1, 2, 3, 4, 5], write, executor="inline")],
        ),
    }
    with pytest.raises(LostOwnership):
        node.operator.run(jobs[kind])

    record = node.operator.get_job_execution(1)
    (step,) = node.operator.get_step_executions(1)
    assert (BatchStatus.FAILED, 2, BatchStatus.FAILED, 2) == (
        record.batch_status,
        record.fence,
        step.batch_status,
        step.fence,
    )
    assert [(1,), (2,), (3,)][: 2 if kind == "chunks" else 3] == rows(
        node, "SELECT id FROM made ORDER BY id"
    )
    assert 1 == len(warnings(caplog))
    assert 2 == len([change for change in statuses(node, 1) if change[2] == "FAILED"])
    assert [] == findings(node)


def test_recovery_raises_the_fences_of_the_job_and_of_all_its_steps(node: Node) -> None:
    """Goal: S187. Method: one step has ended, one runs; partitions are unfinished."""

    def leave() -> None:
        node.repository.settle_stray(
            1, ending(BatchStatus.FAILED)["failure"], node.operator.owner_id
        )

    job = Job(
        "billing",
        steps=[
            TaskletStep("first", nothing),
            PartitionedStep("days", [1, 2], leave, executor="inline"),
        ],
    )
    with pytest.raises(LostOwnership):
        node.operator.run(job)

    assert [("first", "COMPLETED", 2), ("days", "FAILED", 2)] == [
        (step.step_name, step.batch_status, step.fence)
        for step in node.operator.get_step_executions(1)
    ]
    assert [(0, "FAILED", 2, None), (1, "FAILED", 2, None)] == rows(
        node,
        "SELECT partition_number, status, fence, result FROM batch_partition_execution"
        " ORDER BY partition_number",
    )
    assert [] == findings(node)


def test_an_execution_that_has_ended_or_waits_is_not_recovered(node: Node) -> None:
    """Goal: S34."""
    completed = node.operator.run(tasklet_job("billing", nothing))
    registered = waiting(node, "waits")

    for record in (completed, registered):
        before = statuses(node, record.execution_id)
        answer = node.operator.recover(record.execution_id, force=True, reason="test")
        assert (record.batch_status, record.fence) == (answer.batch_status, answer.fence)
        assert before == statuses(node, record.execution_id)
    assert [] == node.operator.recover_dead()


def test_who_recovers_together_recovers_once(node: Node, other: Node, settings: Settings) -> None:
    """Goal: S34. Method: eight threads of two nodes recover five dead executions."""
    with Node.open(settings) as dead:
        for number in range(5):
            record = owned(dead, f"job-{number}", BatchStatus.STARTED)
            dead.database.liveness.release(record.owner_id or 0)
    barrier, recovered, errors = Barrier(8), [], []

    def recover(mine: Node) -> None:
        barrier.wait()
        try:
            recovered.extend(mine.operator.recover_dead())
        except Exception as error:
            errors.append(error)

    threads = [Thread(target=recover, args=((node, other)[i % 2],)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert [] == errors
    assert {"FAILED"} == {str(e.batch_status) for e in recovered}
    assert {1, 2, 3, 4, 5} == {e.execution_id for e in recovered}
    assert [5] == [
        count
        for (count,) in rows(
            node, "SELECT COUNT(*) FROM batch_status_history WHERE to_status = 'FAILED'"
        )
    ]
    assert [] == findings(node)
