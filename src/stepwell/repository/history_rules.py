"""R1 as queries: the history replays to the row.

What stands before a row of the doctor's has been seen by it and is not reported again: the history
is append-only, so what is wrong in it stays, and a row behind it says so.
"""

from __future__ import annotations

from stepwell.execution.status import BatchStatus, legal_changes
from stepwell.finding import Choice, Repair
from stepwell.repository.repairs import (
    ACTOR,
    acknowledge,
    completed_or_failed,
    end_job,
    step_as,
    unknown_status,
)
from stepwell.repository.rule import IN_RANGE, OF_JOB, STEPS, Breach, Rule

_KNOWN = tuple(BatchStatus)
_ENDED = ("COMPLETED", "FAILED", "STOPPED", "ABANDONED")
_UNSEEN = (
    "NOT EXISTS (SELECT 1 FROM batch_status_history d WHERE d.actor = '" + ACTOR + "'"
    " AND d.job_execution_id = h.job_execution_id"
    " AND COALESCE(d.step_execution_id, 0) = COALESCE(h.step_execution_id, 0)"
    " AND d.history_id > h.history_id)"
)


def _last_change(row: str, of_step: str) -> str:
    """The status that the history ends with, for a job (``of_step`` IS NULL) or a step."""
    return (
        "(SELECT h.to_status FROM batch_status_history h"
        f" WHERE h.job_execution_id = {row}.job_execution_id AND h.step_execution_id {of_step}"
        " ORDER BY h.history_id DESC LIMIT 1)"
    )


# A change with the row that it belongs to: the job's own, or a step's.
_CHANGE_OF = (
    f"SELECT h.history_id, h.step_execution_id, h.from_status, h.to_status, {OF_JOB},"
    " COALESCE(s.status, e.status) AS status,"
    " CASE WHEN h.step_execution_id IS NULL THEN 'job' ELSE 'step' END AS kind,"
    " (SELECT l.to_status FROM batch_status_history l"
    "  WHERE l.job_execution_id = h.job_execution_id"
    "  AND COALESCE(l.step_execution_id, 0) = COALESCE(h.step_execution_id, 0)"
    "  ORDER BY l.history_id DESC LIMIT 1) AS last"
)
_ROW_OF_CHANGE = (
    " JOIN batch_job_execution e ON e.job_execution_id = h.job_execution_id"
    " LEFT JOIN batch_step_execution s ON s.step_execution_id = h.step_execution_id"
)


def _legal(kind: str) -> str:
    """The legal changes of section 3.1 as SQL conditions on ``h``."""
    pairs = ", ".join(
        f"('{'' if before is None else before}', '{after}')"
        for before, after in legal_changes(kind)  # type: ignore[arg-type]
    )
    return f"(COALESCE(h.from_status, ''), h.to_status) IN (VALUES {pairs})"


def _acknowledge(breach: Breach) -> Repair | Choice:
    return acknowledge(breach) if breach["status"] in _KNOWN else unknown_status(breach)


def _as_history_says(breach: Breach) -> Repair | Choice:
    """Who can change a row with one UPDATE cannot change the history: its end counts."""
    last, status = breach["last"], breach["status"]
    if last not in _ENDED:
        if status not in _KNOWN:
            return unknown_status(breach)
        if breach["step_execution_id"] is None and status == BatchStatus.COMPLETED:
            return completed_or_failed(breach, f"its history ended at {last}")
        return acknowledge(breach)
    why = f"its row said {status}, its history says {last}"
    if breach["step_execution_id"] is not None:
        return step_as(breach, last, why, "who changed the row, and why")
    if last != "ABANDONED" and BatchStatus.COMPLETED in (last, status):
        choice = completed_or_failed(breach, why)
        as_last = end_job(breach, last, why, "whether its outputs exist; who changed the row")
        return Choice(choice.execution_id, choice.if_outputs_exist, as_last)
    return end_job(breach, last, why, "who changed the row, and why")


HISTORY_RULES = (
    Rule(
        "R1",
        "illegal_change",
        "history row {history_id}",
        "a {kind} of execution {execution_id} was changed from {from_status} to {to_status}",
        f"""{_CHANGE_OF} FROM batch_status_history h {_ROW_OF_CHANGE}
            WHERE h.job_execution_id {IN_RANGE} AND h.actor <> '{ACTOR}' AND {_UNSEEN}
              AND CASE WHEN h.step_execution_id IS NULL THEN NOT {_legal("job")}
                  ELSE NOT {_legal("step")} END
            ORDER BY h.history_id""",
        _acknowledge,
    ),
    Rule(
        "R1",
        "history_broken",
        "history row {history_id}",
        "a change of a {kind} of execution {execution_id} begins at {from_status}, the one before"
        " it ended at {before}",
        f"""{_CHANGE_OF}, h.before FROM (
              SELECT c.*, LAG(c.to_status) OVER (
                PARTITION BY c.job_execution_id, COALESCE(c.step_execution_id, 0)
                ORDER BY c.history_id) AS before
              FROM batch_status_history c WHERE c.job_execution_id {IN_RANGE}) h {_ROW_OF_CHANGE}
            WHERE COALESCE(h.from_status, '') <> COALESCE(h.before, '') AND {_UNSEEN}
            ORDER BY h.history_id""",
        _acknowledge,
    ),
    Rule(
        "R1",
        "history_disagrees",
        "job execution {execution_id}",
        "it is {status}, its history ends at {last}",
        f"""SELECT * FROM (SELECT {OF_JOB}, e.status, NULL AS step_execution_id,
              {_last_change("e", "IS NULL")} AS last
              FROM batch_job_execution e WHERE e.job_execution_id {IN_RANGE}) t
            WHERE status <> COALESCE(last, '') ORDER BY execution_id""",
        _as_history_says,
    ),
    Rule(
        "R1",
        "history_disagrees",
        "step execution {step_execution_id}",
        "it is {status}, its history ends at {last}",
        f"""SELECT * FROM (SELECT {OF_JOB}, s.step_execution_id, s.status,
              {_last_change("s", "= s.step_execution_id")} AS last
              FROM {STEPS} WHERE s.job_execution_id {IN_RANGE}) t
            WHERE status <> COALESCE(last, '') ORDER BY step_execution_id""",
        _as_history_says,
    ),
)
