"""What child processes run: each function is named by its import path and takes JSON."""

from __future__ import annotations

import fcntl
from pathlib import Path
from threading import Event
from typing import Any

from stepwell import Job, Node, TaskletStep
from stepwell.errors import JobExecutionAlreadyRunning, JobInstanceAlreadyComplete
from stepwell.repository.executions import list_of_instance, running_executions
from stepwell.repository.history import list_changes
from stepwell.repository.invariants import examine
from stepwell.repository.partitions import list_partition_executions
from stepwell.repository.steps import list_steps
from tests.support.small_job import JOB, application_rows
from tests.support.weather_job import weather_job

PROOF_WITHIN_S = 20.0
LOOK_AGAIN_S = 0.002


def create(url: str) -> None:
    """Open and migrate a database, and close it."""
    with Node.open(url):
        pass


def open_and_run_a_step(url: str) -> list[Any]:
    """What a person finds after a crash of the first opening: it opens, and a job runs."""
    with Node.open(url) as node:
        execution = node.operator.run(Job("tiny", steps=[TaskletStep("only", _nothing)]))
        with node.database.read() as reader:
            return [
                node.database.schema_version(),
                execution.execution_id,
                execution.batch_status,
                [finding.what for finding in examine(reader)],
            ]


def _nothing() -> None:
    """A tasklet that does nothing."""


def run_small_job(url: str) -> str:
    """Open a database and run the job once."""
    with Node.open(url) as node:
        return str(node.operator.run(JOB).batch_status)


def recover_and_run_small_job(url: str) -> dict[str, Any]:
    """What a person does after a crash; answers everything that is recorded then."""
    with Node.open(url) as node:
        recovered = recover_when_proven(node)
        try:
            ended = str(node.operator.run(JOB).batch_status)
        except JobInstanceAlreadyComplete:
            ended = "already complete"
        return {"recovered": recovered, "ended": ended, **everything_recorded(node)}


def recover_when_proven(node: Node) -> list[int]:
    """Recover whatever runs here; the proof of death may need a moment to reach a server."""
    recovered: list[int] = []
    deadline = node.clock.monotonic() + PROOF_WITHIN_S
    while True:
        recovered += [execution.execution_id for execution in node.operator.recover_dead()]
        with node.database.read() as reader:
            running = running_executions(reader)
        if not running:
            return recovered
        assert node.clock.monotonic() < deadline, f"no proof of death of {running}"
        node.clock.wait(Event(), LOOK_AGAIN_S)


def everything_recorded(node: Node) -> dict[str, Any]:
    """The application's rows, the story that the batch tables tell, and what is wrong with it."""
    return {
        "rows": application_rows(node),
        "executions": stories(node),
        "findings": findings(node),
    }


def stories(node: Node) -> list[dict[str, Any]]:
    """What the batch tables tell of each execution, instance by instance."""
    told: list[dict[str, Any]] = []
    for name in node.operator.get_job_names():
        for instance in reversed(node.operator.get_job_instances(name, 0, 10)):
            with node.database.read() as reader:
                for execution in list_of_instance(reader, instance.instance_id):
                    told.append(_told(reader, execution))
    return told


def findings(node: Node) -> list[str]:
    """Every promise about the rows that does not hold."""
    with node.database.read() as reader:
        return [f"{f.rule} {f.code}: {f.where}: {f.what}" for f in examine(reader)]


def _told(reader: Any, execution: Any) -> dict[str, Any]:
    return {
        "id": execution.execution_id,
        "status": execution.batch_status,
        "result": execution.result,
        "last_step": execution.last_step,
        "steps": [
            {
                "name": step.step_name,
                "status": step.batch_status,
                "read": step.metrics.read_count,
                "written": step.metrics.write_count,
                "commits": step.metrics.commit_count,
                "completed": step.partition_completed,
                "partitions": [
                    [attempt.number, attempt.outcome]
                    for attempt in list_partition_executions(reader, step.step_execution_id)
                ],
            }
            for step in list_steps(reader, execution.execution_id)
        ],
        "history": [
            [change.step_name, change.from_status, change.to_status]
            for change in list_changes(reader, execution.execution_id)
        ],
    }


def run_when_released(url: str, gate: str, folder: str) -> str:
    """Wait until the test lets everybody go at once, then start the weather job."""
    with Path(gate).open() as file:
        fcntl.flock(file, fcntl.LOCK_SH)
    with Node.open(url) as node:
        try:
            return str(node.operator.run(weather_job(folder)).batch_status)
        except (JobExecutionAlreadyRunning, JobInstanceAlreadyComplete) as refusal:
            return refusal.code


def recover_when_released(url: str, gate: str) -> list[int]:
    """Open the database, wait for everybody, then recover what is dead, five times over."""
    with Node.open(url) as node:
        with Path(gate).open() as file:
            fcntl.flock(file, fcntl.LOCK_SH)
        return [e.execution_id for _ in range(5) for e in node.operator.recover_dead()]
