"""T5: any number of processes open the same new file at once, and all of them succeed."""

from __future__ import annotations

import multiprocessing
import sqlite3
import traceback
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from stepwell.database.connect import open_database
from stepwell.database.migrations import HEAD, migrate

PROCESSES = 8
FILES = 20

# All 160 of 160 for the start that is everybody's first; the others as many in `make test-all`.
STARTS = [
    ("missing", FILES),
    *((start, FILES // 4) for start in ("empty", "application", "no rows")),
    *(
        pytest.param(start, FILES, marks=pytest.mark.slow)
        for start in ("empty", "application", "no rows")
    ),
]


@pytest.mark.parametrize(("start", "files"), STARTS)
def test_eight_processes_that_open_the_same_new_file_all_succeed(
    tmp_path: Path, start: str, files: int
) -> None:
    """Goal: 160 of 160. Method: at each file all wait for each other, open, migrate and write."""
    for number in range(files):
        make(tmp_path / f"{number}.db", start)
    spawn = multiprocessing.get_context("spawn")
    barrier, results = spawn.Barrier(PROCESSES), spawn.Queue()
    processes = [
        spawn.Process(target=open_all, args=(str(tmp_path), files, barrier, results))
        for _ in range(PROCESSES)
    ]
    for process in processes:
        process.start()
    outcomes = Counter(results.get(timeout=60) for _ in range(PROCESSES * files))
    for process in processes:
        process.join(60)

    assert {"ok": PROCESSES * files} == outcomes
    for number in range(files):
        assert PROCESSES == rows_of_a_whole_file(tmp_path / f"{number}.db", start)


def make(path: Path, start: str) -> None:
    if start == "empty":
        path.touch()
    elif start == "application":
        raw = sqlite3.connect(path)
        raw.executescript("CREATE TABLE customer (id); INSERT INTO customer VALUES (1)")
        raw.close()
    elif start == "no rows":
        with open_database(f"sqlite:///{path}") as database:
            migrate(database)


def open_all(folder: str, files: int, barrier: Any, results: Any) -> None:
    """In each process: every file in turn, all processes at the same moment."""
    for number in range(files):
        barrier.wait(60)
        try:
            with open_database(f"sqlite:///{folder}/{number}.db") as database:
                migrate(database)
                database.run(
                    lambda t: t.connection.execute(
                        "INSERT INTO batch_pool (pool_name, size)"
                        " SELECT 'p' || count(*), 1 FROM batch_pool"
                    )
                )
            results.put("ok")
        except Exception:
            results.put(traceback.format_exc())


def rows_of_a_whole_file(path: Path, start: str) -> int:
    raw = sqlite3.connect(path)
    try:
        assert ("ok",) == raw.execute("PRAGMA integrity_check").fetchone()
        assert [(HEAD,)] == raw.execute("SELECT version_num FROM batch_schema_version").fetchall()
        if start == "application":
            assert [(1,)] == raw.execute("SELECT id FROM customer").fetchall()
        return int(raw.execute("SELECT count(*) FROM batch_pool").fetchone()[0])
    finally:
        raw.close()
