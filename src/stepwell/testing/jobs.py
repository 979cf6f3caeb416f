"""Run a job or a single step on a temporary database, and look at what was recorded."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stepwell.clock import Clock
from stepwell.execution.records import JobExecution, StepExecution
from stepwell.job.job import Job
from stepwell.job.parameters import Parameters
from stepwell.job.step import Step
from stepwell.node import Node


@dataclass(frozen=True)
class JobRun:
    """What a run left: the execution and its steps by name.

    ``execution.exception`` is the original exception of a failed run.
    """

    execution: JobExecution
    steps: dict[str, StepExecution]

    @property
    def status(self) -> str:
        """The batch status, e.g. ``COMPLETED``."""
        return str(self.execution.batch_status)


@contextmanager
def temporary_node(*, clock: Clock | None = None) -> Iterator[Node]:
    """A node on a SQLite file in a temporary folder, which goes with the block."""
    with (
        tempfile.TemporaryDirectory(prefix="stepwell-") as folder,
        Node.open(f"sqlite:///{Path(folder) / 'test.db'}", clock=clock) as node,
    ):
        yield node


def run_job(
    job: Job,
    parameters: Mapping[str, object] | None = None,
    *,
    node: Node | None = None,
    clock: Clock | None = None,
) -> JobRun:
    """Run ``job`` once, on ``node`` or on a temporary database.

    >>> run = run_job(nightly, {"day": "2026-11-20"})
    >>> assert run.status == "COMPLETED"
    >>> assert run.steps["load"].metrics.write_count == 12

    Raises:
        JobStartError and its like: the start was refused and nothing was recorded.
    """
    if node is None:
        with temporary_node(clock=clock) as temporary:
            return run_job(job, parameters, node=temporary)
    execution = node.operator.run(job, parameters)
    steps = node.operator.get_step_executions(execution.execution_id)
    return JobRun(execution, {step.step_name: step for step in steps})


def run_step(
    step: Step,
    parameters: Mapping[str, object] | None = None,
    *,
    model: type[Parameters] | None = None,
    node: Node | None = None,
) -> StepExecution:
    """Run one step as a job of its own; answer its record.

    ``model`` is the job's ``Parameters``, when the step reads typed ones.
    """
    run = run_job(Job("one-step", steps=[step], parameters=model), parameters, node=node)
    return run.steps[step.name]


def application_rows(node: Node) -> dict[str, list[tuple[Any, ...]]]:
    """Every row of every table that is not Stepwell's own, sorted; SQLite only."""
    with node.database.read() as reader:
        names = reader.connection.execute(
            "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'batch@_%'"
            " ESCAPE '@' AND name NOT LIKE 'sqlite@_%' ESCAPE '@' ORDER BY name"
        ).fetchall()
        return {
            name: sorted(
                reader.connection.execute('SELECT * FROM "{}"'.format(name.replace('"', '""'))),
                key=repr,
            )
            for (name,) in names
        }
