"""What child processes do with schedules; each function is named by its import path."""

from __future__ import annotations

import fcntl
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from stepwell import Job, Node, TaskletStep
from stepwell.repository.invariants import examine
from stepwell.testing import FrozenClock

DUE_COUNT = 3
ADDED_AT = datetime(2026, 11, 20, 1, tzinfo=UTC)
LOOKED_AT = datetime(2026, 11, 20, 4, 30, tzinfo=UTC)  # Three full hours later.
DUES = [f"2026-11-20T{hour:02}:00:00+00:00" for hour in (2, 3, 4)]

HOURLY = Job("hourly", steps=[TaskletStep("only", lambda: None)])


def _node(url: str, now: datetime) -> Node:
    node = Node.open(url, clock=FrozenClock(now))
    node.registry.add(HOURLY, origin="the test")
    return node


def add(url: str) -> None:
    """Add a schedule that is due at each full hour, and catches up."""
    with _node(url, ADDED_AT) as node:
        node.schedules.add("hourly", "0 * * * *", {"hour": "{due:%H}"}, catch_up="all")


def fire(url: str) -> list[list[Any]]:
    """Fire what is due; answers due times and executions."""
    with _node(url, LOOKED_AT) as node:
        return [[str(f.due), f.execution_id] for f in node.schedules.fire_due()]


def fire_when_released(url: str, gate: str) -> list[list[Any]]:
    """Open the database, wait for everybody, then fire, several times over."""
    with _node(url, LOOKED_AT) as node:
        with Path(gate).open() as file:
            fcntl.flock(file, fcntl.LOCK_SH)
        return [[str(f.due), f.execution_id] for _ in range(4) for f in node.schedules.fire_due()]


def look(url: str) -> dict[str, Any]:
    """Everything that is recorded."""
    with _node(url, LOOKED_AT) as node, node.database.read() as reader:
        (schedule,) = node.schedules.list_schedules()
        sql = (
            "SELECT p.parameter_value, COUNT(*) FROM batch_job_execution e"
            " LEFT JOIN batch_job_execution_params p ON p.job_execution_id = e.job_execution_id"
            " AND p.parameter_name = 'schedule.due' GROUP BY 1 ORDER BY 1"
        )
        return {
            "last_due_at": schedule.last_due_at and schedule.last_due_at.isoformat(),
            "next_due_at": schedule.next_due_at and schedule.next_due_at.isoformat(),
            "runs": [list(row) for row in reader.connection.execute(sql)],
            "findings": [finding.what for finding in examine(reader)],
        }
