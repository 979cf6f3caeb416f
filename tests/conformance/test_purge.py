"""Retention: whole instances go with all that belongs to them; nothing else is touched (S27)."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from stepwell import BatchStatus, ChunkStep, Job, Node, PartitionedStep, PartitionResult, Skip
from stepwell.errors import ConstraintViolation, JobStartError
from stepwell.repository import purge as purging
from stepwell.repository.invariants import examine
from stepwell.repository.purge import PurgeRule, list_purgeable, purge_some
from stepwell.testing import FrozenClock
from tests.conformance.stories import Toggle, tasklet_job, waiting

DAY = timedelta(days=1)
TABLES = (
    "batch_job_instance",
    "batch_job_execution",
    "batch_job_execution_params",
    "batch_job_execution_context",
    "batch_step_execution",
    "batch_step_execution_context",
    "batch_partition",
    "batch_partition_execution",
    "batch_skip",
    "batch_status_history",
    "batch_request",
)


def refuse_seven(number: int) -> int:
    if number == 7:
        raise ValueError("a seven")
    return number


def whole_job(name: str, toggle: Toggle) -> Job:
    """Everything that can be recorded: skips, partitions kept by a restart, contexts."""

    def share(number: int) -> PartitionResult:
        if number == 2:
            toggle(None)  # type: ignore[arg-type]
        return PartitionResult.success(rows=1)

    return Job(
        name,
        steps=[
            ChunkStep("load", range(10), refuse_seven, lambda items: None, skip=Skip(ValueError)),
            PartitionedStep("share", [1, 2, 3], share, executor="inline"),
        ],
    )


def fail_and_restart(node: Node, name: str, *, completes: bool = True) -> None:
    toggle = Toggle()
    node.registry.add(whole_job(name, toggle), origin="the test")
    failed = node.operator.run(name, {"day": "1"})
    assert BatchStatus.FAILED is failed.batch_status
    if completes:
        toggle.works = True
        ended = node.operator.wait(node.operator.restart(failed.execution_id))
        assert ended is not None
        assert BatchStatus.COMPLETED is ended.batch_status


def counts(node: Node) -> dict[str, int]:
    with node.database.read() as reader:
        return {
            table: int(reader.connection.execute(f"SELECT COUNT(*) FROM {table}").fetchall()[0][0])
            for table in TABLES
        }


def findings(node: Node) -> list[Any]:
    with node.database.read() as reader:
        return examine(reader)


def purge(node: Node, rule: PurgeRule) -> tuple[int, int]:
    """Delete all that the rule gives up: instances and executions."""
    instances = executions = after = 0
    while (
        some := purge_some(node.database, rule, now=node.clock.now(), after_id=after)
    ) is not None:
        instances += some.instance_count
        executions += some.execution_count
        after = some.seen_id
    return instances, executions


def shown(node: Node, rule: PurgeRule) -> list[int]:
    with node.database.read() as reader:
        return [found.instance_id for found in list_purgeable(reader, rule, now=node.clock.now())]


def test_an_instance_goes_with_everything_that_belongs_to_it(
    node: Node, clock: FrozenClock
) -> None:
    fail_and_restart(node, "old")
    clock.advance(100 * 86_400)
    before = counts(node)
    fail_and_restart(node, "young")
    both = counts(node)
    rule = PurgeRule(older_than=90 * DAY)

    assert [1] == shown(node, rule)
    assert (1, 2) == purge(node, rule)
    after = counts(node)
    assert {table: both[table] - before[table] for table in TABLES} == after
    assert all(before[table] for table in TABLES if table != "batch_request")
    assert [] == findings(node)
    assert ([], (0, 0)) == (shown(node, rule), purge(node, rule))


def test_what_could_be_restarted_or_has_not_ended_stays_unless_it_is_asked_for(
    node: Node, clock: FrozenClock
) -> None:
    fail_and_restart(node, "failed", completes=False)
    waiting(node, "waits")
    closed = node.operator.run(tasklet_job("abandoned", Toggle()))
    node.operator.abandon(closed.execution_id)
    clock.advance(100 * 86_400)
    rule = PurgeRule(older_than=DAY)
    asked = PurgeRule(older_than=DAY, statuses=(BatchStatus.FAILED,))

    assert (1, 1) == purge(node, rule)
    assert [1] == shown(node, asked)
    assert (1, 1) == purge(node, asked)
    assert 1 == counts(node)["batch_job_instance"]
    assert [] == findings(node)


def test_what_something_registered_waits_for_stays(node: Node, clock: FrozenClock) -> None:
    """Goal: whoever waits for its completion would wait for ever."""
    job = tasklet_job("a", lambda: None)
    node.registry.add(tasklet_job("b", lambda: None), origin="the test")
    awaited = node.operator.run(job)
    follower = node.operator.register("b", after=awaited.execution_id)
    clock.advance(86_401)
    rule = PurgeRule(older_than=DAY)

    assert ([], (0, 0)) == (shown(node, rule), purge(node, rule))
    node.operator.stop(follower)
    assert [1] == shown(node, rule)


def test_the_newest_of_each_job_stay(node: Node, clock: FrozenClock) -> None:
    for name in ("a", "b"):
        for _ in range(4):
            node.operator.run(tasklet_job(name, lambda: None), again=True)
    clock.advance(86_401)
    rule = PurgeRule(keep_newest=3)

    assert [1, 5] == shown(node, rule)
    assert [1, 5] == shown(node, PurgeRule(keep_newest=3, older_than=DAY))
    assert [] == shown(node, PurgeRule(keep_newest=3, older_than=2 * DAY))
    assert [1, 2] == shown(node, PurgeRule(keep_newest=2, job_name="a"))
    assert (2, 2) == purge(node, rule)
    assert 6 == counts(node)["batch_job_execution"]


def test_ids_of_what_is_gone_are_not_given_out_again(node: Node, clock: FrozenClock) -> None:
    """S3; and the same parameters are a new instance."""
    node.operator.run(tasklet_job("a", lambda: None))
    clock.advance(86_401)
    purge(node, PurgeRule(older_than=DAY))

    again = node.operator.run(tasklet_job("a", lambda: None))
    assert (2, 2) == (again.execution_id, again.instance_id)


def test_a_transaction_is_small_and_an_instance_is_never_cut(
    node: Node, clock: FrozenClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(purging, "ROWS_A_TRANSACTION", 1)
    for _ in range(5):
        node.operator.run(tasklet_job("a", lambda: None), again=True)
    clock.advance(86_401)
    rule = PurgeRule(older_than=DAY)
    left, after = [], 0
    while (some := purge_some(node.database, rule, now=clock.now(), after_id=after)) is not None:
        after = some.seen_id
        left.append(counts(node)["batch_job_instance"])
        assert [] == findings(node)

    assert [4, 3, 2, 1, 0] == left


def test_what_is_restarted_meanwhile_stays(
    node: Node, other: Node, clock: FrozenClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Method: the instance is restarted between the look and the transaction."""
    toggle = Toggle()
    failed = node.operator.run(tasklet_job("a", toggle))
    clock.advance(86_401)
    run = node.database.run
    other.registry.add(tasklet_job("a", toggle), origin="the test")

    def restart_first(fact: Any, **options: Any) -> Any:
        monkeypatch.undo()
        other.operator.wait(other.operator.restart(failed.execution_id))
        return run(fact, **options)

    monkeypatch.setattr(node.database, "run", restart_first)
    rule = PurgeRule(older_than=DAY, statuses=(BatchStatus.FAILED,))
    some = purge_some(node.database, rule, now=clock.now())

    assert some is not None
    assert (0, 2) == (some.instance_count, counts(node)["batch_job_execution"])


