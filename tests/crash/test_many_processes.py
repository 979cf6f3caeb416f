"""T2 and T6 with real workers: killed at any moment, watched all the time, and never at rest."""

from __future__ import annotations

import random
import time
from pathlib import Path
from typing import Any

import pytest

from stepwell import Node
from stepwell.finding import Finding
from stepwell.repository.blockers import read_occupancy
from stepwell.repository.invariants import examine
from stepwell.testing import Child, WarmParent
from tests.support.databases import Databases
from tests.support.soak import CREATE, POOLS

WORK, TERMINAL = "tests.support.soak:work", "tests.support.soak:register_and_look"
WRITE, LOOK = "tests.support.soak:write_tightly", "tests.support.soak:look_tightly"
WORKERS = 8
CONTENTION_S = 3.0
DRAINED_WITHIN_S = 90.0
DEATHS = "SELECT COUNT(*) FROM batch_job_execution WHERE failure_type = 'OwnerDied'"
UNFINISHED = "SELECT COUNT(*) FROM batch_job_execution WHERE end_time IS NULL"


def watch(node: Node, for_s: float, broken: list[str]) -> None:
    """Look at what runs again and again: no pool above its size, no two on one file."""
    end = time.monotonic() + for_s
    while time.monotonic() < end:
        with node.database.read() as reader:
            occupancy = read_occupancy(reader)
        for pool, holders in occupancy.pools.items():
            if len(holders) > POOLS[pool]:
                broken.append(f"pool {pool} has {len(holders)}")
        broken += [str(overlap) for overlap in occupancy.overlaps()]


def findings(node: Node) -> list[Finding]:
    with node.database.read() as reader:
        return examine(reader)


def ask(node: Node, sql: str) -> list[tuple[Any, ...]]:
    with node.database.read() as reader:
        return [tuple(row) for row in reader.connection.execute(sql)]


@pytest.mark.parametrize(
    "for_s",
    [
        pytest.param(8.0, id="some seconds"),
        pytest.param(60.0, id="a minute", marks=[pytest.mark.slow, pytest.mark.timeout(400)]),
    ],
)
def test_eight_workers_that_are_killed_do_everything_once(
    for_s: float, databases: Databases, warm_parent: WarmParent, tmp_path: Path
) -> None:
    """Goal: T2, T6, law 4. Method: the items' own evidence, the rows at any moment, the log.

    Every 20 to 500 ms one of eight workers is killed and another one started, while somebody else
    registers and looks without a pause.
    """
    url = databases.migrated(warm_parent)
    chance, broken, kills = random.Random(8), [], 0

    def start() -> Child:
        return warm_parent.start(WORK, url=url, folder=str(tmp_path))

    with Node.open(url) as node:
        for pool, size in POOLS.items():
            node.pools.set(pool, size)
        with node.database.write() as transaction:
            transaction.connection.execute(CREATE)
        workers = [start() for _ in range(WORKERS)]
        terminal = warm_parent.start(TERMINAL, url=url, folder=str(tmp_path))
        end = time.monotonic() + for_s
        while time.monotonic() < end or ask(node, DEATHS) == [(0,)]:
            watch(node, chance.uniform(0.02, 0.5), broken)
            workers.pop(chance.randrange(WORKERS)).kill()
            broken += map(str, findings(node))  # At this very moment every promise holds.
            workers.append(start())
            kills += 1
        (tmp_path / "no more").touch()
        told = terminal.wait()
        deadline = time.monotonic() + DRAINED_WITHIN_S
        while ask(node, UNFINISHED) != [(0,)] and time.monotonic() < deadline:
            watch(node, 0.1, broken)
        (tmp_path / "enough").touch()
        ended = [worker.wait() for worker in workers]
        left = findings(node)
        numbers = [n for (n,) in ask(node, "SELECT number FROM evidence ORDER BY number")]
        last = ask(node, LAST_OF_EACH)
        deaths = ask(node, DEATHS)[0][0]

    print(f"{kills} kills, {deaths} deaths, {len(numbers)} items", _percentiles(told.result))
    assert [] == broken
    assert not (tmp_path / "broken").exists(), (tmp_path / "broken").read_text("utf-8")[:4000]
    assert (None, [None] * WORKERS) == (told.error, [each.error for each in ended])
    assert list(range(1, told.result["registered"] + 1)) == numbers
    assert [("COMPLETED", len(numbers))] == last
    assert [] == left


LAST_OF_EACH = """SELECT status, COUNT(*) FROM batch_job_execution e WHERE job_execution_id =
  (SELECT MAX(job_execution_id) FROM batch_job_execution l
 WHERE l.job_instance_id = e.job_instance_id) GROUP BY status"""


def test_eight_tight_writers_lock_nobody_out(
    databases: Databases, warm_parent: WarmParent, tmp_path: Path
) -> None:
    """Goal: T6, law 4. Method: readers, a heartbeat, ``register`` and ``status`` beside them.

    Whoever is refused raises; how long each had to wait is printed.
    """
    url, folder = databases.migrated(warm_parent), str(tmp_path)
    with Node.open(url) as node:
        for pool, size in POOLS.items():
            node.pools.set(pool, size)
        with node.database.write() as transaction:
            transaction.connection.execute(CREATE)
    terminal = warm_parent.start(TERMINAL, url=url, folder=folder)
    beating = warm_parent.start(WRITE, url=url, folder=folder, number=0, pause_s=0.02)
    readers = [warm_parent.start(LOOK, url=url, folder=folder) for _ in range(2)]
    writers = [
        warm_parent.start(WRITE, url=url, folder=folder, number=n) for n in range(1, WORKERS + 1)
    ]
    time.sleep(CONTENTION_S)  # They write as fast as they can; there is nothing to wait for.
    (tmp_path / "no more").touch()
    ended = {
        "terminal": [terminal.wait()],
        "heartbeat": [beating.wait()],
        "readers": [each.wait() for each in readers],
        "writers": [each.wait() for each in writers],
    }

    assert [] == [end.error for each in ended.values() for end in each if end.error]
    told = ended["terminal"][0].result
    told["heartbeat"] = ended["heartbeat"][0].result
    told["writer"] = sorted(s for end in ended["writers"] for s in end.result)
    told["reader"] = sorted(s for end in ended["readers"] for s in end.result)
    print(_percentiles(told))
    counts = [len(end.result) for end in ended["writers"]]
    with Node.open(url) as node:
        written = ask(node, "SELECT COUNT(*) FROM evidence")

    assert [(sum(counts) + len(told["heartbeat"]),)] == written


def _percentiles(took: dict[str, Any]) -> dict[str, str]:
    """The p99 of ``register`` and ``status`` among others, for whoever runs it with ``-s``."""
    return {
        name: f"{len(each)} calls, p50 {1000 * each[len(each) // 2]:.1f} ms,"
        f" p99 {1000 * each[99 * len(each) // 100]:.1f} ms, max {1000 * each[-1]:.1f} ms"
        for name, each in took.items()
        if isinstance(each, list)
    }
