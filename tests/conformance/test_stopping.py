"""Stop, shut down, abandon: who asks, who applies it, and when (S12, S30, S31, S38, S42, S178)."""

from __future__ import annotations

from threading import Event, Thread
from typing import Any

import pytest

from stepwell import (
    BatchStatus,
    ChunkStep,
    Job,
    Node,
    PartitionedStep,
    PartitionResult,
    StepContext,
    TaskletStep,
)
from stepwell.errors import (
    JobExecutionIsRunning,
    JobExecutionNotRunning,
    JobRestartError,
)
from stepwell.repository.history import Because
from stepwell.runner import job as job_module
from stepwell.runner import step as step_module
from stepwell.runner.running import RunningExecution
from tests.conformance.stories import (
    Blocked,
    Toggle,
    ended,
    findings,
    nothing,
    owned,
    rows,
    statuses,
    tasklet_job,
    until,
    waiting,
)

REQUESTS = (
    "SELECT kind, actor, reason, CASE WHEN taken_at IS NULL THEN 'open'"
    " WHEN late THEN 'late' ELSE 'taken' END FROM batch_request ORDER BY request_id"
)


def running_of(node: Node, execution_id: int) -> RunningExecution:
    return node.operator._runner._running[execution_id]


# --- before, during, after ---------------------------------------------------------------------


def test_a_stop_before_the_work_begins_runs_no_code(node: Node, other: Node) -> None:
    """Goal: STARTING to STOPPED. Method: the owner begins after the request was written."""
    record = owned(node, "billing")
    asked = other.operator.stop(record.execution_id, actor="anna", reason="wrong day")
    running = RunningExecution(node.repository, record)
    begins = running.begin()

    assert asked.stop_requested
    assert (False, BatchStatus.STOPPED, "STOPPED", None) == (
        begins,
        running.job.batch_status,
        running.job.exit_status,
        running.job.result,
    )
    assert [
        (None, None, "STARTING", "runner", None),
        (None, "STARTING", "STOPPED", "anna", "wrong day"),
    ] == statuses(node, record.execution_id)
    assert [("stop", "anna", "wrong day", "taken")] == rows(node, REQUESTS)
    assert [] == findings(node)


def test_whoever_stops_an_execution_without_an_owner_ends_it(node: Node) -> None:
    """Goal: S30."""
    record = waiting(node, "billing")
    stopped = node.operator.stop(record.execution_id, actor="anna", reason="not needed")

    assert (BatchStatus.STOPPED, True, None) == (
        stopped.batch_status,
        stopped.stop_requested,
        stopped.start_time,
    )
    assert [
        (None, None, "STARTING", "runner", None),
        (None, "STARTING", "STOPPED", "anna", "not needed"),
    ] == statuses(node, record.execution_id)
    assert [("stop", "anna", "not needed", "taken")] == rows(node, REQUESTS)
    assert [] == findings(node)


@pytest.mark.parametrize("by", ["the owner", "another process"])
def test_a_tasklet_is_told_while_it_runs(by: str, node: Node, other: Node, clock: Any) -> None:
    """Goal: S31, S136. Method: the tasklet polls; somebody else's request is found by polling."""
    begun, told = Event(), Event()

    def work(step: StepContext) -> str:
        begun.set()
        until(lambda: step.stop_requested)
        told.set()
        return "HALF"

    execution_id = node.operator.start(Job("billing", steps=[TaskletStep("only", work)]))
    until(begun.is_set)
    asked = (node if by == "the owner" else other).operator.stop(execution_id, reason="enough")

    def look_again() -> bool:
        clock.advance(0.3)
        return told.is_set()

    until(look_again)
    execution = node.operator.wait(execution_id)

    assert execution is not None
    (step,) = node.operator.get_step_executions(execution_id)
    assert asked.stop_requested
    assert (BatchStatus.STOPPED, None, "STOPPED") == (
        execution.batch_status,
        execution.result,
        execution.exit_status,
    )
    assert (BatchStatus.STOPPED, None, "HALF") == (
        step.batch_status,
        step.result,
        step.exit_status,
    )
    assert [
        (None, "STARTED", "STOPPING", "operator", "enough"),
        ("only", "STARTED", "STOPPING", "operator", "enough"),
        ("only", "STOPPING", "STOPPED", "runner", None),
        (None, "STOPPING", "STOPPED", "runner", None),
    ] == statuses(node, execution_id)[3:]
    assert [("stop", "operator", "enough", "taken")] == rows(node, REQUESTS)
    assert [] == findings(node)


