"""The pages of executions: past ones, and one in full with what can be done with it."""

from __future__ import annotations

from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query
from starlette.responses import Response

from stepwell.database.transaction import Reader
from stepwell.errors import NoSuchJob, StepwellError
from stepwell.execution.parameters import DUE
from stepwell.execution.records import JobExecution, PartitionExecution
from stepwell.looks.definitions import Definition
from stepwell.looks.progress import StepProgress
from stepwell.looks.reading import Details, Look
from stepwell.looks.stages import Stage, stages_of
from stepwell.repository import browse
from stepwell.repository.partitions import list_partition_executions
from stepwell.runner.skipped import NAME as SKIPS_JOB
from stepwell.runner.skipped import every_skip, reasons_to_keep
from stepwell.web.documents import ID_MAX
from stepwell.web.drawing import draw_page
from stepwell.web.face import Asked, Face, Viewer
from stepwell.web.history import Wanted, list_history
from stepwell.web.pictures import (
    KIND_OF,
    NOT_HERE,
    RUNNING,
    WAITING,
    Cells,
    draw_cells,
    draw_spans,
)
from stepwell.web.questions import SHOWN, Id

router = APIRouter(include_in_schema=False)

SLOWEST = 5  # So many of those that are done, when there are too many to list them all.
LISTED_MAX = 20  # So many partitions stand there by name; of more there is a grid of cells, too.
_PLAIN = ("STARTING", "STOPPED")  # Nothing about such a partition is worth telling.
SKIPS_JUDGED_MAX = 1_000  # Of more nobody is told beforehand which cannot be retried.


@router.get("/executions")
def list_executions(
    face: Asked, _caller: Viewer, wanted: Annotated[Wanted, Depends()], job: str | None = None
) -> Response:
    """One page of executions, the newest first."""
    listing = list_history(face, wanted, job=job or None)
    return draw_page("executions.html", face, job=job, listing=listing, events="/api/events")


@router.get("/executions/{execution_id}")
def show_execution(
    execution_id: Id,
    face: Asked,
    _caller: Viewer,
    step: str | None = None,
    partition: Annotated[int | None, Query(ge=0, le=ID_MAX)] = None,
) -> Response:
    """One execution: its stages, its partitions as a grid, what can be done with it.

    ``step`` and ``partition`` name a partition that is shown in full.
    """
    details = face.watch().details(execution_id, partitions_max=0, skips_max=SHOWN)
    look = details.look
    is_running = look.execution.batch_status.is_running
    stages = stages_by_id(face, [look])[execution_id] if is_running else []
    times = [(each.step.start_time, each.step.end_time) for each in look.steps]
    with face.node.database.read() as reader:
        parts = [
            _partitions(reader, details, each, partition if step == each.step.step_name else None)
            for each in look.steps
            if each.step.partition_total is not None
        ]
    return draw_page(
        "execution.html",
        face,
        details=details,
        stages=stages,
        others=[stage for stage in stages if stage.progress is None],
        steps=list(zip(look.steps, draw_spans(times, until=look.at), strict=True)),
        parts=parts,
        left_out=_left_out(face, details),
        restarting=_restarting(face, look.execution),
        why=face.node.operator.why(execution_id) if look.waits else None,
        events=f"/api/executions/{execution_id}/events" if is_running else None,
    )


def stages_by_id(face: Face, looks: list[Look] | tuple[Look, ...]) -> dict[int, list[Stage]]:
    """Of each execution, with the steps that are to come when its job is known here."""
    registry = face.node.registry
    names: dict[str, list[str]] = {}
    for job in {look.execution.job_name for look in looks}:
        with suppress(NoSuchJob):
            names[job] = Definition.of(registry.find(job)).step_names
    return {
        look.execution_id: stages_of(look, names.get(look.execution.job_name, ())) for look in looks
    }


