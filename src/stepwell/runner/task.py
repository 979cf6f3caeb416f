"""What travels to another process to have partitions run there, and what comes back (S75, S193).

A task is plain data: ids, JSON and import paths, never a closure. Pickle is used by the executor on
its own wire; nothing of it is stored.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from stepwell.database.dialect import DatabaseOptions
from stepwell.database.place import place_of
from stepwell.errors import StepwellError
from stepwell.execution.json import from_json, to_json
from stepwell.execution.records import JobExecution, Partition, StepExecution
from stepwell.execution.result import ElsewhereFailed, Failure
from stepwell.job.importable import Found, Loads, Sent, find_model, find_work
from stepwell.job.job import Job
from stepwell.job.step import PartitionedStep
from stepwell.repository.plans import Reached
from stepwell.runner.context import StepContext
from stepwell.runner.running import RunningExecution
from stepwell.runner.share import Fault, Payload, Told


class Brief(NamedTuple):
    """What all tasks of one step execution share.

    Attributes:
        id: Of this run of the step; no other has it, in whatever database. Numbers begin again in
            a database that was restored or made anew, and a cluster's workers outlive both.
        url, options: How the database is opened there.
        job, step: The records, with the fence under which everything is written (S194).
        model: Where the parameters' model is found; None without one.
        job_context: The JobContext's data, of which each partition has a copy (S71).
        work: Where what runs a partition is found.
        tells: Whether there is an analyzer that hears payloads.
        place: Where a SQLite file is; see :mod:`stepwell.database.place`.
        asks: Whether the database is asked before anything runs, and whether to stop. A function
            on a cluster does without, unless it uses the database itself.
        folder: Where the modules of the owner's settings are, on its machine.
        may_run_twice: Whether the executor may run a task again while its first run goes on.
    """

    id: str
    url: str
    options: DatabaseOptions
    job: JobExecution
    step: StepExecution
    model: Loads | None
    job_properties: dict[str, str]
    step_properties: dict[str, str]
    job_context: str
    work: Found | Sent
    tells: bool
    place: str | None
    asks: bool
    may_run_twice: bool
    folder: str


class Task(NamedTuple):
    """A range of partitions.

    How far each had come is read where it runs, or told in ``reached`` where nothing is asked.
    """

    brief: Brief
    partitions: Sequence[Partition]
    reached: Mapping[int, Reached] = {}


def make_brief(
    running: RunningExecution,
    definition: PartitionedStep,
    context: StepContext,
    *,
    asks: bool,
    may_run_twice: bool,
) -> Brief:
    """What other processes must know of this step.

    Raises:
        NotImportable: they could not find something again; refused at start already (S183).
    """
    database = running.repository.database
    job = context.job
    has_model = not isinstance(job.parameters, dict)
    return Brief(
        id=running.clock.new_id(),
        url=database.url,
        options=database.options,
        job=running.job,
        step=running.step(context.step_execution_id),
        model=find_model(type(job.parameters)) if has_model else None,
        job_properties=dict(job.properties),
        step_properties=dict(definition.properties),
        job_context=to_json(job.context, what="the job's context"),
        work=find_work(_definition(running), definition),
        tells=definition.analyzer is not None,
        place=place_of(database.url),
        asks=asks,
        may_run_twice=may_run_twice,
        folder=running.placement.folder,
    )


def to_wire(told: Sequence[Told]) -> list[Told]:
    """What was told in the worker, as values that every process can read."""
    return [_to_wire(one) for one in told if not isinstance(one, int)]


def _to_wire(told: Told) -> Told:
    if isinstance(told, Payload):
        try:
            # A payload is a JSON value: what another process could not read is its fault (S28).
            return Payload(to_json(told.value, what="a payload", bytes_max=sys.maxsize))
        except StepwellError as error:
            return Fault(error)
    if isinstance(told, Fault):
        return Fault(_portable(told.error))
    return _portable(told) if isinstance(told, BaseException) else told


def from_wire(told: Told) -> Told:
    """What the owner makes of one event of a worker."""
    return Payload(from_json(told.value)) if isinstance(told, Payload) else told


def _portable(error: BaseException) -> BaseException:
    """An exception of the user's may not be rebuilt from its arguments: what it says may."""
    return error if isinstance(error, StepwellError) else ElsewhereFailed(Failure.of(error))


def _definition(running: RunningExecution) -> Job:
    assert running.definition is not None  # The JobRunner has it.
    return running.definition