def test_a_chunk_ends_after_its_item_and_is_committed(node: Node) -> None:
    """Goal: S104. Method: the job stops itself while its sixth item is processed."""
    written: list[list[int]] = []

    def process(item: int) -> int:
        if item == 6 and not written[1:]:
            execution_id = node.operator.get_running_executions("billing")[0]
            node.operator.stop(execution_id)
            until(running_of(node, execution_id).stop_flag.is_set)
        return item

    job = Job(
        "billing",
        steps=[
            ChunkStep("load", range(1, 13), process, written.append, chunk_size=4),
            TaskletStep("after", nothing),
        ],
    )
    stopped = node.operator.run(job)
    completed = node.operator.run(job)

    (step,) = node.operator.get_step_executions(stopped.execution_id)
    assert [[1, 2, 3, 4], [5, 6], [7, 8, 9, 10], [11, 12]] == written
    assert (BatchStatus.STOPPED, BatchStatus.COMPLETED) == (
        stopped.batch_status,
        completed.batch_status,
    )
    assert (BatchStatus.STOPPED, "6", 2, 6) == (
        step.batch_status,
        step.reader_checkpoint,
        step.metrics.commit_count,
        step.metrics.write_count,
    )
    assert [] == findings(node)


@pytest.mark.parametrize("executor", ["inline", "threads"])
def test_partitions_that_have_not_begun_stay_for_the_restart(executor: Any, node: Node) -> None:
    """Goal: S146, S155. Method: the job stops itself in its second partition."""
    ran: list[int] = []

    def run(number: int, step: StepContext) -> PartitionResult:
        ran.append(number)
        if number == 1 and len(ran) == 2:
            node.operator.stop(step.execution_id)
            until(lambda: step.stop_requested)
        return PartitionResult.success(rows=1)

    job = Job(
        "recalc",
        steps=[PartitionedStep("days", [0, 1, 2, 3, 4, 5], run, executor=executor, workers=1)],
    )
    stopped = node.operator.run(job)
    by_then = list(ran)
    completed = node.operator.run(job)

    (first,) = node.operator.get_step_executions(stopped.execution_id)
    assert [0, 1] == by_then
    assert [0, 1, 2, 3, 4, 5] == ran
    assert (BatchStatus.STOPPED, 6, 2) == (
        first.batch_status,
        first.partition_total,
        first.partition_completed,
    )
    assert [("COMPLETED", 2), ("STOPPED", 4)] == rows(
        node,
        "SELECT status, COUNT(*) FROM batch_partition_execution"
        f" WHERE step_execution_id = {first.step_execution_id} GROUP BY status ORDER BY status",
    )
    assert BatchStatus.COMPLETED == completed.batch_status
    assert [] == findings(node)


def test_the_job_is_stopped_although_its_last_step_was_done(node: Node) -> None:
    """Goal: S12, both halves: the step is COMPLETED, and the restart finds nothing left."""

    asked = Event()

    def ask() -> None:
        node.repository.request_stop(1, Because("operator", "late"))
        asked.set()

    class Reader:
        def open(self, checkpoint: Any) -> None:
            self._items = [3, 2, 1] if checkpoint is None else []

        def read(self) -> int | None:
            if not self._items and not asked.is_set():
                ask()
            return self._items.pop() if self._items else None

        def checkpoint(self) -> str:
            return "end"

        def close(self) -> None:
            """Nothing to give back."""

    job = Job("billing", steps=[ChunkStep("load", Reader(), None, list)])
    stopped = node.operator.run(job)
    completed = node.operator.run(job)

    assert (BatchStatus.STOPPED, BatchStatus.COMPLETED) == (
        stopped.batch_status,
        completed.batch_status,
    )
    assert [("load", "COMPLETED", "COMPLETED")] == [
        (step.step_name, step.batch_status, step.result)
        for step in node.operator.get_step_executions(stopped.execution_id)
    ]
    assert [] == node.operator.get_step_executions(completed.execution_id)
    assert ("load", "COMPLETED") == (completed.last_step, completed.result)
    assert [] == findings(node)


