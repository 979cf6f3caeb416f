"""R2, R6, R7, R9, R10, R12, R13 and R19 to R21 as queries: what statuses say to each other."""

from __future__ import annotations

from stepwell.execution.status import BatchStatus
from stepwell.finding import Choice, Repair
from stepwell.repository.repairs import (
    FAILURE_TYPE,
    JOB_RESULT,
    STEP_RESULT,
    completed_or_failed,
    end_job,
    end_steps,
    mend,
    mend_step,
)
from stepwell.repository.rule import (
    ENDED_JOB,
    IN_RANGE,
    JOB,
    OF_JOB,
    OF_STEP,
    RUNNING_JOB,
    RUNNING_STEP,
    STEP,
    STEPS,
    Breach,
    Rule,
)

_E = "batch_job_execution e"
_JOBS = f"{_E} WHERE e.job_execution_id {IN_RANGE}"
_STEPS = f"{STEPS} WHERE e.job_execution_id {IN_RANGE}"
_BAD_RESULT = """CASE {0}.status
  WHEN 'COMPLETED' THEN COALESCE({0}.result, '') NOT IN ('COMPLETED', 'PARTIAL')
  WHEN 'FAILED' THEN COALESCE({0}.result, '') <> 'FAILED' ELSE {0}.result IS NOT NULL END"""
_REASON = "no failure was recorded"
_REQUEST_IS_LATE = (
    "UPDATE batch_request SET taken_at = :now, late = TRUE"
    " WHERE request_id = :request_id AND taken_at IS NULL"
)
_NEW_INSTANCE = (
    "INSERT INTO batch_job_instance (version, job_name, job_key, create_time)"
    " SELECT 0, i.job_name, :key, e.create_time FROM batch_job_execution e"
    " JOIN batch_job_instance i USING (job_instance_id) WHERE e.job_execution_id = :later"
)
_MOVE = (
    "UPDATE batch_job_execution SET job_instance_id = (SELECT n.job_instance_id"
    " FROM batch_job_instance n WHERE n.job_name = :name AND n.job_key = :key),"
    " version = version + 1"
    " WHERE job_instance_id = :instance AND job_execution_id >= :later"
)
_LATER_ONES = (
    "batch_job_execution x WHERE x.job_instance_id = e.job_instance_id"
    " AND x.job_execution_id > e.job_execution_id"
)


def _end_with_job(breach: Breach) -> Repair | Choice:
    why = f"the execution is {breach['job_status']}"
    if breach["job_status"] != BatchStatus.COMPLETED:
        return end_steps(breach, why, "how far the step had come", completed=False)
    unfinished = f"step {breach['step_name']!r} was {breach['status']} in a COMPLETED execution"
    return Choice(
        int(breach["execution_id"]),
        if_outputs_exist=end_steps(breach, f"{why} and its outputs exist", "", completed=True),
        otherwise=end_job(breach, "FAILED", unfinished, "whether its outputs exist"),
    )


def _no_failure(breach: Breach) -> Repair:
    sets = f"failure_type = '{FAILURE_TYPE}', exit_message = COALESCE(exit_message, :reason)"
    does, cannot_know = "record that no failure was recorded", "why it failed"
    if breach.get("step_execution_id") is None:
        return mend(breach, does, cannot_know, sets=sets, reason=_REASON)
    return mend_step(breach, does, cannot_know, sets, reason=_REASON)


def _no_exit_status(breach: Breach) -> Repair:
    does, cannot_know = "set the name of the status (S17)", "what user code had set"
    if breach.get("step_execution_id") is None:
        return mend(breach, does, cannot_know, sets="exit_code = status")
    return mend_step(breach, does, cannot_know, "exit_code = status")


def _nobody_runs_it(breach: Breach) -> Repair | Choice:
    if breach["owner_id"] is not None:
        return Repair(
            "recover it if its owner is dead; else record that the owner has not ended",
            "how far it had come since its last commit",
            operation="recover",
        )
    return completed_or_failed(breach, f"it was {breach['status']} and nobody ran it")


def _another_end(breach: Breach) -> Repair:
    does = "derive it from the status (S21)"
    if breach.get("step_execution_id") is None:
        return mend(breach, does, "what had been written there", sets=f"result = {JOB_RESULT}")
    return mend_step(breach, does, "what had been written there", f"result = {STEP_RESULT}")


