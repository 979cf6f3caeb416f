"""Section 14, rule by rule: what the JobOperator does, answers and refuses."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import pytest

from stepwell import BatchStatus, ChunkStep, Node, StepContext, errors
from stepwell.errors import (
    BatchError,
    JobExecutionIsRunning,
    JobExecutionNotRunning,
    JobSecurityError,
    NoSuchJob,
    NoSuchJobExecution,
    NoSuchJobInstance,
    StepwellError,
)
from stepwell.execution.parameters import JobParameter
from stepwell.execution.records import JobInstance
from tests.conformance.stories import (
    Blocked,
    counts,
    ended,
    nothing,
    owned,
    rows,
    statuses,
    tasklet_job,
    until,
    waiting,
)
from tests.rules.walks import WITHIN_S, Walk, define, job_of, run, run_job, steps_of

FAILED, COMPLETED, STOPPED = BatchStatus.FAILED, BatchStatus.COMPLETED, BatchStatus.STOPPED


# --- S175: actor and reason -----------------------------------------------------------------------


def test_actor_and_reason_go_to_the_request_and_to_the_history(any_node: Node) -> None:
    """S175: of stop, abandon, recover and set_priority."""
    operator = any_node.operator
    waits, failed = waiting(any_node, "a"), ended(any_node, "b", FAILED)
    runs = owned(any_node, "c", BatchStatus.STARTED)
    operator.set_priority(waits.execution_id, 3, actor="anna", reason="urgent")
    operator.stop(waits.execution_id, actor="bert", reason="wrong day")
    operator.abandon(failed.execution_id, actor="carl", reason="obsolete")
    operator.recover(runs.execution_id, force=True, actor="dora", reason="hangs")

    assert [
        ("priority", "anna", "urgent"),
        ("stop", "bert", "wrong day"),
        ("abandon", "carl", "obsolete"),
    ] == rows(any_node, "SELECT kind, actor, reason FROM batch_request ORDER BY request_id")
    assert [
        ("STOPPED", "bert", "wrong day"),
        ("ABANDONED", "carl", "obsolete"),
        ("FAILED", "dora", "hangs"),
    ] == [statuses(any_node, e.execution_id)[-1][2:] for e in (waits, failed, runs)]


# --- S176: errors and access ----------------------------------------------------------------------


def test_all_errors_are_direct_children_of_batch_error() -> None:
    """S176."""
    children = [
        error
        for _, error in inspect.getmembers(errors.batch, inspect.isclass)
        if issubclass(error, BatchError) and error is not BatchError
    ]

    assert {(BatchError,)} == {error.__bases__ for error in children}
    assert 20 < len(children)


def operations(node: Node, execution_id: int) -> dict[str, Callable[[], Any]]:
    """Every operation of the table of section 14, and the library's own."""
    operator = node.operator
    job = tasklet_job("billing", nothing)
    instance = JobInstance(1, "billing", "")
    return {
        "start": lambda: operator.start(job),
        "run": lambda: operator.run(job),
        "restart": lambda: operator.restart(execution_id),
        "stop": lambda: operator.stop(execution_id),
        "abandon": lambda: operator.abandon(execution_id),
        "recover": lambda: operator.recover(execution_id, force=True, reason="the test"),
        "recover dead": operator.recover_dead,
        "set_priority": lambda: operator.set_priority(execution_id, 1),
        "get_job_names": operator.get_job_names,
        "get_job_instance_count": lambda: operator.get_job_instance_count("billing"),
        "get_job_instances": lambda: operator.get_job_instances("billing", 0, 9),
        "get_running_executions": lambda: operator.get_running_executions("billing"),
        "get_parameters": lambda: operator.get_parameters(execution_id),
        "get_job_instance": lambda: operator.get_job_instance(execution_id),
        "get_job_execution": lambda: operator.get_job_execution(execution_id),
        "get_job_executions": lambda: operator.get_job_executions(instance),
        "get_step_executions": lambda: operator.get_step_executions(execution_id),
        "get_history": lambda: operator.get_history(execution_id),
    }


