"""The built-in job ``stepwell.skips``: what an execution has left out, once more as a job.

Each step of it is a step of the job that has skipped something, with the recorded items in the
place of its reader: items skipped while processing go through its processor and its writer, those
skipped while writing to its writer alone. It has the parameters of the execution and one more,
``skips_of``, so the same items are retried once, a restart of it goes on behind its last commit,
and what is skipped again can be retried again.

An item is what its record says, and a record is JSON: a date comes back as text, a tuple as a list.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any, NoReturn

import msgspec
from pydantic import create_model

from stepwell.database.connect import Database
from stepwell.errors import JobStartError
from stepwell.execution.parameters import parse_parameters
from stepwell.execution.records import JobExecution, SkippedItem
from stepwell.items.file_writer import FileWriter
from stepwell.job.job import Job
from stepwell.job.registry import JobRegistry
from stepwell.job.step import ChunkStep, PartitionedStep, TaskletStep
from stepwell.repository.executions import get_execution
from stepwell.repository.steps import list_skips

NAME = "stepwell.skips"
ORIGIN = "built in"
PARAMETER = "skips_of"
DESCRIPTION = "what an execution has skipped, once more"
PAGE = 1_000


def add_skips_job(registry: JobRegistry, database: Callable[[], Database]) -> None:
    """Register the job as one that nobody has defined."""
    registry.add(SkippedItems(registry, database), origin=ORIGIN)


def no_database() -> NoReturn:
    """For a registry without a database: nothing can have been skipped there.

    Raises:
        JobStartError: always.
    """
    raise JobStartError(
        f"cannot start job {NAME!r}: there is no database yet",
        hint="`stepwell skips retry ID` starts it, behind a run that has skipped something",
        fields={"job": NAME},
    )


def parameters_of_retry(execution: JobExecution) -> dict[str, object]:
    """What the job is started with to retry what ``execution`` has skipped."""
    return {**parse_parameters(execution.parameters), PARAMETER: execution.execution_id}


def every_skip(database: Database, execution_id: int) -> Iterator[SkippedItem]:
    """Every item that an execution has left out, a page at a time, each read on its own.

    Raises:
        NoSuchJobExecution: no execution has this id.
    """
    after = 0
    while True:
        with database.read() as reader:
            get_execution(reader, execution_id)
            page = list_skips(reader, execution_id, count=PAGE, after=after)
        yield from page
        if len(page) < PAGE:
            return
        after = page[-1].skip_id


class SkippedItems:
    """The source of the job: it is another one for each execution (see ``JobSource``)."""

    name = NAME
    reuses_parameters = True

    def __init__(self, registry: JobRegistry, database: Callable[[], Database]) -> None:
        self._registry = registry
        self._database = database

    def load(self, parameters: Mapping[str, object]) -> Job:
        """The job that retries what the execution of ``skips_of`` has skipped.

        Raises:
            NoSuchJobExecution, NoSuchJob: the execution or its job is not known.
            JobStartError: it has skipped nothing that can be retried.
        """
        execution_id = _execution_id(parameters)
        with self._database().read() as reader:
            execution = get_execution(reader, execution_id)
        job = self._registry.load(execution.job_name, parse_parameters(execution.parameters))
        steps = {step.name: step for step in _steps(job.steps)}
        items: dict[tuple[str, str], list[Any]] = {}
        kept: Counter[str] = Counter()
        for skip in every_skip(self._database(), execution_id):
            why_not = _why_not(skip, steps.get(skip.step_name))
            if why_not:
                kept[why_not] += 1
            else:
                value = msgspec.json.decode(skip.item or "")
                items.setdefault((skip.step_name, skip.phase), []).append(value)
        if not items:
            raise _nothing_to_retry(execution_id, kept)
        model = None
        if job.parameters is not None:
            extra: Any = {PARAMETER: (int, ...)}
            model = create_model("RetryOfSkips", __base__=job.parameters, **extra)
        return replace(
            job,
            name=NAME,
            description=DESCRIPTION,
            steps=[_retrying(steps[name], phase, found) for (name, phase), found in items.items()],
            parameters=model,
            identity="parameters",
            run_lock="parameters",
            implied_next=True,
            attempts=1,
            on_completion=(),
            evidence=None,
        )

    def preview(self) -> Job:
        """Its name alone: which steps it has, its start tells."""
        return Job(NAME, [TaskletStep("retry", _nothing)], description=DESCRIPTION)


def reasons_to_keep(
    skips: Iterable[SkippedItem], registry: JobRegistry, execution: JobExecution
) -> Counter[str]:
    """How many of the skipped items cannot be retried, by the reason.

    Raises:
        NoSuchJob, JobStartError: the job of the execution is not known any more.
    """
    job = registry.load(execution.job_name, parse_parameters(execution.parameters))
    steps = {step.name: step for step in _steps(job.steps)}
    reasons = Counter(_why_not(skip, steps.get(skip.step_name)) for skip in skips)
    del reasons[""]
    return reasons


def _why_not(skip: SkippedItem, step: Any) -> str:
    """Why an item cannot be retried; empty when it can."""
    if skip.partition_number is not None or isinstance(step, PartitionedStep):
        return "skipped in a partition"
    if not isinstance(step, ChunkStep):
        return "of a step that the job has no more"
    if isinstance(step.writer, FileWriter):
        return "of a step whose writer would begin its file anew"
    if skip.phase == "read":
        return "skipped before they were read"
    if skip.phase == "write" and step.write_skip == "chunk":
        return "skipped as a whole chunk"
    try:
        msgspec.json.decode(skip.item or "")
    except msgspec.DecodeError:
        return "recorded in part, or not as JSON"
    return ""


def _retrying(step: ChunkStep[Any, Any], phase: str, items: list[Any]) -> ChunkStep[Any, Any]:
    writes_only = phase == "write"
    return replace(
        step,
        name=f"{step.name} (write)" if writes_only else step.name,
        reader=items,
        processor=None if writes_only else step.processor,
        transitions=(),
        next=None,
        start_limit=0,
    )


def _steps(elements: Iterable[Any]) -> Iterator[Any]:
    """Every step at any depth."""
    for element in elements:
        if isinstance(element, ChunkStep | PartitionedStep):
            yield element
        for part in ("elements", "flows"):
            yield from _steps(getattr(element, part, ()))


def _execution_id(parameters: Mapping[str, object]) -> int:
    given = parameters.get(PARAMETER, parameters.get("skipsOf"))
    try:
        return int(str(given))
    except ValueError:
        raise JobStartError(
            f"cannot start job {NAME!r}: parameter {PARAMETER!r} must be the id of an execution,"
            f" got {given!r}",
            hint="`stepwell skips retry ID` starts it",
            fields={"job": NAME, "parameter": PARAMETER},
        ) from None


def _nothing_to_retry(execution_id: int, kept: Counter[str]) -> JobStartError:
    listed = "; ".join(f"{number} {reason}" for reason, number in kept.items())
    return JobStartError(
        f"cannot retry what execution {execution_id} has skipped: "
        + (f"none of it can be, {listed}" if listed else "it has skipped nothing"),
        hint=f"`stepwell skips list {execution_id}` shows it"
        if listed
        else f"`stepwell status {execution_id}` shows what it did",
        fields={"execution_id": execution_id, "reasons": dict(kept)},
    )


def _nothing() -> None:
    """Never called: the job that runs is loaded at its start."""
