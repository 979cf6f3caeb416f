"""Rows of a long history: a page, an answer and a launch beside a million executions.

The million is written with a few statements, not run: as rows it is what a million runs of jobs
with one step would have left, ten seconds apart.
"""

from __future__ import annotations

import sqlite3
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.measure import Row, fresh_folder
from stepwell import Job, Node, TaskletStep

FEW, MANY = 1_000, 1_000_000
ROUNDS = 15
LAUNCHES = 40
JOBS = 20  # And one, "rare", of which only the first three executions are.

_AT = "strftime('%Y-%m-%dT%H:%M:%S', {}, 'unixepoch') || '.000000Z'"
_CREATED = _AT.format(":now - 10 * (:count - i)")
_ENDED = _AT.format(":now - 10 * (:count - i) + 1 + i % 7")
_NUMBERS = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < :count)"
_STATUS = "CASE WHEN i % 50 = 0 THEN 'FAILED' ELSE 'COMPLETED' END"
STATEMENTS = (
    f"""INSERT INTO batch_job_instance (job_instance_id, version, job_name, job_key, create_time)
    {_NUMBERS} SELECT i, 0, CASE WHEN i <= 3 THEN 'rare' ELSE 'job-' || (i % {JOBS}) END,
    printf('%064x', i), {_CREATED} FROM n""",
    f"""INSERT INTO batch_job_execution (job_execution_id, version, job_instance_id, create_time,
    start_time, end_time, status, result, exit_code, last_updated, fence, last_step, trigger_source,
    priority, recoveries)
    {_NUMBERS} SELECT i, 3, i, {_CREATED}, {_CREATED}, {_ENDED}, {_STATUS}, {_STATUS}, {_STATUS},
    {_ENDED}, 1, 'only', 'user', 0, 0 FROM n""",
    f"""INSERT INTO batch_job_execution_params
    (job_execution_id, parameter_name, parameter_type, parameter_value, identifying)
    {_NUMBERS} SELECT i, 'number', 'STRING', i, 1 FROM n""",
    f"""INSERT INTO batch_job_execution_context (job_execution_id, serialized_context)
    {_NUMBERS} SELECT i, '{{}}' FROM n""",
    f"""INSERT INTO batch_step_execution (step_execution_id, version, step_name, job_execution_id,
    create_time, start_time, end_time, status, exit_code, last_updated, fence, result, read_count,
    write_count, filter_count, commit_count, rollback_count, read_skip_count, process_skip_count,
    write_skip_count, chunk_number)
    {_NUMBERS} SELECT i, 2, 'only', i, {_CREATED}, {_CREATED}, {_ENDED}, {_STATUS}, {_STATUS},
    {_ENDED}, 1, {_STATUS}, 0, 0, 0, 0, 0, 0, 0, 0, 0 FROM n""",
    f"""INSERT INTO batch_status_history
    (job_execution_id, from_status, to_status, changed_at, actor)
    {_NUMBERS} SELECT i, NULL, 'STARTING', {_CREATED}, 'runner' FROM n
    UNION ALL SELECT i, 'STARTED', {_STATUS}, {_ENDED}, 'runner' FROM n""",
)


def write_history(path: Path, count: int) -> None:
    """Fill a database that Stepwell has made; nobody may use it meanwhile."""
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA synchronous = OFF")
    connection.execute("BEGIN IMMEDIATE")
    for statement in STATEMENTS:
        connection.execute(statement, {"count": count, "now": int(time.time())})
    connection.execute("COMMIT")
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()


def open_with_history(folder: Path, count: int) -> Node:
    """A node with so many executions, and its jobs known."""
    path = folder / "history.db"
    with Node.open(f"sqlite:///{path}"):
        pass
    write_history(path, count)
    node = Node.open(f"sqlite:///{path}", purpose="serve")
    for name in (*(f"job-{number}" for number in range(JOBS)), "rare", "launched"):
        job = Job(name, [TaskletStep("only", lambda: None)], identity="each-start")
        node.registry.add(job, origin="module jobs")
    return node


def targets(count: int) -> dict[str, str]:
    """Pages and questions, by what they are called in the table."""
    middle = count // 2
    return {
        "page overview": "/",
        "page executions": "/executions",
        "page executions, in the middle": f"/executions?before={middle}",
        "page executions of a rare job": "/executions?job=rare",
        "page jobs": "/jobs",
        "page job": "/jobs/job-7",
        "page execution": f"/executions/{middle}",
        "API executions": "/api/executions",
        "API executions of a job": f"/api/executions?job=job-7&limit=10&before={middle}",
        "API executions of a rare job": "/api/executions?job=rare",
        "API executions that failed": "/api/executions?status=FAILED&limit=10",
        "API executions that were abandoned": "/api/executions?status=ABANDONED",
        "API execution": f"/api/executions/{middle}",
        "API history": f"/api/executions/{middle}/history",
        "API status": "/api/status",
        "API statistics": "/api/stats",
        "API job": "/api/jobs/rare",
        "API locks": "/api/locks",
        "metrics": "/metrics",
    }


def rows() -> list[Row]:
    """Every page and question, and a launch, with many executions against few."""
    with fresh_folder() as few, fresh_folder() as many:
        return measured(open_with_history(few, FEW), open_with_history(many, MANY))


def measured(few: Node, many: Node, *, few_count: int = FEW, many_count: int = MANY) -> list[Row]:
    """The rows of two nodes; they are closed afterwards."""
    from stepwell.web.app import make_app
    from tests.web.client import Client

    with few, many:
        clients = Client(make_app(few)), Client(make_app(many))
        paths = zip(targets(few_count).items(), targets(many_count).values(), strict=True)
        found = [
            _row(
                f"{name}, {many_count:,} in history",
                1.5,
                *(_asking(client, path) for client, path in zip(clients, pair, strict=True)),
            )
            for (name, first), second in paths
            for pair in [(first, second)]
        ]
        launches = (_launching(node) for node in (few, many))
        return [*found, _row(f"launch, {many_count:,} in history", 1.2, *launches)]


def _row(name: str, target: float, bare: Callable[[], float], ours: Callable[[], float]) -> Row:
    """The median of interleaved pairs."""
    bare(), ours()
    pairs = [(bare(), ours()) for _ in range(ROUNDS)]
    few, many = (statistics.median(side) for side in zip(*pairs, strict=True))
    return Row(name, few, many, many / few, target, "low", "ms", "")


def _asking(client: object, path: str) -> Callable[[], float]:
    def ask() -> float:
        began = time.perf_counter()
        answer = client.get(path)  # type: ignore[attr-defined]
        took = (time.perf_counter() - began) * 1e3
        assert answer.status == 200, answer.text
        return took

    return ask


def _launching(node: Node) -> Callable[[], float]:
    def launch() -> float:
        began = time.perf_counter()
        for _ in range(LAUNCHES // ROUNDS + 1):
            node.operator.run("launched")
        return (time.perf_counter() - began) * 1e3 / (LAUNCHES // ROUNDS + 1)

    return launch


if __name__ == "__main__":
    many = int(sys.argv[1]) if sys.argv[1:] else MANY
    with fresh_folder() as here, fresh_folder() as there:
        nodes = open_with_history(here, FEW), open_with_history(there, many)
        for row in measured(*nodes, many_count=many):
            sys.stdout.write(f"{row}\n")