def test_the_hosts_access_hook_refuses_before_anything_is_read_or_written(
    database_url: str,
) -> None:
    """S176: any operation. Method: whatever the database would have to be asked raises."""
    asked: list[tuple[str, Any]] = []

    def refuses(operation: str, subject: Any) -> bool:
        asked.append((operation, subject))
        return False

    with Node.open(database_url) as open_node:
        failed = run(open_node, Walk().step("a", ValueError()))
        before = counts(open_node)
    with Node.open(database_url, access=refuses) as node:
        read, write = node.database.read, node.database.write

        def never(**options: Any) -> Any:
            raise AssertionError("the database was asked")

        node.database.read = node.database.write = never  # type: ignore[method-assign]
        for name, operation in operations(node, failed.execution_id).items():
            with pytest.raises(JobSecurityError) as refused:
                operation()
            assert name.split()[0] == refused.value.fields["operation"]
        node.database.read, node.database.write = read, write  # type: ignore[method-assign]

    with Node.open(database_url) as open_node:
        assert before == counts(open_node)
    assert ("start", "billing") == asked[0]
    assert ("restart", 1) in asked
    assert "cannot get history of execution 1: the access hook of this program refuses it" == (
        refused.value.message
    )


def test_the_access_hook_is_told_the_operation_and_its_subject(database_url: str) -> None:
    """S176: what it permits is done, the rest refused."""

    def readers_only(operation: str, subject: Any) -> bool:
        return operation.startswith("get_") or subject == "free"

    with Node.open(database_url, access=readers_only) as node:
        assert [] == node.operator.get_job_names()
        assert COMPLETED is node.operator.run(tasklet_job("free", nothing)).batch_status
        with pytest.raises(JobSecurityError):
            node.operator.run(tasklet_job("billing", nothing))
        with pytest.raises(JobSecurityError):
            node.operator.abandon(1)


# --- S177, S178, and the table --------------------------------------------------------------------


def test_a_name_is_known_when_it_is_registered_or_has_an_instance(any_node: Node) -> None:
    """S177: idle ones answer emptily, any other raises."""
    define(any_node, job_of(Walk().step("a"), name="idle"))
    any_node.operator.run(tasklet_job("unregistered", nothing))
    operator = any_node.operator

    assert ["idle", "unregistered"] == operator.get_job_names()
    assert [(0, [], []), (1, ["unregistered"], [])] == [
        (
            operator.get_job_instance_count(name),
            [i.job_name for i in operator.get_job_instances(name, 0, 9)],
            operator.get_running_executions(name),
        )
        for name in ("idle", "unregistered")
    ]
    for question in (
        operator.get_job_instance_count,
        operator.get_running_executions,
        lambda name: operator.get_job_instances(name, 0, 9),
        operator.run,
        operator.start,
    ):
        with pytest.raises(NoSuchJob):
            question("unknown")


def test_an_unknown_id_is_said_to_be_unknown(any_node: Node) -> None:
    """The table of section 14; nothing is recorded."""
    before = counts(any_node)
    everything = operations(any_node, 77)
    for name in (
        *("restart", "stop", "abandon", "recover", "set_priority", "get_parameters"),
        *("get_job_instance", "get_job_execution", "get_step_executions", "get_history"),
    ):
        with pytest.raises(NoSuchJobExecution) as refused:
            everything[name]()
        assert {"execution_id": 77} == refused.value.fields
    with pytest.raises(NoSuchJobInstance):
        any_node.operator.get_job_executions(JobInstance(77, "billing", ""))
    assert before == counts(any_node)


def test_stop_returns_at_once_and_shows_that_it_was_requested(any_node: Node) -> None:
    """S178: from the moment it returns; the status is STOPPING later, then STOPPED."""
    blocked = Blocked()
    execution_id = any_node.operator.start(tasklet_job("billing", blocked))
    assert blocked.begun.wait(WITHIN_S)
    before = any_node.operator.get_job_execution(execution_id).stop_requested
    answer = any_node.operator.stop(execution_id)
    after = any_node.operator.get_job_execution(execution_id)
    until(lambda: BatchStatus.STOPPING is status_of(any_node, execution_id))
    blocked.release.set()
    stopped = any_node.operator.wait(execution_id, WITHIN_S)

    assert (False, True, True) == (before, answer.stop_requested, after.stop_requested)
    assert stopped is not None
    assert STOPPED is stopped.batch_status


def status_of(node: Node, execution_id: int) -> BatchStatus:
    return node.operator.get_job_execution(execution_id).batch_status


