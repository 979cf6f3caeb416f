"""A database with a past of every kind, and a copy of it; named by import path for children."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from stepwell import (
    ChunkStep,
    Job,
    Node,
    PartitionedStep,
    PartitionResult,
    Skip,
    StepContext,
    TaskletStep,
)
from stepwell.clock import Clock
from stepwell.database.connect import Database, open_database
from stepwell.moving.copying import Copied, Step, copy_database
from stepwell.moving.rows import batches
from stepwell.moving.tables import tables_of
from stepwell.repository.tokens import create_token
from stepwell.testing import FrozenClock

ITEMS = range(1, 51)
CHUNK_SIZE = 10
BROKEN_AT = 35
ODD_TEXT = "Ünïcode \u2028 '%s' :x \\ \t \U0001f600"
TABLES = "CREATE TABLE IF NOT EXISTS loaded (id INTEGER PRIMARY KEY, read_by INTEGER NOT NULL)"
READ: list[int] = []


def make_table(step: StepContext) -> None:
    with step.transaction() as connection:
        connection.execute(TABLES)


def load_job(*, broken_at: int | None = None) -> Job:
    """A job of five chunks that fails in the fourth one, unless it is mended."""

    def read(number: int) -> int:
        READ.append(number)
        if number == broken_at:
            raise ValueError(f"item {number}: {ODD_TEXT}")
        return number

    def write(items: list[int], step: StepContext) -> None:
        step.context["sum"] = step.context.get("sum", 0) + sum(items)
        rows = [(number, step.execution_id) for number in items]
        step.connection.executemany("INSERT INTO loaded (id, read_by) VALUES (:id, :by)", rows)

    steps = [
        TaskletStep("table", make_table),
        ChunkStep("items", ITEMS, read, write, chunk_size=CHUNK_SIZE),
    ]
    return Job("load", steps)


def odd(number: int) -> int:
    if number % 3 == 0:
        raise ValueError(ODD_TEXT)
    return number


MIXED = Job(
    "mixed",
    [
        ChunkStep("skips", range(10), odd, lambda _: None, skip=Skip(ValueError, limit=9)),
        PartitionedStep(
            "parts",
            lambda: {"é": 1, "e": 2, "Z": 3, "a-b": 4, "a_b": 5},
            lambda n: PartitionResult.success(rows=n * 2**40),
            executor="inline",
        ),
    ],
    identity="each-start",
    pool="small",
    resources=["a/b", "A/ü"],
)


def make_past(url: str) -> None:
    """Something in as many tables as one process can fill; no owner is alive afterwards."""
    clock = FrozenClock(datetime(2026, 11, 20, 1, 2, 3, 456789, tzinfo=UTC))
    with Node.open(url, clock=clock) as node:
        node.registry.add(MIXED, origin="test")
        load = load_job(broken_at=BROKEN_AT)
        node.registry.add(load, origin="test")
        node.pools.set("small", 2)
        node.operator.run(MIXED, {"ratio": 0.1, "big": 2**53 + 1, "text": ODD_TEXT, "no": False})
        node.operator.run(load)
        for priority in (0, 7):
            node.operator.register("mixed", {"n": priority}, priority=priority)
        node.schedules.add("mixed", "0 3 * * *", {"n": 1}, time_zone="Europe/Berlin")
        create_token(node.database, clock, "night-shift", "operator")
        with node.database.write() as transaction:
            transaction.connection.execute("CREATE TABLE shop (id INTEGER PRIMARY KEY, name TEXT)")
        node.sync.init("shop-1")
        node.sync.track("shop")
        for number in range(30):
            with node.sync.transaction(actor="till") as connection:
                connection.execute(
                    "INSERT INTO shop (id, name) VALUES (:id, :name)",
                    {"id": number, "name": ODD_TEXT * number},
                )
        node.sync.status()


@pytest.fixture(scope="session")
def past(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of such a database; to be copied, not to be opened."""
    path = tmp_path_factory.mktemp("past") / "past.db"
    make_past(f"sqlite:///{path}")
    with open_database(f"sqlite:///{path}"):
        pass  # Whose close moves the log into the file.
    return path


def copy(source: str, target: str) -> dict[str, Any]:
    """One call of ``db copy``."""
    with open_database(source) as ours, open_database(target) as theirs:
        copied = copy_database(ours, theirs, clock=Clock())
    return {"rows": sum(t.row_count for t in copied.tables), "was_complete": copied.was_complete}


def copied(source: Database, target: Database, tell: Callable[[Step], None] = print) -> Copied:
    return copy_database(source, target, clock=Clock(), tell=tell)


def all_rows(url: str) -> dict[str, list[Any]]:
    """Every row of every table that travels."""
    with open_database(url) as database, database.read() as reader:
        found = {}
        for table in tables_of(has_log=True):
            with table.after(reader) as take:
                found[table.name] = [row for rows, _ in batches(take) for row in rows]
        return found
