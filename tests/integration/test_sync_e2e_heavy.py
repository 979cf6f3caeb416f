"""Scenario D with many changes: an import that is killed loses and doubles nothing.

``make e2e`` runs it; it is left to ``make test-all``, too.
"""

from __future__ import annotations

import os
import signal
import sqlite3
import time
from pathlib import Path

import pytest

from tests.examples.runs import copy_of, rows, start, stepwell
from tests.support.command_line import Here

VISITS = 30_000
TABLES = ("company", "store", "visit_daily", "budget_monthly")


def node(folder: Path, name: str, *words: str) -> str:
    return stepwell(folder, "--config", f"{name}.toml", *words)


def applied(folder: Path) -> int:
    """How many visits head office has."""
    [(count,)] = rows(folder / "main.db", "SELECT COUNT(*) FROM visit_daily")
    return int(str(count))


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_an_import_that_is_killed_goes_on_and_ends_alike(tmp_path: Path) -> None:
    folder = copy_of("shops", tmp_path)
    here = Here(folder)
    for name in ("main", "shop-1"):
        config = ("--config", f"{name}.toml")
        here.done(*config, "run", "migrate")
        kind = ["--main"] if name == "main" else []
        here.done(*config, "sync", "init", "--node", name, *kind)
        here.done(*config, "sync", "track", *TABLES)
    node(folder, "main", "run", "seed", "role=main")
    node(folder, "main", "sync", "export", "--to", "first.jsonl.gz")
    node(folder, "shop-1", "sync", "import", "first.jsonl.gz")
    shop = sqlite3.connect(folder / "shop-1.db", isolation_level=None)
    for begin in range(0, VISITS, 10):
        shop.execute("BEGIN")
        shop.executemany(
            "INSERT INTO visit_daily VALUES (1, ?, ?, ?)",
            [(f"d{number:06d}", number % 90, number / 7) for number in range(begin, begin + 10)],
        )
        shop.execute("COMMIT")
        if begin % 1_000 == 0:
            here.done("--config", "shop-1.toml", "sync", "status")
    shop.close()
    node(folder, "shop-1", "sync", "push", "--file", "year.jsonl.gz")

    kills = 0
    while kills < 3:
        known = applied(folder)
        importing = start(folder, "--config", "main.toml", "sync", "import", "year.jsonl.gz")
        while applied(folder) == known and importing.poll() is None:
            time.sleep(0.05)  # Another process is waited for; there is nothing to be told by.
        if importing.poll() is not None:
            break
        os.kill(importing.pid, signal.SIGKILL)
        importing.communicate()
        kills += 1
    assert kills > 0
    node(folder, "main", "sync", "import", "year.jsonl.gz")

    assert VISITS == applied(folder)
    everything = "SELECT * FROM visit_daily ORDER BY day"
    assert rows(folder / "shop-1.db", everything) == rows(folder / "main.db", everything)
    node(folder, "main", "sync", "verify", "shop-1", "--to", "hashes.jsonl")
    node(folder, "shop-1", "sync", "verify", "main", "--from", "hashes.jsonl")