@pytest.mark.parametrize("status", [COMPLETED, FAILED, STOPPED])
def test_what_has_ended_is_not_stopped_and_its_place_not_changed(
    status: BatchStatus, any_node: Node
) -> None:
    """The table of section 14."""
    execution = ended(any_node, "billing", status)
    before = rows(any_node, "SELECT COUNT(*) FROM batch_request")

    with pytest.raises(JobExecutionNotRunning) as refused:
        any_node.operator.stop(execution.execution_id)
    assert f"cannot stop execution 1: it is {status}" == refused.value.message
    with pytest.raises(JobExecutionNotRunning) as refused:
        any_node.operator.set_priority(execution.execution_id, 1)
    assert f"cannot set the priority of execution 1: it is {status}" == refused.value.message
    assert before == rows(any_node, "SELECT COUNT(*) FROM batch_request")


@pytest.mark.parametrize("status", [COMPLETED, FAILED, STOPPED])
def test_abandon_closes_and_repeated_changes_nothing(status: BatchStatus, any_node: Node) -> None:
    """S178, S6, and the table: allowed for COMPLETED, FAILED, STOPPED."""
    execution = ended(any_node, "billing", status)
    first = any_node.operator.abandon(execution.execution_id)
    before = counts(any_node)
    second = any_node.operator.abandon(execution.execution_id)

    assert [(BatchStatus.ABANDONED, 2)] * 2 == [(e.batch_status, e.fence) for e in (first, second)]
    assert before == counts(any_node)
    for verb in (any_node.operator.start, any_node.operator.run):
        with pytest.raises(errors.JobRestartError):
            verb(tasklet_job("billing", nothing))


@pytest.mark.parametrize(
    "status", [BatchStatus.STARTING, BatchStatus.STARTED, BatchStatus.STOPPING]
)
def test_what_runs_is_neither_abandoned_nor_recovered(status: BatchStatus, any_node: Node) -> None:
    """The table of section 14: JobExecutionIsRunning."""
    execution = owned(any_node, "billing", status)

    for verb in (any_node.operator.abandon, any_node.operator.recover):
        with pytest.raises(JobExecutionIsRunning):
            verb(execution.execution_id)
    assert status is any_node.operator.get_job_execution(execution.execution_id).batch_status


def test_instances_come_newest_first_and_executions_oldest_first(any_node: Node) -> None:
    """The table of section 14: the window [start, start + count)."""
    job = job_of(Walk().step("a", ValueError()))
    for day in range(5):
        run_job(any_node, job, {"day": day})
    second = any_node.operator.run("billing", {"day": 4})
    operator = any_node.operator
    newest = operator.get_job_instances("billing", 0, 1)[0]

    assert [5, 4, 3, 2, 1] == [i.instance_id for i in operator.get_job_instances("billing", 0, 9)]
    assert [4, 3] == [i.instance_id for i in operator.get_job_instances("billing", 1, 2)]
    assert [] == operator.get_job_instances("billing", 5, 2)
    assert [5, second.execution_id] == [e.execution_id for e in operator.get_job_executions(newest)]
    assert 2 * [(JobParameter("day", "str", "4"),)] == [
        e.parameters for e in operator.get_job_executions(newest)
    ]
    assert newest == operator.get_job_instance(second.execution_id)


def test_steps_come_in_the_order_of_their_start(any_node: Node) -> None:
    """The table of section 14: the partitioned step once (S143)."""
    from stepwell import PartitionedStep

    walk = Walk()
    execution = run(
        any_node, walk.step("z"), PartitionedStep("m", [1, 2, 3], lambda n: None), walk.step("a")
    )

    assert ["z", "m", "a"] == [s.step_name for s in steps_of(any_node, execution)]


def test_running_executions_are_those_that_have_not_ended(any_node: Node) -> None:
    """The table of section 14: of this job alone, waiting ones too."""
    mine = [waiting(any_node, "billing").execution_id]
    owned(any_node, "report", BatchStatus.STARTED)
    ended(any_node, "idle", COMPLETED)

    assert mine == any_node.operator.get_running_executions("billing")
    assert [] == any_node.operator.get_running_executions("idle")
    any_node.operator.stop(mine[0])
    assert [] == any_node.operator.get_running_executions("billing")


# --- S179: what the records show ------------------------------------------------------------------


