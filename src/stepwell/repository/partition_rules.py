"""R2 to R5, R8, R14 and R16 as queries: a step against its partitions, fences and skipped items."""

from __future__ import annotations

from stepwell.finding import Choice, Repair
from stepwell.repository.repairs import end_job, mend, mend_step, step_as
from stepwell.repository.rule import (
    ATTEMPTS,
    IN_RANGE,
    OF_STEP,
    RUNNING_STEP,
    STEP,
    STEPS,
    UNFINISHED,
    Breach,
    Rule,
)

_STEPS = f"{STEPS} WHERE e.job_execution_id {IN_RANGE}"
_ATTEMPTS = f"{ATTEMPTS} WHERE e.job_execution_id {IN_RANGE}"
_ATTEMPT = "step_execution_id = :step_execution_id AND partition_number = :number"
_PHASES = ("read", "process", "write")


def _mend_attempt(breach: Breach, does: str, cannot_know: str, sets: str) -> Repair:
    return mend(
        breach,
        does,
        cannot_know,
        [f"UPDATE batch_partition_execution SET {sets} WHERE {_ATTEMPT}"],
        step_execution_id=breach["step_execution_id"],
        number=breach["number"],
    )


def _fail_unfinished(breach: Breach) -> Repair | Choice:
    why = f"{breach['done']} of {breach['total']} partitions have a result"
    cannot_know = "whether the outputs of the others exist"
    failed = step_as(breach, "FAILED", why, cannot_know)
    if breach["job_status"] != "COMPLETED":
        return failed
    with_job = end_job(breach, "FAILED", f"step {breach['step_name']!r}: {why}", cannot_know)
    return Choice(
        int(breach["execution_id"]),
        if_outputs_exist=failed,
        otherwise=Repair(
            with_job.does,
            with_job.cannot_know,
            with_job.guard,
            # Before the last statement, which raises the version of the job.
            (*with_job.statements[:-1], *failed.statements[:-1], with_job.statements[-1]),
        ),
    )


def _count_again(breach: Breach) -> Repair:
    names = ("total", "completed", "failed", "partial")
    return mend_step(
        breach,
        "count the rows again: " + ", ".join(f"{name} {breach[name]}" for name in names),
        "what the job's listeners and analyzers have been told",
        ", ".join(f"partition_{name} = :{name}" for name in names),
        **{name: breach[name] for name in names},
    )


def _result_of_attempt(breach: Breach) -> Repair:
    result, status = breach["result"], breach["status"]
    if status not in ("COMPLETED", "FAILED"):
        sets, does = "result = NULL", "take the result away: it has not ended"
    elif result is None:
        sets, does = "status = 'FAILED'", "mark it FAILED without a result: a restart runs it again"
    else:
        sets, does = "status = 'FAILED', result = 'FAILURE'", "mark it FAILED with FAILURE"
    return _mend_attempt(breach, does, "whether its outputs exist", sets)


def _count_skips(breach: Breach) -> Repair:
    rows = (
        "(SELECT COUNT(*) FROM batch_skip k WHERE k.step_execution_id ="
        " batch_step_execution.step_execution_id AND k.phase = '{phase}')"
    )
    return mend_step(
        breach,
        "count the recorded items again, where they are more",
        "nothing: the skipped items' own rows say it",
        ", ".join(
            f"{phase}_skip_count = CASE WHEN {phase}_skip_count < {rows.format(phase=phase)}"
            f" THEN {rows.format(phase=phase)} ELSE {phase}_skip_count END"
            for phase in _PHASES
        ),
    )


