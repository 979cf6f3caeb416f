"""A scheduler that stands still: its step does not hang, and goes on when it is back."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from stepwell import BatchStatus, Job, Node, PartitionedStep
from stepwell.executors import dask
from stepwell.runner import cluster
from stepwell.settings import Settings
from tests.conformance import dask_jobs as jobs
from tests.conformance.dask_jobs import WITHIN_S
from tests.conformance.test_dask import attempts, until

ROOT = Path(__file__).parents[2]

SCHEDULER = """
import sys
from distributed import LocalCluster

with LocalCluster(n_workers=0, processes=False, dashboard_address="127.0.0.1:0",
                  protocol="tcp", host="127.0.0.1") as cluster:
    print(cluster.scheduler_address, flush=True)
    sys.stdin.readline()
    cluster.scale(1)
    sys.stdin.read()
"""


@pytest.fixture
def scheduler() -> Iterator[tuple[subprocess.Popen[str], str]]:
    """In a process of its own; it has a worker when a line has been written to it."""
    process = subprocess.Popen(
        [sys.executable, "-c", SCHEDULER],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
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


def test_a_scheduler_that_is_silent_for_long_is_taken_for_lost(
    scheduler: tuple[subprocess.Popen[str], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Method: SIGSTOP while the step waits for workers; SIGCONT and a worker for the restart."""
    monkeypatch.setattr(cluster, "LOOK_S", 0.05)
    monkeypatch.setattr(cluster, "SILENT_S", 0.4)
    monkeypatch.setattr(dask, "ANSWER_WITHIN_S", 0.2)
    monkeypatch.setattr(dask, "CLOSE_WITHIN_S", 0.2)
    process, address = scheduler
    job = Job("job", steps=[PartitionedStep("parts", [1, 2], jobs.alone, executor="dask")])
    settings = Settings(database=f"sqlite:///{tmp_path}/silent.db", dask_scheduler=address)
    with Node.open(settings) as node:
        execution_id = node.operator.start(job)
        until(lambda: "has none" in node.operator.why(execution_id).reasons[0].fact)
        process.send_signal(signal.SIGSTOP)
        failed = node.operator.wait(execution_id, WITHIN_S)
        told = attempts(node, execution_id)
        process.send_signal(signal.SIGCONT)
        monkeypatch.undo()  # From here on it has the time that it needs.
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
        restarted = node.operator.wait(node.operator.start(job), WITHIN_S)

    assert failed is not None
    assert failed.failure is not None
    assert (BatchStatus.FAILED, "stepwell.executors.dask.ClusterLost") == (
        failed.batch_status,
        failed.failure.type,
    )
    assert f"the scheduler at {address} has not answered for 0.4 s" == failed.failure.message
    assert [None, None] == [attempt.outcome for attempt in told]
    assert restarted is not None
    assert BatchStatus.COMPLETED is restarted.batch_status