def test_the_history_stays_append_only_for_everybody_else(node: Node, clock: FrozenClock) -> None:
    node.operator.run(tasklet_job("a", lambda: None))
    clock.advance(86_401)
    node.operator.run(tasklet_job("b", lambda: None))
    purge(node, PurgeRule(older_than=DAY))

    with pytest.raises(ConstraintViolation), node.database.write() as transaction:
        transaction.connection.execute("DELETE FROM batch_status_history")
    with node.database.read() as reader:
        assert [] == reader.connection.execute("SELECT * FROM batch_purge").fetchall()


@pytest.mark.parametrize(
    ("options", "fact"),
    [
        ({}, "neither an age nor a number says what is kept"),
        ({"older_than": timedelta(0)}, "the age must be above 0"),
        ({"keep_newest": -1}, "the number must be 0 or more, got -1"),
        (
            {"keep_newest": 1, "statuses": (BatchStatus.STARTED,)},
            "the status must be one of an end, such as COMPLETED, got STARTED",
        ),
        ({"keep_newest": 1, "statuses": ()}, "got none"),
    ],
)
def test_a_rule_that_keeps_nothing_or_gives_up_what_runs_is_refused(
    options: dict[str, Any], fact: str
) -> None:
    with pytest.raises(JobStartError) as caught:
        PurgeRule(**options)

    assert fact in str(caught.value)
