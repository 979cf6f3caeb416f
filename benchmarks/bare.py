"""The bare programs: what one would write by hand on the driver, without Stepwell."""

from __future__ import annotations

import csv
import queue
import sqlite3
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

AT = "2026-11-20T01:02:03.123456Z"
GAP_S = 60e-6  # Python between two transactions: a commit's price depends on the gap before it.

SCHEMA = """
CREATE TABLE i (id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT, key TEXT, at TEXT,
  UNIQUE (name, key));
CREATE TABLE e (id INTEGER PRIMARY KEY AUTOINCREMENT, i INTEGER REFERENCES i, version INT,
  fence INT, status TEXT, created TEXT, started TEXT, ended TEXT, exit TEXT);
CREATE TABLE s (id INTEGER PRIMARY KEY AUTOINCREMENT, e INTEGER REFERENCES e, version INT,
  name TEXT, status TEXT, started TEXT, ended TEXT);
CREATE TABLE h (id INTEGER PRIMARY KEY AUTOINCREMENT, e INTEGER REFERENCES e, s INTEGER,
  f TEXT, t TEXT, at TEXT);
"""
HISTORY = "INSERT INTO h (e, s, f, t, at) VALUES (?, ?, ?, ?, ?)"


def connect(path: Path) -> sqlite3.Connection:
    """A durable connection, as Stepwell opens its own."""
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA foreign_keys = ON")
    return connection


class HandWritten:
    """A job with steps, recorded by hand: six transactions with one step, two for each more."""

    def __init__(self, path: Path) -> None:
        self.connection = connect(path)
        self.connection.executescript(SCHEMA)

    def transaction(self, *statements: tuple[str, tuple[Any, ...]]) -> int:
        """One durable transaction behind the gap; the id that its first statement inserted."""
        began = time.perf_counter()
        while time.perf_counter() - began < GAP_S:
            pass
        execute = self.connection.execute
        execute("BEGIN IMMEDIATE")
        first = execute(*statements[0]).lastrowid
        for sql, values in statements[1:]:
            execute(sql, values)
        execute("COMMIT")
        return first or 0

    def step(self, e: int) -> None:
        """The two transactions of a step."""
        s = self.transaction(
            (
                "INSERT INTO s (e, version, name, status, started) VALUES (?, 0, ?, ?, ?)",
                (e, "step", "STARTED", AT),
            ),
            (HISTORY, (e, None, None, "STARTED", AT)),
        )
        self.transaction(
            (
                (
                    "UPDATE s SET status = ?, version = version + 1, ended = ?"
                    " WHERE id = ? AND version = 0"
                ),
                ("COMPLETED", AT, s),
            ),
            (HISTORY, (e, s, "STARTED", "COMPLETED", AT)),
        )

    def job(self) -> None:
        """The six transactions of a job with one step."""
        key = str(time.monotonic_ns())
        i = self.transaction(("INSERT INTO i (name, key, at) VALUES (?, ?, ?)", ("job", key, AT)))
        e = self.transaction(
            (
                "INSERT INTO e (i, version, fence, status, created) VALUES (?, 0, 1, ?, ?)",
                (i, "STARTING", AT),
            )
        )
        self.transaction(
            (
                (
                    "UPDATE e SET status = ?, version = version + 1, started = ?"
                    " WHERE id = ? AND version = 0 AND fence = 1"
                ),
                ("STARTED", AT, e),
            ),
            (HISTORY, (e, None, "STARTING", "STARTED", AT)),
        )
        self.step(e)
        self.transaction(
            (
                (
                    "UPDATE e SET status = ?, version = version + 1, ended = ?, exit = ?"
                    " WHERE id = ? AND version = 1 AND fence = 1"
                ),
                ("COMPLETED", AT, "COMPLETED", e),
            ),
            (HISTORY, (e, None, "STARTED", "COMPLETED", AT)),
        )


def partitions(folder: Path, count: int) -> float:
    """Partitions a second: a pool of two threads and a recorder that commits every ten results."""
    connection = connect(folder / "bare.db")
    connection.execute(
        "CREATE TABLE p (n INTEGER PRIMARY KEY, status TEXT, started TEXT, ended TEXT, result TEXT)"
    )
    connection.execute("CREATE TABLE s (total INT, done INT)")
    results: queue.SimpleQueue[tuple[int, str]] = queue.SimpleQueue()
    began = time.perf_counter()
    connection.execute("BEGIN IMMEDIATE")
    connection.executemany(
        "INSERT INTO p (n, status) VALUES (?, 'STARTING')", ((n,) for n in range(count))
    )
    connection.execute("INSERT INTO s VALUES (?, 0)", (count,))
    connection.execute("COMMIT")
    done = 0
    with ThreadPoolExecutor(2) as pool:
        for n in range(count):
            pool.submit(lambda n: results.put((n, "SUCCESS")), n)
        while done < count:
            batch = [results.get() for _ in range(min(10, count - done))]
            done += len(batch)
            connection.execute("BEGIN IMMEDIATE")
            connection.executemany(
                "UPDATE p SET status = 'COMPLETED', started = ?, ended = ?, result = ? WHERE n = ?",
                [(AT, AT, result, n) for n, result in batch],
            )
            connection.execute("UPDATE s SET done = ?", (done,))
            connection.execute("COMMIT")
    rate = count / (time.perf_counter() - began)
    connection.close()
    return rate


def csv_load(folder: Path, source: Path, create: str) -> float:
    """Rows a second: csv.reader, typed by hand, executemany and a commit every 1,000 rows."""
    connection = connect(folder / "bare.db")
    connection.execute(create)
    insert = f"INSERT INTO flight VALUES ({', '.join('?' * 19)})"

    def store(rows: list[tuple[Any, ...]]) -> None:
        connection.execute("BEGIN IMMEDIATE")
        connection.executemany(insert, rows)
        connection.execute("COMMIT")

    began = time.perf_counter()
    count, chunk = 0, []
    with source.open(newline="") as file:
        reader = csv.reader(file)
        next(reader)
        for a, b, c, d, e, f, g, h, i, j, k, m, n, o, p, q, r, s, t in reader:
            chunk.append(
                (
                    int(a),
                    int(b),
                    int(c),
                    None if d == "NA" else int(d),
                    int(e),
                    None if f == "NA" else int(f),
                    None if g == "NA" else int(g),
                    int(h),
                    None if i == "NA" else int(i),
                    j,
                    int(k),
                    None if m == "NA" else m,
                    n,
                    o,
                    None if p == "NA" else int(p),
                    int(q),
                    int(r),
                    int(s),
                    t,
                )
            )
            if len(chunk) == 1_000:
                store(chunk)
                count += len(chunk)
                chunk = []
    store(chunk)
    count += len(chunk)
    rate = count / (time.perf_counter() - began)
    connection.close()
    return rate