def test_a_stop_that_nobody_has_read_when_the_job_ends_is_late(node: Node) -> None:
    """Goal: S12."""
    record = owned(node, "billing", BatchStatus.STARTED)
    node.repository.request_stop(record.execution_id, Because("operator", "too late"))
    execution = RunningExecution(node.repository, record).end(
        batch_status=BatchStatus.COMPLETED, result="COMPLETED", exit_status="COMPLETED"
    )

    assert BatchStatus.COMPLETED == execution.batch_status
    assert [("stop", "operator", "too late", "late")] == rows(node, REQUESTS)
    assert [] == findings(node)


@pytest.mark.parametrize(
    "status",
    [BatchStatus.COMPLETED, BatchStatus.FAILED, BatchStatus.STOPPED, BatchStatus.ABANDONED],
)
def test_an_ended_execution_cannot_be_stopped(status: BatchStatus, node: Node) -> None:
    if status is BatchStatus.ABANDONED:
        record = node.operator.abandon(ended(node, "billing", BatchStatus.FAILED).execution_id)
    else:
        record = ended(node, "billing", status)
    requests = rows(node, REQUESTS)

    with pytest.raises(JobExecutionNotRunning) as refused:
        node.operator.stop(record.execution_id)

    assert f"cannot stop execution 1: it is {status}" == refused.value.message
    assert requests == rows(node, REQUESTS)


# --- a stop at the worst moment ----------------------------------------------------------------


