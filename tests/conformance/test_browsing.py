"""Pages of what is recorded: the same order on every database."""

from __future__ import annotations

from datetime import timedelta

from stepwell import Job, Node, PartitionedStep, PartitionResult
from stepwell.repository import browse
from stepwell.testing import FrozenClock
from tests.conformance.stories import nothing, tasklet_job


def test_stragglers_stand_first_then_what_went_wrong_then_what_was_slow(
    node: Node, clock: FrozenClock
) -> None:
    seen: list[list[int]] = []
    takes = {0: 1, 1: 7, 2: 3, 3: 0, 4: 0, 5: 0}

    def share(number: int) -> PartitionResult:
        if number == 5:
            seen.append(stragglers(node))
        clock.advance(takes[number])
        if number == 3:
            raise ValueError("torn")
        return PartitionResult.partial() if number == 4 else PartitionResult.success()

    step = PartitionedStep("share", list(takes), share, executor="inline", tolerated_failures=1)
    node.operator.run(Job("share", [step]))

    assert [5] == [one[0] for one in seen]  # The one that is at work.
    assert [3, 4, 1, 2, 0, 5] == stragglers(node)


def stragglers(node: Node) -> list[int]:
    with node.database.read() as reader:
        return [one.number for one in browse.list_stragglers(reader, 1, count=20)]


def test_executions_of_some_days_are_listed(node: Node, clock: FrozenClock) -> None:
    begin = clock.now()
    for n in range(3):
        node.operator.run(tasklet_job("load", nothing), {"n": n})
        clock.advance(60)

    def listed(since: int, until: int) -> list[int]:
        with node.database.read() as reader:
            found = browse.list_executions(
                reader,
                since=begin + timedelta(seconds=since),
                until=begin + timedelta(seconds=until),
            )
        return [execution.execution_id for execution in found]

    assert [[2], [3, 2, 1], []] == [listed(60, 120), listed(0, 200), listed(1, 60)]
