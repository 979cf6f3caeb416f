"""Scenario A in small: a step makes the application's tables, then a chunk step fills one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from stepwell import ChunkStep, Job, MigrationTasklet, StepContext, TaskletStep

HOURS = 5
MIGRATE, LOAD = "migrateMetadataStep", "loadForecasts"

MIGRATIONS = {
    "001_forecast.sql": "CREATE TABLE forecast (hour INTEGER PRIMARY KEY, celsius INTEGER);",
    "002_index.sql": "CREATE INDEX forecast_celsius ON forecast (celsius);",
}

FORECASTS = [(hour, 10 + hour) for hour in range(HOURS)]


def write_migrations(folder: Path) -> str:
    """The folder that the job's migrations are in."""
    folder.mkdir()
    for name, sql in MIGRATIONS.items():
        (folder / name).write_text(sql)
    return str(folder)


def nothing(place: str, step: StepContext | None) -> None:
    """Watches nobody."""


def weather_job(folder: str, watch: Callable[[str, StepContext | None], None] = nothing) -> Job:
    """The job; ``watch`` is called first of all in every piece of a step's code."""

    def migrate(step: StepContext) -> str:
        watch("migrate", step)
        return MigrationTasklet(folder)(step)

    class Reader:
        def open(self, checkpoint: Any, step: StepContext) -> None:
            watch("open", step)
            self._at = checkpoint or 0

        def read(self) -> tuple[int, int] | None:
            watch("read", None)
            self._at += 1
            return FORECASTS[self._at - 1] if self._at <= HOURS else None

        def checkpoint(self) -> int:
            return self._at

        def close(self) -> None:
            """Nothing to give back."""

    def write(items: list[tuple[int, int]], step: StepContext) -> None:
        watch("write", step)
        step.connection.executemany(
            "INSERT INTO forecast (hour, celsius) VALUES (:hour, :celsius)", items
        )

    return Job(
        "weather",
        steps=[
            TaskletStep(MIGRATE, migrate),
            ChunkStep(LOAD, Reader(), None, write, chunk_size=2),
        ],
    )