@dataclass(frozen=True)
class Partitions:
    """The partitions of one step, as a page shows them.

    Attributes:
        counts: Kind of cell, word and number of each state that there is.
        listed: Stragglers first; ``is_all`` says whether nothing is left out.
        cells: None while they are so few that each stands there by name.
        chosen: The number that somebody asked for, and its attempt, if it has one here.
    """

    progress: StepProgress
    counts: list[tuple[str, str, int]]
    times: browse.PartitionTimes | None
    listed: list[PartitionExecution]
    is_all: bool
    cells: Cells | None
    chosen: int | None
    attempt: PartitionExecution | None


def _partitions(
    reader: Reader, details: Details, progress: StepProgress, asked: int | None
) -> Partitions:
    step_id, total = progress.step.step_execution_id, progress.step.partition_total or 0
    words = {
        number: outcome or status
        for number, status, outcome in browse.list_partition_states(reader, step_id)
    }
    chosen = asked if asked is not None and asked < total else None
    attempts = (
        list_partition_executions(reader, step_id, after_number=chosen - 1, count=1)
        if chosen is not None
        else []
    )
    kinds = {number: KIND_OF.get(word, WAITING) for number, word in words.items()}
    return Partitions(
        progress=progress,
        counts=_counted(words, total),
        times=details.partition_times.get(step_id),
        listed=_worth_telling(browse.list_stragglers(reader, step_id, count=LISTED_MAX)),
        is_all=len(words) <= LISTED_MAX,
        cells=draw_cells(kinds, total, chosen=chosen) if total > LISTED_MAX else None,
        chosen=chosen,
        attempt=next((one for one in attempts if one.number == chosen), None),
    )


def _worth_telling(stragglers: list[PartitionExecution]) -> list[PartitionExecution]:
    """All when they are few; of many what is at work or went wrong, then the slowest."""
    if len(stragglers) < LISTED_MAX:
        return stragglers
    is_plain = [one.outcome == "SUCCESS" or one.batch_status in _PLAIN for one in stragglers]
    return stragglers[: (is_plain.index(True) if True in is_plain else LISTED_MAX) + SLOWEST]


def _counted(words: dict[int, str], total: int) -> list[tuple[str, str, int]]:
    counts = Counter(words.values())
    told = {"STARTED": "at work", "STARTING": "waiting"}
    found = [
        (KIND_OF.get(word, WAITING), told.get(word, word), number)
        for word, number in sorted(counts.items())
    ]
    missing = total - len(words)
    if missing > 0:
        found.append((NOT_HERE, "not here: kept from before, or not begun", missing))
    return sorted(found, key=lambda one: (one[0] != RUNNING, one[0] == WAITING))


def _restarting(face: Face, execution: JobExecution) -> dict[str, Any]:
    """What a restart must be given: the parameters again, where the job forgets them (S10)."""
    with suppress(NoSuchJob):
        source = face.node.registry.find(execution.job_name).source
        if source is not None and not source.reuses_parameters:
            given = {p.name: p.value for p in execution.parameters if p.name != DUE}
            return {"parameters": given}
    return {}


def _left_out(face: Face, details: Details) -> dict[str, Any]:
    """What could be done about the items that were skipped: a form's values, or why there is none.

    ``kept`` are the reasons for which some of them would not be retried.
    """
    execution = details.look.execution
    found: dict[str, Any] = {"job": None, "kept": {}, "values": []}
    if not details.skip_count or execution.batch_status.is_running:
        return found
    kept: Counter[str] = Counter()
    with suppress(StepwellError):  # Its job is not known here, or not any more.
        if details.skip_count <= SKIPS_JUDGED_MAX:
            skips = every_skip(face.node.database, execution.execution_id)
            kept = reasons_to_keep(skips, face.node.registry, execution)
        if kept.total() < details.skip_count and SKIPS_JOB in face.node.registry:
            found["job"] = SKIPS_JOB
    found["values"] = [(p.name, p.value) for p in execution.parameters if p.value is not None]
    found["kept"] = dict(kept)
    return found
