"""Registered executions: their place in the queue, and that one worker gets each (S29, S184)."""

from __future__ import annotations

from datetime import datetime, timedelta
from threading import Barrier, Thread
from typing import Any

import pytest

from stepwell import BatchStatus, Job, Node, TaskletStep
from stepwell.errors import (
    JobExecutionAlreadyRunning,
    JobInstanceAlreadyComplete,
    JobStartError,
    NoSuchJob,
    NoSuchJobExecution,
)
from stepwell.repository.queue import PAGE, Wanted
from stepwell.testing import FrozenClock
from tests.conformance.stories import (
    counts,
    ended,
    findings,
    nothing,
    owned,
    rows,
    statuses,
    tasklet_job,
)

COMPLETED, FAILED, STARTING = BatchStatus.COMPLETED, BatchStatus.FAILED, BatchStatus.STARTING


ALL_IDS = "SELECT job_execution_id FROM batch_job_execution"


def know(node: Node, *jobs: Job) -> None:
    for job in jobs:
        node.registry.add(job, origin="the test")


@pytest.fixture(autouse=True)
def _jobs(node: Node) -> None:
    know(node, tasklet_job("billing", nothing), tasklet_job("report", nothing))


def claimed(node: Node, count: int = 1, jobs: tuple[str, ...] = ("billing", "report")) -> list[int]:
    """The ids that a worker gets, in its order; nobody runs them."""
    owner_id = node.operator.owner_id
    executions = node.repository.claim_executions(owner_id, Wanted(frozenset(jobs)), count)
    return [created.execution.execution_id for created in executions]


def register(node: Node, number: int, job: str = "billing", **options: Any) -> int:
    return node.operator.register(job, {"number": number}, **options)


# --- register ---------------------------------------------------------------------------------


def test_a_registered_execution_is_recorded_and_belongs_to_nobody(node: Node) -> None:
    execution_id = register(node, 1, triggered_by="anna")
    record = node.operator.get_job_execution(execution_id)

    assert (STARTING, None, 0, 3) == (
        record.batch_status,
        record.owner_id,
        record.fence,
        record.max_recoveries,
    )
    assert [(None, None, STARTING, "runner", None)] == statuses(node, execution_id)
    assert [("number", "1")] == [(p.name, p.value) for p in record.parameters]
    assert [] == findings(node)


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"after": 77}, NoSuchJobExecution),
        ({"run_after": datetime(2026, 11, 20)}, JobStartError),
        ({"priority": 1_000_001}, JobStartError),
        ({"job": "biling"}, NoSuchJob),
    ],
    ids=["unknown predecessor", "naive time", "beyond every priority", "unknown job"],
)
def test_what_cannot_be_registered_leaves_no_row(
    options: dict[str, Any], error: type[Exception], node: Node
) -> None:
    before = counts(node)

    with pytest.raises(error):
        register(node, 1, **options)

    assert before == counts(node)


def test_nobody_waits_for_an_instance_that_never_completes(node: Node) -> None:
    closed = node.operator.abandon(ended(node, "report", FAILED).execution_id)

    with pytest.raises(JobStartError) as refused:
        register(node, 1, after=closed.execution_id)

    assert "after execution 1: it is ABANDONED" in refused.value.message


def test_an_instance_is_registered_once(node: Node) -> None:
    """S6 holds for ``register`` as for ``start``: twice is once."""
    first = register(node, 1)
    with pytest.raises(JobExecutionAlreadyRunning) as waiting:
        register(node, 1)
    (mine,) = claimed(node)
    with pytest.raises(JobExecutionAlreadyRunning) as running:
        register(node, 1)
    ended(node, "report", COMPLETED)
    with pytest.raises(JobInstanceAlreadyComplete):
        node.operator.register("report")

    assert first == mine
    assert "waits for a worker" in waiting.value.message
    assert "is running" in running.value.message


# --- the claim --------------------------------------------------------------------------------


def test_a_claim_takes_the_row_in_the_transaction_that_starts_it(
    node: Node, clock: FrozenClock
) -> None:
    """S29: owner, fence + 1 and STARTED together, with one history row."""
    execution_id = register(node, 1)
    clock.advance(5)
    wanted = Wanted(frozenset(["billing"]))
    (created,) = node.repository.claim_executions(node.operator.owner_id, wanted, 1)
    record = node.operator.get_job_execution(execution_id)

    assert record == created.execution
    assert (BatchStatus.STARTED, node.operator.owner_id, 1, 1) == (
        record.batch_status,
        record.owner_id,
        record.fence,
        record.version,
    )
    assert timedelta(seconds=5) == record.start_time - record.create_time  # type: ignore[operator]
    assert [(None, STARTING), (STARTING, BatchStatus.STARTED)] == [
        (before, after) for _, before, after, *_ in statuses(node, execution_id)
    ]
    assert [] == claimed(node)
    assert [] == findings(node)


