"""The same work as Stepwell jobs."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from stepwell import ChunkStep, Job, Node, PartitionedStep, PartitionResult, TaskletStep
from stepwell.items import CsvReader, SqlWriter

INTEGERS = (
    "year month day dep_time sched_dep_time dep_delay arr_time sched_arr_time arr_delay"
    " flight air_time distance hour minute"
).split()
COLUMNS = (
    "year month day dep_time sched_dep_time dep_delay arr_time sched_arr_time arr_delay"
    " carrier flight tailnum origin dest air_time distance hour minute time_hour"
).split()
CREATE_FLIGHT = "CREATE TABLE flight ({})".format(
    ", ".join(f"{c} {'INTEGER' if c in INTEGERS else 'TEXT'}" for c in COLUMNS)
)


class Traced:
    """What a node's writing connection executes, told by SQLite itself."""

    def __init__(self, node: Node) -> None:
        self.statements: list[str] = []
        for kept in node.database._writers._all:
            kept.raw.set_trace_callback(self._add)

    def _add(self, statement: str) -> None:
        # A trigger that fires has its outer statement told again.
        if not self.statements or self.statements[-1] != statement:
            self.statements.append(statement)

    @property
    def commits(self) -> int:
        """How many transactions were committed."""
        return sum(statement == "COMMIT" for statement in self.statements)


@contextmanager
def open_node(folder: Path) -> Iterator[Node]:
    """A node on a new database, warm: its owner is registered, its statements are compiled."""
    with Node.open(f"sqlite:///{folder}/ours.db") as node:
        run(node, steps_job(1))
        yield node


def nothing() -> None:
    """The no-op."""


def steps_job(count: int) -> Job:
    """A job of no-op steps; every start is a new instance."""
    steps = [TaskletStep(f"step-{n}", nothing) for n in range(count)]
    return Job("steps", steps=steps, identity="each-start")


def run(node: Node, job: Job) -> int:
    """Run a job that must complete; its execution's id."""
    execution = node.operator.run(job)
    if execution.batch_status != "COMPLETED":
        raise SystemExit(f"the benchmark's job failed: {execution.failure}")
    return execution.execution_id


def count_statements(folder: Path, job: Job) -> tuple[int, int]:
    """Commits and statements of one run of ``job``."""
    with open_node(folder) as node:
        traced = Traced(node)
        run(node, job)
        return traced.commits, len(traced.statements)


def partition(number: int) -> PartitionResult:
    """One partition that does nothing but count."""
    return PartitionResult.success(rows=1)


def partitions_job(count: int) -> Job:
    """A partitioned step of ``count`` no-ops on two threads."""
    step = PartitionedStep("count", lambda: range(count), partition, workers=2)
    return Job("partitions", steps=[step], identity="each-start")


def partitions(folder: Path, count: int) -> float:
    """Partitions a second, recorded."""
    with open_node(folder) as node:
        began = time.perf_counter()
        run(node, partitions_job(count))
        return count / (time.perf_counter() - began)


def csv_load(folder: Path, source: Path, rows: str) -> float:
    """Rows a second through CsvReader and SqlWriter, 1,000 a chunk."""
    with open_node(folder) as node:
        with node.database.write() as transaction:
            transaction.connection.execute(CREATE_FLIGHT)
        step = ChunkStep(
            "load",
            CsvReader(source, types=dict.fromkeys(INTEGERS, int), null="NA", rows=rows),
            None,
            SqlWriter("flight", columns=COLUMNS),
            chunk_size=1_000,
        )
        began = time.perf_counter()
        execution_id = run(node, Job("load", steps=[step]))
        seconds = time.perf_counter() - began
        (recorded,) = node.operator.get_step_executions(execution_id)
        return recorded.metrics.write_count / seconds