def test_a_job_execution_shows_everything_about_itself(any_node: Node) -> None:
    """S179."""
    walk = Walk()
    first = run_job(any_node, job_of(walk.step("a"), walk.step("b", ValueError("no"))), {"d": "1"})
    shown = any_node.operator.get_job_execution(first.execution_id)
    history = any_node.operator.get_history(first.execution_id)

    assert (1, 1, "billing", FAILED, "FAILED", "FAILED", None, "a") == (
        shown.execution_id,
        shown.instance_id,
        shown.job_name,
        shown.batch_status,
        shown.exit_status,
        shown.result,
        shown.current_step,
        shown.last_step,
    )
    assert None not in (
        shown.create_time,
        shown.start_time,
        shown.end_time,
        shown.last_updated,
        shown.owner_id,
    )
    assert (JobParameter("d", "str", "1"),) == shown.parameters
    assert shown.failure is not None
    assert ("ValueError", "no") == (shown.failure.type, shown.failure.message)
    assert [
        (None, None, "STARTING"),
        (None, "STARTING", "STARTED"),
        ("a", None, "STARTED"),
        ("a", "STARTED", "COMPLETED"),
        ("b", None, "STARTED"),
        ("b", "STARTED", "FAILED"),
        (None, "STARTED", "FAILED"),
    ] == [(c.step_name, c.from_status, c.to_status) for c in history]


def test_a_step_execution_shows_everything_about_itself(any_node: Node) -> None:
    """S179: metrics, persistent user data, failure."""

    class Listener:
        def before_step(self, step: StepContext) -> None:
            step.context["n"] = 1

    def fails(item: int) -> int:
        if item == 3:
            raise ValueError("three")
        return item

    load = ChunkStep("load", [1, 2, 3], fails, list, chunk_size=2, listeners=[Listener()])
    execution = run(any_node, load)
    (step,) = any_node.operator.get_step_executions(execution.execution_id)

    assert ("load", FAILED, "FAILED", "FAILED", {"n": 1}) == (
        step.step_name,
        step.batch_status,
        step.exit_status,
        step.result,
        step.context,
    )
    assert (2, 2, 1, 1) == (
        step.metrics.read_count,
        step.metrics.write_count,
        step.metrics.commit_count,
        step.metrics.rollback_count,
    )
    assert None not in (step.step_execution_id, step.create_time, step.start_time, step.end_time)
    assert step.failure is not None
    assert "three" == step.failure.message


def test_wait_answers_the_outcome_or_none_when_the_time_is_over(any_node: Node) -> None:
    """The table of section 14: run is start and wait."""
    blocked = Blocked()
    execution_id = any_node.operator.start(tasklet_job("billing", blocked))
    too_early = any_node.operator.wait(execution_id, 0.01)
    blocked.release.set()
    outcome = any_node.operator.wait(execution_id, WITHIN_S)
    again = any_node.operator.wait(execution_id)

    assert None is too_early
    assert outcome is not None
    assert again is not None
    assert [COMPLETED] * 2 == [outcome.batch_status, again.batch_status]


def test_a_restart_runs_like_a_start(any_node: Node) -> None:
    """The table of section 14: a new id, on a thread; recorded when it returns."""
    failed = run(any_node, Walk().step("a", ValueError()))
    blocked = Blocked()
    define(any_node, tasklet_job("billing", blocked))
    execution_id = any_node.operator.restart(failed.execution_id)
    recorded = any_node.operator.get_job_execution(execution_id)
    blocked.release.set()
    outcome = any_node.operator.wait(execution_id, WITHIN_S)

    assert (2, 1) == (recorded.execution_id, recorded.instance_id)
    assert recorded.batch_status in (BatchStatus.STARTING, BatchStatus.STARTED)
    assert outcome is not None
    assert COMPLETED is outcome.batch_status


def test_every_error_of_the_operator_says_what_to_do_next(any_node: Node) -> None:
    """S176: a code for programs, a hint for people, the ids as fields."""
    ended(any_node, "billing", COMPLETED)
    refused: list[StepwellError] = []
    for operation in (
        lambda: any_node.operator.start(tasklet_job("billing", nothing)),
        lambda: any_node.operator.stop(1),
        lambda: any_node.operator.get_job_execution(77),
        lambda: any_node.operator.start("unknown"),
        lambda: any_node.operator.get_running_executions("unknown"),
    ):
        with pytest.raises(StepwellError) as raised:
            operation()
        refused.append(raised.value)

    assert [] == [error for error in refused if not (error.hint and error.fields)]
    assert [
        "job_instance_already_complete",
        "job_execution_not_running",
        "no_such_job_execution",
        "no_such_job",
        "no_such_job",
    ] == [error.code for error in refused]
