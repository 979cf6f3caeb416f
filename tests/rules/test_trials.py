"""S198: a trial takes the first items or partitions, and never touches the real instance."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from stepwell import BatchStatus, ChunkStep, Job, Node, PartitionedStep, StepContext, TaskletStep
from stepwell.errors import JobInstanceAlreadyComplete, JobStartError

WITHIN_S = 60.0


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    with Node.open(f"sqlite:///{tmp_path}/trial.db") as node:
        yield node


class Work:
    """A job of all three kinds of step, and what it has done; it fails at an item once told to."""

    def __init__(self) -> None:
        self.done: list[Any] = []
        self.fails_at: int | None = None
        self.job = Job(
            "work",
            steps=[
                ChunkStep("items", range(1, 8), self.process, self.done.extend, chunk_size=2),
                PartitionedStep("parts", ["abcdefg"] * 7, self.part, executor="inline"),
                TaskletStep("whole", lambda: self.done.append("whole")),
            ],
            on_completion=["after"],
        )

    def process(self, n: int) -> int:
        if n == self.fails_at:
            raise ValueError(n)
        return n

    def part(self, name: str, step: StepContext) -> None:
        self.done.append(f"part {step.partition}")


@pytest.fixture
def work(node: Node) -> Work:
    work = Work()
    node.registry.add(work.job, origin="the test")
    node.registry.add(Job("after", steps=[TaskletStep("t", lambda: None)]), origin="the test")
    return work


def trial(node: Node, limit: int, **options: Any) -> Any:
    return node.operator.wait(node.operator.start("work", limit=limit, **options), WITHIN_S)


def executions_of(node: Node, job: str) -> int:
    with node.database.read() as reader:
        ((count,),) = reader.connection.execute(
            "SELECT COUNT(*) FROM batch_job_instance WHERE job_name = :job", {"job": job}
        ).fetchall()
    return int(count)


def test_the_first_items_and_partitions_and_every_other_step(node: Node, work: Work) -> None:
    ended = trial(node, 3)
    (items, parts, _) = node.operator.get_step_executions(ended.execution_id)

    assert (BatchStatus.COMPLETED, 3) == (ended.batch_status, ended.trial)
    assert [1, 2, 3, "part 0", "part 1", "part 2", "whole"] == work.done
    assert (3, (3, 3)) == (
        items.metrics.read_count,
        (parts.partition_total, parts.partition_completed),
    )


def test_the_real_instance_neither_sees_it_nor_waits(node: Node, work: Work) -> None:
    """Neither COMPLETED by it, nor behind its lock; and what follows the job does not follow it."""
    trial(node, 1)
    after_trial = executions_of(node, "after")
    real = node.operator.run("work")

    assert (BatchStatus.COMPLETED, None) == (real.batch_status, real.trial)
    assert 1 + 1 + 1 + 7 + 7 + 1 == len(work.done)
    assert (0, 1) == (after_trial, executions_of(node, "after"))


def test_a_trial_is_an_instance_by_its_number(node: Node, work: Work) -> None:
    first, other = trial(node, 1), trial(node, 2)
    with pytest.raises(JobInstanceAlreadyComplete):
        trial(node, 1)
    again = trial(node, 1, again=True)

    assert 3 == len({first.instance_id, other.instance_id, again.instance_id})


def test_a_restart_of_a_trial_counts_on(node: Node, work: Work) -> None:
    """Method: it fails behind its first chunk, of four of the five items that it takes."""
    work.fails_at = 4
    failed = trial(node, 5)
    work.fails_at = None
    restarted = node.operator.wait(node.operator.restart(failed.execution_id), WITHIN_S)

    assert BatchStatus.FAILED is failed.batch_status
    assert restarted is not None
    assert (BatchStatus.COMPLETED, 5) == (restarted.batch_status, restarted.trial)
    assert [1, 2, 3, 4, 5] == [n for n in work.done if isinstance(n, int)]
    assert 5 == sum(str(one).startswith("part") for one in work.done)


def test_a_trial_of_nothing_is_refused(node: Node, work: Work) -> None:
    with pytest.raises(JobStartError, match="limit must be 1 or more, got 0"):
        trial(node, 0)

    assert 0 == executions_of(node, "work")


def test_another_executor_for_one_run(node: Node) -> None:
    """S193: the definition stays as it is, and the history says what was used."""
    threads: list[str] = []

    def where(n: int) -> None:
        import threading

        threads.append(threading.current_thread().name)

    job = Job("j", steps=[PartitionedStep("p", [1, 2], where, executor="inline")])
    with pytest.raises(JobStartError, match=r"must be found by the processes"):
        node.operator.start(job, executor="processes")
    with pytest.raises(JobStartError, match="executor must be one of inline, threads"):
        node.operator.start(job, executor="gpu")  # type: ignore[arg-type]
    ended = node.operator.wait(node.operator.start(job, executor="threads"), WITHIN_S)

    assert ended is not None
    assert BatchStatus.COMPLETED is ended.batch_status
    assert all(name.startswith("stepwell-p") for name in threads)
    born = node.operator.get_history(ended.execution_id)[0]
    assert "run with executor threads" == born.reason
