"""What a look costs while others write: ``status`` beside eight processes that run jobs."""

from __future__ import annotations

import multiprocessing
import sqlite3
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from multiprocessing.synchronize import Barrier, Event
from pathlib import Path

from benchmarks import ours
from benchmarks.measure import Row, fresh_folder
from stepwell import Node
from stepwell.looks.reading import Watch

WRITERS, LOOKS, ROUNDS = 8, 300, 3
_CONTEXT = multiprocessing.get_context("spawn")


def status_row() -> Row:
    """The 99th percentile of a look, against the statements that it makes, by hand, in turn."""
    pairs = []
    for _ in range(ROUNDS):
        with (
            fresh_folder() as folder,
            _written(folder),
            Node.open(f"sqlite:///{folder}/ours.db") as node,
        ):
            watch = Watch(node.database, node.clock)
            statements = _statements(node, watch)
            by_hand = _reading(folder, statements)
            looks = [(_milliseconds(by_hand), _milliseconds(watch.overview)) for _ in range(LOOKS)]
        bare, stepwell = (_p99(list(column)) for column in zip(*looks, strict=True))
        pairs.append((bare, stepwell))
    return Row(
        "status while 8 processes run jobs: p99",
        statistics.median(bare for bare, _ in pairs),
        statistics.median(stepwell for _, stepwell in pairs),
        statistics.median(stepwell / bare for bare, stepwell in pairs),
        3.0,
        "low",
        "ms",
        f"{len(statements)} statements",
    )


def _statements(node: Node, watch: Watch) -> list[str]:
    """What a look asks, with its values."""
    found: list[str] = []
    watch.overview()
    for kept in node.database._readers._all:
        kept.raw.set_trace_callback(found.append)
    watch.overview()
    for kept in node.database._readers._all:
        kept.raw.set_trace_callback(None)
    return found


def _reading(folder: Path, statements: list[str]) -> Callable[[], None]:
    connection = sqlite3.connect(
        f"file:{folder}/ours.db?mode=ro", uri=True, isolation_level=None, timeout=30
    )

    def read() -> None:
        for statement in statements:
            connection.execute(statement).fetchall()

    return read


def _milliseconds(look: Callable[[], object]) -> float:
    began = time.perf_counter()
    look()
    return (time.perf_counter() - began) * 1e3


def _p99(values: list[float]) -> float:
    return sorted(values)[int(len(values) * 0.99)]


@contextmanager
def _written(folder: Path) -> Iterator[None]:
    """While this is open, eight processes run one job after the other."""
    with ours.open_node(folder):
        pass
    barrier, over = _CONTEXT.Barrier(WRITERS + 1), _CONTEXT.Event()
    writers = [
        _CONTEXT.Process(target=_write, args=(str(folder), number, barrier, over))
        for number in range(WRITERS)
    ]
    for writer in writers:
        writer.start()
    barrier.wait(60)
    try:
        yield
    finally:
        over.set()
        for writer in writers:
            writer.join(60)


def _write(folder: str, number: int, barrier: Barrier, over: Event) -> None:
    job = replace(ours.steps_job(1), name=f"steps-{number}")
    with Node.open(f"sqlite:///{folder}/ours.db") as node:
        ours.run(node, job)
        barrier.wait(60)
        while not over.is_set():
            ours.run(node, job)
