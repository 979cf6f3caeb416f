"""A rule of the batch tables as a query for the rows that break it, and what mends such a row.

Queries are written as text, because they join and count across tables for reading alone; what they
say is the same on both databases. Each is one statement, so it sees one state of the data.

Columns that a query may answer, besides those that its texts name:

- ``execution_id``, ``version`` and ``fence``: of the job execution that the row belongs to; a
  repair raises the version, so that two of them never meet on one state.
- ``at_work``: the owner that runs the execution, if any. Only an owner writes what it runs (S29):
  there nothing is repaired, but the execution is stopped or recovered first.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from stepwell.database.transaction import Reader
from stepwell.finding import Choice, Finding, Repair, Severity

Breach = Mapping[str, Any]

# Between these ids of job executions, both included; all of them by default.
FIRST, LAST = 0, 2**62
FINDINGS_MAX = 1_000  # Of one rule in one look; a repair of them brings the next ones.
IN_RANGE = "BETWEEN :first AND :last"

REPAIR_HINT = "`stepwell doctor --repair` mends it, `stepwell doctor --plan` shows how"

JOB = "job execution {execution_id}"
STEP = "step execution {step_execution_id}"

RUNNING_JOB = "e.status IN ('STARTING', 'STARTED', 'STOPPING')"
ENDED_JOB = "e.status IN ('STOPPED', 'FAILED', 'COMPLETED', 'ABANDONED')"
RUNNING_STEP = "s.status IN ('STARTED', 'STOPPING')"
UNFINISHED = "a.status IN ('STARTING', 'STARTED')"
STEPS = "batch_step_execution s JOIN batch_job_execution e USING (job_execution_id)"
ATTEMPTS = (
    "batch_partition_execution a JOIN batch_step_execution s USING (step_execution_id)"
    " JOIN batch_job_execution e USING (job_execution_id)"
)
# What every query answers of the job execution.
OF_JOB = (
    "e.job_execution_id AS execution_id, e.version, e.fence,"
    f" CASE WHEN {RUNNING_JOB} THEN e.owner_id END AS at_work"
)
OF_STEP = f"s.step_execution_id, s.step_name, {OF_JOB}"


@dataclass(frozen=True)
class Rule:
    """One way to break an invariant.

    Attributes:
        where: Names the row, with the columns of ``sql`` in braces.
        what: The fact, likewise.
        sql: Answers the rows that break it, of the executions ``:first`` to ``:last``.
        repair: Makes what mends a row; None when only a person can.
    """

    rule: str
    code: str
    where: str
    what: str
    sql: str
    repair: Callable[[Breach], Repair | Choice | None]
    severity: Severity = Severity.ERROR

    def findings(
        self, reader: Reader, explanations: Mapping[str, str], values: Mapping[str, Any]
    ) -> list[Finding]:
        """One finding a row, of the first ``FINDINGS_MAX``; ``values`` are those of ``sql``."""
        result = reader.connection.execute(self.sql, values)
        columns = result.columns
        return [
            self.finding(dict(zip(columns, row, strict=True)), explanations[self.code])
            for row in result.fetchmany(FINDINGS_MAX)
        ]

    def finding(self, breach: Breach, explanation: str) -> Finding:
        """What one row is reported as."""
        execution_id, owner_id = breach.get("execution_id"), breach.get("at_work")
        repair = None if owner_id is not None else self.repair(breach)
        if owner_id is not None:
            hint = (
                f"its owner {owner_id} runs it: `stepwell stop {execution_id}`, or"
                f" `stepwell recover {execution_id}`, then `stepwell doctor --repair`"
            )
        else:
            hint = REPAIR_HINT if repair is not None else f"see `stepwell status {execution_id}`"
        return Finding(
            code=self.code,
            severity=self.severity,
            where=self.where.format_map(breach),
            what=self.what.format_map(breach),
            hint=hint,
            rule=self.rule,
            explanation=explanation,
            repair=repair,
            execution_id=execution_id,
        )
