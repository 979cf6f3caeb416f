"""A dry run says what a start then does: which instance, which steps, which partitions."""

from __future__ import annotations

from typing import Any

import pytest

from stepwell import (
    BatchStatus,
    ChunkStep,
    Decision,
    Flow,
    Job,
    Node,
    Parameters,
    PartitionedStep,
    PartitionResult,
    Split,
    TaskletStep,
    on,
)
from stepwell.errors import JobExecutionAlreadyRunning, JobInstanceAlreadyComplete, JobStartError
from stepwell.runner.dry_run import DryRun, dry_run
from tests.conformance.stories import counts, nothing, owned, tasklet_job


class Range(Parameters):
    first: int
    last: int


def plan(node: Node, job: Job, again: bool = False, **parameters: Any) -> DryRun:
    ready = node.operator.ready_jobs.prepare(job, parameters)
    with node.database.read() as reader:
        return dry_run(reader, node.database.liveness, ready, again=again)


def told(planned: DryRun) -> list[tuple[str, str]]:
    return [(each.element.name, each.action) for each in planned.elements]


def days(parameters: Range) -> list[int]:
    return list(range(parameters.first, parameters.last + 1))


class Shop:
    """Three days, of which one cannot be done until it is mended; then a report."""

    def __init__(self) -> None:
        self.broken = {2}
        self.ran: list[int] = []

    def share(self, day: int) -> PartitionResult:
        if day in self.broken:
            raise ValueError("closed")
        self.ran.append(day)
        return PartitionResult.success()

    def job(self, **options: Any) -> Job:
        return Job(
            "shop",
            [
                TaskletStep("open", nothing),
                PartitionedStep("days", days, self.share, executor="inline", **options),
                TaskletStep("report", nothing),
            ],
            parameters=Range,
        )


def test_a_first_start_is_told_with_its_partitions_and_nothing_is_recorded(node: Node) -> None:
    before = counts(node)
    planned = plan(node, Shop().job(), first=1, last=3)
    partitions = planned.elements[1].partitions

    assert (None, None) == (planned.previous, planned.starts_at)
    assert [("open", "run"), ("days", "run"), ("report", "run")] == told(planned)
    assert partitions is not None
    assert (3, ["1", "2", "3"], False) == (
        partitions.total,
        [one.name for one in partitions.left],
        partitions.frozen,
    )
    assert before == counts(node)


@pytest.mark.parametrize("override", [False, True])
def test_a_restart_does_what_was_told(override: bool, node: Node) -> None:
    """S65, S156, S157: what is complete is left out, and with it the partitions that were done."""
    shop = Shop()
    job = shop.job(partition_override=override)
    node.operator.run(job, {"first": 1, "last": 3})
    planned = plan(node, job, first=1, last=3)
    partitions = planned.elements[1].partitions
    shop.broken, shop.ran = set(), []
    execution = node.operator.run(job, {"first": 1, "last": 3})

    assert planned.previous is not None
    assert (1, BatchStatus.FAILED) == (
        planned.previous.execution_id,
        planned.previous.batch_status,
    )
    assert [("open", "skip"), ("days", "go on"), ("report", "run")] == told(planned)
    assert "COMPLETED in execution 1" == planned.elements[0].why
    assert partitions is not None
    assert (3, not override) == (partitions.total, partitions.frozen)
    assert [one.name for one in partitions.left] == [str(day) for day in shop.ran]
    assert ["days", "report"] == [
        step.step_name for step in node.operator.get_step_executions(execution.execution_id)
    ]


def test_what_a_start_would_refuse_is_refused(node: Node) -> None:
    shop = Shop()
    shop.broken = set()
    job = shop.job()
    node.operator.run(job, {"first": 1, "last": 1})
    node.operator.register(job, {"first": 2, "last": 2})
    with pytest.raises(JobInstanceAlreadyComplete):
        plan(node, job, first=1, last=1)
    with pytest.raises(JobExecutionAlreadyRunning):
        plan(node, job, first=2, last=2)

    running = tasklet_job("billing", nothing)
    owner_id = owned(node, "billing").owner_id or 0
    for is_dead in (False, True):
        with pytest.raises(JobExecutionAlreadyRunning) as refused:
            plan(node, running)
        assert is_dead is refused.value.fields["owner_is_dead"]
        node.database.liveness.release(owner_id)

    again = plan(node, job, again=True, first=1, last=1)
    assert ["run"] * 3 == [action for _, action in told(again)]


def test_partitions_that_cannot_be_listed_are_the_callers_fault(node: Node) -> None:
    def raising(parameters: Range) -> list[int]:
        raise KeyError("no calendar")

    job = Job("shop", [PartitionedStep("days", raising, Shop().share)], parameters=Range)
    with pytest.raises(JobStartError) as refused:
        plan(node, job, first=1, last=1)

    assert (
        "cannot plan step 'days': its partitions cannot be listed, KeyError: 'no calendar'"
        == refused.value.message
    )


def test_flows_decisions_start_limits_and_restart_positions_are_told(node: Node) -> None:
    """S49, S64, S65. Method: a job that a stop element ends, with its place for the restart."""
    again = TaskletStep("again", nothing, allow_start_if_complete=True)
    limited = TaskletStep("limited", nothing, allow_start_if_complete=True, start_limit=1)
    load = ChunkStep("load", [1], None, lambda items: None)
    job = Job(
        "winding",
        [
            again,
            limited,
            Split("both", [Flow("one", [load])]),
            Decision("which", lambda last: "WAIT", [on("WAIT").stop(restart="last")]),
            TaskletStep("last", nothing),
        ],
    )
    first = plan(node, job)
    ended = node.operator.run(job)
    second = plan(node, job)

    assert BatchStatus.STOPPED == ended.batch_status
    assert [
        ("again", "run"),
        ("limited", "run"),
        ("both", "run"),
        ("one", "run"),
        ("load", "run"),
        ("which", "decide"),
        ("last", "run"),
    ] == told(first)
    assert [None, None, None, "both", "one", None, None] == [e.within for e in first.elements]
    assert "last" == second.starts_at
    assert [("skip", "the restart begins at 'last'")] * 6 + [("run", "")] == [
        (each.action, each.why) for each in second.elements
    ]


def test_a_step_that_may_not_start_again_is_told(node: Node) -> None:
    """S49, S65."""
    fails = Shop()
    job = Job(
        "limits",
        [
            TaskletStep("again", nothing, allow_start_if_complete=True),
            TaskletStep("limited", nothing, allow_start_if_complete=True, start_limit=1),
            PartitionedStep("days", [2], fails.share, executor="inline"),
        ],
    )
    node.operator.run(job)

    assert [("again", "run again"), ("limited", "refuse"), ("days", "go on")] == told(
        plan(node, job)
    )
