"""Hourly forecasts: from files into a table, and out again as one file (scenario A).

    stepwell run weather                              in this folder; no database is needed
    stepwell run weather files='forecasts/2026-03-03.csv'

The first step makes the application's own tables. Stepwell's are made when the database is opened,
before any row; so it does not matter whether the file was missing, empty or full of other tables.
"""

from datetime import UTC, datetime
from pathlib import Path

from stepwell import (
    ChunkStep,
    Job,
    MigrationTasklet,
    NonIdentifying,
    Parameters,
    Skip,
    StepContext,
    TaskletStep,
)
from stepwell.errors import MalformedItem
from stepwell.items import CsvReader, JsonLinesWriter, SqlReader, SqlWriter

HERE = Path(__file__).resolve().parent

COLUMNS = [
    *("station", "valid_at", "issued_at", "temperature_c", "precipitation_mm"),
    *("wind_m_s", "wind_from_deg", "cloud_percent"),
]
NUMBERS = {
    **dict.fromkeys(["temperature_c", "precipitation_mm", "wind_m_s"], float),
    **dict.fromkeys(["wind_from_deg", "cloud_percent"], int),
}


class Forecasts(Parameters):
    files: str = "forecasts/*.csv"  # relative to this folder; a glob is read in the order of names
    export: NonIdentifying[str] = "forecast.jsonl"


class Implausible(ValueError):
    """A forecast that no weather could bring."""


def forecast_files(step: StepContext) -> Path:
    return HERE / step.parameters.files


def export_file(step: StepContext) -> Path:
    return HERE / step.parameters.export


def check(forecast: dict) -> dict:
    """The forecast, if it can be; with one way of writing a time, so that times sort as text."""
    if not -90 <= forecast["temperature_c"] <= 60:
        raise Implausible(f"temperature_c is {forecast['temperature_c']}")
    if not 0 <= forecast["cloud_percent"] <= 100:
        raise Implausible(f"cloud_percent is {forecast['cloud_percent']}")
    return {
        **forecast,
        "valid_at": moment(forecast["valid_at"]),
        "issued_at": moment(forecast["issued_at"]),
    }


def moment(text: str) -> str:
    return f"{datetime.fromisoformat(text).astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"


job = Job(
    "weather",
    description="hourly forecasts from files into a table, and out again",
    parameters=Forecasts,
    steps=[
        TaskletStep("migrateMetadataStep", MigrationTasklet(HERE / "migrations")),
        ChunkStep(
            "load",
            CsvReader(forecast_files, columns=COLUMNS, types=NUMBERS, null=""),
            check,
            # A newer file says something newer about the same hour: the later row stays.
            SqlWriter("forecast", columns=COLUMNS, key=["station", "valid_at"]),
            chunk_size=50,
            skip=Skip(MalformedItem, ValueError, limit=10),
        ),
        ChunkStep(
            "export",
            SqlReader("forecast", columns=COLUMNS, key=["station", "valid_at"]),
            None,
            JsonLinesWriter(export_file),
            chunk_size=50,
        ),
    ],
)
