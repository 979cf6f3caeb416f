"""Dask workers are killed at random, then the scheduler: each partition's effect is there once."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from stepwell import BatchStatus, Job, Node, PartitionedStep, PartitionResult, StepContext
from stepwell.repository.invariants import examine
from stepwell.settings import Settings

PARTITIONS = 1_000
PIECES = 2
RESTARTS_MAX = 10


def in_pieces(n: int, step: StepContext) -> PartitionResult:
    """Two rows, each with its position, each after a moment in which somebody may strike."""
    for piece in range(step.context.get("done", 0), PIECES):
        threading.Event().wait(0.002)
        with step.transaction() as connection:
            connection.execute("INSERT INTO out VALUES (:n)", {"n": PIECES * n + piece})
            step.context["done"] = piece + 1
    return PartitionResult.success(rows=PIECES)


JOB = Job(
    "shares",
    steps=[PartitionedStep("p", list(range(PARTITIONS)), in_pieces, executor="dask")],
)

SCHEDULER = """
import sys
from distributed import LocalCluster

if __name__ == "__main__":
    with LocalCluster(
        n_workers=2, threads_per_worker=1, dashboard_address="127.0.0.1:0"
    ) as cluster:
        print(cluster.scheduler_address, flush=True)
        sys.stdin.read()
"""


@contextmanager
def own_cluster(folder: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A scheduler in a process of its own, with its workers below it; it can be killed."""
    program = folder / "cluster.py"
    program.write_text(SCHEDULER)
    process = subprocess.Popen(
        [sys.executable, str(program)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdout is not None
    try:
        yield process, process.stdout.readline().strip()
    finally:
        process.kill()
        process.communicate()


def workers_of(pid: int) -> list[int]:
    """The worker processes below a scheduler's process, those that are no helpers."""
    import psutil  # type: ignore[import-untyped] # Dask brings it.

    try:
        return [
            child.pid
            for child in psutil.Process(pid).children(recursive=True)
            if "spawn_main" in " ".join(child.cmdline())
        ]
    except psutil.Error:
        return []


@contextmanager
def killer(process: subprocess.Popen[str], seed: int, kills: int) -> Iterator[list[int]]:
    """Kills workers now and then, so many; behind the last one the scheduler."""
    chance, over, killed = random.Random(seed), threading.Event(), list[int]()

    def strike() -> None:
        while not over.wait(chance.uniform(0.3, 1.0)):
            if len(killed) >= kills:
                process.kill()
                return
            alive = [pid for pid in workers_of(process.pid) if pid not in killed]
            if alive:
                killed.append(chance.choice(alive))
                os.kill(killed[-1], signal.SIGKILL)

    thread = threading.Thread(target=strike)
    thread.start()
    try:
        yield killed
    finally:
        over.set()
        thread.join()


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("seed", [1, 2])
def test_what_a_killed_cluster_left_is_done_once(seed: int, tmp_path: Path, cluster: Any) -> None:
    """T9, S194, S156: FAILED or COMPLETED truthfully each time; a restart finishes it."""
    url = f"sqlite:///{tmp_path}/killed.db"
    ends = []
    with (
        own_cluster(tmp_path) as (process, address),
        Node.open(Settings(database=url, dask_scheduler=address)) as node,
    ):
        with node.database.write() as transaction:
            transaction.connection.execute("CREATE TABLE out (n INTEGER PRIMARY KEY)")
        with killer(process, seed, kills=4) as killed:
            ends.append(node.operator.run(JOB))
        check(node)
    with Node.open(Settings(database=url, dask_scheduler=cluster.scheduler_address)) as node:
        while ends[-1].batch_status is not BatchStatus.COMPLETED and len(ends) < RESTARTS_MAX:
            ends.append(node.operator.run(JOB))
            check(node)
        with node.database.read() as reader:
            out = [n for (n,) in reader.connection.execute("SELECT n FROM out ORDER BY n")]

    assert killed
    assert [BatchStatus.FAILED] * (len(ends) - 1) == [end.batch_status for end in ends[:-1]]
    assert BatchStatus.COMPLETED is ends[-1].batch_status
    assert list(range(PARTITIONS * PIECES)) == out


def check(node: Node) -> None:
    """Law 3: the counters are the results, and the doctor finds nothing."""
    with node.database.read() as reader:
        assert [] == examine(reader)
        ((done, counted),) = reader.connection.execute(
            "SELECT (SELECT COUNT(DISTINCT partition_number) FROM batch_partition_execution"
            " WHERE result = 'SUCCESS'), partition_completed - partition_failed"
            " FROM batch_step_execution ORDER BY step_execution_id DESC LIMIT 1"
        ).fetchall()
    assert done == counted
