"""A row that a job wrote says which run, step and chunk of which job, for ever."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from stepwell import ChunkStep, Job, Node, PartitionedStep, TaskletStep
from stepwell.items import SqlWriter
from stepwell.sync.change import Lineage
from stepwell.testing import FrozenClock
from tests.support.change_log import execute, log_of

ITEM = "CREATE TABLE item (id INTEGER PRIMARY KEY, n INTEGER)"


@pytest.fixture
def node(database_url: str, clock: FrozenClock) -> Iterator[Node]:
    with Node.open(database_url, clock=clock) as node:
        node.sync.init("shop-1")
        execute(node.database, ITEM)
        node.sync.track("item")
        yield node


def add(row: int, step: Any) -> None:
    with step.transaction() as connection:
        connection.execute("INSERT INTO item VALUES (:id, 0)", {"id": row})


def test_each_chunk_partition_and_tasklet_is_a_group_that_names_itself(node: Node) -> None:
    rows = [{"id": n, "n": n} for n in range(5)]
    job = Job(
        "visits",
        steps=[
            ChunkStep("load", rows, None, SqlWriter("item", key=["id"]), chunk_size=2),
            PartitionedStep("days", lambda: [101, 102], add),
            TaskletStep("last", lambda step: add(200, step)),
        ],
    )
    execution = node.operator.run(job)
    changes = log_of(node.database)

    def lineage(step: str, chunk: str = "", partition: int | None = None) -> Lineage:
        return Lineage("visits", execution.execution_id, step, chunk, partition)

    assert [
        (0, lineage("load", "1")),
        (1, lineage("load", "1")),
        (2, lineage("load", "2")),
        (3, lineage("load", "2")),
        (4, lineage("load", "3")),
        (101, lineage("days", partition=0)),
        (102, lineage("days", partition=1)),
        (200, lineage("last")),
    ] == [(change.new_values()["id"], change.lineage) for change in changes]
    assert [1, 1, 2, 2, 3, 4, 5, 6] == [change.seq for change in changes]
    assert {"exact"} == {change.boundary for change in changes}


def test_a_chunk_that_is_rolled_back_leaves_no_context_behind(node: Node) -> None:
    def write(items: list[Any], step: Any) -> None:
        step.connection.execute("INSERT INTO item VALUES (1, 1)")
        raise ValueError

    node.operator.run(Job("broken", steps=[ChunkStep("load", [1], None, write)]))
    execute(node.database, "INSERT INTO item VALUES (7, 7)")

    assert [(7, None)] == [
        (change.new_values()["id"], change.lineage) for change in log_of(node.database)
    ]


def test_a_table_that_is_tracked_while_a_process_runs_has_its_jobs_named(
    database_url: str, clock: FrozenClock
) -> None:
    with Node.open(database_url, clock=clock) as node:
        execute(node.database, ITEM)
        job = Job("again", identity="each-start", steps=[TaskletStep("a", lambda step: None)])

        def run(row: int) -> None:
            step = TaskletStep("a", lambda step: add(row, step))
            node.operator.run(Job("again", identity="each-start", steps=[step]))

        run(1)
        node.sync.init("shop-1")
        node.sync.track("item", with_rows=False)
        run(2)
        clock.advance(6)
        run(3)

        assert ["", "again"] == [
            change.lineage.job_name if change.lineage else "" for change in log_of(node.database)
        ]
    assert "again" == job.name
