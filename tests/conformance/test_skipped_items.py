"""What an execution has skipped, run again as a job: once, through the steps that skipped it."""

from __future__ import annotations

from typing import Any

import pytest

from stepwell import (
    BatchStatus,
    ChunkStep,
    Flow,
    Job,
    Node,
    Parameters,
    PartitionedStep,
    Skip,
)
from stepwell.errors import JobInstanceAlreadyComplete, JobStartError
from stepwell.execution.records import JobExecution
from stepwell.items import LinesWriter
from stepwell.runner.skipped import (
    NAME,
    add_skips_job,
    every_skip,
    parameters_of_retry,
    reasons_to_keep,
)
from tests.conformance.stories import findings

COMPLETED = BatchStatus.COMPLETED


class Day(Parameters):
    day: int


class Mill:
    """A processor and a writer that refuse some items until they are mended."""

    def __init__(self) -> None:
        self.bad: set[int] = {3, 4}
        self.unwritable: set[int] = {70}
        self.written: list[Any] = []
        self.days: list[int] = []

    def process(self, item: dict[str, int]) -> dict[str, int]:
        if item["n"] in self.bad:
            raise ValueError(f"{item['n']} is bad")
        return {"n": 10 * item["n"]}

    def write(self, items: list[dict[str, int]], step: Any) -> None:
        if self.unwritable & {item["n"] for item in items}:
            raise KeyError("no room")
        self.days.append(step.parameters.day)
        self.written += [item["n"] for item in items]


@pytest.fixture
def mill(node: Node) -> Mill:
    mill = Mill()
    items = [{"n": n} for n in range(1, 9)]
    load = ChunkStep("load", items, mill.process, mill.write, 4, skip=Skip(ValueError, KeyError))
    node.registry.add(Job("mill", [Flow("all", [load])], parameters=Day), origin="the test")
    add_skips_job(node.registry, lambda: node.database)
    return mill


def retry(node: Node, execution_id: int) -> JobExecution:
    record = node.operator.get_job_execution(execution_id)
    return node.operator.run(NAME, parameters_of_retry(record))


def skipped(node: Node, execution_id: int) -> list[tuple[str, str, str | None]]:
    return [(s.step_name, s.phase, s.item) for s in every_skip(node.database, execution_id)]


def test_the_skipped_items_go_through_the_step_that_has_skipped_them(
    node: Node, mill: Mill
) -> None:
    first = node.operator.run("mill", {"day": 7})
    before, mill.written = mill.written, []
    left = skipped(node, first.execution_id)
    mill.bad, mill.unwritable = set(), set()
    again = retry(node, first.execution_id)

    assert [10, 20, 50, 60, 80] == before
    assert {("load", "process", '{"n":3}'), ("load", "write", '{"n":70}')} <= set(left)
    assert (COMPLETED, NAME) == (again.batch_status, again.job_name)
    assert [30, 40, 70] == sorted(mill.written)
    assert {7} == set(mill.days)
    assert ["load", "load (write)"] == sorted(
        step.step_name for step in node.operator.get_step_executions(again.execution_id)
    )
    assert [] == findings(node)
    with pytest.raises(JobInstanceAlreadyComplete):
        retry(node, first.execution_id)


def test_what_is_skipped_again_can_be_retried_again(node: Node, mill: Mill) -> None:
    first = node.operator.run("mill", {"day": 7})
    mill.bad, mill.written = {4}, []
    second = retry(node, first.execution_id)
    mill.bad, mill.unwritable = set(), set()
    third = retry(node, second.execution_id)

    assert [COMPLETED] * 3 == [e.batch_status for e in (first, second, third)]
    assert [30, 40, 70] == sorted(mill.written)
    assert [] == skipped(node, third.execution_id)


def test_a_retry_that_fails_is_restarted_behind_its_last_commit(node: Node, mill: Mill) -> None:
    """Method: an exception that no filter names, at the second item."""
    first = node.operator.run("mill", {"day": 7})
    mill.bad, mill.unwritable, mill.written = set(), set(), []
    real, calls = mill.process, [0]

    def fail_once(item: dict[str, int]) -> dict[str, int]:
        calls[0] += 1
        if calls[0] == 1:
            raise RuntimeError("no light")
        return real(item)

    mill.process = fail_once  # type: ignore[method-assign]
    node.registry._jobs["mill"]._job = Job(  # type: ignore[assignment]
        "mill",
        [ChunkStep("load", [], mill.process, mill.write, 1, skip=Skip(KeyError))],
        parameters=Day,
    )
    failed = retry(node, first.execution_id)
    ended = node.operator.wait(node.operator.restart(failed.execution_id))

    assert ended is not None
    assert (BatchStatus.FAILED, COMPLETED) == (failed.batch_status, ended.batch_status)
    assert [30, 40, 70] == sorted(mill.written)


def test_what_cannot_be_retried_says_why(node: Node, mill: Mill, tmp_path: Any) -> None:
    def refuse(item: Any) -> Any:
        raise ValueError("never")

    class Torn:
        def __init__(self) -> None:
            self.left = 2

        def open(self, checkpoint: Any) -> None:
            """From the beginning."""

        def read(self) -> Any:
            self.left -= 1
            if self.left:
                raise ValueError("no line")
            return None

        def checkpoint(self) -> None:
            """No place."""

        def close(self) -> None:
            """Nothing is open."""

    skip = Skip(ValueError)
    inside = ChunkStep("inside", [1], refuse, print, skip=skip)
    node.registry.add(
        Job(
            "hopeless",
            [
                ChunkStep("read", Torn(), None, print, skip=skip),
                ChunkStep("whole", [1, 2], None, refuse, skip=skip, write_skip="chunk"),
                ChunkStep("file", ["a"], refuse, LinesWriter(tmp_path / "out.txt"), skip=skip),
                ChunkStep("large", ["a" * 5_000], refuse, print, skip=skip),
                PartitionedStep("shares", [1], inside, executor="inline"),
            ],
        ),
        origin="the test",
    )
    ran = node.operator.run("hopeless")
    with pytest.raises(JobStartError) as refused:
        retry(node, ran.execution_id)
    with pytest.raises(JobStartError) as nothing:
        node.operator.run(NAME, {"skips_of": "x"})
    record = node.operator.get_job_execution(ran.execution_id)
    reasons = reasons_to_keep(every_skip(node.database, ran.execution_id), node.registry, record)

    assert {
        "skipped before they were read": 1,
        "skipped as a whole chunk": 1,
        "of a step whose writer would begin its file anew": 1,
        "recorded in part, or not as JSON": 1,
        "skipped in a partition": 1,
    } == reasons
    assert (
        "cannot retry what execution 1 has skipped: none of it can be, 1 " in refused.value.message
    )
    assert "parameter 'skips_of' must be the id of an execution, got 'x'" in nothing.value.message
    assert 1 == len(node.operator.get_job_names()) - len(["mill", NAME])


def test_nothing_was_skipped(node: Node, mill: Mill) -> None:
    mill.bad, mill.unwritable = set(), set()
    ran = node.operator.run("mill", {"day": 1})
    with pytest.raises(JobStartError, match="it has skipped nothing"):
        retry(node, ran.execution_id)