def test_the_oldest_of_the_highest_priority_goes_first(node: Node) -> None:
    ids = [register(node, n, priority=p) for n, p in enumerate([0, 5, -1, 5, 0])]

    assert [ids[1], ids[3], ids[0], ids[4], ids[2]] == claimed(node, count=9)


def test_a_priority_request_moves_what_waits(node: Node) -> None:
    """S32"""
    first, second, third = (register(node, n) for n in range(3))
    node.operator.set_priority(third, 1)
    node.operator.set_priority(first, -1)

    assert [third, second, first] == claimed(node, count=9)
    assert [1, 0, -1] == [
        node.operator.get_job_execution(i).priority for i in (third, second, first)
    ]
    assert [] == findings(node)


def test_what_is_due_later_holds_nobody_back(node: Node, clock: FrozenClock) -> None:
    later = register(node, 1, run_after=clock.now() + timedelta(seconds=60), priority=9)
    now = register(node, 2)
    before = claimed(node, count=9)
    clock.advance(60)

    assert ([now], [later]) == (before, claimed(node, count=9))


def test_what_waits_for_an_execution_runs_when_its_instance_is_complete(node: Node) -> None:
    """Method: the awaited one fails first, and completes in its restart."""
    failed = ended(node, "report", FAILED).execution_id
    follower = register(node, 1, after=failed, priority=9)
    other = register(node, 2)
    before = claimed(node, count=9)
    node.operator.wait(node.operator.restart(failed))

    assert ([other], [follower]) == (before, claimed(node, count=9))


def test_a_held_run_lock_makes_it_wait_and_holds_nobody_back(node: Node) -> None:
    """S184: at the claim, not at the registration."""
    know(node, tasklet_job("solo", nothing, run_lock="job"))
    first, second = (register(node, n, job="solo") for n in (1, 2))
    other = register(node, 3)
    jobs = ("solo", "billing")

    assert [first, other] == claimed(node, count=9, jobs=jobs)
    assert [] == claimed(node, count=9, jobs=jobs)
    node.operator.recover(first, force=True, reason="the test")
    node.operator.stop(first + 3)  # Its successor, which would be equal to `second`.
    assert [second] == claimed(node, count=9, jobs=jobs)


def test_a_full_pool_and_a_held_file_make_it_wait_and_hold_nobody_back(node: Node) -> None:
    """S197. Method: the pool has one place; two of the files overlap."""
    node.pools.set("agent", 1)
    know(
        node,
        tasklet_job("pooled", nothing, pool="agent"),
        tasklet_job("files", nothing, resources=lambda p: [f"/data/{p['path']}"]),
    )
    first, second = (register(node, n, job="pooled") for n in (1, 2))
    folder = node.operator.register("files", {"path": "shops"})
    inside = node.operator.register("files", {"path": "shops/7.csv"})
    beside = node.operator.register("files", {"path": "staff"})
    jobs = ("pooled", "files")
    taken = claimed(node, count=9, jobs=jobs)
    again = claimed(node, count=9, jobs=jobs)
    for done in (first, folder):
        node.operator.recover(done, force=True, reason="the test")
        node.operator.stop(max(i for (i,) in rows(node, ALL_IDS)))  # Its successor.

    assert ([first, folder, beside], []) == (taken, again)
    assert [second, inside] == claimed(node, count=9, jobs=jobs)
    assert [] == findings(node)


def test_what_waits_for_a_file_gets_it_before_those_behind_it(node: Node) -> None:
    """Goal: nobody starves. Method: two files are needed, one is held; a later one wants the
    other, and must wait behind; what wants neither passes."""
    know(node, tasklet_job("files", nothing, resources=lambda p: p["paths"].split()))
    ids = [
        node.operator.register("files", {"paths": paths}) for paths in ("/a", "/a /b", "/b", "/c")
    ]

    assert [ids[0], ids[3]] == claimed(node, count=9, jobs=("files",))
    node.operator.recover(ids[0], force=True, reason="the test")
    node.operator.stop(ids[3] + 1)
    assert [ids[1]] == claimed(node, count=9, jobs=("files",))
    node.operator.recover(ids[1], force=True, reason="the test")
    node.operator.stop(ids[3] + 2)
    assert [ids[2]] == claimed(node, count=9, jobs=("files",))