PARTITION_RULES = (
    Rule(
        "R2",
        "partition_outlives_step",
        STEP,
        "partition {number} is {status}, its step is {step_status}",
        f"""SELECT {OF_STEP}, a.partition_number AS number, a.status, s.status AS step_status
            FROM {_ATTEMPTS} AND {UNFINISHED} AND NOT ({RUNNING_STEP})""",
        lambda breach: _mend_attempt(
            breach,
            "mark it FAILED without a result: a restart runs it again",
            "how far it had come since its last commit",
            "status = 'FAILED', result = NULL, end_time = :now",
        ),
    ),
    Rule(
        "R3",
        "completed_without_results",
        STEP,
        "step {step_name!r} is COMPLETED with {done} of {total} partitions",
        f"""SELECT {OF_STEP}, s.status, s.partition_completed AS done, s.partition_total AS total,
              e.status AS job_status FROM {_STEPS}
              AND s.status = 'COMPLETED' AND s.partition_completed <> s.partition_total""",
        _fail_unfinished,
    ),
    Rule(
        "R4",
        "partition_counters",
        STEP,
        "total, completed, failed, partial are {partition_total}, {partition_completed},"
        " {partition_failed}, {partition_partial}; its rows say {total}, {completed}, {failed},"
        " {partial}",
        f"""SELECT * FROM (
             SELECT {OF_STEP}, s.partition_total, s.partition_completed,
               s.partition_failed, s.partition_partial, COUNT(p.plan_id) AS total,
               COALESCE(SUM(CASE WHEN a.result IS NOT NULL
                 OR (a.status IS NULL AND k.result IS NOT NULL) THEN 1 ELSE 0 END), 0) AS completed,
               COALESCE(SUM(CASE WHEN a.result = 'FAILURE' THEN 1 ELSE 0 END), 0) AS failed,
               COALESCE(SUM(CASE WHEN a.result = 'PARTIAL'
                 OR (a.status IS NULL AND k.result = 'PARTIAL') THEN 1 ELSE 0 END), 0) AS partial
             FROM {STEPS}
             LEFT JOIN batch_partition p ON p.plan_id = s.plan_id
             LEFT JOIN batch_partition_execution a ON a.step_execution_id = s.step_execution_id
               AND a.partition_number = p.partition_number
             LEFT JOIN batch_partition_execution k ON k.plan_id = p.plan_id
               AND k.partition_number = p.partition_number
               AND k.step_execution_id < s.step_execution_id AND k.result IN ('SUCCESS', 'PARTIAL')
             WHERE s.partition_total IS NOT NULL AND e.job_execution_id {IN_RANGE}
             GROUP BY s.step_execution_id, e.job_execution_id) counted
           WHERE partition_total <> total OR COALESCE(partition_completed, -1) <> completed
             OR COALESCE(partition_failed, -1) <> failed
             OR COALESCE(partition_partial, -1) <> partial""",
        _count_again,
    ),
    Rule(
        "R5",
        "partition_succeeded_twice",
        STEP,
        "partition {number} had succeeded already, in step execution {earlier}",
        f"""SELECT {OF_STEP}, a.partition_number AS number, MIN(k.step_execution_id) AS earlier
            FROM {ATTEMPTS}
            JOIN batch_partition_execution k ON k.plan_id = a.plan_id
              AND k.partition_number = a.partition_number
              AND k.step_execution_id < a.step_execution_id AND k.result IN ('SUCCESS', 'PARTIAL')
            WHERE e.job_execution_id {IN_RANGE} AND a.result IN ('SUCCESS', 'PARTIAL')
            GROUP BY s.step_execution_id, a.partition_number, e.job_execution_id""",
        lambda breach: mend(
            breach,
            f"delete the second attempt at partition {breach['number']}; the first result counts",
            "whether its outputs are there twice",
            [f"DELETE FROM batch_partition_execution WHERE {_ATTEMPT}"],
            step_execution_id=breach["step_execution_id"],
            number=breach["number"],
        ),
    ),
    Rule(
        "R8",
        "fences_disagree",
        STEP,
        "step {step_name!r} ({status}) has fence {step_fence}, its execution {execution_id} has"
        " {fence}",
        f"""SELECT {OF_STEP}, s.status, s.fence AS step_fence FROM {_STEPS}
              AND (s.fence > e.fence OR ({RUNNING_STEP} AND s.fence <> e.fence))""",
        lambda breach: mend(
            breach,
            "raise the fence of the execution to its steps'; a fence never falls",
            "who raised it",
            sets="fence = (SELECT MAX(f.fence) FROM (SELECT s.fence FROM batch_step_execution s"
            " WHERE s.job_execution_id = :execution_id UNION ALL SELECT e.fence"
            " FROM batch_job_execution e WHERE e.job_execution_id = :execution_id) f)",
        ),
    ),
    Rule(
        "R8",
        "fences_disagree",
        STEP,
        "partition {number} ({status}) has fence {own_fence}, its step has {step_fence}",
        f"""SELECT {OF_STEP}, a.partition_number AS number, a.status, a.fence AS own_fence,
              s.fence AS step_fence
            FROM {_ATTEMPTS} AND (a.fence > s.fence OR ({UNFINISHED} AND a.fence <> s.fence))""",
        lambda breach: mend_step(
            breach,
            "raise the fence of the step to its partitions'; a fence never falls",
            "who raised it",
            "fence = (SELECT MAX(f.fence) FROM (SELECT a.fence FROM batch_partition_execution a"
            " WHERE a.step_execution_id = :step_execution_id UNION ALL SELECT s.fence"
            " FROM batch_step_execution s WHERE s.step_execution_id = :step_execution_id) f)",
        ),
    ),
    Rule(
        "R14",
        "partition_result_disagrees",
        STEP,
        "partition {number} is {status} with the result {result}",
        f"""SELECT {OF_STEP}, a.partition_number AS number, a.status, a.result FROM {_ATTEMPTS}
            AND CASE a.status
             WHEN 'COMPLETED' THEN COALESCE(a.result, '') NOT IN ('SUCCESS', 'PARTIAL')
             WHEN 'FAILED' THEN COALESCE(a.result, 'FAILURE') <> 'FAILURE'
             ELSE a.result IS NOT NULL END""",
        _result_of_attempt,
    ),
    Rule(
        "R16",
        "skips_not_counted",
        STEP,
        "{recorded} skipped items are recorded, its counters say {counted}",
        f"""SELECT * FROM (SELECT {OF_STEP},
              s.read_skip_count + s.process_skip_count + s.write_skip_count AS counted,
              (SELECT COUNT(*) FROM batch_skip k
               WHERE k.step_execution_id = s.step_execution_id) AS recorded
            FROM {_STEPS}) t WHERE recorded > counted""",
        _count_skips,
    ),
)
