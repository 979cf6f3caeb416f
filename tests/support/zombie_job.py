"""Trace E: a runner that stops itself at a chosen place, and what wakes up again later."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

from stepwell import (
    ChunkStep,
    Job,
    Node,
    PartitionedStep,
    PartitionResult,
    StepContext,
    TaskletStep,
)
from stepwell.errors import StepwellError
from stepwell.repository.zero_rows import ZeroRowUpdates
from stepwell.settings import Settings

ITEMS, CHUNK_SIZE = 30, 10
STOPS_AT = 25

CREATE = "CREATE TABLE IF NOT EXISTS output (item INTEGER PRIMARY KEY, written_by INTEGER)"
INSERT = "INSERT INTO output (item, written_by) VALUES (:item, :by)"
UPSERT = f"{INSERT} ON CONFLICT (item) DO UPDATE SET written_by = excluded.written_by"


def stop_this_process() -> None:
    """A real SIGSTOP: every thread stands still until somebody sends SIGCONT."""
    os.kill(os.getpid(), signal.SIGSTOP)


def prepare(step: StepContext) -> None:
    with step.transaction() as connection:
        connection.execute(CREATE)


def chunk_job(pause: Callable[[str], None], statement: str) -> Job:
    """Reads 30 items in chunks of 10; ``pause`` is called before item 25 and inside each write."""

    def process(item: int) -> int:
        if item == STOPS_AT:
            pause("reading")
        return item

    def write(items: list[int], step: StepContext) -> None:
        step.connection.executemany(statement, [(item, step.execution_id) for item in items])
        if STOPS_AT in items:
            pause("writing")

    return Job(
        "chunks",
        steps=[
            TaskletStep("prepare", prepare),
            ChunkStep("load", range(1, ITEMS + 1), process, write, chunk_size=CHUNK_SIZE),
        ],
    )


def tasklet_job(pause: Callable[[str], None], statement: str) -> Job:
    """The same rows, ten a transaction, from a tasklet."""

    def load(step: StepContext) -> None:
        for first in range(step.context.get("done", 0) + 1, ITEMS, CHUNK_SIZE):
            if first <= STOPS_AT < first + CHUNK_SIZE:
                pause("reading")
            with step.transaction() as connection:
                rows = [(item, step.execution_id) for item in range(first, first + CHUNK_SIZE)]
                connection.executemany(statement, rows)
                step.context["done"] = first + CHUNK_SIZE - 1

    return Job("tasklet", steps=[TaskletStep("prepare", prepare), TaskletStep("load", load)])


def frozen_transaction_job(pause: Callable[[str], None], statement: str) -> Job:
    """All rows in one transaction of a tasklet; ``pause`` is called inside of it."""

    def load(step: StepContext) -> None:
        with step.transaction() as connection:
            rows = [(item, step.execution_id) for item in range(1, ITEMS + 1)]
            connection.executemany(statement, rows)
            pause("inside")

    return Job("frozen", steps=[TaskletStep("prepare", prepare), TaskletStep("load", load)])


def partition_job(pause: Callable[[str], None], statement: str) -> Job:
    """The same rows from three partitions."""

    def load(first: int, step: StepContext) -> PartitionResult:
        if first <= STOPS_AT < first + CHUNK_SIZE:
            pause("reading")
        with step.transaction() as connection:
            rows = [(item, step.execution_id) for item in range(first, first + CHUNK_SIZE)]
            connection.executemany(statement, rows)
        return PartitionResult.success(rows=CHUNK_SIZE)

    return Job(
        "partitions",
        steps=[
            TaskletStep("prepare", prepare),
            PartitionedStep("load", list(range(1, ITEMS, CHUNK_SIZE)), load, executor="inline"),
        ],
    )


JOBS = {
    "chunks": chunk_job,
    "tasklet": tasklet_job,
    "tasklet_inside": frozen_transaction_job,
    "partitions": partition_job,
}


def run_and_stop(
    url: str, job: str, place: str, marker: str, statement: str = UPSERT
) -> dict[str, Any]:
    """Run the job and stop this process at ``place``; the answer is what happened after waking."""

    def pause(here: str) -> None:
        if here == place:
            Path(marker).touch()
            stop_this_process()

    before = ZeroRowUpdates.count
    with Node.open(url) as node:
        try:
            ended = str(node.operator.run(JOBS[job](pause, statement)).batch_status)
        except StepwellError as error:
            ended = error.code
        return {"ended": ended, "zero_row_updates": ZeroRowUpdates.count - before}


def restart(url: str, job: str, execution_id: int, statement: str = UPSERT) -> dict[str, Any]:
    """Another runner restarts the execution and ends it."""
    with Node.open(Settings(database=url)) as node:
        node.registry.add(JOBS[job](lambda place: None, statement), origin="the test")
        ended = node.operator.wait(node.operator.restart(execution_id))
        assert ended is not None
        return {"execution_id": ended.execution_id, "ended": str(ended.batch_status)}
