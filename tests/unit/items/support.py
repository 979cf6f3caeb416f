"""What the tests of readers and writers share."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from stepwell.database.connect import Database
from stepwell.database.guarded import GuardedConnection
from stepwell.execution.json import from_json, to_json


def rest(reader: Any) -> list[Any]:
    """What is left to read."""
    return list(iter(reader.read, None))


def all_items(reader: Any, checkpoint: Any = None) -> list[Any]:
    """Open, read everything, close."""
    reader.open(checkpoint)
    try:
        return rest(reader)
    finally:
        reader.close()


def items_and_faults(reader: Any, checkpoint: Any = None) -> tuple[list[Any], list[Exception]]:
    """Read everything as an engine does that skips each fault."""
    items: list[Any] = []
    faults: list[Exception] = []
    reader.open(checkpoint)
    while True:
        try:
            item = reader.read()
        except Exception as fault:
            faults.append(fault)
            assert len(faults) < 100, "the reader does not get past a fault"
        else:
            if item is None:
                break
            items.append(item)
    reader.close()
    return items, faults


def position_after(reader: Any, reads: int, step: Any = None) -> tuple[list[Any], Any]:
    """The items of so many reads, and the checkpoint behind them as it is stored."""
    with opened(reader, None, step):
        items = [item for _ in range(reads) if (item := reader.read()) is not None]
        return items, stored(reader.checkpoint())


@contextmanager
def opened(artifact: Any, checkpoint: Any = None, step: Any = None) -> Iterator[Any]:
    """A reader or writer, open."""
    artifact.open(checkpoint, step)
    try:
        yield artifact
    finally:
        artifact.close()


def stored(checkpoint: Any) -> Any:
    """A checkpoint after its way through the database (S95)."""
    return None if checkpoint is None else from_json(to_json(checkpoint, what="the checkpoint"))


@dataclass
class Step:
    """The part of a StepContext that readers and writers use, on a real database."""

    database: Database | None = None
    parameters: Any = None
    idempotency_key: str | None = None
    connection: GuardedConnection | None = None
    queries: int = 0

    def query(self, sql: str, parameters: Any = None) -> list[tuple[Any, ...]]:
        assert self.database is not None
        self.queries += 1
        with self.database.read() as reader:
            return reader.connection.execute(sql, parameters).fetchall()

    @contextmanager
    def chunk(self) -> Iterator[Step]:
        """One chunk's transaction."""
        assert self.database is not None
        with self.database.write() as transaction:
            self.connection = transaction.connection
            yield self
        self.connection = None

    def run(self, *statements: str) -> None:
        with self.chunk() as step:
            for statement in statements:
                assert step.connection is not None
                step.connection.execute(statement)
