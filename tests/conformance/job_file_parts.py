"""What the job files of ``test_job_files_elsewhere.py`` name; other processes import it (S193)."""

from __future__ import annotations

import os
from datetime import date
from pathlib import Path
from typing import Any

from stepwell import PartitionResult
from stepwell.jsl import batch_property, step_context
from tests.conformance.executor_jobs import INSERT


class Day:
    """A tasklet with properties of its partition, of its own, and a registered name."""

    n: int = batch_property()
    rate: float = batch_property(1.0)
    step: Any = step_context()

    def process(self) -> PartitionResult:
        if self.n == 2:
            raise ValueError("there is no such day")
        with self.step.transaction() as connection:
            connection.execute(INSERT, {"n": self.n, "part": self.step.partition})
        Path(self.step.parameters["witnesses"], str(os.getpid())).touch()
        return PartitionResult.success(f"{self.n * self.rate}", n=self.n)


class OtherDay(Day):
    """Named by a property of the partition."""

    rate: float = batch_property(100.0)


class Collector:
    """Tells which partition it stood beside."""

    n: int = batch_property()

    def collect_partition_data(self) -> list[int]:
        return [self.n, -self.n]


class Analyzer:
    """Lives in the process of the owner."""

    HEARD: list[Any] = []  # noqa: RUF012 - what a test looks at

    def analyze_collector_data(self, payload: Any) -> None:
        Analyzer.HEARD.append(payload)


class Numbers:
    """Reads the numbers from ``first`` on."""

    first: int = batch_property()
    count: int = batch_property(4)

    def open(self, checkpoint: int | None) -> None:
        self.at = checkpoint or 0

    def read(self) -> int | None:
        self.at += 1
        return self.first + self.at if self.at <= self.count else None

    def checkpoint(self) -> int:
        return self.at

    def close(self) -> None: ...


class Doubler:
    """An object of the module, not a class."""

    def __init__(self, factor: int) -> None:
        self.factor = factor

    def process(self, item: int) -> int:
        return self.factor * item


class Odd(Exception):
    """What is skipped."""


def twice(item: int) -> int:
    if item % 8 == 6:
        raise Odd(item)
    return 2 * item


class ChunkEar:
    """Hears chunks where they are written."""

    step: Any = step_context()

    def after_chunk(self) -> None:
        self.step.context["chunks"] = self.step.context.get("chunks", 0) + 1


def write(items: list[int], step: Any) -> None:
    step.connection.executemany(INSERT, [{"n": n, "part": step.partition} for n in items])


def count_days(day: date, step: Any) -> str:
    """A function; its input is decoded through its annotation."""
    return f"{day:%A} of {step.parameters.first:%B}"


def beside(step: Any) -> int:
    """A function as collector."""
    return int(step.partition)


artifacts = {"day": Day, "otherDay": OtherDay, "doubler": Doubler(2), "numbers": Numbers}
