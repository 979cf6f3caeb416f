"""The hot path's statements, known by heart: a commit costs more than everything around it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from stepwell import ChunkStep, Job, Node, PartitionedStep, TaskletStep
from stepwell.testing import FrozenClock


class Traced:
    """What the writing connections of a node execute, told by SQLite itself."""

    def __init__(self, node: Node) -> None:
        self.statements: list[str] = []
        for kept in node.database._writers._all:
            kept.raw.set_trace_callback(self._add)

    def _add(self, statement: str) -> None:
        # A trigger that fires has its outer statement told again.
        if not self.statements or self.statements[-1] != statement:
            self.statements.append(statement)

    def take(self) -> list[str]:
        taken = [" ".join(s.split()[:3]) for s in self.statements]
        self.statements.clear()
        return taken


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    # Its clock stands still: every few seconds a step asks whether its tables are tracked.
    with Node.open(f"sqlite:///{tmp_path}/count.db", clock=FrozenClock()) as node:
        node.operator.run(Job("warm", steps=[ChunkStep("a", [1], None, lambda items: None)]))
        yield node


def run(node: Node, *steps: Any) -> list[str]:
    traced = Traced(node)
    node.operator.run(Job("job", steps=list(steps), identity="each-start"))
    return traced.take()


def test_a_job_with_one_step_takes_five_commits(node: Node) -> None:
    statements = run(node, TaskletStep("a", lambda: None))

    assert [
        "BEGIN IMMEDIATE",
        "SELECT batch_job_instance.job_instance_id, batch_job_instance.job_name,",
        "INSERT INTO batch_job_instance",
        "SELECT batch_job_execution.job_execution_id, batch_job_execution.job_instance_id,",
        "INSERT INTO batch_job_execution",
        "INSERT INTO batch_job_execution_context",
        "INSERT INTO batch_status_history",
        "COMMIT",
        "BEGIN IMMEDIATE",
        "SELECT batch_request.request_id, batch_request.job_execution_id,",
        "UPDATE batch_job_execution SET",
        "INSERT INTO batch_status_history",
        "COMMIT",
        "BEGIN IMMEDIATE",
        "UPDATE batch_job_execution SET",
        "INSERT INTO batch_step_execution",
        "INSERT INTO batch_step_execution_context",
        "INSERT INTO batch_status_history",
        "COMMIT",
        "BEGIN IMMEDIATE",
        "UPDATE batch_job_execution SET",
        "UPDATE batch_step_execution SET",
        "INSERT INTO batch_status_history",
        "COMMIT",
        "BEGIN IMMEDIATE",
        "UPDATE batch_job_execution SET",
        "INSERT INTO batch_status_history",
        "UPDATE batch_request SET",
        "COMMIT",
    ] == statements


def test_each_more_step_takes_two_commits(node: Node) -> None:
    one = run(node, TaskletStep("a", lambda: None))
    three = run(node, *[TaskletStep(name, lambda: None) for name in "abc"])

    assert (5, 9) == (one.count("COMMIT"), three.count("COMMIT"))


def test_a_chunk_takes_one_commit_and_two_statements_beside_the_writers_own(node: Node) -> None:
    def chunks(count: int) -> list[str]:
        return run(node, ChunkStep("load", range(10 * count), None, lambda items: None, 10))

    few, more = chunks(2), chunks(7)
    added = list(more)
    for statement in few:
        added.remove(statement)

    assert 5 == added.count("COMMIT")
    assert sorted(
        [
            "BEGIN IMMEDIATE",
            "UPDATE batch_step_execution SET",
            "SELECT batch_request.request_id, batch_request.job_execution_id,",
            "COMMIT",
        ]
        * 5
    ) == sorted(added)


def test_the_plan_is_one_bulk_insert_and_commits_do_not_grow_with_every_partition(
    node: Node,
) -> None:
    """Goal: T12, small. Method: count the commits of 100 and of 2,000 partitions."""

    def commits(count: int) -> int:
        step = PartitionedStep("p", list(range(count)), lambda n: None, workers=2)
        return run(node, step).count("COMMIT")

    assert commits(100) < 60
    assert commits(2_000) < 500


def test_a_free_lock_is_had_in_one_transaction_and_released_in_another(node: Node) -> None:
    node.locks.acquire("warm").release()
    traced = Traced(node)
    node.locks.acquire("free").release()

    assert [
        "BEGIN IMMEDIATE",
        "SELECT batch_lock.lock_id, batch_lock.lock_name,",
        "INSERT INTO batch_lock",
        "COMMIT",
        "BEGIN IMMEDIATE",
        "DELETE FROM batch_lock",
        "COMMIT",
    ] == traced.take()


def test_what_declares_something_takes_three_statements_more(node: Node) -> None:
    """Beside the claim's turn, which is no statement on SQLite."""
    node.pools.set("gpu", 1)

    def statements(**options: Any) -> list[str]:
        job = Job("job", steps=[TaskletStep("a", lambda: None)], identity="each-start", **options)
        traced = Traced(node)
        node.operator.run(job)
        return traced.take()

    more = statements(pool="gpu", resources=["/data/a", "/data/b"])
    for statement in statements():
        more.remove(statement)

    assert [
        "SELECT batch_pool.pool_name, batch_pool.size",
        "SELECT batch_resource.kind, batch_resource.value,",
        "INSERT INTO batch_resource",
    ] == more[:3]
    assert {"INSERT INTO batch_resource"} == set(more[2:])


def claimed(node: Node, **options: Any) -> list[str]:
    """The statements of one claim."""
    job = Job("job", steps=[TaskletStep("a", lambda: None)], identity="each-start", **options)
    node.registry.add(job, origin="the test")
    node.operator.register("job")
    owner_id, wanted = node.operator.owner_id, node.operator.wanted(["job"])
    traced = Traced(node)
    assert len(list(node.repository.claim_executions(owner_id, wanted, 1))) == 1
    return traced.take()


CLAIM = [
    "BEGIN IMMEDIATE",
    "SELECT batch_resource.kind, batch_resource.value",
    "SELECT batch_job_execution.job_execution_id, batch_job_execution.job_instance_id,",
    "SELECT batch_job_execution.job_execution_id, batch_job_execution.job_instance_id,",
    "UPDATE batch_job_execution SET",
    "INSERT INTO batch_status_history",
    "COMMIT",
]
# Of what declares something: the sizes of the pools, and what everybody has.
OCCUPANCY = [
    "SELECT batch_pool.pool_name, batch_pool.size",
    "SELECT batch_resource.kind, batch_resource.value,",
]


@pytest.mark.parametrize("declares", [False, True])
def test_a_claim_is_one_short_transaction(declares: bool, node: Node) -> None:
    """Goal: S29. What it declares, the row, who has its run lock; then owner and history."""
    node.pools.set("gpu", 1)
    options = {"pool": "gpu", "resources": ["/data/a"]} if declares else {}

    assert CLAIM[:4] + OCCUPANCY * declares + CLAIM[4:] == claimed(node, **options)
