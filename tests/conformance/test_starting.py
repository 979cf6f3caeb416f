"""Starting a job: what is recorded, and what is refused (S3 to S9, S22, S184, section 14)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import date
from threading import Barrier, Thread
from typing import Any

import pytest

from stepwell import BatchStatus, Job, Node, NonIdentifying, Parameters
from stepwell.errors import (
    BatchError,
    ConstraintViolation,
    JobExecutionAlreadyRunning,
    JobInstanceAlreadyComplete,
    JobRestartError,
    JobStartError,
    NoSuchJob,
    NoSuchJobExecution,
)
from stepwell.execution.parameters import JobParameter
from stepwell.repository.creation import NewExecution
from stepwell.runner import background
from stepwell.settings import JobSettings, Settings
from stepwell.testing import FrozenClock
from tests.conformance.stories import (
    Blocked,
    Toggle,
    counts,
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

NOTHING_RECORDED = {
    "instance": 0,
    "execution": 0,
    "execution_params": 0,
    "execution_context": 0,
    "history": 0,
}


def test_everything_is_recorded_before_start_returns(
    node: Node, other: Node, clock: FrozenClock
) -> None:
    """Goal: S22, S26. Method: the job cannot get on, so somebody else sees what start left."""
    blocked = Blocked()
    execution_id = node.operator.start(
        tasklet_job("billing", blocked), {"day": "2026-11-20"}, triggered_by="anna"
    )

    seen = other.operator.get_job_execution(execution_id)
    running = other.operator.get_running_executions("billing")
    instances = other.operator.get_job_instances("billing", 0, 10)
    blocked.release.set()
    execution = node.operator.wait(execution_id)

    assert execution is not None
    assert seen.batch_status in (BatchStatus.STARTING, BatchStatus.STARTED)
    assert (1, "user", "anna", clock.now()) == (
        seen.fence,
        seen.trigger_source,
        seen.triggered_by,
        seen.create_time,
    )
    assert (JobParameter("day", "str", "2026-11-20"),) == seen.parameters
    assert ([execution_id], "billing") == (running, instances[0].job_name)
    assert [
        (None, None, "STARTING", "runner", None),
        (None, "STARTING", "STARTED", "runner", None),
        ("only", None, "STARTED", "runner", None),
        ("only", "STARTED", "COMPLETED", "runner", None),
        (None, "STARTED", "COMPLETED", "runner", None),
    ] == statuses(node, execution_id)
    assert ("DONE", "only", None) == (
        node.operator.get_step_executions(execution_id)[0].exit_status,
        execution.last_step,
        execution.current_step,
    )
    assert [] == findings(node)


# --- S6: what the instance's last execution allows ---------------------------------------------

LAST: dict[str, tuple[Callable[[Node], Any], type[BatchError] | None, str]] = {
    "FAILED": (lambda n: ended(n, "billing", BatchStatus.FAILED), None, ""),
    "STOPPED": (lambda n: ended(n, "billing", BatchStatus.STOPPED), None, ""),
    "COMPLETED": (
        lambda n: ended(n, "billing", BatchStatus.COMPLETED),
        JobInstanceAlreadyComplete,
        "it is already COMPLETED (execution 1)",
    ),
    "STARTING": (
        lambda n: owned(n, "billing", BatchStatus.STARTING),
        JobExecutionAlreadyRunning,
        "execution 1 is running",
    ),
    "STARTED": (
        lambda n: owned(n, "billing", BatchStatus.STARTED),
        JobExecutionAlreadyRunning,
        "execution 1 is running",
    ),
    "STOPPING": (
        lambda n: owned(n, "billing", BatchStatus.STOPPING),
        JobExecutionAlreadyRunning,
        "execution 1 is running",
    ),
    "waiting": (
        lambda n: waiting(n, "billing"),
        JobExecutionAlreadyRunning,
        "execution 1 waits for a worker",
    ),
    "dead": (
        lambda n: n.database.liveness.release(owned(n, "billing").owner_id or 0),
        JobExecutionAlreadyRunning,
        "execution 1 is running, its owner is dead",
    ),
    "ABANDONED": (
        lambda n: n.operator.abandon(ended(n, "billing", BatchStatus.FAILED).execution_id),
        JobRestartError,
        "its execution 1 is ABANDONED, which closes the instance",
    ),
}


@pytest.mark.parametrize("last", LAST)
def test_the_last_execution_decides_whether_a_job_may_start(
    last: str, node: Node, other: Node
) -> None:
    make, error_class, fact = LAST[last]
    make(other)
    before = counts(node)

    if error_class is None:
        execution = node.operator.run(tasklet_job("billing", nothing))
        assert (BatchStatus.COMPLETED, 2, 1) == (
            execution.batch_status,
            execution.execution_id,
            execution.instance_id,
        )
    else:
        with pytest.raises(error_class) as refused:
            node.operator.run(tasklet_job("billing", nothing))
        assert f"cannot start job 'billing': {fact}" == refused.value.message
        assert before == counts(node)


def test_of_many_threads_that_start_at_once_one_runs(node: Node, other: Node) -> None:
    """Goal: S7. Method: a barrier, eight threads of two owners, five instances."""
    outcomes: dict[str, list[str]] = {}
    barrier = Barrier(8)

    def start(mine: Node, day: str) -> None:
        barrier.wait()
        try:
            ended = mine.operator.run(tasklet_job("billing", nothing), {"day": day})
            outcomes[day].append(str(ended.batch_status))
        except (JobExecutionAlreadyRunning, JobInstanceAlreadyComplete) as refused:
            outcomes[day].append(refused.code)

    for day in "12345":
        outcomes[day] = []
        threads = [Thread(target=start, args=((node, other)[i % 2], day)) for i in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    assert dict.fromkeys("12345", 1) == {
        day: results.count("COMPLETED") for day, results in outcomes.items()
    }
    assert dict.fromkeys("12345", 8) == {day: len(found) for day, found in outcomes.items()}
    assert [] == findings(node)


def test_the_schema_itself_refuses_a_second_running_execution_of_an_instance(node: Node) -> None:
    """Goal: S7, whoever writes. Method: plain SQL."""
    first = owned(node, "billing")
    again = (
        "INSERT INTO batch_job_execution (version, job_instance_id, create_time, status,"
        " last_updated, fence, trigger_source, end_time)"
        " SELECT 0, job_instance_id, create_time, {status}, last_updated, 0, 'user', {end}"
        " FROM batch_job_execution"
    )

    with pytest.raises(ConstraintViolation), node.database.write() as transaction:
        transaction.connection.execute(again.format(status="'STARTED'", end="NULL"))
    with node.database.write() as transaction:
        transaction.connection.execute(again.format(status="'FAILED'", end="create_time"))

    assert [("STARTING", first.execution_id)] == rows(
        node,
        "SELECT status, job_execution_id FROM batch_job_execution WHERE status <> 'FAILED'",
    )
    assert [(2,)] == rows(node, "SELECT COUNT(*) FROM batch_job_execution")


# --- S184: run locks ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("run_lock", "first", "second", "refused"),
    [
        ("parameters", {"day": "1"}, {"day": "1"}, True),
        ("parameters", {"day": "1"}, {"day": "2"}, False),
        ("job", {"day": "1"}, {"day": "2"}, True),
        (None, {"day": "1"}, {"day": "1"}, False),
    ],
)
def test_a_run_lock_refuses_overlap_whatever_the_identity(
    run_lock: Any,
    first: dict[str, str],
    second: dict[str, str],
    refused: bool,
    node: Node,
    other: Node,
) -> None:
    blocked = Blocked()
    job = tasklet_job("billing", blocked, identity="each-start", run_lock=run_lock)
    holder = node.operator.start(job, first)
    quick = replace(tasklet_job("billing", nothing), identity="each-start", run_lock=run_lock)

    if refused:
        with pytest.raises(JobExecutionAlreadyRunning) as refusal:
            other.operator.run(quick, second)
        assert {"job": "billing", "execution_id": holder, "owner_is_dead": False} == (
            refusal.value.fields
        )
    else:
        assert BatchStatus.COMPLETED == other.operator.run(quick, second).batch_status
    blocked.release.set()
    node.operator.wait(holder)

    assert BatchStatus.COMPLETED == other.operator.run(quick, second).batch_status
    assert [] == findings(node)


def test_a_registered_execution_holds_no_run_lock(node: Node) -> None:
    node.repository.create_execution(
        NewExecution("billing", (), None, run_lock_key="billing", unique_key="registered")
    )
    job = tasklet_job("billing", nothing, identity="each-start", run_lock="job")

    assert BatchStatus.COMPLETED == node.operator.run(job).batch_status


@pytest.mark.parametrize(("setting", "refused"), [("job", True), ("none", False)])
def test_the_settings_replace_the_run_lock_of_any_job(
    setting: Any, refused: bool, settings: Settings, node: Node, clock: FrozenClock
) -> None:
    blocked = Blocked()
    with Node.open(
        replace(settings, job={"billing": JobSettings(run_lock=setting)}), clock=clock
    ) as mine:
        options = {"identity": "each-start", "run_lock": None if refused else "job"}
        holder = mine.operator.start(tasklet_job("billing", blocked, **options), {"day": "1"})
        quick = tasklet_job("billing", nothing, **options)

        if refused:
            with pytest.raises(JobExecutionAlreadyRunning):
                mine.operator.run(quick, {"day": "2"})
        else:
            assert BatchStatus.COMPLETED == mine.operator.run(quick, {"day": "2"}).batch_status
        blocked.release.set()
        mine.operator.wait(holder)


def test_of_many_threads_with_one_run_lock_one_runs_at_a_time(node: Node, other: Node) -> None:
    inside: list[int] = []
    most: list[int] = []
    barrier = Barrier(6)

    def work(step: Any) -> None:
        inside.append(1)
        most.append(len(inside))
        inside.pop()

    def start(mine: Node) -> None:
        barrier.wait()
        for _ in range(4):
            try:
                mine.operator.run(
                    tasklet_job("billing", work, identity="each-start", run_lock="job")
                )
            except JobExecutionAlreadyRunning:
                continue

    threads = [Thread(target=start, args=((node, other)[i % 2],)) for i in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert {1} == set(most)
    assert [] == findings(node)


# --- identity ----------------------------------------------------------------------------------


def test_equal_identifying_parameters_are_one_instance(node: Node) -> None:
    class Billing(Parameters):
        day: date
        user: NonIdentifying[str] = "nobody"

    toggle = Toggle()
    job = tasklet_job("billing", toggle, parameters=Billing)
    failed = node.operator.run(job, {"day": "2026-11-20", "user": "anna"})
    toggle.works = True
    completed = node.operator.run(job, {"day": date(2026, 11, 20), "user": "bert"})
    elsewhere = node.operator.run(job, {"day": "2026-11-21"})
    with pytest.raises(JobInstanceAlreadyComplete) as refused:
        node.operator.run(job, {"day": "2026-11-20"})

    assert [1, 1, 2] == [e.instance_id for e in (failed, completed, elsewhere)]
    assert [BatchStatus.FAILED, BatchStatus.COMPLETED] == [
        failed.batch_status,
        completed.batch_status,
    ]
    assert (
        JobParameter("day", "date", "2026-11-20"),
        JobParameter("user", "str", "bert", identifying=False),
    ) == node.operator.get_parameters(completed.execution_id)
    assert "cannot start job 'billing': it is already COMPLETED for day='2026-11-20'" in (
        refused.value.message
    )


def test_every_start_of_a_job_without_identity_is_a_new_instance(node: Node) -> None:
    job = tasklet_job("billing", nothing, identity="each-start")
    executions = [node.operator.run(job) for _ in range(3)]

    assert [1, 2, 3] == [execution.instance_id for execution in executions]
    assert [3, 2, 1] == [i.instance_id for i in node.operator.get_job_instances("billing", 0, 9)]


def test_again_makes_a_new_instance_of_a_completed_one_and_only_of_that(node: Node) -> None:
    toggle = Toggle()
    job = tasklet_job("billing", toggle)
    toggle.works = True
    first = node.operator.run(job)
    toggle.works = False
    second = node.operator.run(job, again=True)
    toggle.works = True
    restarted = node.operator.run(job, again=True)
    third = node.operator.run(job, again=True)

    assert [1, 2, 2, 3] == [e.instance_id for e in (first, second, restarted, third)]
    assert ["COMPLETED", "FAILED", "COMPLETED", "COMPLETED"] == [
        e.batch_status for e in (first, second, restarted, third)
    ]
    assert [] == findings(node)


# --- refused before anything is recorded -------------------------------------------------------


class Range(Parameters):
    start_date: date
    shop: int = 1


@pytest.mark.parametrize(
    ("parameters", "named"),
    [
        ({}, ["'start_date': it is missing"]),
        (
            {"startDate": "tomorrow", "shop": "x"},
            ["parameter 'start_date'", "parameter 'shop'", "got 'tomorrow'"],
        ),
        ({"startDate": "2026-11-20", "shp": 1}, ["'shp'", "did you mean 'shop'?"]),
    ],
)
def test_faulty_parameters_are_all_named_and_leave_no_row(
    parameters: dict[str, Any], named: list[str], node: Node
) -> None:
    with pytest.raises(JobStartError) as refused:
        node.operator.run(tasklet_job("billing", nothing, parameters=Range), parameters)

    assert [] == [fact for fact in named if fact not in refused.value.message]
    assert NOTHING_RECORDED == counts(node)


def test_a_faulty_definition_leaves_no_row(node: Node) -> None:
    with pytest.raises(JobStartError):
        node.operator.run(Job("billing", steps=[]))

    assert NOTHING_RECORDED == counts(node)


# --- questions ---------------------------------------------------------------------------------


def test_names_and_ids_that_nobody_knows_are_said_to_be_unknown(node: Node) -> None:
    node.registry.add(tasklet_job("idle", nothing), origin="the test")
    questions: list[Callable[[], Any]] = [
        lambda: node.operator.run("unknown"),
        lambda: node.operator.get_job_instance_count("unknown"),
        lambda: node.operator.get_job_instances("unknown", 0, 1),
        lambda: node.operator.get_running_executions("unknown"),
    ]
    for question in questions:
        with pytest.raises(NoSuchJob):
            question()
    verbs: list[Callable[[int], Any]] = [
        node.operator.get_job_execution,
        node.operator.get_parameters,
        node.operator.get_step_executions,
        node.operator.restart,
        node.operator.stop,
        node.operator.abandon,
        node.operator.recover,
    ]
    for verb in verbs:
        with pytest.raises(NoSuchJobExecution):
            verb(77)

    assert (["idle"], 0, [], []) == (
        node.operator.get_job_names(),
        node.operator.get_job_instance_count("idle"),
        node.operator.get_job_instances("idle", 0, 10),
        node.operator.get_running_executions("idle"),
    )
    assert NOTHING_RECORDED == counts(node)


def test_instances_come_newest_first_and_executions_oldest_first(node: Node) -> None:
    toggle = Toggle()
    for day in "123":
        node.operator.run(tasklet_job("billing", toggle), {"day": day})
        node.operator.run(tasklet_job("billing", toggle), {"day": day})
    window = node.operator.get_job_instances("billing", 1, 2)
    executions = node.operator.get_job_executions(window[0])

    assert ([2, 1], 3) == (
        [instance.instance_id for instance in window],
        node.operator.get_job_instance_count("billing"),
    )
    assert [3, 4] == [execution.execution_id for execution in executions]


def test_a_job_on_a_thread_raises_to_whoever_waits_for_it(node: Node) -> None:
    blocked = Blocked()
    execution_id = node.operator.start(tasklet_job("billing", blocked))
    until(blocked.begun.is_set)
    too_early = node.operator.wait(execution_id, timeout_s=0.01)
    blocked.release.set()
    execution = node.operator.wait(execution_id)

    assert too_early is None
    assert execution is not None
    assert BatchStatus.COMPLETED == execution.batch_status


def test_ends_that_nobody_waits_for_do_not_pile_up(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Method: the latest still has its exception, the oldest is what was recorded of it."""

    def fail() -> None:
        raise ValueError("no")

    monkeypatch.setattr(background, "OUTCOMES_MAX", 3)
    ids: list[int] = []
    for number in range(5):
        ids.append(node.operator.start(tasklet_job("billing", fail), {"number": number}))
        assert node.operator._runner._background.join(ids[-1], None)
    kept = node.operator._runner._background._runs
    oldest, latest = (node.operator.wait(execution_id) for execution_id in (ids[0], ids[-1]))

    assert ids[2:-1] == list(kept)
    assert oldest is not None
    assert latest is not None
    assert (BatchStatus.FAILED, None) == (oldest.batch_status, oldest.exception)
    assert isinstance(latest.exception, ValueError)
