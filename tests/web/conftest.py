"""A node with jobs of its own, and a client of its web face."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from pathlib import Path
from threading import Event

import pytest

from stepwell import Job, Node, Parameters, PartitionedStep, PartitionResult, TaskletStep
from stepwell.settings import Settings
from stepwell.web.app import make_app
from tests.web.client import Client

WAIT_S = 30


class Day(Parameters):
    day: date
    shop: int = 7


class Gate:
    """Holds a job until it is opened."""

    def __init__(self) -> None:
        self.begun = Event()
        self.opened = Event()

    def wait(self) -> None:
        self.begun.set()
        assert self.opened.wait(WAIT_S)


def fail(step: object) -> None:
    raise RuntimeError("the till is locked")


def share(number: int) -> PartitionResult:
    if number == 3:
        return PartitionResult.partial("half of it", rows=5)
    return PartitionResult.success(rows=10)


@pytest.fixture
def gate() -> Iterator[Gate]:
    gate = Gate()
    yield gate
    gate.opened.set()


@pytest.fixture
def node(tmp_path: Path, gate: Gate) -> Iterator[Node]:
    """Jobs: ``load`` takes a day, ``waiting`` waits at the gate, ``broken``, ``partly``."""
    settings = Settings(database=f"sqlite:///{tmp_path}/web.db", folder=tmp_path)
    with Node.open(settings, purpose="serve") as node:
        for job in (
            Job("load", [TaskletStep("count", lambda: None)], parameters=Day),
            Job("waiting", [TaskletStep("wait", gate.wait)]),
            Job("broken", [TaskletStep("fail", fail)]),
            Job("partly", [PartitionedStep("share", lambda: list(range(5)), share)]),
        ):
            node.registry.add(job, origin="module jobs")
        yield node
        gate.opened.set()


@pytest.fixture
def client(node: Node) -> Client:
    """A program of this machine."""
    return Client(make_app(node))
