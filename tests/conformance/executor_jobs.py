"""The jobs of ``test_executors.py``: what other processes must be able to import (S193)."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from datetime import date
from pathlib import Path
from typing import Any

from stepwell import (
    ChunkStep,
    Job,
    Parameters,
    PartitionedStep,
    PartitionResult,
    Skip,
    StepContext,
)
from stepwell.job.artifact import Scope

EXECUTORS = ("inline", "threads", "processes", "dask")
CREATE = "CREATE TABLE out (n INTEGER PRIMARY KEY, part INTEGER)"
INSERT = "INSERT INTO out (n, part) VALUES (:n, :part)"
WITHIN_S = 30.0


class Refused(Exception):
    """What partitions raise; made of two things, so that no copy of it can be made by accident."""

    def __init__(self, n: int, why: str) -> None:
        super().__init__(f"{n}: {why}")


class Period(Parameters):
    """The parameters of the jobs."""

    first: date


# --- functions ------------------------------------------------------------------------------------


def outcomes(n: int, step: StepContext) -> Any:
    """Everything that a partition may return or raise (S160)."""
    step.context["n"] = n
    match n:
        case 0:
            return None
        case 1:
            return "text"
        case 2:
            return PartitionResult.success("fine", rows=3, share=0.5)
        case 3:
            return PartitionResult.partial("some")
        case 4:
            return PartitionResult.failure("none", tries=1)
        case 5:
            raise Refused(n, "no")
        case 6:
            return 42
        case 7:
            for key in "ab":
                with step.attempt(key):
                    if key == "b":
                        raise Refused(n, key)
            return None
        case 8:
            step.exit_status = "SET"
            return "RETURNED"
        case 9:
            raise SystemExit(3)
        case 10:
            step.context["odd"] = object()
            return None
        case _:
            return PartitionResult.success(odd=object())  # type: ignore[arg-type]


def collect(step: StepContext) -> dict[str, Any]:
    return {"of": step.partition, "failed": step.exception is not None}


async def days(day: date, step: StepContext) -> PartitionResult:
    """Typed inputs and parameters; a coroutine function."""
    assert StepContext.current() is step  # S75: off the owner's process too.
    assert isinstance(step.parameters, Period)
    assert step.job.properties == {"region": "north"}
    assert step.properties == {"unit": "days"}
    return PartitionResult.success(
        f"{step.job_name} {step.step_name} {step.partition} {step.input == day}",
        behind=(day - step.parameters.first).days,
    )


def in_pieces(n: int, step: StepContext) -> None:
    """Three rows, each with its position; odd partitions fail behind the second, once."""
    for piece in range(step.context.get("done", 0), 3):
        with step.transaction() as connection:
            connection.execute(INSERT, {"n": 10 * n + piece, "part": n})
            step.context["done"] = piece + 1
        if piece == 1 and n % 2:
            raise Refused(n, "half way")


def until_stopped(place: str, step: StepContext) -> str:
    """Says that it has begun, then polls."""
    Path(place).touch()
    assert _soon(lambda: step.stop_requested)
    return "HALF WAY"


def _soon(holds: Any) -> bool:
    event = threading.Event()
    return any(holds() or event.wait(0.02) for _ in range(int(WITHIN_S / 0.02)))


def dies(n: int, step: StepContext) -> str:
    """Partition 2 commits a row and is killed; what comes behind it must run."""
    if step.context.get("done"):
        return "went on"
    with step.transaction() as connection:
        connection.execute(INSERT, {"n": n, "part": n})
        step.context["done"] = True
    if n == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return "done"


RAN: list[int] = []


def dies_in_a_range(of: list[Any]) -> None:
    """One of the later partitions kills its worker, once, when others came with it before."""
    number, place = of
    RAN.append(number)
    if number > 200 and not Path(place).exists() and RAN[-2:] == [number - 1, number]:
        Path(place).write_text(f"{number - 1} {number}")
        os.kill(os.getpid(), signal.SIGKILL)


def interrupted(n: int) -> str:
    """Ctrl-C reaches every process of the terminal."""
    os.kill(os.getpid(), signal.SIGINT)
    os.kill(os.getpid(), signal.SIGTERM)
    return "alive"


def where(n: int) -> str:
    return str(os.getpid())


def nothing(n: int) -> None:
    """One of very many."""


def takes_a_moment(n: int) -> None:
    """Long enough to be looked at."""
    threading.Event().wait(0.001)


def sleeps(place: str) -> None:
    """Writes down who it is and stays."""
    Path(place).write_text(str(os.getpid()))
    threading.Event().wait(WITHIN_S)


def recovered_meanwhile(n: int, step: StepContext) -> None:
    """Somebody takes the execution away, as an operator might."""
    if n == 1:
        from stepwell import Node

        with Node.open(step.parameters["url"]) as other:
            other.operator.recover(step.execution_id, force=True, reason="the test")
    with step.transaction() as connection:
        connection.execute(INSERT, {"n": n, "part": n})


def odd_payload(step: StepContext) -> Any:
    return {"payload": object()}


def only_in_the_owner(n: int) -> None:
    """Its module cannot be imported anywhere else."""


if multiprocessing.parent_process() is not None and os.environ.get("STEPWELL_TEST_NO_IMPORT"):
    raise ImportError("not in a worker")


# --- chunks ---------------------------------------------------------------------------------------


class Hundreds:
    """Reads n*100+1 to n*100+7."""

    def open(self, checkpoint: int | None, step: StepContext) -> None:
        self.at = checkpoint or 0
        self.step = step

    def read(self) -> int | None:
        if self.at == 7:
            return None
        self.at += 1
        place = (self.step.partition, self.at)
        if place == (1, 5) and not Path(self.step.parameters["mended"]).exists():
            raise ValueError("item 5")
        return int(self.step.input) * 100 + self.at

    def checkpoint(self) -> int:
        return self.at

    def close(self) -> None:
        """Nothing to give back."""


class Checked:
    """A processor with a state of its own; it refuses the second item of partition 1."""

    seen = 0

    def process(self, n: int) -> int:
        self.seen += 1
        assert self.seen <= n % 100  # It has seen no other partition's items.
        if n == 102:
            raise Refused(n, "skipped")
        return n


def write(items: list[int], step: StepContext) -> None:
    step.context["keys"] = [*step.context.get("keys", []), step.idempotency_key.split("/", 1)[1]]
    step.connection.executemany(INSERT, [{"n": n, "part": step.partition} for n in items])


class Summary:
    """A collector with a state of its own."""

    calls = 0

    def collect_partition_data(self, step: StepContext) -> list[int]:
        self.calls += 1
        return [step.partition or 0, self.calls, step.metrics.write_count]


LOAD = ChunkStep("load", Hundreds(), Checked(), write, chunk_size=3, skip=Skip(Refused, limit=1))


def chunk_job(executor: Any) -> Job:
    return Job(
        "chunks",
        steps=[
            PartitionedStep(
                "load",
                [0, 1, 2],
                LOAD,
                executor=executor,
                workers=2,
                collector=Summary(),
                analyzer=HEARD,
            )
        ],
    )


LONG = 4_000


class Long:
    """Reads many numbers, slowly until it is told to be fast."""

    def open(self, checkpoint: int | None, step: StepContext) -> None:
        self.at = checkpoint or 0
        self.began = Path(step.parameters["began"])
        self.slow = not self.began.with_suffix(".fast").exists()

    def read(self) -> int | None:
        if self.at == 3:
            self.began.touch()
        if self.slow:
            threading.Event().wait(0.01)
        if self.at == LONG:
            return None
        self.at += 1
        return self.at

    def checkpoint(self) -> int:
        return self.at

    def close(self) -> None:
        """Nothing to give back."""


LONG_JOBS = {
    executor: Job(
        "long",
        steps=[
            PartitionedStep(
                "long",
                [0],
                ChunkStep("c", Long(), None, write, chunk_size=LONG),
                executor=executor,  # type: ignore[arg-type]
            )
        ],
    )
    for executor in EXECUTORS
}
LONG_IN_PROCESSES, LONG_ON_DASK = LONG_JOBS["processes"], LONG_JOBS["dask"]


class Stopped:
    """An object that waits for ``stop()``."""

    def __init__(self) -> None:
        self.told = threading.Event()

    def process(self, place: str) -> str:
        Path(place).touch()
        assert self.told.wait(WITHIN_S)
        return "STOPPED BY HAND"

    def stop(self) -> None:
        self.told.set()


class StoppedFactory:
    """As job files make one for each partition (S77)."""

    def create_artifact(self, scope: Scope) -> Stopped:
        return Stopped()


class Heard:
    """The analyzer of the owner's process."""

    def __init__(self) -> None:
        self.told: list[Any] = []

    def analyze_collector_data(self, payload: Any) -> None:
        self.told.append(payload)

    def analyze_status(self, batch_status: Any, exit_status: str) -> None:
        self.told.append((str(batch_status), exit_status))


# In variables of this module, where a worker finds them again by name.
HEARD = Heard()
CHUNK_JOBS = {executor: chunk_job(executor) for executor in EXECUTORS}
CHUNKS_IN_PROCESSES = CHUNK_JOBS["processes"]
CHUNKS_ON_DASK = CHUNK_JOBS["dask"]
COLLECTED = PartitionedStep(
    "collected",
    range(12),
    outcomes,
    executor="processes",
    collector=collect,
    analyzer=HEARD,
    tolerated_failures=1.0,
)
ODDLY_COLLECTED = PartitionedStep(
    "collected", [1], where, executor="processes", collector=odd_payload, analyzer=HEARD
)


def places() -> list[str]:
    return [os.environ["STEPWELL_TEST_FOLDER"] + f"/began {n}" for n in range(2)]


STOPPABLE = {
    executor: PartitionedStep(
        "stoppable",
        places,
        StoppedFactory(),
        executor=executor,  # type: ignore[arg-type]
        workers=2,
    )
    for executor in EXECUTORS
}
STOPPABLE_IN_PROCESSES = STOPPABLE["processes"]
STOPPABLE_ON_DASK = STOPPABLE["dask"]
