"""Workers of other hosts: each with a name and a clock of its own; children name what they run."""

from __future__ import annotations

import socket
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from unittest.mock import patch

from stepwell import Job, Node, Parameters, StepContext, TaskletStep
from stepwell.clock import Clock
from stepwell.settings import Settings

CREATE = "CREATE TABLE evidence (number INTEGER, execution_id INTEGER)"
DEATHS_MAX = 1_000


class SkewedClock(Clock):
    """A host's clock that nobody has set."""

    def __init__(self, ahead_s: float) -> None:
        self._ahead = timedelta(seconds=ahead_s)

    def now(self) -> datetime:
        return super().now() + self._ahead


class Item(Parameters):
    number: int


def work_once(step: StepContext) -> None:
    step._running.clock.sleep(0.02)  # Time in which to be killed.
    with step.transaction() as connection:
        row = {"number": step.parameters.number, "id": step.execution_id}
        # It may have been killed, or cut off, between this commit and its end.
        if not connection.execute(
            "SELECT 1 FROM evidence WHERE number = :number", {"number": row["number"]}
        ).fetchall():
            connection.execute("INSERT INTO evidence VALUES (:number, :id)", row)


ITEM = Job("item", [TaskletStep("work", work_once)], parameters=Item)


def host_node(url: str, host: str, ahead_s: float = 0.0) -> Node:
    with patch.object(socket, "gethostname", lambda: host):
        node = Node.open(
            Settings(database=url, max_recoveries=DEATHS_MAX),
            purpose="work",
            clock=SkewedClock(ahead_s),
        )
        node.operator.owner_id  # noqa: B018 - registered now, under this name
    node.registry.add(ITEM, origin="the test")
    return node


def work(url: str, folder: str, host: str, ahead_s: float) -> int:
    """A worker of that host until the test has had enough; how much it has run."""
    ran = [0]

    def tell(what: str, _execution: Any) -> None:
        ran[0] += what == "ended"

    def look(worker: Any) -> None:
        if (Path(folder) / "enough").exists():
            worker.request_stop("the test")

    with patch.object(socket, "gethostname", lambda: host), host_node(url, host, ahead_s) as node:
        node.worker(parallel=2, tell=tell).run(each_round=look)
    return ran[0]
