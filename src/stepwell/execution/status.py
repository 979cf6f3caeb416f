"""Statuses, their legal changes, and how a parent's status follows from its children.

Guarantees: every change of status in Stepwell passes :func:`check_transition` (S11), and a
partitioned step's end comes from :func:`derive_partitioned_step` alone (S162).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction
from typing import Literal

from stepwell.errors import IllegalTransition


class BatchStatus(StrEnum):
    """Where the work stands, decided by the engine (section 3.1)."""

    STARTING = "STARTING"
    STARTED = "STARTED"
    STOPPING = "STOPPING"
    STOPPED = "STOPPED"
    FAILED = "FAILED"
    COMPLETED = "COMPLETED"
    ABANDONED = "ABANDONED"
    UNKNOWN = "UNKNOWN"

    @property
    def is_running(self) -> bool:
        """STARTING, STARTED or STOPPING: the execution has not ended."""
        return self in _RUNNING

    @property
    def is_restartable(self) -> bool:
        """FAILED or STOPPED: only these restart (S62)."""
        return self in (BatchStatus.FAILED, BatchStatus.STOPPED)


class Result(StrEnum):
    """How a step or job ended, beside its batch status; None while it runs or is STOPPED (S21)."""

    COMPLETED = "COMPLETED"
    PARTIAL = "PARTIAL"
    FAILED = "FAILED"


class PartitionOutcome(StrEnum):
    """How a partition ended (S160)."""

    SUCCESS = "SUCCESS"
    PARTIAL = "PARTIAL"
    FAILURE = "FAILURE"


_RUNNING = frozenset({BatchStatus.STARTING, BatchStatus.STARTED, BatchStatus.STOPPING})

_S = BatchStatus
_JOB_TRANSITIONS: dict[BatchStatus | None, frozenset[BatchStatus]] = {
    None: frozenset({_S.STARTING}),
    _S.STARTING: frozenset({_S.STARTED, _S.STOPPED, _S.FAILED}),
    _S.STARTED: frozenset({_S.STOPPING, _S.COMPLETED, _S.FAILED, _S.STOPPED}),
    _S.STOPPING: frozenset({_S.STOPPED, _S.FAILED}),
    _S.COMPLETED: frozenset({_S.ABANDONED}),
    _S.FAILED: frozenset({_S.ABANDONED}),
    _S.STOPPED: frozenset({_S.ABANDONED}),
}
_STEP_TRANSITIONS: dict[BatchStatus | None, frozenset[BatchStatus]] = {
    None: frozenset({_S.STARTED}),
    _S.STARTED: frozenset({_S.STOPPING, _S.COMPLETED, _S.FAILED}),
    _S.STOPPING: frozenset({_S.STOPPED, _S.FAILED, _S.COMPLETED}),
}


def check_transition(
    kind: Literal["job", "step"],
    execution_id: int | None,
    from_status: BatchStatus | None,
    to_status: BatchStatus,
) -> None:
    """Refuse every change of status that section 3.1 does not list (S11).

    ``from_status`` None means that the row is about to be inserted.

    Raises:
        IllegalTransition: the change is a bug; the caller writes nothing.
    """
    table = _JOB_TRANSITIONS if kind == "job" else _STEP_TRANSITIONS
    if to_status not in table.get(from_status, frozenset()):
        what = f"{kind} execution" + (f" {execution_id}" if execution_id is not None else "")
        raise IllegalTransition(what, from_status, to_status)


def legal_changes(kind: Literal["job", "step"]) -> list[tuple[BatchStatus | None, BatchStatus]]:
    """Every change that :func:`check_transition` lets pass, from and to."""
    table = _JOB_TRANSITIONS if kind == "job" else _STEP_TRANSITIONS
    return [(before, after) for before, afters in table.items() for after in sorted(afters)]


@dataclass(frozen=True)
class StepEnd:
    """How a step ends: what the final transaction will record."""

    batch_status: BatchStatus
    result: Result | None
    exit_status: str


STEP_COMPLETED = StepEnd(BatchStatus.COMPLETED, Result.COMPLETED, "COMPLETED")
STEP_FAILED = StepEnd(BatchStatus.FAILED, Result.FAILED, "FAILED")
STEP_STOPPED = StepEnd(BatchStatus.STOPPED, None, "STOPPED")


def derive_partitioned_step(
    *, total: int, completed: int, failed: int, partial: int, tolerated_failures: float
) -> StepEnd:
    """The end of a partitioned step from its counters and its tolerance, in the order of S162.

    ``completed`` counts every recorded result; ``failed`` and ``partial`` are part of it.
    """
    if failed > tolerated_count(tolerated_failures, total):
        return STEP_FAILED
    if completed < total:
        return STEP_STOPPED
    if failed or partial:
        return StepEnd(BatchStatus.COMPLETED, Result.PARTIAL, "PARTIAL")
    return STEP_COMPLETED


def tolerated_count(tolerated_failures: float, total: int) -> int:
    """How many failed partitions of ``total`` are tolerated (S163).

    An int is a count; a float is a fraction of the total, taken as the decimal that its author
    wrote (0.3 of 10 is 3, although the double is a little less) and rounded down.
    """
    if isinstance(tolerated_failures, int):
        return tolerated_failures
    return int(Fraction(str(tolerated_failures)) * total)


def derive_job_result(batch_status: BatchStatus, steps: Iterable[Result | None]) -> Result | None:
    """A job's result from its status and those of the steps it ran or skipped as complete (S21)."""
    if batch_status is BatchStatus.FAILED:
        return Result.FAILED
    if batch_status is not BatchStatus.COMPLETED:
        return None
    return Result.PARTIAL if Result.PARTIAL in steps else Result.COMPLETED