def test_with_pools_only_what_declares_one_of_them(node: Node) -> None:
    for name in ("cpu", "gpu"):
        node.pools.set(name, 5)
        know(node, tasklet_job(name, nothing, pool=name))
    know(node, tasklet_job("both", nothing, pool=["cpu", "gpu"]))
    ids = {job: register(node, 1, job=job) for job in ("cpu", "billing", "gpu", "both")}
    wanted = node.operator.wanted(pools=["gpu"])
    taken = node.repository.claim_executions(node.operator.owner_id, wanted, 9)

    assert [ids["gpu"], ids["both"]] == [created.execution.execution_id for created in taken]


def test_of_many_who_want_a_place_in_one_pool_no_more_than_its_size_get_one(
    node: Node, other: Node
) -> None:
    """Goal: check and claim are one, on PostgreSQL too. Method: four threads claim at once."""
    node.pools.set("agent", 2)
    pooled = tasklet_job("pooled", nothing, pool="agent")
    know(node, pooled)
    know(other, pooled)
    barrier = Barrier(4)
    taken: list[int] = []
    for number in range(8):
        register(node, number, job="pooled")

    def work(mine: Node) -> None:
        barrier.wait()
        taken.extend(claimed(mine, count=8, jobs=("pooled",)))

    threads = [Thread(target=work, args=(mine,)) for mine in [node, other] * 2]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert 2 == len(taken)
    assert [] == findings(node)


def test_a_worker_takes_only_the_jobs_that_it_knows(node: Node) -> None:
    """Method: more executions of another worker's job stand in front than one look reads."""
    for number in range(PAGE + 2):
        register(node, number, job="report")
    mine = register(node, 1)

    assert [mine] == claimed(node, jobs=("billing",))
    assert PAGE + 2 == len(claimed(node, count=PAGE + 2))


def test_of_many_who_claim_at_once_each_execution_gets_one(node: Node, other: Node) -> None:
    """Method: eight threads of two processes' worth claim until nothing is left."""
    know(other, *(registered.job for registered in node.registry))
    ids = [register(node, n) for n in range(24)]
    barrier = Barrier(8)
    taken: list[int] = []

    def work(mine: Node) -> None:
        barrier.wait()
        while got := claimed(mine):
            taken.extend(got)

    threads = [Thread(target=work, args=(mine,)) for mine in [node, other] * 4]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert ids == sorted(taken)
    assert [] == findings(node)


def test_of_many_who_want_one_run_lock_at_once_one_gets_it(node: Node, other: Node) -> None:
    """Goal: on PostgreSQL the unique index decides, and the loser's execution waits on."""
    solo = tasklet_job("solo", nothing, run_lock="job")
    know(node, solo)
    know(other, solo)
    barrier = Barrier(4)
    taken: list[int] = []
    for number in range(4):
        register(node, number, job="solo")

    def work(mine: Node) -> None:
        barrier.wait()
        taken.extend(claimed(mine, count=4, jobs=("solo",)))

    threads = [Thread(target=work, args=(mine,)) for mine in [node, other] * 2]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert 1 == len(taken)
    assert [] == findings(node)


def test_stopping_what_waits_takes_it_out_of_the_queue(node: Node) -> None:
    """S30"""
    execution_id = register(node, 1)
    stopped = node.operator.stop(execution_id)

    assert BatchStatus.STOPPED == stopped.batch_status
    assert [] == claimed(node)
    assert [] == findings(node)


def test_a_start_and_a_claim_of_one_run_lock_exclude_each_other(node: Node, other: Node) -> None:
    """S184: a foreground start refuses, a claim waits."""
    solo = tasklet_job("solo", nothing, run_lock="job")
    know(node, solo)
    waits = register(node, 1, job="solo")
    running = owned(other, "solo")
    with other.database.write() as transaction:
        sql = "UPDATE batch_job_execution SET run_lock_key = 'solo' WHERE job_execution_id = :id"
        transaction.connection.execute(sql, {"id": running.execution_id})
    while_it_runs = claimed(node, jobs=("solo",))
    other.operator.recover(running.execution_id, force=True, reason="the test")
    taken = claimed(node, jobs=("solo",))

    assert ([], [waits]) == (while_it_runs, taken)
    with pytest.raises(JobExecutionAlreadyRunning):
        other.operator.start(Job("solo", [TaskletStep("only", nothing)], run_lock="job"), {"n": 5})
