"""What mends the rows of one job execution, written down as SQL statements.

Each repair proves the version of the job execution, changes what is wrong beneath it, and raises
the version with its last statement. So a repair whose plan has gone stale changes nothing, and one
that is done a second time neither (law 5). ``:now`` is the time of the repair.

A change of a status has its row in the history, by the actor ``doctor``; it begins where the
history ended, so that the history replays to the row (R1).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from stepwell.finding import Choice, Repair, Statement, Value

Breach = Mapping[str, Any]
Ended = Literal["COMPLETED", "FAILED", "STOPPED", "ABANDONED"]

ACTOR = "doctor"
FAILURE_TYPE = "FoundByDoctor"

_JOB_IS = (
    "SELECT 1 FROM batch_job_execution"
    " WHERE job_execution_id = :execution_id AND version = :version"
)
_STILL = f"EXISTS ({_JOB_IS})"
_THE_STEP = "step_execution_id = :step_execution_id"
_LATER = "CASE WHEN last_updated > :now THEN last_updated ELSE :now END"
_TROUBLED = "COALESCE(partition_failed, 0) + COALESCE(partition_partial, 0) > 0"
STEP_RESULT = (
    f"CASE WHEN status = 'COMPLETED' AND {_TROUBLED} THEN 'PARTIAL'"
    " WHEN status IN ('COMPLETED', 'FAILED') THEN status END"
)
_ANY_PARTIAL = (
    "EXISTS (SELECT 1 FROM batch_step_execution p"
    " WHERE p.job_execution_id = batch_job_execution.job_execution_id AND p.result = 'PARTIAL')"
)
JOB_RESULT = (
    f"CASE WHEN status = 'COMPLETED' AND {_ANY_PARTIAL} THEN 'PARTIAL'"
    " WHEN status IN ('COMPLETED', 'FAILED') THEN status END"
)
_INSERT_CHANGE = (
    "INSERT INTO batch_status_history (job_execution_id, step_execution_id, from_status,"
    " to_status, changed_at, actor, reason)"
)
_RUNS = "status IN ('STARTED', 'STOPPING')"
_RAISE_ENDED_STEPS = (
    "UPDATE batch_step_execution SET fence = :fence"
    " WHERE job_execution_id = :execution_id AND end_time IS NOT NULL"
)
_REQUESTS_ARE_LATE = (
    "UPDATE batch_request SET taken_at = :now, late = TRUE"
    " WHERE job_execution_id = :execution_id AND taken_at IS NULL"
)
_FAIL_ATTEMPTS = (
    "UPDATE batch_partition_execution SET status = 'FAILED', end_time = :now, fence = :fence"
    " WHERE status IN ('STARTING', 'STARTED') AND step_execution_id"
)
FAIL_ATTEMPT = (
    "UPDATE batch_partition_execution SET status = 'FAILED', result = NULL, end_time = :now"
    " WHERE step_execution_id = :step_execution_id AND partition_number = :number"
)
_PLAN_IS_DONE = "COALESCE(partition_completed, 0) = COALESCE(partition_total, 0)"


def mend(
    breach: Breach,
    does: str,
    cannot_know: str,
    statements: Sequence[str] = (),
    *,
    sets: str = "",
    updated: str = _LATER,
    **values: Value,
) -> Repair:
    """A repair of the execution of ``breach``; it ends with ``sets`` on the job's own row.

    Each statement ends in its WHERE, to which the proof of the version is added. ``updated`` is
    what ``last_updated`` becomes; it never goes back, but from the future.
    """
    guard_values: dict[str, Value] = {
        "execution_id": breach["execution_id"],
        "version": breach["version"],
    }
    values = {**guard_values, **values}
    raised = (
        f"UPDATE batch_job_execution SET {sets + ', ' if sets else ''}version = version + 1,"
        f" last_updated = {updated} WHERE job_execution_id = :execution_id AND version = :version"
    )
    return Repair(
        does=does,
        cannot_know=cannot_know,
        guard=Statement(_JOB_IS, guard_values),
        statements=(
            *(Statement(f"{sql} AND {_STILL}", values) for sql in statements),
            Statement(raised, values),
        ),
    )


def mend_step(
    breach: Breach,
    does: str,
    cannot_know: str,
    sets: str,
    *,
    updated: str = _LATER,
    **values: Value,
) -> Repair:
    """A repair of one step's row."""
    update = _step_update(sets, "step_execution_id = :step_execution_id", updated)
    values = {"step_execution_id": breach["step_execution_id"], **values}
    return mend(breach, does, cannot_know, [update], sets="", updated=_LATER, **values)


