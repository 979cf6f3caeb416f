"""The import of a ``state.json``: a job like any other, whose identity is the file's content.

Guarantees: every item is checked before anything is recorded; all items are recorded in one
transaction, with the position of the step; the same content is imported once (law 5).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from stepwell.database.transaction import Transaction
from stepwell.errors import (
    BatchError,
    ContextTooLarge,
    JobInstanceAlreadyComplete,
    StateAlreadyImported,
    ValueNotJson,
)
from stepwell.execution.json import to_json
from stepwell.execution.records import JobExecution
from stepwell.execution.result import Failure
from stepwell.execution.status import BatchStatus
from stepwell.job.job import Job
from stepwell.job.parameters import NonIdentifying, Parameters
from stepwell.job.resource import NOTHING
from stepwell.job.step import TaskletStep
from stepwell.operator import JobOperator
from stepwell.repository.creation import NewExecution, create_execution
from stepwell.repository.history import Because
from stepwell.repository.imported import find_last, record_ended
from stepwell.runner.context import StepContext
from stepwell.state_import.file import StateFile, StateItem, read_state_file

JOB_NAME = "stepwell.import-state"
RECORDED = "recorded"  # In the step's context: how many items became what.

_ENDED = {
    "completed": BatchStatus.COMPLETED,
    "failed": BatchStatus.FAILED,
    "abandoned": BatchStatus.ABANDONED,
}


class ImportParameters(Parameters):
    """The content makes the instance; where the file lay does not matter."""

    sha256: str
    file: NonIdentifying[str]


@dataclass(frozen=True)
class Imported:
    """What an import did.

    Attributes:
        execution: The import's own; its JobContext has the file's other keys.
        counts: How many items became ``waiting``, ``completed``, ``failed``, ``abandoned``, and how
            many were ``kept``: recorded here before, they were left as they are.
    """

    execution: JobExecution
    counts: Mapping[str, int]


def import_state(
    operator: JobOperator, path: Path, *, job: str | None = None, triggered_by: str | None = None
) -> Imported:
    """Record the items of a file: what waits is registered, what has ended is recorded as ended.

    ``job`` is the job of items that name none, if the file names none either.

    Raises:
        ItemSourceMissing, InvalidStateFile, NoSuchJob: nothing was recorded.
        StateAlreadyImported: this content was imported before.
    """
    state = read_state_file(path)
    given = {"sha256": state.digest, "file": str(path.absolute())}
    before = operator.find_completed(_job(_nothing), given)
    if before is not None:  # Whatever else may be said of the file now.
        raise StateAlreadyImported(str(path), before.execution_id)
    items = _prepared(operator, state, job, triggered_by)
    recorder = _Recorder(operator, state, items)
    try:
        execution = operator.run(_job(recorder), given)
    except JobInstanceAlreadyComplete as refusal:  # Somebody else was faster.
        raise StateAlreadyImported(str(path), _id_of(refusal)) from None
    if isinstance(execution.exception, BatchError):
        raise execution.exception
    return Imported(execution, recorder.counts)


def _job(tasklet: Callable[..., None]) -> Job:
    return Job(JOB_NAME, [TaskletStep("items", tasklet)], parameters=ImportParameters)


def _nothing() -> None:
    """Stands for the tasklet where the job is only asked for."""


def _id_of(refusal: BatchError) -> int:
    execution_id = refusal.fields["execution_id"]
    assert isinstance(execution_id, int)
    return execution_id


def _prepared(
    operator: JobOperator, state: StateFile, job: str | None, triggered_by: str | None
) -> list[NewExecution]:
    """What each item will be, every fault of every item named at once."""
    faults: list[str] = []
    prepared: list[NewExecution] = []
    seen: dict[tuple[object, ...], str] = {}
    homeless = [item for item in state.items if (item.job or state.job or job) is None]
    if homeless:
        raise state.refuse(
            [f"{homeless[0].place} names no job, nor does the file"],
            hint="say `--job JOB`; `stepwell jobs` lists the jobs that are known",
        )
    for item in state.items:
        name = item.job or state.job or job or ""
        try:
            new = _new(operator, name, item, triggered_by)
        except (BatchError, ValueNotJson, ContextTooLarge) as error:
            faults.append(f"{item.place}: {error.message}")
            continue
        prepared.append(new)
        if new.unique_key is None:
            same = seen.setdefault((new.job_name, new.parameters), item.place)
            if same != item.place:
                faults.append(f"{item.place}: job and parameters are those of {same}")
    if faults:
        raise state.refuse(faults)
    return prepared


def _new(
    operator: JobOperator, job: str, item: StateItem, triggered_by: str | None
) -> NewExecution:
    parameters, kept = dict(item.parameters), {}
    known = operator.ready_jobs.parameter_names(job)
    others = item.others if item.id is None else {"id": item.id, **item.others}
    for key, value in others.items():
        # A job without a model takes any name: of the item's own keys it is given the id.
        if key == "id" if known is None else key in known:
            parameters.setdefault(key, value)
        else:
            kept[key] = value
    return operator.ready_jobs.prepare(job, parameters).registered(
        priority=item.priority,
        context=to_json(kept, what=f"the other keys of {item.place}"),
        triggered_by=triggered_by,
    )


class _Recorder:
    """The tasklet: all items in one transaction, together with what the step says of it."""

    def __init__(
        self, operator: JobOperator, state: StateFile, items: Sequence[NewExecution]
    ) -> None:
        self._owner_id = operator.owner_id
        self._state = state
        self._items = items
        self.counts: dict[str, int] = {}

    def __call__(self, step: StepContext) -> None:
        step.job.context = dict(self._state.others)
        recorded = step.context.get(RECORDED)
        if recorded is None:
            # The engine's own transaction: what is recorded here are rows of the engine.
            running = step._running  # noqa: SLF001
            with running.step_transaction(step.step_execution_id) as work:
                recorded = self._record(work.transaction, running.repository)
                step.context[RECORDED] = recorded
                work.save(step.context)
        self.counts = recorded

    def _record(self, transaction: Transaction, repository: Any) -> dict[str, int]:
        now, liveness = repository.clock.now(), repository.database.liveness
        counts: Counter[str] = Counter()
        ids: dict[str, int] = {}
        because = Because("operator", f"imported from {self._state.path.name}")
        for item, new in zip(self._state.items, self._items, strict=True):
            last = find_last(transaction, new) if new.unique_key is None else None
            if last is not None:
                execution_id = last.execution_id
                counts["kept"] += 1
            elif item.standing == "waiting":
                after_id = None if item.after is None else ids[item.after]
                placed = replace(new, after_id=after_id, because=because)
                created = create_execution(transaction, placed, liveness=liveness, at=now)
                execution_id = created.execution.execution_id
                counts["waiting"] += 1
            else:
                failure = _failure(item) if item.standing == "failed" else None
                ended = replace(
                    new,
                    owner_id=self._owner_id,
                    declared=NOTHING,
                    run_lock_key=None,
                    because=because,
                )
                execution_id = record_ended(
                    transaction,
                    ended,
                    _ENDED[item.standing],
                    because,
                    failure=failure,
                    liveness=liveness,
                    at=now,
                ).execution_id
                counts[item.standing] += 1
            if item.id is not None:
                ids[item.id] = execution_id
        return dict(counts)


def _failure(item: StateItem) -> Failure:
    return Failure("Imported", item.error or "it had failed in the program that it comes from")
