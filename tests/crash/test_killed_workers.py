"""Worker processes are killed at random: what they had not committed is done by a restart, once."""

from __future__ import annotations

import multiprocessing
import random
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from stepwell import BatchStatus, Job, Node, PartitionedStep, PartitionResult, StepContext
from stepwell.execution.records import StepExecution
from stepwell.repository.invariants import examine

PARTITIONS = 60
PIECES = 3
RESTARTS_MAX = 20


def in_pieces(n: int, step: StepContext) -> PartitionResult:
    """Three rows, each with its position, each after a moment in which somebody may strike."""
    for piece in range(step.context.get("done", 0), PIECES):
        threading.Event().wait(0.003)
        with step.transaction() as connection:
            connection.execute("INSERT INTO out VALUES (:n)", {"n": PIECES * n + piece})
            step.context["done"] = piece + 1
    return PartitionResult.success(rows=PIECES)


@contextmanager
def killer(seed: int, kills_max: int) -> Iterator[list[int]]:
    """Kills one of this process's workers now and then; the ids of those that it has killed."""
    chance, over = random.Random(seed), threading.Event()
    killed: list[int] = []

    def strike() -> None:
        while len(killed) < kills_max and not over.wait(chance.uniform(0.02, 0.4)):
            workers = [one for one in multiprocessing.active_children() if one.pid not in killed]
            if workers:
                victim = chance.choice(workers)
                killed.append(victim.pid or 0)
                victim.kill()

    thread = threading.Thread(target=strike)
    thread.start()
    try:
        yield killed
    finally:
        over.set()
        thread.join()


@pytest.mark.parametrize(
    ("seed", "kills_max"),
    [
        (1, 5),
        *(
            pytest.param(n, 15, marks=[pytest.mark.slow, pytest.mark.timeout(600)])
            for n in range(2, 8)
        ),
    ],
)
def test_what_killed_workers_left_is_done_once(seed: int, kills_max: int, tmp_path: Path) -> None:
    """T9, S160, S194, S156: the step goes on with new workers; failures are run again."""
    job = Job(
        "shares",
        steps=[PartitionedStep("p", range(PARTITIONS), in_pieces, workers=2, executor="processes")],
    )
    with Node.open(f"sqlite:///{tmp_path}/killed.db") as node:
        with node.database.write() as transaction:
            transaction.connection.execute("CREATE TABLE out (n INTEGER PRIMARY KEY)")
        with killer(seed, kills_max) as killed:
            for _ in range(RESTARTS_MAX):
                execution = node.operator.run(job)
                (step,) = node.operator.get_step_executions(execution.execution_id)
                check_counters(node, step)
                if execution.batch_status is BatchStatus.COMPLETED:
                    break
        with node.database.read() as reader:
            out = [n for (n,) in reader.connection.execute("SELECT n FROM out ORDER BY n")]
            assert [] == examine(reader)

    assert BatchStatus.COMPLETED is execution.batch_status
    assert list(range(PARTITIONS * PIECES)) == out
    assert killed


def check_counters(node: Node, step: StepExecution) -> None:
    """Law 3: exact, however the workers ended; what nobody had begun has no result."""
    with node.database.read() as reader:
        ((results, failed),) = reader.connection.execute(
            "SELECT COUNT(result), SUM(CASE WHEN result = 'FAILURE' THEN 1 ELSE 0 END)"
            " FROM batch_partition_execution WHERE step_execution_id = :id",
            {"id": step.step_execution_id},
        ).fetchall()
        ((kept,),) = reader.connection.execute(
            "SELECT COUNT(*) FROM batch_partition_execution"
            " WHERE step_execution_id < :id AND result = 'SUCCESS'",
            {"id": step.step_execution_id},
        ).fetchall()
    assert (PARTITIONS, results + kept, failed) == (
        step.partition_total,
        step.partition_completed,
        step.partition_failed,
    )
