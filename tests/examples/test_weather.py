"""Scenario A: the weather job on a database that is missing, empty, or has tables but no rows."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from stepwell import Node
from tests.examples.runs import copy_of, module_of, refused, rows, start, stepwell

PROCESSES = 8
ROWS = 286  # Of 3 stations × 96 hours, two are known from a faulty line only.


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return copy_of("weather", tmp_path)


def _missing(folder: Path) -> None:
    assert not (folder / "weather.db").exists()


def _empty(folder: Path) -> None:
    (folder / "weather.db").touch()


def _application_tables_only(folder: Path) -> None:
    connection = sqlite3.connect(folder / "weather.db")
    for migration in sorted((folder / "migrations").glob("*.sql")):
        connection.executescript(migration.read_text("utf-8"))
    connection.close()


def _tables_without_rows(folder: Path) -> None:
    _application_tables_only(folder)
    with Node.open(f"sqlite:///{folder / 'weather.db'}"):
        pass


STARTS = [_missing, _empty, _application_tables_only, _tables_without_rows]


@pytest.mark.parametrize("begin", STARTS, ids=lambda begin: begin.__name__.strip("_"))
def test_the_first_run_completes_whatever_the_database_was(
    begin: Callable[[Path], None], folder: Path
) -> None:
    """Goal: scenario A. Method: each of the four starts, then a second run."""
    begin(folder)

    stepwell(folder, "run", "weather")

    database = folder / "weather.db"
    assert [
        ("migrateMetadataStep", "COMPLETED", "MIGRATED", 0, 0),
        ("load", "COMPLETED", "COMPLETED", 427, 5),
        ("export", "COMPLETED", "COMPLETED", ROWS, 0),
    ] == rows(
        database,
        "SELECT step_name, status, exit_code, write_count, read_skip_count + process_skip_count"
        " FROM batch_step_execution ORDER BY step_execution_id",
    )
    assert [(ROWS,)] == rows(database, "SELECT count(*) FROM forecast")
    assert "already COMPLETED" in refused(folder, "run", "weather")
    assert [(1,)] == rows(database, "SELECT count(*) FROM batch_job_execution")


def test_every_faulty_line_is_recorded_with_its_fault(folder: Path) -> None:
    stepwell(folder, "run", "weather")

    skipped = rows(folder / "weather.db", "SELECT phase, error_type FROM batch_skip ORDER BY 1, 2")
    assert [("process", 3), ("read", 2)] == [
        (phase, [row[0] for row in skipped].count(phase)) for phase in ("process", "read")
    ]


def test_the_export_is_the_table(folder: Path) -> None:
    stepwell(folder, "run", "weather")

    table = rows(
        folder / "weather.db",
        "SELECT station, valid_at, issued_at, temperature_c, precipitation_mm, wind_m_s,"
        " wind_from_deg, cloud_percent FROM forecast ORDER BY station, valid_at",
    )
    lines = (folder / "forecast.jsonl").read_text("utf-8").splitlines()
    assert table == [tuple(json.loads(line).values()) for line in lines]


def test_a_newer_file_replaces_what_an_older_one_said(folder: Path) -> None:
    """Goal: 24 hours a station stay from each file but the last, all 48 from that one.

    Two faulty lines lose an hour for good; for two others an older forecast stays.
    """
    stepwell(folder, "run", "weather")

    assert [
        ("2026-03-01T06:00:00Z", 24 * 3 - 1 + 1),
        ("2026-03-02T06:00:00Z", 24 * 3 - 1 + 1),
        ("2026-03-03T06:00:00Z", 48 * 3 - 2),
    ] == rows(
        folder / "weather.db", "SELECT issued_at, count(*) FROM forecast GROUP BY 1 ORDER BY 1"
    )


def test_of_eight_first_runs_at_once_one_runs_and_seven_are_refused(folder: Path) -> None:
    """Goal: no start fails because another one makes the tables. Method: real processes."""
    started = [start(folder, "run", "weather") for _ in range(PROCESSES)]

    ended = [(process.communicate(timeout=100)[0], process.returncode) for process in started]
    assert [0] + [4] * (PROCESSES - 1) == sorted(status for _, status in ended), ended
    assert [(ROWS,)] == rows(folder / "weather.db", "SELECT count(*) FROM forecast")


def test_the_forecasts_are_what_their_program_makes(folder: Path) -> None:
    """Goal: the data in the repository is documented by the program that made it."""
    before = {file.name: file.read_text("utf-8") for file in (folder / "forecasts").iterdir()}
    for file in (folder / "forecasts").iterdir():
        file.unlink()

    module_of(folder / "make_forecasts.py").main()

    after = {file.name: file.read_text("utf-8") for file in (folder / "forecasts").iterdir()}
    assert before == after