def _instance_of_its_own(breach: Breach) -> Repair:
    later = int(breach["later_id"])
    key = f"{breach['job_key']}-from-{later}"
    return mend(
        breach,
        f"give execution {later}, and what follows it, an instance of its own",
        "whether it was meant as a new run; whether its outputs are there twice",
        [_NEW_INSTANCE, _MOVE],
        later=later,
        key=key,
        name=breach["job_name"],
        instance=breach["job_instance_id"],
    )


def _end_time(breach: Breach) -> Repair:
    ended = breach["status"] not in ("STARTING", "STARTED", "STOPPING", "UNKNOWN")
    does = "set the time of its last change" if ended else "take the end time away"
    sets = f"end_time = {'last_updated' if ended else 'NULL'}"
    if breach.get("step_execution_id") is None:
        return mend(breach, does, "when it ended", sets=sets)
    return mend_step(breach, does, "when it ended", sets)


STATUS_RULES = (
    Rule(
        "R2",
        "step_outlives_execution",
        STEP,
        "step {step_name!r} is {status}, its execution {execution_id} is {job_status}",
        f"""SELECT {OF_STEP}, s.status, e.status AS job_status FROM {_STEPS}
              AND {RUNNING_STEP} AND {ENDED_JOB} ORDER BY s.step_execution_id""",
        _end_with_job,
    ),
    Rule(
        "R6",
        "failed_without_reason",
        JOB,
        "it is FAILED without a failure",
        f"SELECT {OF_JOB} FROM {_JOBS} AND e.status = 'FAILED' AND e.failure_type IS NULL",
        _no_failure,
    ),
    Rule(
        "R6",
        "failed_without_reason",
        STEP,
        "step {step_name!r} is FAILED without a failure",
        f"SELECT {OF_STEP} FROM {_STEPS} AND s.status = 'FAILED' AND s.failure_type IS NULL",
        _no_failure,
    ),
    Rule(
        "R6",
        "ended_without_exit_status",
        JOB,
        "it is {status} without an exit status",
        f"SELECT {OF_JOB}, e.status FROM {_JOBS} AND {ENDED_JOB} AND e.exit_code IS NULL",
        _no_exit_status,
    ),
    Rule(
        "R6",
        "ended_without_exit_status",
        STEP,
        "step {step_name!r} is {status} without an exit status",
        f"""SELECT {OF_STEP}, s.status FROM {_STEPS}
              AND NOT ({RUNNING_STEP}) AND s.exit_code IS NULL""",
        _no_exit_status,
    ),
    Rule(
        "R7",
        "runs_without_owner",
        JOB,
        "it is {status} under fence {fence}, and its owner {owner}",
        f"""SELECT e.job_execution_id AS execution_id, e.version, e.status, e.fence, e.owner_id,
              CASE WHEN e.owner_id IS NULL THEN 'is none' ELSE 'has ended' END AS owner
            FROM {_E} LEFT JOIN batch_owner o ON o.owner_id = e.owner_id
            WHERE e.job_execution_id {IN_RANGE} AND {RUNNING_JOB}
              AND (e.owner_id IS NULL AND e.status <> 'STARTING'
              OR e.owner_id IS NOT NULL AND (o.ended_at IS NOT NULL OR e.fence < 1))""",
        _nobody_runs_it,
    ),
    Rule(
        "R9",
        "last_step",
        JOB,
        "it is {status} and names {last_step!r} as its last completed step",
        f"""SELECT {OF_JOB}, e.status, e.last_step FROM {_JOBS} AND (
             (e.last_step IS NOT NULL AND NOT EXISTS (
               SELECT 1 FROM batch_step_execution s JOIN batch_job_execution x
                 ON x.job_execution_id = s.job_execution_id
               WHERE x.job_instance_id = e.job_instance_id AND s.step_name = e.last_step
                 AND s.status = 'COMPLETED'))
             OR (e.last_step IS NULL AND EXISTS (
               SELECT 1 FROM batch_step_execution s
               WHERE s.job_execution_id = e.job_execution_id AND s.status = 'COMPLETED')))""",
        lambda breach: mend(
            breach,
            "name the step that completed last",
            "nothing: the steps' own rows say it",
            sets="last_step = (SELECT s.step_name FROM batch_step_execution s"
            " WHERE s.job_execution_id = batch_job_execution.job_execution_id"
            " AND s.status = 'COMPLETED' ORDER BY s.end_time DESC, s.step_execution_id DESC"
            " LIMIT 1)",
        ),
    ),
    Rule(
        "R10",
        "result_disagrees",
        JOB,
        "it is {status} with the result {result}",
        f"""SELECT {OF_JOB}, e.status, e.result FROM {_JOBS} AND e.status <> 'ABANDONED'
              AND {_BAD_RESULT.format("e")}""",
        _another_end,
    ),
    Rule(
        "R10",
        "result_disagrees",
        STEP,
        "step {step_name!r} is {status} with the result {result};"
        " {failed} of its partitions failed, {partial} are partial",
        f"""SELECT {OF_STEP}, s.status, s.result, COALESCE(s.partition_failed, 0) AS failed,
              COALESCE(s.partition_partial, 0) AS partial
            FROM {_STEPS} AND (s.status = 'COMPLETED' AND s.result = 'COMPLETED'
                AND COALESCE(s.partition_failed, 0) + COALESCE(s.partition_partial, 0) > 0
              OR {_BAD_RESULT.format("s")})""",
        _another_end,
    ),
    Rule(
        "R10",
        "result_disagrees",
        JOB,
        "its result is COMPLETED, that of its step {step_name!r} is PARTIAL",
        f"""SELECT {OF_JOB}, MIN(s.step_name) AS step_name FROM {_STEPS}
              AND e.status = 'COMPLETED' AND e.result = 'COMPLETED' AND s.result = 'PARTIAL'
            GROUP BY e.job_execution_id""",
        _another_end,
    ),
    Rule(
        "R12",
        "ran_after_completion",
        JOB,
        "it is COMPLETED, and execution {later_id} of the same instance came after it",
        f"""SELECT e.job_execution_id AS execution_id, e.version,
              i.job_name, i.job_key, i.job_instance_id,
              (SELECT MIN(x.job_execution_id) FROM {_LATER_ONES}) AS later_id,
              (SELECT MIN(x.owner_id) FROM {_LATER_ONES}
                 AND x.status IN ('STARTING', 'STARTED', 'STOPPING')) AS at_work
            FROM {_E} JOIN batch_job_instance i ON i.job_instance_id = e.job_instance_id
            WHERE e.job_execution_id {IN_RANGE} AND e.status = 'COMPLETED'
              AND EXISTS (SELECT 1 FROM {_LATER_ONES})""",
        _instance_of_its_own,
    ),
    Rule(
        "R13",
        "request_left_open",
        JOB,
        "it is {status}, and its {kind} request {request_id} was never taken",
        f"""SELECT {OF_JOB}, e.status, r.kind, r.request_id
            FROM batch_request r JOIN batch_job_execution e
              ON e.job_execution_id = r.job_execution_id
            WHERE e.job_execution_id {IN_RANGE} AND r.taken_at IS NULL AND {ENDED_JOB}""",
        lambda breach: mend(
            breach,
            "mark the request late (S12)",
            "whether whoever asked still wants it",
            [_REQUEST_IS_LATE],
            request_id=breach["request_id"],
        ),
    ),
    Rule(
        "R19",
        "registered_with_last_step",
        JOB,
        "it waits for a worker, and says that it began: last step {last_step!r}, {steps} steps",
        f"""SELECT * FROM (SELECT {OF_JOB}, e.last_step, e.start_time,
              (SELECT COUNT(*) FROM batch_step_execution s
               WHERE s.job_execution_id = e.job_execution_id) AS steps
            FROM {_JOBS} AND e.status = 'STARTING' AND e.owner_id IS NULL) t
            WHERE last_step IS NOT NULL OR start_time IS NOT NULL OR steps > 0""",
        lambda breach: completed_or_failed(breach, "it was registered and had begun"),
    ),
    Rule(
        "R20",
        "end_time_disagrees",
        JOB,
        "it is {status}, its end time is {end_time}",
        f"""SELECT {OF_JOB}, e.status, e.end_time FROM {_JOBS} AND (e.end_time IS NULL)
              <> (e.status IN ('STARTING', 'STARTED', 'STOPPING', 'UNKNOWN'))""",
        _end_time,
    ),
    Rule(
        "R20",
        "end_time_disagrees",
        STEP,
        "step {step_name!r} is {status}, its end time is {end_time}",
        f"""SELECT {OF_STEP}, s.status, s.end_time FROM {_STEPS}
              AND (s.end_time IS NULL) <> (s.status IN ('STARTED', 'STOPPING'))""",
        _end_time,
    ),
)
