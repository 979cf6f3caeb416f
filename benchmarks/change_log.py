"""The change log: what capture costs the host's statements, and what sealing costs behind them."""

from __future__ import annotations

import time
from pathlib import Path

from benchmarks import bare
from benchmarks.measure import Row, compare
from stepwell import Node
from stepwell.sync.log import seal_all

INSERTS, UPDATES, DELETES = 40_000, 40_000, 20_000
A_COMMIT = 1_000
CREATE = """CREATE TABLE visit (id INTEGER PRIMARY KEY, code TEXT UNIQUE, store INTEGER, day TEXT,
  visitors INTEGER, amount REAL, note TEXT)"""


def capture_row() -> Row:
    """100,000 changes of a table with a key and a unique column, by a program of any kind."""
    sealing: list[float] = []

    def captured(folder: Path) -> float:
        with Node.open(f"sqlite:///{folder}/ours.db") as node:
            node.sync.init("shop-1")
            with node.database.write() as transaction:
                transaction.connection.execute(CREATE)
            node.sync.track("visit")
            seconds = write(folder / "ours.db")
            began = time.perf_counter()
            changes = seal_all(node.database)
            sealing.append(changes / (time.perf_counter() - began))
        return seconds

    def plain(folder: Path) -> float:
        connection = bare.connect(folder / "bare.db")
        connection.execute(CREATE)
        connection.close()
        return write(folder / "bare.db")

    return compare(
        "change capture: 100,000 changes",
        bare=plain,
        ours=captured,
        target=4.0,
        better="low",
        unit="ms",
        note=lambda: f"then sealed at {sorted(sealing)[len(sealing) // 2]:,.0f}/s",
    )


def write(path: Path) -> float:
    """Milliseconds that the host needs, in commits of a thousand statements."""
    connection = bare.connect(path)
    rows = [(n, f"code {n}", n % 50, "2026-11-20", n, n * 0.5, "note") for n in range(INSERTS)]
    work = [
        ("INSERT INTO visit VALUES (?, ?, ?, ?, ?, ?, ?)", rows),
        (
            "UPDATE visit SET visitors = visitors + 1, amount = ? WHERE id = ?",
            [(n * 1.5, n) for n in range(UPDATES)],
        ),
        ("DELETE FROM visit WHERE id = ?", [(n,) for n in range(DELETES)]),
    ]
    began = time.perf_counter()
    for sql, values in work:
        for first in range(0, len(values), A_COMMIT):
            connection.execute("BEGIN IMMEDIATE")
            connection.executemany(sql, values[first : first + A_COMMIT])
            connection.execute("COMMIT")
    seconds = time.perf_counter() - began
    connection.close()
    return seconds * 1e3