def test_a_stop_that_comes_between_two_steps_starts_no_step(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Goal: S42. Method: the stop is applied when the next step's record is already made."""
    make = step_module.new_record

    def stop_and_make(running: Any, step: Any, previous: Any) -> Any:
        if step.name == "second":
            running.apply_stop(Because("operator", "just now"))
        return make(running, step, previous)

    monkeypatch.setattr(step_module, "new_record", stop_and_make)
    calls: list[str] = []
    job = Job(
        "billing",
        steps=[
            TaskletStep("first", nothing),
            TaskletStep("second", lambda: calls.append("second")),
        ],
    )
    stopped = node.operator.run(job)

    assert [] == calls
    assert BatchStatus.STOPPED == stopped.batch_status
    assert [("first", "COMPLETED")] == [
        (step.step_name, step.batch_status)
        for step in node.operator.get_step_executions(stopped.execution_id)
    ]
    assert [] == findings(node)


def test_a_stop_that_comes_while_the_end_is_decided_waits_and_is_late(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Goal: S12. Method: a thread applies the stop between the decision and its record."""
    derive = job_module.derive_job_result
    threads: list[Thread] = []

    def stop_and_derive(status: Any, results: Any) -> Any:
        running = running_of(node, 1)
        node.repository.request_stop(1, Because("operator", "just now"))
        thread = Thread(target=running.apply_stop, args=(Because("operator", "just now"),))
        thread.start()
        thread.join(0.2)
        threads.append(thread)
        return derive(status, results)

    monkeypatch.setattr(job_module, "derive_job_result", stop_and_derive)
    execution = node.operator.run(tasklet_job("billing", nothing))
    for thread in threads:
        thread.join()

    assert (BatchStatus.COMPLETED, "COMPLETED") == (execution.batch_status, execution.result)
    assert [("stop", "operator", "just now", "late")] == rows(node, REQUESTS)
    assert [] == findings(node)


def test_stops_at_any_moment_end_a_job_stopped_or_completed(node: Node, other: Node) -> None:
    """Method: 40 runs, each stopped by somebody else as soon as it is seen."""
    outcomes = set()
    for number in range(40):
        execution_id = node.operator.start(
            Job(
                "billing",
                steps=[TaskletStep("a", nothing), ChunkStep("b", [1, 2], None, list)],
            ),
            {"number": number},
        )
        try:
            (other if number % 2 else node).operator.stop(execution_id)
        except JobExecutionNotRunning:
            outcomes.add("too late")
        execution = node.operator.wait(execution_id)
        assert execution is not None
        outcomes.add(str(execution.batch_status))

    assert outcomes <= {"COMPLETED", "STOPPED", "too late"}
    assert [] == findings(node)


# --- shutdown ----------------------------------------------------------------------------------


def test_closing_a_node_stops_what_it_runs_and_ends_its_owner(node: Node, other: Node) -> None:
    """Goal: S38."""
    begun = Event()

    def work(step: StepContext) -> None:
        begun.set()
        until(lambda: step.stop_requested)

    execution_id = other.operator.start(tasklet_job("billing", work))
    until(begun.is_set)
    other.operator.close()

    execution = node.operator.get_job_execution(execution_id)
    assert BatchStatus.STOPPED == execution.batch_status
    assert [
        (None, "STARTED", "STOPPING", "runner", "shutdown"),
        ("only", "STARTED", "STOPPING", "runner", "shutdown"),
    ] == statuses(node, execution_id)[3:5]
    assert [(1, "ended")] == rows(
        node,
        "SELECT owner_id, CASE WHEN ended_at IS NULL THEN 'lives' ELSE 'ended' END"
        " FROM batch_owner",
    )
    assert [] == findings(node)


# --- abandon -----------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [BatchStatus.COMPLETED, BatchStatus.FAILED, BatchStatus.STOPPED])
def test_abandon_closes_the_instance_for_ever_and_once(status: BatchStatus, node: Node) -> None:
    record = ended(node, "billing", status)
    abandoned = node.operator.abandon(record.execution_id, actor="anna", reason="superseded")
    again = node.operator.abandon(record.execution_id, actor="bert", reason="me too")
    node.registry.add(tasklet_job("billing", nothing), origin="the test")
    with pytest.raises(JobRestartError):
        node.operator.run("billing")
    with pytest.raises(JobRestartError):
        node.operator.restart(record.execution_id)

    assert (BatchStatus.ABANDONED, record.result, record.end_time) == (
        abandoned.batch_status,
        abandoned.result,
        abandoned.end_time,
    )
    assert abandoned == again
    assert [(None, status, "ABANDONED", "anna", "superseded")] == statuses(node, 1)[-1:]
    assert [("abandon", "anna", "superseded", "taken")] == rows(node, REQUESTS)
    assert [] == findings(node)


@pytest.mark.parametrize(
    "status", [BatchStatus.STARTING, BatchStatus.STARTED, BatchStatus.STOPPING]
)
def test_a_running_execution_cannot_be_abandoned(status: BatchStatus, node: Node) -> None:
    record = owned(node, "billing", status)
    before = statuses(node, record.execution_id)

    with pytest.raises(JobExecutionIsRunning) as refused:
        node.operator.abandon(record.execution_id)

    assert f"cannot abandon execution 1: it is {status}" == refused.value.message
    assert before == statuses(node, record.execution_id)


def test_a_failed_job_can_be_stopped_no_more_but_restarted(node: Node) -> None:
    toggle, blocked = Toggle(), Blocked()
    failed = node.operator.run(tasklet_job("billing", toggle))
    node.registry.add(tasklet_job("billing", blocked), origin="the test")
    execution_id = node.operator.restart(failed.execution_id)
    until(blocked.begun.is_set)
    with pytest.raises(JobExecutionNotRunning):
        node.operator.stop(failed.execution_id)
    blocked.release.set()
    execution = node.operator.wait(execution_id)

    assert execution is not None
    assert BatchStatus.COMPLETED == execution.batch_status
