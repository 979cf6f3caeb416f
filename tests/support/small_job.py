"""The smallest job that has everything: a tasklet, chunks, and partitions, which all write.

Every row is inserted once and never upserted, so a piece of work that is done twice breaks a key.
"""

from __future__ import annotations

from typing import Any

from stepwell import (
    ChunkStep,
    Job,
    Node,
    PartitionedStep,
    PartitionResult,
    StepContext,
    TaskletStep,
)

ITEMS = range(1, 6)
CHUNK_SIZE = 2
PARTITIONS = [10, 20]
TABLES = ("prepared", "loaded", "shared_out")


def prepare(step: StepContext) -> str:
    with step.transaction() as connection:
        for table in TABLES:
            connection.execute(
                f"CREATE TABLE IF NOT EXISTS {table} (id INTEGER PRIMARY KEY, note TEXT)"
            )
    for number in range(step.context.get("done", 0) + 1, 3):
        with step.transaction() as connection:
            connection.execute(
                "INSERT INTO prepared (id, note) VALUES (:id, :note)", (number, f"made {number}")
            )
            step.context["done"] = number
    return "PREPARED"


def load(items: list[tuple[int, str]], step: StepContext) -> None:
    step.context["seen"] = step.context.get("seen", 0) + len(items)
    step.connection.executemany("INSERT INTO loaded (id, note) VALUES (:id, :note)", items)


def share(first: int, step: StepContext) -> PartitionResult:
    for number in range(first + step.context.get("done", 0), first + 2):
        with step.transaction() as connection:
            connection.execute(
                "INSERT INTO shared_out (id, note) VALUES (:id, :note)",
                (number, f"partition {step.partition}"),
            )
            step.context["done"] = number - first + 1
    return PartitionResult.success(rows=2)


JOB = Job(
    "small",
    steps=[
        TaskletStep("prepare", prepare),
        ChunkStep("load", ITEMS, lambda n: (n, f"item {n}"), load, chunk_size=CHUNK_SIZE),
        PartitionedStep("share", PARTITIONS, share, executor="inline"),
    ],
)

# What an undisturbed run leaves; the tables are read in the order of their keys.
ROWS: dict[str, list[list[Any]]] = {
    "prepared": [[1, "made 1"], [2, "made 2"]],
    "loaded": [[n, f"item {n}"] for n in ITEMS],
    "shared_out": [
        [10, "partition 0"],
        [11, "partition 0"],
        [20, "partition 1"],
        [21, "partition 1"],
    ],
}


def application_rows(node: Node) -> dict[str, list[list[Any]]]:
    """Every row of the job's own tables."""
    with node.database.read() as reader:
        return {
            table: [
                list(row)
                for row in reader.connection.execute(f"SELECT id, note FROM {table} ORDER BY id")
            ]
            for table in TABLES
        }
