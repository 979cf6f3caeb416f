"""``why``: the true reason in each case, asked of the same rows as a claim asks."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from stepwell import BatchStatus, Job, Node
from stepwell.errors import NoSuchJobExecution
from stepwell.repository.why import Reason
from stepwell.testing import FrozenClock
from tests.conformance.stories import ended, nothing, owned, tasklet_job


def know(node: Node, *jobs: Job) -> None:
    for job in jobs:
        node.registry.add(job, origin="the test")


@pytest.fixture(autouse=True)
def _jobs(node: Node) -> None:
    node.operator._runner._purpose = "work"  # There is a worker.
    assert node.operator.owner_id
    know(
        node,
        tasklet_job("plain", nothing),
        tasklet_job("solo", nothing, run_lock="job"),
        tasklet_job("pooled", nothing, pool="agent"),
        tasklet_job("files", nothing, resources=lambda p: p["paths"].split()),
    )
    node.pools.set("agent", 1)


def register(node: Node, job: str, **parameters: Any) -> int:
    return node.operator.register(job, parameters)


def take(node: Node, job: str) -> int:
    """A worker has claimed what stands first of this job."""
    wanted = node.operator.wanted([job])
    (claimed,) = node.repository.claim_executions(node.operator.owner_id, wanted, 1)
    return claimed.execution.execution_id


def reasons(node: Node, execution_id: int) -> tuple[Reason, ...]:
    return node.operator.why(execution_id).reasons


def only(node: Node, execution_id: int) -> tuple[str, str, int | None]:
    (reason,) = reasons(node, execution_id)
    return reason.code, reason.fact, reason.execution_id


# --- it waits -----------------------------------------------------------------------------------


def test_nothing_holds_it(node: Node) -> None:
    why = node.operator.why(register(node, "plain"))

    assert (1, ["can_run"]) == (why.place, [reason.code for reason in why.reasons])


def test_a_pool_is_full(node: Node) -> None:
    holder = register(node, "pooled", n=1)
    waits = register(node, "pooled", n=2)
    began = node.clock.now()
    take(node, "pooled")
    why = node.operator.why(waits)

    assert (
        None,
        (Reason("pool_full", "pool 'agent' is full, 1 of 1 (execution 1)", 1, began),),
    ) == (
        why.place,
        why.reasons,
    )
    assert holder == why.reasons[0].execution_id


@pytest.mark.parametrize("holders", [0, 1])
def test_a_pool_is_paused(holders: int, node: Node) -> None:
    waits = register(node, "pooled", n=2)
    if holders:
        waits = register(node, "pooled", n=3)
        take(node, "pooled")
    node.pools.set("agent", 0)
    (reason,) = reasons(node, waits)

    assert ("paused", None) == (reason.code, reason.execution_id)
    assert reason.fact.startswith("pool 'agent' is paused, its size is 0")
    assert "`stepwell pool set agent N`" in reason.hint


def test_a_file_is_held(node: Node) -> None:
    holder = register(node, "files", paths="/data")
    waits = register(node, "files", paths="/data/a.csv")
    take(node, "files")

    assert ("resource_held", "execution 1 has '/data'", holder) == only(node, waits)


def test_its_run_lock_is_held(node: Node) -> None:
    holder = register(node, "solo", n=1)
    waits = register(node, "solo", n=2)
    take(node, "solo")

    assert ("run_lock_held", "execution 1 has its run lock", holder) == only(node, waits)


def test_it_is_due_later(node: Node, clock: FrozenClock) -> None:
    due = clock.now() + timedelta(hours=2)
    waits = node.operator.register("plain", run_after=due)
    before = reasons(node, waits)
    clock.advance(7200)

    assert (Reason("scheduled_later", "it is due later", None, due),) == before
    assert ["can_run"] == [reason.code for reason in reasons(node, waits)]


def test_it_waits_for_another_execution(node: Node) -> None:
    awaited = ended(node, "report", BatchStatus.FAILED).execution_id
    waits = node.operator.register("plain", after=awaited)
    (reason,) = reasons(node, waits)
    running = owned(node, "loads", BatchStatus.STARTED).execution_id
    other = node.operator.register("plain", {"n": 1}, after=running)

    assert "it waits for execution 1, which is FAILED" == reason.fact
    assert "`stepwell restart 1`; `stepwell stop 2` takes it out of the queue" == reason.hint
    assert (
        "waits_for_execution",
        f"it waits for execution {running}, which is STARTED",
        running,
    ) == (only(node, other))


def test_it_waits_behind_others(node: Node) -> None:
    first, second, third = (register(node, "plain", n=n) for n in range(3))
    node.operator.set_priority(second, 1)
    why = node.operator.why(third)

    assert 3 == why.place
    assert ("behind_others", "2 executions are in front of it, and no worker is free", second) == (
        only(node, third)
    )
    assert 2 == node.operator.why(first).place


def test_it_waits_behind_one_that_waits_for_the_same_file(node: Node) -> None:
    """Goal: nobody starves, and ``why`` says whom it lets go first."""
    register(node, "files", paths="/a")
    ahead = register(node, "files", paths="/a /b")
    waits = register(node, "files", paths="/b")
    take(node, "files")

    assert ("behind_others", "execution 2 waits for '/b' in front of it", ahead) == only(
        node, waits
    )


def test_every_reason_is_told(node: Node, clock: FrozenClock) -> None:
    for n in (1, 2):
        register(node, "pooled", n=n)
    take(node, "pooled")
    waits = node.operator.register(
        "pooled", {"n": 3}, run_after=clock.now() + timedelta(1), after=2
    )

    assert ["scheduled_later", "waits_for_execution", "pool_full"] == [
        reason.code for reason in reasons(node, waits)
    ]


def test_a_holder_that_is_dead_has_another_way_out(node: Node, other: Node) -> None:
    register(node, "solo", n=1)
    waits = register(node, "solo", n=2)
    know(other, *(registered.job for registered in node.registry))
    holder = take(other, "solo")
    other.database.liveness.release(other.operator.owner_id)
    (reason,) = reasons(node, waits)

    assert "execution 1 has its run lock; the owner of execution 1 is dead" == reason.fact
    assert f"`stepwell recover {holder}`" in reason.hint


def test_nobody_is_at_work(node: Node) -> None:
    waits = register(node, "plain")
    pooled = register(node, "pooled", n=1)
    node.pools.set("agent", 0)
    node.database.liveness.release(node.operator.owner_id)

    assert ("no_worker", "no worker is at work", None) == only(node, waits)
    assert ["paused", "no_worker"] == [reason.code for reason in reasons(node, pooled)]


# --- it runs, or has ended -----------------------------------------------------------------------


def test_its_owner_runs_it(node: Node) -> None:
    record = owned(node, "billing", BatchStatus.STARTED)
    code, fact, _ = only(node, record.execution_id)

    assert "running" == code
    assert fact.startswith(f"owner {record.owner_id} (pid ")


def test_its_owner_is_dead(node: Node) -> None:
    record = owned(node, "billing", BatchStatus.STARTED)
    assert record.owner_id is not None
    node.database.liveness.release(record.owner_id)
    (reason,) = reasons(node, record.execution_id)

    assert ("dead_owner", record.last_updated) == (reason.code, reason.since)
    assert f"its owner is dead: owner {record.owner_id}" in reason.fact
    assert f"`stepwell recover {record.execution_id}`" in reason.hint


def test_it_was_asked_to_stop(node: Node) -> None:
    record = owned(node, "billing", BatchStatus.STARTED)
    node.operator.stop(record.execution_id, actor="anna", reason="too slow")
    asked = only(node, record.execution_id)
    stopping = owned(node, "report", BatchStatus.STOPPING)

    assert "stopping" == asked[0]
    assert asked[1].startswith("anna has asked it to stop: too slow; owner")
    assert "stops it after its current chunk" in only(node, stopping.execution_id)[1]


def test_it_has_ended(node: Node) -> None:
    failed = ended(node, "billing", BatchStatus.FAILED).execution_id
    (before,) = reasons(node, failed)
    node.operator.register(tasklet_job("billing", nothing))

    assert "`stepwell restart 1` goes on where it stopped" == before.hint
    fact = "it has ended: it is FAILED, execution 2 of its instance came after it"
    assert ("ended", fact, 2) == only(node, failed)


def test_it_has_died_too_often(node: Node) -> None:
    register(node, "plain")
    for _ in range(4):
        node.operator.recover(take(node, "plain"), force=True, reason="the test")

    assert "its instance has died 4 times, max_recoveries is 3" in only(node, 4)[1]


def test_nobody_knows_it(node: Node) -> None:
    with pytest.raises(NoSuchJobExecution):
        node.operator.why(77)
