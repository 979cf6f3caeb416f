"""The jobs of ``test_dask.py``: what a cluster's workers must be able to import (S193)."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path
from typing import Any

from stepwell import ChunkStep, Job, PartitionedStep, PartitionResult, StepContext

WITHIN_S = 60.0
INSERT = "INSERT INTO out (n, part) VALUES (:n, :part)"


def alone(n: int, step: StepContext) -> PartitionResult:
    """A function that needs no database: it says whether its own is open."""
    from stepwell.runner.workshop import WORKSHOP

    step.context["n"] = n
    url = step.parameters.get("url")
    return PartitionResult.success(open=sum(url == opened.url for opened in WORKSHOP._repositories))


def opens(n: int, step: StepContext) -> None:
    with step.transaction() as connection:
        connection.execute(INSERT, {"n": n, "part": n})


def opens_with_words(n: int, step: StepContext) -> str:
    opens(n, step)
    return "with words"


def waits_for_stop(place: str, step: StepContext) -> str:
    """Says that it runs and polls; no database is asked."""
    Path(place).touch()
    event = threading.Event()
    assert any(step.stop_requested or event.wait(0.02) for _ in range(int(WITHIN_S / 0.02)))
    return "HALF WAY"


def dies_once(n: int, step: StepContext) -> str:
    """The worker of partition 3 is killed behind its first commit."""
    if not step.context.get("done"):
        with step.transaction() as connection:
            connection.execute(INSERT, {"n": n, "part": n})
            step.context["done"] = True
        if n == 3:
            os.kill(os.getpid(), signal.SIGKILL)
        return "at once"
    return "again"


def numbers() -> list[int]:
    return [1, 2, 3]


def write(items: list[int], step: StepContext) -> None:
    step.connection.executemany(INSERT, [{"n": n, "part": step.partition} for n in items])


def chunks(executor: Any) -> Job:
    step = ChunkStep("c", [1, 2, 3], None, write)
    return Job("chunks", steps=[PartitionedStep("c", [0], step, executor=executor)])


CHUNKS = chunks("dask")
