"""R25: what waits for a worker can be run by one, some day."""

from __future__ import annotations

from collections.abc import Collection

from stepwell.database.transaction import Reader
from stepwell.finding import Finding, Severity
from stepwell.repository.explanations import EXPLANATIONS
from stepwell.repository.repairs import end_job
from stepwell.repository.rule import JOB, OF_JOB, Rule

_WAITS = "e.end_time IS NULL AND e.status = 'STARTING' AND e.owner_id IS NULL"

NEVER_RUNS = Rule(
    "R25",
    "never_runs",
    JOB,
    "it waits for a worker, and execution {later_id} of the same instance came after it",
    f"""SELECT {OF_JOB}, (SELECT MAX(x.job_execution_id) FROM batch_job_execution x
          WHERE x.job_instance_id = e.job_instance_id) AS later_id
        FROM batch_job_execution e WHERE {_WAITS}
          AND EXISTS (SELECT 1 FROM batch_job_execution x
            WHERE x.job_instance_id = e.job_instance_id
              AND x.job_execution_id > e.job_execution_id AND x.end_time IS NOT NULL)""",
    lambda breach: end_job(
        breach,
        "STOPPED",
        f"execution {breach['later_id']} of its instance has overtaken it",
        "whether somebody still waits for it",
    ),
    Severity.WARNING,
)

_JOBS_THAT_WAIT = f"""SELECT e.job_execution_id, i.job_name FROM batch_job_execution e
    JOIN batch_job_instance i ON i.job_instance_id = e.job_instance_id
    WHERE {_WAITS} ORDER BY e.job_execution_id"""

_POOLS_THAT_ARE_CLOSED = f"""SELECT r.value, p.size, COUNT(*), MIN(e.job_execution_id)
    FROM batch_job_execution e
    JOIN batch_resource r ON r.job_execution_id = e.job_execution_id
    LEFT JOIN batch_pool p ON p.pool_name = r.value
    WHERE {_WAITS} AND r.kind = 'pool' AND COALESCE(p.size, 0) = 0
    GROUP BY r.value, p.size ORDER BY r.value"""


def unknown_jobs(reader: Reader, names: Collection[str]) -> list[Finding]:
    """One finding for each execution whose job is none of ``names``."""
    return [
        _finding(
            "unknown_job",
            f"job execution {execution_id}",
            f"it waits for a worker, and no module or job file of the settings defines {name!r}",
            f"name its module in the settings, or `stepwell stop {execution_id}`",
            execution_id,
        )
        for execution_id, name in reader.connection.execute(_JOBS_THAT_WAIT).fetchall()
        if name not in names
    ]


def closed_pools(reader: Reader) -> list[Finding]:
    """One finding for each pool that lets nobody in although somebody waits for it."""
    return [
        _finding(
            "pool_closed",
            f"pool {name!r}",
            ("there is no such pool" if size is None else "its size is 0")
            + f", and execution {first} waits for it"
            + (f", with {count - 1} more" if count > 1 else ""),
            f"`stepwell pool set {name} N` lets N in, `stepwell stop {first}` takes it out",
        )
        for name, size, count, first in reader.connection.execute(_POOLS_THAT_ARE_CLOSED).fetchall()
    ]


def _finding(
    code: str, where: str, what: str, hint: str, execution_id: int | None = None
) -> Finding:
    return Finding(
        code,
        Severity.WARNING,
        where,
        what,
        hint,
        "R25",
        EXPLANATIONS[code],
        execution_id=execution_id,
    )
