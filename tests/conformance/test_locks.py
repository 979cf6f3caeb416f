"""Named locks: who has one, who is next, and what becomes of those whose owner dies."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from datetime import timedelta
from typing import Any

import pytest

from stepwell import BatchStatus, Job, Node, PartitionedStep, StepContext
from stepwell.errors import LockError, LockHeld, LostLock, NoSuchLock
from stepwell.repository.acquire import HeldLock
from stepwell.repository.invariants import examine
from stepwell.repository.locks import Lock, list_locks
from stepwell.repository.partitions import list_partition_executions
from stepwell.settings import Settings
from tests.conformance.stories import WITHIN_S, tasklet_job, until
from tests.support.locking import locked_share


@pytest.fixture
def node(settings: Settings) -> Iterator[Node]:
    """With a clock that goes: threads wait for each other."""
    with Node.open(settings) as node:
        yield node
        with node.database.read() as reader:
            assert [] == examine(reader)


@pytest.fixture
def other(settings: Settings, node: Node) -> Iterator[Node]:
    """Another owner."""
    with Node.open(settings) as other:
        yield other


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(8) as threads:
        yield threads


def rows(node: Node) -> list[Lock]:
    with node.database.read() as reader:
        return list_locks(reader)


def waits(node: Node, count: int) -> None:
    """Until so many have a place in a queue."""
    until(lambda: count == sum(lock.acquired_at is None for lock in rows(node)))


Queue = Callable[..., "Future[HeldLock]"]


@pytest.fixture
def queue(node: Node, threads: ThreadPoolExecutor) -> Queue:
    """Wait for a lock on a thread of its own, behind those who wait already."""
    waiting = 0

    def wait_for(name: str, **options: Any) -> Future[HeldLock]:
        nonlocal waiting
        waiting += 1
        future = threads.submit(node.locks.acquire, name, **options)
        waits(node, waiting)
        return future

    return wait_for


def test_a_lock_excludes_everybody_else_until_it_is_released(node: Node, other: Node) -> None:
    with node.locks.acquire("report") as lock, pytest.raises(LockHeld) as refused:
        other.locks.acquire("report", mode="read", wait_s=0)
    [owner_id] = {refused.value.fields["owner_id"]}

    assert node.operator.owner_id == owner_id
    assert lock.fence == refused.value.fields["fence"]
    assert refused.value.message.startswith(
        f"cannot acquire lock 'report' to read: owner {owner_id} (pid "
    )
    with other.locks.acquire("report") as after:
        assert after.fence > lock.fence
    assert [] == rows(node)


def test_locks_of_other_names_are_free(node: Node, other: Node) -> None:
    with node.locks.acquire("a"), other.locks.acquire("A", wait_s=0):
        assert ["A", "a"] == sorted(lock.name for lock in rows(node))


def test_readers_share_and_exclude_who_writes(node: Node, other: Node) -> None:
    readers = [each.locks.acquire("report", mode="read") for each in (node, other)]
    with ThreadPoolExecutor(1) as another:  # These threads have the lock already.
        writer = another.submit(other.locks.acquire, "report", wait_s=0)
        with pytest.raises(LockHeld, match=r"has it \(and 1 more\)$"):
            writer.result(WITHIN_S)
    for reader in readers:
        reader.release()

    other.locks.acquire("report", wait_s=0).release()


def test_a_waiter_is_told_at_once_when_it_is_its_turn(node: Node, queue: Queue) -> None:
    first = node.locks.acquire("report")
    second = queue("report")
    assert not second.done()
    first.release()

    assert second.result(WITHIN_S).fence > first.fence


def test_the_longest_wait_goes_first_and_a_higher_priority_before_it(
    node: Node, queue: Queue
) -> None:
    holder = node.locks.acquire("report")
    waiting = {
        "first": queue("report"),
        "second": queue("report"),
        "urgent": queue("report", priority=5),
    }
    order = []
    while waiting:
        holder.release()
        wait(waiting.values(), WITHIN_S, FIRST_COMPLETED)
        [name] = [name for name, future in waiting.items() if future.done()]
        order.append(name)
        holder = waiting.pop(name).result()
    holder.release()

    assert ["urgent", "first", "second"] == order


def test_readers_do_not_pass_a_writer_that_waits_in_front_of_them(node: Node, queue: Queue) -> None:
    """Goal: no writer starves. Method: two readers come while a writer waits for a reader."""
    reader = node.locks.acquire("report", mode="read")
    writer = queue("report")
    late = [queue("report", mode="read"), queue("report", mode="read")]
    reader.release()
    held = writer.result(WITHIN_S)
    waits(node, 2)
    assert not any(one.done() for one in late)
    held.release()

    for one in late:
        one.result(WITHIN_S)
    assert ["read", "read"] == [lock.mode for lock in rows(node)]


def test_one_that_waits_for_another_name_holds_nobody_back(node: Node, queue: Queue) -> None:
    holder = node.locks.acquire("a")
    waiter = queue("a", wait_s=None)

    node.locks.acquire("b", wait_s=0).release()
    holder.release()
    waiter.result(WITHIN_S).release()


def test_who_waits_too_long_is_refused_and_leaves_the_queue(node: Node, other: Node) -> None:
    with node.locks.acquire("report"):
        with pytest.raises(LockHeld, match=r"has it, after 0\.\d s$"):
            other.locks.acquire("report", wait_s=0.05)
        assert 1 == len(rows(node))


def test_a_thread_cannot_wait_for_itself(node: Node) -> None:
    first = node.locks.acquire("report", mode="read")
    with pytest.raises(LockError, match="this thread has it already"):
        node.locks.acquire("report", mode="read")
    first.release()

    node.locks.acquire("report", wait_s=0).release()


def test_released_twice_is_released_once(node: Node, other: Node) -> None:
    lock = node.locks.acquire("report")
    lock.release()
    with other.locks.acquire("report"):
        lock.release()

        assert 1 == len(rows(node))


def test_extending_moves_the_end_of_its_time(node: Node) -> None:
    with node.locks.acquire("report", ttl_s=60) as lock:
        [before] = rows(node)
        lock.extend()
        [extended] = rows(node)
        lock.extend(ttl_s=3600)
        [longer] = rows(node)

    assert before.renewed_at is not None
    assert extended.renewed_at is not None
    assert before.renewed_at < extended.renewed_at
    assert (60, 3600) == (extended.ttl_s, longer.ttl_s)


def test_a_lock_that_is_not_extended_in_time_is_overdue_and_still_its_owners(
    node: Node, other: Node
) -> None:
    with node.locks.acquire("report", ttl_s=1):
        [lock] = rows(node)
        assert lock.renewed_at is not None
        late = lock.renewed_at + timedelta(seconds=2)
        with pytest.raises(LockHeld):
            other.locks.acquire("report", wait_s=0)

    assert (False, True) == (lock.is_overdue(lock.renewed_at), lock.is_overdue(late))


def test_the_lock_of_a_dead_owner_is_taken_over_and_that_is_recorded(
    node: Node, other: Node
) -> None:
    lock = node.locks.acquire("report")
    owner_id = node.operator.owner_id
    node.database.liveness.release(owner_id)

    with other.locks.acquire("report", wait_s=0) as taken:
        with pytest.raises(LostLock) as lost:
            lock.release()
        with pytest.raises(LostLock, match="cannot extend lock 'report'"):
            node.locks.extend(lock._lock)

        assert taken.fence > lock.fence
    assert lost.value.message.startswith(
        f"cannot release lock 'report': it is no more this owner's (fence {lock.fence}),"
        f" owner {owner_id} (pid "
    )
    assert lost.value.message.endswith(
        f"is dead, owner {other.operator.owner_id} has taken it over"
    )


def test_a_waiter_takes_over_from_one_that_dies_meanwhile(node: Node, other: Node) -> None:
    node.locks.acquire("report")
    with ThreadPoolExecutor(1) as one:
        waiter = one.submit(other.locks.acquire, "report", wait_s=WITHIN_S)
        waits(node, 1)
        node.database.liveness.release(node.operator.owner_id)

        waiter.result(WITHIN_S).release()


def test_a_dead_waiter_is_in_nobodys_way(settings: Settings, node: Node, other: Node) -> None:
    holder = node.locks.acquire("report", mode="read")
    with Node.open(settings) as third, ThreadPoolExecutor(1) as one:
        waiter = one.submit(third.locks.acquire, "report", wait_s=None)
        waits(node, 1)
        third.database.liveness.release(third.operator.owner_id)

        other.locks.acquire("report", mode="read", wait_s=0).release()
        holder.release()
        with pytest.raises(LostLock, match="cannot wait for lock 'report'"):
            waiter.result(WITHIN_S)


def test_a_lock_is_taken_by_force_only(node: Node, other: Node) -> None:
    lock = node.locks.acquire("report")
    with pytest.raises(LockHeld, match="has it and is alive") as refused:
        other.locks.take("report", reason="it hangs", force=False)
    [taken] = other.locks.take("report", reason="it hangs", force=True)

    assert "--force --reason" in refused.value.hint
    assert lock.fence == taken.fence
    with pytest.raises(LostLock, match="taken by force: it hangs"), lock:
        pass
    with pytest.raises(NoSuchLock, match="cannot find lock 'report': nobody has it"):
        other.locks.take("report", reason="it hangs", force=True)


def test_the_exception_of_the_work_counts_and_not_that_the_lock_was_lost(
    node: Node, other: Node
) -> None:
    def work() -> None:
        with node.locks.acquire("report"):
            other.locks.take("report", reason="it hangs", force=True)
            raise ValueError("the work")

    with pytest.raises(ValueError, match="the work"):
        work()


BAD: list[tuple[dict[str, Any], str]] = [
    ({"name": ""}, "its name must be 1 to 200 printable characters, got ''"),
    ({"name": "a\nb"}, r"its name must be 1 to 200 printable characters, got 'a\nb'"),
    ({"mode": "wirte"}, "mode must be 'read' or 'write', got 'wirte'"),
    ({"wait_s": -1}, "wait_s must be seconds of 0 or more, or None, got -1"),
    ({"wait_s": float("nan")}, "wait_s must be seconds of 0 or more, or None, got nan"),
    ({"ttl_s": 0}, "ttl_s must be whole seconds of 1 or more, or None, got 0"),
    ({"ttl_s": 1.5}, "ttl_s must be whole seconds of 1 or more, or None, got 1.5"),
]


@pytest.mark.parametrize(("options", "fact"), BAD, ids=[b[1] for b in BAD])
def test_what_can_never_be_a_lock_is_refused(
    node: Node, options: dict[str, Any], fact: str
) -> None:
    with pytest.raises(LockError) as refused:
        node.locks.acquire(**{"name": "report", **options})

    assert fact in refused.value.message
    assert [] == rows(node)


# --- within a step -------------------------------------------------------------------------------


def test_a_step_has_a_lock_on_behalf_of_its_execution(node: Node) -> None:
    seen: list[Lock] = []

    def work(step: StepContext) -> None:
        with step.lock("report", mode="read", ttl_s=60):
            seen.extend(rows(node))

    execution = node.operator.run(tasklet_job("job", work))

    [lock] = seen
    assert (execution.execution_id, "read", node.operator.owner_id) == (
        lock.execution_id,
        lock.mode,
        lock.owner_id,
    )
    assert (BatchStatus.COMPLETED, []) == (execution.batch_status, rows(node))


def test_a_stop_ends_the_wait_of_a_tasklet(node: Node, other: Node) -> None:
    def work(step: StepContext) -> None:
        with step.lock("report", wait_s=None):
            raise AssertionError("it never had it")

    with other.locks.acquire("report"):
        execution_id = node.operator.start(tasklet_job("job", work))
        waits(node, 1)
        node.operator.stop(execution_id)
        ended = node.operator.wait(execution_id, WITHIN_S)

    assert ended is not None
    assert BatchStatus.STOPPED is ended.batch_status
    assert [] == rows(node)


def test_recovery_frees_what_the_steps_held(node: Node, other: Node) -> None:
    """By force: the owner lives, and is told at its next word."""
    begun, go_on = threading.Event(), threading.Event()
    lost: list[BaseException] = []

    def work(step: StepContext) -> None:
        try:
            with step.lock("report"):
                begun.set()
                assert go_on.wait(WITHIN_S)
        except LostLock as error:
            lost.append(error)
            raise

    execution_id = node.operator.start(tasklet_job("job", work))
    assert begun.wait(WITHIN_S)
    other.operator.recover(execution_id, force=True, reason="it hangs")
    with other.locks.acquire("report", wait_s=0):
        pass
    go_on.set()
    with pytest.raises(Exception, match="fence"):
        node.operator.wait(execution_id, WITHIN_S)

    assert "by force: it hangs" in str(lost[0])


@pytest.mark.parametrize("executor", ["threads", "processes"])
def test_partitions_lock_wherever_they_run(node: Node, executor: Any) -> None:
    """In another process its own owner has the lock: its death, not the caller's, frees it."""
    step = PartitionedStep("p", list(range(6)), locked_share, workers=3, executor=executor)

    execution = node.operator.run(Job("job", steps=[step]))

    [recorded] = node.repository.get_steps(execution.execution_id)
    with node.database.read() as reader:
        attempts = list_partition_executions(reader, recorded.step_execution_id)
    owners = {attempt.message for attempt in attempts}
    assert BatchStatus.COMPLETED is execution.batch_status
    assert (executor == "threads") == (owners == {str(node.operator.owner_id)})
    assert [] == rows(node)