def acknowledge(breach: Breach) -> Repair:
    """Add a row to the history that ends at the status of the row; what was before stays there."""
    of_step = breach.get("step_execution_id") is not None
    return mend(
        breach,
        f"add to the history that it is {breach['status']}; what stands there already stays",
        "who wrote the change, and what else he changed",
        [step_change(_THE_STEP), _change_of_a_step_that_is_gone()] if of_step else [job_change()],
        step_execution_id=breach.get("step_execution_id"),
        reason=f"the history ended at {breach['last']}",
    )


def _change_of_a_step_that_is_gone() -> str:
    """The history row of a step that is in no table any more: it stays as it ended."""
    return (
        f"{_INSERT_CHANGE} SELECT h.job_execution_id, h.step_execution_id, h.to_status,"
        f" h.to_status, {_LATER}, '{ACTOR}', :reason"
        " FROM batch_status_history h"
        " JOIN batch_job_execution e ON e.job_execution_id = h.job_execution_id"
        " WHERE h.history_id = (SELECT max(l.history_id)"
        " FROM batch_status_history l WHERE l.job_execution_id = :execution_id"
        " AND l.step_execution_id = :step_execution_id)"
        " AND NOT EXISTS (SELECT 1 FROM batch_step_execution s"
        " WHERE s.step_execution_id = h.step_execution_id)"
    )


def job_change(to: str = "status") -> str:
    """The history row of a job: from where its history ends ``to`` an SQL expression."""
    last = (
        "(SELECT h.to_status FROM batch_status_history h"
        " WHERE h.job_execution_id = e.job_execution_id AND h.step_execution_id IS NULL"
        " ORDER BY h.history_id DESC LIMIT 1)"
    )
    return (
        f"{_INSERT_CHANGE} SELECT e.job_execution_id, NULL, {last}, {to},"
        f" {_LATER}, '{ACTOR}', :reason"
        " FROM batch_job_execution e WHERE e.job_execution_id = :execution_id"
    )


def step_change(which: str, to: str = "status") -> str:
    """The history rows of the steps that ``which`` names, likewise."""
    last = (
        "(SELECT h.to_status FROM batch_status_history h"
        " WHERE h.job_execution_id = s.job_execution_id"
        " AND h.step_execution_id = s.step_execution_id ORDER BY h.history_id DESC LIMIT 1)"
    )
    return (
        f"{_INSERT_CHANGE} SELECT s.job_execution_id, s.step_execution_id, {last}, {to},"
        f" {_LATER}, '{ACTOR}', :reason"
        f" FROM batch_step_execution s WHERE s.job_execution_id = :execution_id AND {which}"
    )


def end_job(breach: Breach, to: Ended, why: str, cannot_know: str) -> Repair:
    """The execution ends ``to``, with its running steps, partitions and open requests.

    Its fences rise, so that nobody who thought to own it can write any more (S35).
    """
    return mend(
        breach,
        f"mark it {to}: {why}",
        cannot_know,
        [
            *_end_steps(completed=to == "COMPLETED"),
            _RAISE_ENDED_STEPS,
            _REQUESTS_ARE_LATE,
            job_change(f"'{to}'"),
        ],
        sets=_job_as(to),
        fence=int(breach["fence"]) + 1,
        reason=why,
    )


def end_steps(breach: Breach, why: str, cannot_know: str, *, completed: bool) -> Repair:
    """The running steps of an execution that has ended end too; the execution stays as it is."""
    return mend(
        breach,
        f"end its running steps {'COMPLETED' if completed else 'FAILED'}: {why}",
        cannot_know,
        _end_steps(completed=completed),
        fence=int(breach["fence"]),
        reason=why,
    )


