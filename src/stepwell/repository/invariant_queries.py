"""The queries behind ``invariants.py``: each answers the rows that break a rule.

They are written as text because they join and count across tables for reading alone; what they say
is the same on both databases.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import text

from stepwell.database.prepared import Prepared
from stepwell.database.transaction import Reader
from stepwell.finding import Finding, Severity

HINT = "please report it, with the output of `stepwell status`"


@dataclass(frozen=True)
class Invariant:
    """One way to break a rule: a query for the rows that do.

    The first column names the row for ``where``, all of them may stand in ``what``.
    """

    rule: str
    code: str
    where: str
    what: str
    query: Prepared

    def findings(self, reader: Reader) -> list[Finding]:
        """One finding a row."""
        return [
            Finding(
                code=self.code,
                severity=Severity.ERROR,
                where=self.where.format(*row),
                what=self.what.format(*row),
                hint=HINT,
                rule=self.rule,
            )
            for row in reader.fetch_all(self.query)
        ]


JOB = "job execution {0}"
STEP = "step execution {0}"

_RUNNING_JOB = "e.status IN ('STARTING', 'STARTED', 'STOPPING')"
_ENDED_JOB = "e.status IN ('STOPPED', 'FAILED', 'COMPLETED', 'ABANDONED')"
_RUNNING_STEP = "s.status IN ('STARTED', 'STOPPING')"
_UNFINISHED = "a.status IN ('STARTING', 'STARTED')"
_RESULT = """CASE status WHEN 'COMPLETED' THEN COALESCE(result, '') NOT IN ('COMPLETED', 'PARTIAL')
  WHEN 'FAILED' THEN COALESCE(result, '') <> 'FAILED' ELSE result IS NOT NULL END"""
_STEPS = "batch_step_execution s JOIN batch_job_execution e USING (job_execution_id)"
_ATTEMPTS = "batch_partition_execution a JOIN batch_step_execution s USING (step_execution_id)"


def _invariant(rule: str, code: str, where: str, what: str, sql: str) -> Invariant:
    return Invariant(rule, code, where, what, Prepared(text(sql)))


def _last_change(row: str, of_step: str) -> str:
    """The status that the history ends with, for a job (``of_step`` IS NULL) or a step."""
    return (
        "(SELECT h.to_status FROM batch_status_history h"
        f" WHERE h.job_execution_id = {row}.job_execution_id AND h.step_execution_id {of_step}"
        " ORDER BY h.history_id DESC LIMIT 1)"
    )


# One row for each step that runs, one with NULL where none does.
CURRENT_STEPS = Prepared(
    text(
        f"""SELECT e.job_execution_id, e.status, e.current_step, s.step_name
            FROM batch_job_execution e LEFT JOIN batch_step_execution s
              ON s.job_execution_id = e.job_execution_id AND {_RUNNING_STEP}
            WHERE e.current_step IS NOT NULL OR s.step_name IS NOT NULL
            ORDER BY e.job_execution_id, s.step_execution_id"""
    )
)

INVARIANTS = (
    _invariant(
        "R1",
        "history_broken",
        "history row {0}",
        "the change of execution {1}, step execution {2}, begins at {3}; the one before ended at"
        " {4}",
        """SELECT history_id, job_execution_id, step_execution_id, from_status, before FROM (
             SELECT history_id, job_execution_id, step_execution_id, from_status, LAG(to_status)
               OVER (PARTITION BY job_execution_id, COALESCE(step_execution_id, 0)
                     ORDER BY history_id) AS before FROM batch_status_history) changes
           WHERE COALESCE(from_status, '') <> COALESCE(before, '')""",
    ),
    _invariant(
        "R1",
        "history_disagrees",
        JOB,
        "it is {1}, its history ends at {2}",
        f"""SELECT job_execution_id, status, last FROM (SELECT e.job_execution_id, e.status,
              {_last_change("e", "IS NULL")} AS last FROM batch_job_execution e) t
            WHERE status <> COALESCE(last, '')""",
    ),
    _invariant(
        "R1",
        "history_disagrees",
        STEP,
        "it is {1}, its history ends at {2}",
        f"""SELECT step_execution_id, status, last FROM (SELECT s.step_execution_id, s.status,
              {_last_change("s", "= s.step_execution_id")} AS last
              FROM batch_step_execution s) t
            WHERE status <> COALESCE(last, '')""",
    ),
    _invariant(
        "R2",
        "step_outlives_execution",
        STEP,
        "step {1!r} is {2}, its execution {3} is {4}",
        f"""SELECT s.step_execution_id, s.step_name, s.status, e.job_execution_id, e.status
            FROM {_STEPS} WHERE {_RUNNING_STEP} AND {_ENDED_JOB}""",
    ),
    _invariant(
        "R2",
        "partition_outlives_step",
        STEP,
        "partition {1} is {2}, its step is {3}",
        f"""SELECT s.step_execution_id, a.partition_number, a.status, s.status FROM {_ATTEMPTS}
            WHERE {_UNFINISHED} AND NOT ({_RUNNING_STEP})""",
    ),
    _invariant(
        "R3",
        "completed_without_results",
        STEP,
        "step {1!r} is COMPLETED with {2} of {3} partitions",
        """SELECT step_execution_id, step_name, partition_completed, partition_total
           FROM batch_step_execution
           WHERE status = 'COMPLETED' AND partition_completed <> partition_total""",
    ),
    _invariant(
        "R4",
        "partition_counters",
        STEP,
        "total, completed, failed, partial are {1}, {2}, {3}, {4}; its rows say {5}, {6}, {7}, {8}",
        """SELECT * FROM (
             SELECT s.step_execution_id, s.partition_total, s.partition_completed,
               s.partition_failed, s.partition_partial, COUNT(p.plan_id) AS total,
               COALESCE(SUM(CASE WHEN a.result IS NOT NULL
                 OR (a.status IS NULL AND k.result IS NOT NULL) THEN 1 ELSE 0 END), 0) AS completed,
               COALESCE(SUM(CASE WHEN a.result = 'FAILURE' THEN 1 ELSE 0 END), 0) AS failed,
               COALESCE(SUM(CASE WHEN a.result = 'PARTIAL'
                 OR (a.status IS NULL AND k.result = 'PARTIAL') THEN 1 ELSE 0 END), 0) AS partial
             FROM batch_step_execution s
             LEFT JOIN batch_partition p ON p.plan_id = s.plan_id
             LEFT JOIN batch_partition_execution a ON a.step_execution_id = s.step_execution_id
               AND a.partition_number = p.partition_number
             LEFT JOIN batch_partition_execution k ON k.plan_id = p.plan_id
               AND k.partition_number = p.partition_number
               AND k.step_execution_id < s.step_execution_id AND k.result IN ('SUCCESS', 'PARTIAL')
             WHERE s.partition_total IS NOT NULL
             GROUP BY s.step_execution_id, s.partition_total, s.partition_completed,
               s.partition_failed, s.partition_partial) counted
           WHERE partition_total <> total OR partition_completed <> completed
             OR partition_failed <> failed OR partition_partial <> partial""",
    ),
    _invariant(
        "R5",
        "partition_succeeded_twice",
        "plan {0}",
        "partition {1} has {2} results that count",
        """SELECT plan_id, partition_number, COUNT(*) FROM batch_partition_execution
           WHERE result IN ('SUCCESS', 'PARTIAL') GROUP BY plan_id, partition_number
           HAVING COUNT(*) > 1""",
    ),
    _invariant(
        "R6",
        "failed_without_reason",
        JOB,
        "it is FAILED without a failure",
        """SELECT job_execution_id FROM batch_job_execution
           WHERE status = 'FAILED' AND failure_type IS NULL""",
    ),
    _invariant(
        "R6",
        "failed_without_reason",
        STEP,
        "step {1!r} is FAILED without a failure",
        """SELECT step_execution_id, step_name FROM batch_step_execution
           WHERE status = 'FAILED' AND failure_type IS NULL""",
    ),
    _invariant(
        "R6",
        "ended_without_exit_status",
        JOB,
        "it is {1} without an exit status",
        f"""SELECT e.job_execution_id, e.status FROM batch_job_execution e
            WHERE {_ENDED_JOB} AND e.exit_code IS NULL""",
    ),
    _invariant(
        "R6",
        "ended_without_exit_status",
        STEP,
        "step {1!r} is {2} without an exit status",
        f"""SELECT s.step_execution_id, s.step_name, s.status FROM batch_step_execution s
            WHERE NOT ({_RUNNING_STEP}) AND s.exit_code IS NULL""",
    ),
    _invariant(
        "R7",
        "runs_without_owner",
        JOB,
        "it is {1} under fence {2}, and its owner {3}",
        f"""SELECT e.job_execution_id, e.status, e.fence,
              CASE WHEN e.owner_id IS NULL THEN 'is none' ELSE 'has ended' END
            FROM batch_job_execution e LEFT JOIN batch_owner o USING (owner_id)
            WHERE {_RUNNING_JOB} AND (e.owner_id IS NULL AND (e.status <> 'STARTING')
              OR e.owner_id IS NOT NULL AND (o.ended_at IS NOT NULL OR e.fence < 1))""",
    ),
    _invariant(
        "R8",
        "fences_disagree",
        STEP,
        "step {1!r} ({2}) has fence {3}, its execution {4} has {5}",
        f"""SELECT s.step_execution_id, s.step_name, s.status, s.fence, e.job_execution_id, e.fence
            FROM {_STEPS} WHERE s.fence > e.fence OR ({_RUNNING_STEP} AND s.fence <> e.fence)""",
    ),
    _invariant(
        "R8",
        "fences_disagree",
        STEP,
        "partition {1} ({2}) has fence {3}, its step has {4}",
        f"""SELECT s.step_execution_id, a.partition_number, a.status, a.fence, s.fence
            FROM {_ATTEMPTS} WHERE a.fence > s.fence OR ({_UNFINISHED} AND a.fence <> s.fence)""",
    ),
    _invariant(
        "R9",
        "last_step",
        JOB,
        "it is {1} and names {2!r} as its last completed step",
        """SELECT e.job_execution_id, e.status, e.last_step FROM batch_job_execution e
           WHERE (e.last_step IS NOT NULL AND NOT EXISTS (
               SELECT 1 FROM batch_step_execution s JOIN batch_job_execution x
                 USING (job_execution_id)
               WHERE x.job_instance_id = e.job_instance_id AND s.step_name = e.last_step
                 AND s.status = 'COMPLETED'))
             OR (e.last_step IS NULL AND EXISTS (
               SELECT 1 FROM batch_step_execution s
               WHERE s.job_execution_id = e.job_execution_id AND s.status = 'COMPLETED'))""",
    ),
    _invariant(
        "R10",
        "result_disagrees",
        JOB,
        "it is {1} with the result {2}",
        f"""SELECT job_execution_id, status, result FROM batch_job_execution
           WHERE status <> 'ABANDONED' AND {_RESULT}""",
    ),
    _invariant(
        "R10",
        "result_disagrees",
        STEP,
        "step {1!r} is {2} with the result {3}",
        f"""SELECT step_execution_id, step_name, status, result FROM batch_step_execution
           WHERE {_RESULT}""",
    ),
    _invariant(
        "R10",
        "result_disagrees",
        JOB,
        "its result is COMPLETED, that of its step {1!r} is PARTIAL",
        f"""SELECT e.job_execution_id, s.step_name FROM {_STEPS}
            WHERE e.status = 'COMPLETED' AND e.result = 'COMPLETED' AND s.result = 'PARTIAL'""",
    ),
    _invariant(
        "R11",
        "times_disagree",
        JOB,
        "created {1}, started {2}, ended {3}",
        """SELECT job_execution_id, create_time, start_time, end_time FROM batch_job_execution
           WHERE start_time < create_time OR end_time < start_time OR end_time < create_time""",
    ),
    _invariant(
        "R11",
        "times_disagree",
        STEP,
        "created {1}, started {2}, ended {3}",
        """SELECT step_execution_id, create_time, start_time, end_time FROM batch_step_execution
           WHERE start_time < create_time OR end_time < start_time OR end_time < create_time""",
    ),
    _invariant(
        "R12",
        "ran_after_completion",
        JOB,
        "it is COMPLETED, and execution {1} of the same instance came after it",
        """SELECT e.job_execution_id, MIN(x.job_execution_id) FROM batch_job_execution e
           JOIN batch_job_execution x ON x.job_instance_id = e.job_instance_id
             AND x.job_execution_id > e.job_execution_id
           WHERE e.status = 'COMPLETED' GROUP BY e.job_execution_id""",
    ),
    _invariant(
        "R13",
        "request_left_open",
        JOB,
        "it is {1}, and its {2} request {3} was never taken",
        f"""SELECT e.job_execution_id, e.status, r.kind, r.request_id
            FROM batch_request r JOIN batch_job_execution e USING (job_execution_id)
            WHERE r.taken_at IS NULL AND {_ENDED_JOB}""",
    ),
    _invariant(
        "R14",
        "partition_result_disagrees",
        STEP,
        "partition {1} is {2} with the result {3}",
        """SELECT step_execution_id, partition_number, status, result
           FROM batch_partition_execution
           WHERE CASE status
             WHEN 'COMPLETED' THEN COALESCE(result, '') NOT IN ('SUCCESS', 'PARTIAL')
             WHEN 'FAILED' THEN COALESCE(result, 'FAILURE') <> 'FAILURE'
             ELSE result IS NOT NULL END""",
    ),
    _invariant(
        "R15",
        "context_missing",
        JOB,
        "it has no context",
        """SELECT job_execution_id FROM batch_job_execution e WHERE NOT EXISTS (
             SELECT 1 FROM batch_job_execution_context c
             WHERE c.job_execution_id = e.job_execution_id)""",
    ),
    _invariant(
        "R15",
        "context_missing",
        STEP,
        "step {1!r} has no context",
        """SELECT step_execution_id, step_name FROM batch_step_execution s WHERE NOT EXISTS (
             SELECT 1 FROM batch_step_execution_context c
             WHERE c.step_execution_id = s.step_execution_id)""",
    ),
    _invariant(
        "R16",
        "skips_not_counted",
        STEP,
        "{1} skipped items are recorded, its counters say {2}",
        """SELECT s.step_execution_id, COUNT(*),
             s.read_skip_count + s.process_skip_count + s.write_skip_count
           FROM batch_step_execution s JOIN batch_skip k
             ON k.step_execution_id = s.step_execution_id
           GROUP BY s.step_execution_id, s.read_skip_count, s.process_skip_count,
             s.write_skip_count
           HAVING COUNT(*) > s.read_skip_count + s.process_skip_count + s.write_skip_count""",
    ),
)
