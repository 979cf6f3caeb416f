"""The jobs that the tests run; copied as ``jobs.py`` into a folder of their own.

PAUSE_S makes an item take its time; GATE names a file that a step waits for; ALLOWED names a file
with the number of partitions that may run.
"""
# They are written as a user would.
# ruff: noqa: ANN001, ANN201

import os
import time
from datetime import date
from pathlib import Path

from stepwell import (
    ChunkStep,
    Job,
    NonIdentifying,
    Parameters,
    PartitionedStep,
    PartitionResult,
    Skip,
    TaskletStep,
)

PAUSE_S = float(os.environ.get("PAUSE_S", "0"))
GATE = os.environ.get("GATE")
ALLOWED = os.environ.get("ALLOWED")


class Day(Parameters):
    day: date
    shop: int = 7
    note: NonIdentifying[str] = "none"


def make_table(step):
    with step.transaction() as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS item (id INTEGER PRIMARY KEY)")


def slowly(number):
    time.sleep(PAUSE_S)
    return number


def write(items, step):
    rows = [{"id": number} for number in items]
    step.connection.executemany("INSERT INTO item (id) VALUES (:id)", rows)


def wait_at_gate(step):
    """Deaf to every request to stop, until the gate opens."""
    while GATE and not Path(GATE).exists():
        time.sleep(0.01)


def lock(step):
    with step.lock("report", mode="read", ttl_s=3600):
        wait_at_gate(step)


def refuse_sevens(number):
    if number % 7 == 0:
        raise ValueError(f"{number} is a seven")
    return number


def fail(step):
    raise RuntimeError("the till is locked")


def share(number: int, step):
    time.sleep(PAUSE_S)
    while ALLOWED and number >= int(Path(ALLOWED).read_text() or 0):
        time.sleep(0.01)
    if number == 3:
        return PartitionResult.partial("half of it", rows=5)
    if number == 4:
        raise LookupError("no such shop")
    return PartitionResult.success(rows=10)


def say(step):
    print("this is the job's own word")


load = Job(
    "load",
    [TaskletStep("table", make_table), ChunkStep("items", range(500), slowly, write, chunk_size=5)],
    parameters=Day,
    description="numbers into a table",
)
deaf = Job("deaf", [TaskletStep("wait", wait_at_gate)])
locking = Job("locking", [TaskletStep("lock", lock)])
sevens = Job(
    "sevens",
    [ChunkStep("pick", range(1, 60), refuse_sevens, lambda items: None, skip=Skip(ValueError))],
)
broken = Job("broken", [TaskletStep("open", fail)])
partly = Job(
    "partly",
    [PartitionedStep("shares", range(10), share, workers=2, tolerated_failures=1)],
)
shops = Job("shops", [PartitionedStep("each", range(40), share, workers=2, tolerated_failures=1)])
talks = Job("talks", [TaskletStep("say", say)])
