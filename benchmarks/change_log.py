"""The change log: what capture costs the host's statements, and what sealing costs behind them."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from benchmarks import bare
from benchmarks.measure import Row, compare
from stepwell import Node
from stepwell.clock import Clock
from stepwell.sync.apply import applying
from stepwell.sync.bundle import Meta
from stepwell.sync.bundle_reader import BundleGroup, open_bundle
from stepwell.sync.bundle_writer import write_bundle_files
from stepwell.sync.log import changes_of, last_lsn, seal_all
from stepwell.sync.peers import SyncState, set_state
from stepwell.sync.session import Sync

INSERTS, UPDATES, DELETES = 40_000, 40_000, 20_000
A_COMMIT = 1_000
IMPORTED, EXPORTED, A_GROUP = 10_000, 200_000, 10
CREATE = """CREATE TABLE visit (id INTEGER PRIMARY KEY, code TEXT UNIQUE, store INTEGER, day TEXT,
  visitors INTEGER, amount REAL, note TEXT)"""
COLUMNS = ("id", "code", "store", "day", "visitors", "amount", "note")
CREATE_VERSION = """CREATE TABLE version (table_name TEXT, key TEXT, origin TEXT, epoch INTEGER,
  seq INTEGER, stamp INTEGER, life INTEGER, PRIMARY KEY (table_name, key)) WITHOUT ROWID"""
PUT_VERSION = """INSERT INTO version VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (table_name, key)
  DO UPDATE SET origin = excluded.origin, epoch = excluded.epoch, seq = excluded.seq,
  stamp = excluded.stamp, life = excluded.life"""
UPSERT = """INSERT INTO visit VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO UPDATE SET
  code = excluded.code, store = excluded.store, day = excluded.day, visitors = excluded.visitors,
  amount = excluded.amount, note = excluded.note"""


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


def import_rows() -> list[Row]:
    """10,000 inserts in groups of ten, from a file that was checked, in commits of a thousand.

    Against the rows alone, and against the least that is durable of a change beside its row: a line
    of JSON in a log, so that it can be passed on, and the version of the row.
    """
    rows = [(n, f"code {n}", n % 50, "2026-11-20", n, n * 0.5, "note") for n in range(IMPORTED)]
    versions = [("visit", str(n), "shop-1", 1, n // A_GROUP, n, 1) for n in range(IMPORTED)]

    def imported(folder: Path) -> float:
        file = file_of(folder, rows)
        with Node.open(f"sqlite:///{folder}/main.db") as node:
            sync = tracking(node, "main")
            began = time.perf_counter()
            bundle = open_bundle(file)
            bundle.check()
            groups = bundle.groups()
            while apply_some(sync, groups):
                pass
            return (time.perf_counter() - began) * 1e3

    def plain(folder: Path, *, logged: bool = False) -> float:
        connection = bare.connect(folder / "bare.db")
        connection.execute(CREATE)
        connection.execute("CREATE TABLE log (lsn INTEGER PRIMARY KEY, line TEXT NOT NULL)")
        connection.execute(CREATE_VERSION)
        began = time.perf_counter()
        for first in range(0, len(rows), A_COMMIT):
            some = slice(first, first + A_COMMIT)
            connection.execute("BEGIN IMMEDIATE")
            connection.executemany(UPSERT, rows[some])
            if logged:
                lines = ((json.dumps(dict(zip(COLUMNS, row, strict=True))),) for row in rows[some])
                connection.executemany("INSERT INTO log (line) VALUES (?)", lines)
                connection.executemany(PUT_VERSION, versions[some])
            connection.execute("COMMIT")
        seconds = time.perf_counter() - began
        connection.close()
        return seconds * 1e3

    return [
        compare(
            name,
            bare=lambda folder, logged=logged: plain(folder, logged=logged),
            ours=imported,
            target=6.0,
            better="low",
            unit="ms",
        )
        for name, logged in (
            ("import: 10,000 changes, 10 a group", False),
            ("the same; bare: rows, log line, version", True),
        )
    ]


def export_row() -> Row:
    """200,000 changes into a file that is on the disk, against a dump of the rows as JSON."""
    rows = [(n, f"code {n}", n % 50, "2026-11-20", n, n * 0.5, "note") for n in range(EXPORTED)]

    def exported(folder: Path) -> float:
        with Node.open(f"sqlite:///{folder}/shop.db") as node:
            log_rows(node, rows, A_COMMIT)
            began = time.perf_counter()
            node.sync.export(folder / "ours.jsonl")
            return (time.perf_counter() - began) * 1e3

    def dumped(folder: Path) -> float:
        connection = bare.connect(folder / "bare.db")
        connection.execute(CREATE)
        connection.executemany(f"INSERT INTO visit VALUES ({', '.join('?' * 7)})", rows)
        began = time.perf_counter()
        with (folder / "bare.jsonl").open("w") as file:
            for row in connection.execute("SELECT * FROM visit ORDER BY id"):
                file.write(json.dumps(dict(zip(COLUMNS, row, strict=True))) + "\n")
            file.flush()
            os.fsync(file.fileno())
        seconds = time.perf_counter() - began
        connection.close()
        return seconds * 1e3

    return compare(
        "export: 200,000 changes",
        bare=dumped,
        ours=exported,
        target=2.0,
        better="low",
        unit="ms",
        rounds=3,
    )


def file_of(folder: Path, rows: list[tuple[object, ...]]) -> Path:
    """A shop's file with these rows as inserts, ten a transaction."""
    path = folder / "shop.jsonl"
    with Node.open(f"sqlite:///{folder}/shop.db") as node:
        end = log_rows(node, rows, A_GROUP)
        meta = Meta(tx_id="b", source_node="shop-1", epoch=1, to_lsn=end)
        write_bundle_files(path, meta, changes_of(node.database, 0, end))
    return path


def log_rows(node: Node, rows: list[tuple[object, ...]], a_group: int) -> int:
    """A shop that has inserted these rows, so many a transaction; answers where its log ends."""
    sync = tracking(node, "shop-1")
    for first in range(0, len(rows), a_group):
        with sync.transaction() as connection:
            connection.executemany(
                "INSERT INTO visit VALUES (:id, :code, :store, :day, :n, :amount, :note)",
                rows[first : first + a_group],
            )
    seal_all(sync.database)
    with node.database.read() as reader:
        return last_lsn(reader)


def tracking(node: Node, name: str) -> Sync:
    """A node with the table, tracked."""
    node.sync.init(name)
    with node.database.write() as transaction:
        transaction.connection.execute(CREATE)
    node.sync.track("visit")
    return node.sync


def apply_some(sync: Sync, groups: Iterator[BundleGroup]) -> bool:
    """A thousand changes and the position, in one commit; whether there were any."""
    at = Clock().now()
    with sync.database.write() as transaction:
        last = 0
        with applying(transaction, source_node="shop-1", at=at) as applier:
            some = [
                [(line.line, line.change) for line in group.lines]
                for group in islice(groups, A_COMMIT // A_GROUP)
            ]
            applier.apply_all(some)
            if some:
                last = some[-1][-1][1].lsn
        if last:
            set_state(transaction, SyncState("shop-1", "in", last, 1, None, None, at))
    return last > 0


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
