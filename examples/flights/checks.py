"""What the demo claims, computed a second time: plain csv and plain SQL, nothing of Stepwell.

Each function returns sentences about what is right, and raises `Wrong` about what is not.
"""

import csv
import sqlite3
from collections.abc import Iterator
from itertools import zip_longest
from pathlib import Path

TEXTS = ("carrier", "origin", "dest", "tailnum", "time_hour")
COLUMNS = (
    *("year", "month", "day", "carrier", "flight", "origin", "dest", "tailnum"),
    *("sched_dep_time", "dep_time", "sched_arr_time", "arr_time"),
    *("dep_delay", "arr_delay", "air_time", "distance", "time_hour"),
)

# The percentile by window functions: of n delays in order, number ceil(90 n / 100).
RECOMPUTED = """
WITH delay AS (
  SELECT month, day, origin, arr_delay,
         row_number() OVER (PARTITION BY month, day, origin ORDER BY arr_delay) AS number,
         count(*) OVER (PARTITION BY month, day, origin) AS n
  FROM flight WHERE arr_delay IS NOT NULL
), p90 AS (
  SELECT month, day, origin, arr_delay AS p90 FROM delay WHERE number = (90 * n + 99) / 100
)
SELECT printf('%04d-%02d-%02d', year, month, day), origin, count(*), sum(dep_time IS NULL),
       avg(arr_delay), p90
FROM flight LEFT JOIN p90 USING (month, day, origin)
GROUP BY year, month, day, origin, p90
"""


class Wrong(Exception):
    """A claim of the demo that does not hold."""


def connect(database: Path) -> sqlite3.Connection:
    """Read-only, so that not even closing it writes."""
    return sqlite3.connect(f"file:{database}?mode=ro", uri=True)


def check_rows(database: Path, file: Path) -> str:
    """Every line of the file is one row of the table, value for value, and in the file's order."""
    stored = connect(database)
    rows = stored.execute(f"SELECT {', '.join(COLUMNS)} FROM flight ORDER BY rowid")
    count = 0
    for count, (expected, row) in enumerate(zip_longest(lines(file), rows), start=1):
        if expected != row:
            raise Wrong(f"line {count + 1} of the file is {expected}, row {count} is {row}")
    stored.close()
    return f"{count:,} lines in the file, {count:,} rows in the table, every value the same"


def lines(file: Path) -> Iterator[tuple[object, ...]]:
    with file.open(newline="", encoding="utf-8") as source:
        reader = csv.reader(source)
        header = next(reader)
        places = [(header.index(name), name in TEXTS) for name in COLUMNS]
        for line in reader:
            yield tuple(
                None if line[place] == "NA" else line[place] if is_text else int(line[place])
                for place, is_text in places
            )


def check_written_once(database: Path) -> str:
    """What all attempts together wrote is the number of rows: no chunk was written twice."""
    stored = connect(database)
    attempts = stored.execute(
        "SELECT job_execution_id, write_count FROM batch_step_execution"
        " WHERE step_name = 'load' ORDER BY step_execution_id"
    ).fetchall()
    rows = stored.execute("SELECT count(*) FROM flight").fetchone()[0]
    stored.close()
    written = sum(count for _, count in attempts)
    told = " + ".join(f"{count:,} by execution {number}" for number, count in attempts)
    if written != rows:
        raise Wrong(f"the attempts wrote {told}, together {written:,}, but there are {rows:,} rows")
    return f"each row written once: {told}"


def check_days(database: Path) -> str:
    """`daily_delay` equals its recomputation in one SQL statement."""
    stored = connect(database)
    expected = set(stored.execute(RECOMPUTED))
    actual = set(stored.execute("SELECT * FROM daily_delay"))
    count = stored.execute("SELECT count(DISTINCT day) FROM daily_delay").fetchone()[0]
    stored.close()
    if expected != actual:
        example = min(expected ^ actual, key=str)
        raise Wrong(f"daily_delay differs in {len(expected ^ actual)} rows, e.g. {example}")
    return f"{len(actual):,} rows for {count} days, equal to their recomputation in plain SQL"


def check_executions(database: Path) -> str:
    """One instance, two executions: the killed one FAILED with its reason, then COMPLETED."""
    stored = connect(database)
    found = stored.execute(
        "SELECT job_instance_id, status, failure_type, exit_message FROM batch_job_execution"
        " ORDER BY job_execution_id"
    ).fetchall()
    stored.close()
    expected = [(1, "FAILED", "OwnerDied"), (1, "COMPLETED", None)]
    if expected != [row[:3] for row in found]:
        raise Wrong(f"the executions should be {expected}, they are {found}")
    return f"one instance, two executions: FAILED ({found[0][3]}), then COMPLETED"
