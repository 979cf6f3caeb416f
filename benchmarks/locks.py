"""The row of the locks: alone, four processes on names of their own, eight paced ones."""

from __future__ import annotations

import multiprocessing
import sqlite3
import statistics
import time
from collections.abc import Callable
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

from benchmarks import bare, ours
from benchmarks.measure import Row, compare, fresh_folder

PAIRS = 300
PACED_S = 2.0
HOLD_S, IDLE_S = 0.002, 0.003
_CONTEXT = multiprocessing.get_context("spawn")

SCHEMA = """CREATE TABLE IF NOT EXISTS l (id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT UNIQUE,
  mode TEXT, owner INT, at TEXT, ttl INT)"""
LOCK = "INSERT INTO l (name, mode, owner, at) VALUES (?, 'write', ?, ?)"
UNLOCK = "DELETE FROM l WHERE name = ? AND owner = ?"

Pair = Callable[[str], tuple[Callable[[], Any], Callable[[], Any]]]


def single_row() -> Row:
    """One process, one free lock after the other."""

    def by_hand(folder: Path) -> float:
        program = bare.HandWritten(folder / "bare.db")
        program.connection.execute(SCHEMA)
        began = time.perf_counter()
        for _ in range(PAIRS):
            program.transaction((LOCK, ("a", 1, bare.AT)))
            program.transaction((UNLOCK, ("a", 1)))
        return (time.perf_counter() - began) / PAIRS * 1e6

    def stepwell(folder: Path) -> float:
        with ours.open_node(folder) as node:
            began = time.perf_counter()
            for _ in range(PAIRS):
                node.locks.acquire("a").release()
            return (time.perf_counter() - began) / PAIRS * 1e6

    def note() -> str:
        with fresh_folder() as folder, ours.open_node(folder) as node:
            node.locks.acquire("warm").release()
            traced = ours.Traced(node)
            node.locks.acquire("a").release()
            return f"{traced.commits} commits, {len(traced.statements)} statements"

    return compare(
        "lock acquire + release",
        bare=by_hand,
        ours=stepwell,
        target=1.5,
        better="low",
        unit="µs",
        note=note,
    )


def four_row() -> Row:
    """Four processes on names of their own: a pair of all of them against one process's own."""

    def rate(folder: Path, processes: int) -> float:
        answers = _together(_tight, processes, str(folder))
        return 1e6 / sum(answers)

    return compare(
        "the same, 4 processes, 4 names: time per pair",
        bare=lambda folder: rate(folder, 1),
        ours=lambda folder: rate(folder, 4),
        target=1.25,
        better="low",
        unit="µs",
        rounds=3,
    )


def paced_lines() -> list[str]:
    """Eight processes that hold for 2 ms and idle for 3: the wait for a lock, and who gets it."""
    waits: dict[str, list[float]] = {"bare": [], "ours": [], "one name": []}
    shares: list[float] = []
    for _ in range(3):
        for who, p99s in waits.items():
            with fresh_folder() as folder:
                answers = _together(_paced, 8, str(folder), who)
            acquired = sorted(wait for answer in answers for wait in answer)
            p99s.append(acquired[int(len(acquired) * 0.99)] * 1e3)
            if who == "ours":
                counts = [len(answer) for answer in answers]
                shares.append(min(counts) / max(counts))
    p99 = {who: statistics.median(found) for who, found in waits.items()}
    ratio, share = p99["ours"] / p99["bare"], statistics.median(shares)
    return [
        str(
            Row(
                "lock, 8 paced processes: p99 of acquire",
                p99["bare"],
                p99["ours"],
                ratio,
                0.25,
                "low",
                "ms",
                f"all eight on one name: {p99['one name']:.1f} ms",
            )
        ),
        str(Row("  pairs: slowest process, fastest one", 1, share, share, 0.5, "high", "", "")),
    ]


def _together(work: Callable[..., None], processes: int, *arguments: str) -> list[Any]:
    """Run ``work`` in as many processes at once; what each answers."""
    barrier, answers = _CONTEXT.Barrier(processes), _CONTEXT.Queue()
    with ours.open_node(Path(arguments[0])):
        pass
    started = [
        _CONTEXT.Process(target=work, args=(barrier, answers, number, *arguments))
        for number in range(processes)
    ]
    for process in started:
        process.start()
    found = [answers.get(timeout=60) for _ in started]
    for process in started:
        process.join(60)
    return found


def _tight(barrier: Barrier, answers: Any, number: int, folder: str) -> None:
    acquire, release = _stepwell(folder, f"name-{number}")
    acquire(), release()
    barrier.wait(60)
    began = time.perf_counter()
    for _ in range(PAIRS):
        acquire(), release()
    answers.put(PAIRS / (time.perf_counter() - began))


def _paced(barrier: Barrier, answers: Any, number: int, folder: str, who: str) -> None:
    if who == "bare":
        acquire, release = _busy_handler(folder, f"name-{number}")
    else:
        acquire, release = _stepwell(folder, "one" if who == "one name" else f"name-{number}")
    acquire(), release()
    barrier.wait(60)
    waits, end = [], time.perf_counter() + PACED_S
    while time.perf_counter() < end:
        began = time.perf_counter()
        acquire()
        waits.append(time.perf_counter() - began)
        time.sleep(HOLD_S)
        release()
        time.sleep(IDLE_S)
    answers.put(waits)


def _stepwell(folder: str, name: str) -> tuple[Callable[[], Any], Callable[[], Any]]:
    locks = ours.Node.open(f"sqlite:///{folder}/ours.db").locks
    held: list[Any] = []
    return (
        lambda: held.append(locks.acquire(name)),
        lambda: held.pop().release(),
    )


def _busy_handler(folder: str, name: str) -> tuple[Callable[[], Any], Callable[[], Any]]:
    """The driver's own way to wait: sqlite3.connect(timeout=30)."""
    connection = sqlite3.connect(f"{folder}/bare.db", timeout=30, isolation_level=None)
    for pragma in ("journal_mode = WAL", "synchronous = FULL"):
        connection.execute(f"PRAGMA {pragma}")
    connection.execute(SCHEMA)

    def transaction(sql: str, values: tuple[Any, ...]) -> None:
        connection.execute("BEGIN IMMEDIATE")
        connection.execute(sql, values)
        connection.execute("COMMIT")

    return (
        lambda: transaction(LOCK, (name, 1, bare.AT)),
        lambda: transaction(UNLOCK, (name, 1)),
    )
