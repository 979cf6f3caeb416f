"""R9, R11, R15 and R21 as queries: current steps, times, contexts, statuses that are none."""

from __future__ import annotations

from collections.abc import Callable

from stepwell.execution.status import BatchStatus, PartitionOutcome, Result
from stepwell.finding import Choice, Repair, Statement
from stepwell.repository.repairs import (
    FAIL_ATTEMPT,
    JOB_RESULT,
    STEP_RESULT,
    mend,
    mend_step,
    unknown_status,
)
from stepwell.repository.rule import (
    ATTEMPTS,
    IN_RANGE,
    JOB,
    OF_JOB,
    OF_STEP,
    STEP,
    STEPS,
    Breach,
    Rule,
)

_JOBS = f"batch_job_execution e WHERE e.job_execution_id {IN_RANGE}"
_STEPS = f"{STEPS} WHERE e.job_execution_id {IN_RANGE}"
# UNKNOWN is never stored (S37); a step is neither STARTING nor ABANDONED (S11).
_OF_JOBS = ", ".join(f"'{status}'" for status in BatchStatus if status is not BatchStatus.UNKNOWN)
_OF_STEPS = "'STARTED', 'STOPPING', 'STOPPED', 'FAILED', 'COMPLETED'"
_OF_ATTEMPTS = "'STARTING', 'STARTED', 'STOPPED', 'FAILED', 'COMPLETED'"
_IN_ORDER = (
    "start_time = CASE WHEN start_time < create_time THEN create_time ELSE start_time END,"
    " end_time = CASE WHEN end_time < start_time OR end_time < create_time THEN"
    " CASE WHEN start_time > create_time THEN start_time ELSE create_time END ELSE end_time END"
)
_NOT_IN_ORDER = (
    "({0}.start_time < {0}.create_time OR {0}.end_time < {0}.start_time"
    " OR {0}.end_time < {0}.create_time)"
)

# One row for each step that runs, one with NULL where none does; R9 compares sets of names.
CURRENT_STEPS = f"""SELECT {OF_JOB}, e.status, e.current_step, s.step_name
    FROM batch_job_execution e LEFT JOIN batch_step_execution s
      ON s.job_execution_id = e.job_execution_id AND s.status IN ('STARTED', 'STOPPING')
    WHERE e.job_execution_id {IN_RANGE} AND (e.current_step IS NOT NULL OR s.step_name IS NOT NULL)
    ORDER BY e.job_execution_id, s.step_execution_id"""


def _in_order(breach: Breach) -> Repair:
    does, cannot_know = "put create, start and end in this order (S13)", "when it really was"
    if breach.get("step_execution_id") is None:
        return mend(breach, does, cannot_know, sets=_IN_ORDER)
    return mend_step(breach, does, cannot_know, _IN_ORDER)


def _empty_context(breach: Breach) -> Repair:
    of_step = breach.get("step_execution_id") is not None
    table, key = ("step", "step_execution_id") if of_step else ("job", "job_execution_id")
    which = ":step_execution_id" if of_step else ":execution_id"
    insert = (
        f"INSERT INTO batch_{table}_execution_context ({key}, serialized_context)"
        f" SELECT {key}, '{{}}' FROM batch_{table}_execution WHERE {key} = {which}"
        f" AND NOT EXISTS (SELECT 1 FROM batch_{table}_execution_context c"
        f" WHERE c.{key} = {which})"
    )
    return mend(
        breach,
        "give it an empty one",
        "what it held: a restart begins without it",
        [insert],
        step_execution_id=breach.get("step_execution_id"),
    )


def _unknown_status(breach: Breach) -> Repair | Choice:
    if breach.get("number") is None:
        return unknown_status(breach)
    return mend(
        breach,
        "mark it FAILED without a result: a restart runs it again",
        "what its status was",
        [FAIL_ATTEMPT],
        step_execution_id=breach["step_execution_id"],
        number=breach["number"],
    )


def _unknown_result(table: str, keys: tuple[str, ...], derived: str) -> Callable[[Breach], Repair]:
    """Without the version: what nobody can read is mended under an owner at work too."""
    which = " AND ".join(f"{key} = :{key}" for key in (*keys, "result"))

    def repair(breach: Breach) -> Repair:
        values = {key: breach[key] for key in (*keys, "result")}
        return Repair(
            "derive it from the status (S21)",
            "what had been written there",
            Statement(f"SELECT 1 FROM {table} WHERE {which}", values),
            (Statement(f"UPDATE {table} SET result = {derived} WHERE {which}", values),),
        )

    return repair