def step_as(breach: Breach, to: Ended, why: str, cannot_know: str) -> Repair:
    """One step's row becomes ``to``."""
    return mend(
        breach,
        f"mark the step {to}: {why}",
        cannot_know,
        [
            step_change("s.step_execution_id = :step_execution_id", f"'{to}'"),
            _step_update(_step_ends(to), "step_execution_id = :step_execution_id"),
        ],
        step_execution_id=breach["step_execution_id"],
        reason=why,
    )


def completed_or_failed(breach: Breach, why: str) -> Choice:
    """COMPLETED where the outputs exist, FAILED where they do not, or nobody can say."""
    return Choice(
        int(breach["execution_id"]),
        if_outputs_exist=end_job(breach, "COMPLETED", f"{why}, and its outputs exist", ""),
        otherwise=end_job(breach, "FAILED", why, "whether its outputs exist"),
    )


def unknown_status(breach: Breach) -> Repair | Choice:
    """A status that is none: the step ends FAILED, the job as its outputs say."""
    why = f"its status was {breach['status']!r}"
    if breach.get("step_execution_id") is not None:
        return step_as(breach, "FAILED", why, "what its status was")
    return completed_or_failed(breach, why)


def _end_steps(*, completed: bool) -> list[str]:
    """The running steps end COMPLETED where they can: where a plan is not done they cannot."""
    of_job = "job_execution_id = :execution_id"
    running = f"SELECT step_execution_id FROM batch_step_execution WHERE {_RUNS} AND {of_job}"
    statements = [f"{_FAIL_ATTEMPTS} IN ({running})"]
    ends: list[tuple[Ended, str]] = [("FAILED", _RUNS)]
    if completed:
        ends.insert(0, ("COMPLETED", f"{_RUNS} AND {_PLAN_IS_DONE}"))
    for to, which in ends:
        sets = f"{_step_ends(to)}, fence = :fence"
        statements += [
            step_change(which, f"'{to}'"),
            _step_update(sets, f"{of_job} AND {which}"),
        ]
    return statements


def _step_update(sets: str, which: str, updated: str = _LATER) -> str:
    return (
        f"UPDATE batch_step_execution SET {sets}, version = version + 1, last_updated = {updated}"
        f" WHERE {which}"
    )


def _step_ends(to: Ended) -> str:
    result = "NULL"
    if to == "COMPLETED":
        result = f"CASE WHEN {_TROUBLED} THEN 'PARTIAL' ELSE 'COMPLETED' END"
    elif to == "FAILED":
        result = "'FAILED'"
    return _ends(to, result, "h.step_execution_id = batch_step_execution.step_execution_id")


def _job_as(to: Ended) -> str:
    result = {"ABANDONED": "result", "STOPPED": "NULL", "FAILED": "'FAILED'"}.get(to)
    if result is None:
        result = f"CASE WHEN {_ANY_PARTIAL} THEN 'PARTIAL' ELSE 'COMPLETED' END"
    of_job = (
        "h.job_execution_id = batch_job_execution.job_execution_id AND h.step_execution_id IS NULL"
    )
    return f"{_ends(to, result, of_job)}, current_step = NULL, fence = :fence"


def _ends(to: Ended, result: str, of_row: str) -> str:
    """What a row that has ended says; an exit status that user code has set stays.

    The history knows when it ended: since this repair, or since an end that the row has lost.
    """
    sets = (
        f"status = '{to}', end_time = COALESCE(end_time, (SELECT MIN(h.changed_at)"
        f" FROM batch_status_history h WHERE {of_row} AND h.to_status = '{to}')),"
        f" result = {result}, exit_code = COALESCE(NULLIF(exit_code, status), '{to}')"
    )
    if to == "FAILED":
        sets += (
            f", failure_type = COALESCE(failure_type, '{FAILURE_TYPE}'),"
            " exit_message = COALESCE(exit_message, :reason)"
        )
    return sets