_NO_RESULT = "{0}.result IS NOT NULL AND {0}.result NOT IN ({1})"
_RESULTS = ", ".join(f"'{result}'" for result in Result)
_OUTCOMES = ", ".join(f"'{outcome}'" for outcome in PartitionOutcome)

RECORD_RULES = (
    Rule(
        "R21",
        "unknown_result",
        "job execution {job_execution_id}",
        "its result is {result!r}, which is none",
        f"""SELECT e.job_execution_id AS execution_id, e.job_execution_id, e.result
            FROM {_JOBS} AND {_NO_RESULT.format("e", _RESULTS)}""",
        _unknown_result("batch_job_execution", ("job_execution_id",), JOB_RESULT),
    ),
    Rule(
        "R21",
        "unknown_result",
        STEP,
        "its result is {result!r}, which is none",
        f"""SELECT e.job_execution_id AS execution_id, s.step_execution_id, s.result
            FROM {_STEPS} AND {_NO_RESULT.format("s", _RESULTS)}""",
        _unknown_result("batch_step_execution", ("step_execution_id",), STEP_RESULT),
    ),
    Rule(
        "R21",
        "unknown_result",
        STEP,
        "the result of partition {partition_number} is {result!r}, which is none",
        f"""SELECT e.job_execution_id AS execution_id, a.step_execution_id, a.partition_number,
              a.result
            FROM {ATTEMPTS} WHERE e.job_execution_id {IN_RANGE}
              AND {_NO_RESULT.format("a", _OUTCOMES)}""",
        _unknown_result(
            "batch_partition_execution", ("step_execution_id", "partition_number"), "NULL"
        ),
    ),
    Rule(
        "R11",
        "times_disagree",
        JOB,
        "created {create_time}, started {start_time}, ended {end_time}",
        f"""SELECT {OF_JOB}, e.create_time, e.start_time, e.end_time
            FROM {_JOBS} AND {_NOT_IN_ORDER.format("e")}""",
        _in_order,
    ),
    Rule(
        "R11",
        "times_disagree",
        STEP,
        "created {create_time}, started {start_time}, ended {end_time}",
        f"""SELECT {OF_STEP}, s.create_time, s.start_time, s.end_time
            FROM {_STEPS} AND {_NOT_IN_ORDER.format("s")}""",
        _in_order,
    ),
    Rule(
        "R15",
        "context_missing",
        JOB,
        "it has no context",
        f"""SELECT {OF_JOB} FROM {_JOBS} AND NOT EXISTS (
             SELECT 1 FROM batch_job_execution_context c
             WHERE c.job_execution_id = e.job_execution_id)""",
        _empty_context,
    ),
    Rule(
        "R15",
        "context_missing",
        STEP,
        "step {step_name!r} has no context",
        f"""SELECT {OF_STEP} FROM {_STEPS} AND NOT EXISTS (
             SELECT 1 FROM batch_step_execution_context c
             WHERE c.step_execution_id = s.step_execution_id)""",
        _empty_context,
    ),
    Rule(
        "R21",
        "unknown_status",
        JOB,
        "its status is {status!r}, which is none",
        f"SELECT {OF_JOB}, e.status FROM {_JOBS} AND e.status NOT IN ({_OF_JOBS})",
        _unknown_status,
    ),
    Rule(
        "R21",
        "unknown_status",
        STEP,
        "the status of step {step_name!r} is {status!r}, which is none",
        f"SELECT {OF_STEP}, s.status FROM {_STEPS} AND s.status NOT IN ({_OF_STEPS})",
        _unknown_status,
    ),
    Rule(
        "R21",
        "unknown_status",
        STEP,
        "the status of partition {number} is {status!r}, which is none",
        f"""SELECT {OF_STEP}, a.partition_number AS number, a.status
            FROM {ATTEMPTS} WHERE e.job_execution_id {IN_RANGE}
              AND a.status NOT IN ({_OF_ATTEMPTS})""",
        _unknown_status,
    ),
)
