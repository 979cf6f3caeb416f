"""What must be true beyond the rows of one execution: owners, the queue, the clock, references.

- **R22** Every row that names another one finds it (``orphans.py``).
- **R23** The owner of a running execution, or of a lock, is not proven dead (S33); an owner that is
  has ended.
- **R24** What runs commits now and then, within the time that its job allows.
- **R25** What waits for a worker can be run: its job is known, its pools let somebody in, its
  instance is not closed (``waiting_rules.py``).
- **R26** No time that has been recorded lies in the future (S13).
- **R27** An instance has one running execution (S7), a run lock one owner (S184).
- **R28** ``batch_purge`` is empty but inside a purge's own transaction: it unlocks the history.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from stepwell.database.connect import Database
from stepwell.database.transaction import Reader
from stepwell.database.types import utc_text
from stepwell.finding import Finding, Repair, Severity, Statement, Value
from stepwell.repository.executions import running_executions
from stepwell.repository.explanations import EXPLANATIONS
from stepwell.repository.held import stale_locks
from stepwell.repository.invariants import Check
from stepwell.repository.notifications import notification_findings
from stepwell.repository.orphans import orphans
from stepwell.repository.owners import find_owner
from stepwell.repository.recovery import dead_executions
from stepwell.repository.repairs import end_job, mend, mend_step
from stepwell.repository.rule import (
    JOB,
    OF_JOB,
    OF_STEP,
    REPAIR_HINT,
    RUNNING_JOB,
    STEP,
    STEPS,
    Breach,
    Rule,
)
from stepwell.repository.schedule_findings import schedule_findings
from stepwell.repository.waiting_rules import NEVER_RUNS, closed_pools, unknown_jobs

FUTURE_S = 300  # Two machines' clocks may differ by minutes.
STALLED_AFTER_S = 24 * 3600  # A job without a timeout of its own.

_JOBS = "batch_job_execution e"


@dataclass(frozen=True)
class Known:
    """What is known besides the database.

    Attributes:
        now: The time, by this machine's clock.
        job_names: The jobs that this node can run; None when they are not known.
        timeouts_s: By job name, how long it may go without a commit.
    """

    now: datetime
    job_names: Collection[str] | None = None
    timeouts_s: Mapping[str, float] | None = None


def checks(database: Database, known: Known) -> dict[str, Check]:
    """The checks of R22 to R28, each by a name."""
    latest = {"latest": utc_text(known.now + timedelta(seconds=FUTURE_S))}
    named: dict[str, Check] = {
        **checks_of_copy(),
        **_named(RULES_OF_TIME, latest),
        "schedules and notifications": lambda reader: _not_done(reader, known),
        "R25 pool_closed": closed_pools,
        "R23 dead_owner": lambda reader: _dead_owners(reader, database),
        "R23 owner_not_ended": lambda reader: _owners_not_ended(reader, database),
        "R23 stale_lock": lambda reader: stale_locks(reader, database.liveness),
        "R24 no_progress": lambda reader: _stalled(reader, database, known),
    }
    if known.job_names is not None:
        names = known.job_names
        named["R25 unknown_job"] = lambda reader: unknown_jobs(reader, names)
    return named


def checks_of_copy() -> dict[str, Check]:
    """Those of them that ask neither a clock nor who is alive: in a copy time stands still."""
    return {"R22 orphan": orphans, **_named(RULES, {})}


def _named(rules: Iterable[Rule], values: Mapping[str, Any]) -> dict[str, Check]:
    return {
        f"{rule.rule} {rule.code} {number}": _check(rule, values)
        for number, rule in enumerate(rules)
    }


def _check(rule: Rule, values: Mapping[str, Any]) -> Check:
    return lambda reader: rule.findings(reader, EXPLANATIONS, values)


def _finding(code: str, rule: str, where: str, what: str, **more: Any) -> Finding:
    return Finding(
        code,
        more.pop("severity", Severity.ERROR),
        where,
        what,
        more.pop("hint", REPAIR_HINT),
        rule,
        EXPLANATIONS[code],
        **more,
    )


def _not_done(reader: Reader, known: Known) -> list[Finding]:
    """What should have started by itself, and who should have been told."""
    return [
        replace(finding, explanation=EXPLANATIONS[finding.code])
        for finding in (
            *schedule_findings(reader, now=known.now),
            *notification_findings(reader, now=known.now),
        )
    ]


# --- R23: owners ---------------------------------------------------------------------------------


def _dead_owners(reader: Reader, database: Database) -> list[Finding]:
    suspected = dead_executions(reader, database.liveness)
    if not suspected:
        return []
    # An owner may have ended in peace since this reader's state of the data: look again.
    with database.read() as again:
        running = {e.execution_id for e in running_executions(again)}
    return [
        _finding(
            "dead_owner",
            "R23",
            f"job execution {e.execution_id}",
            f"it is {e.batch_status}, and {find_owner(reader, e.owner_id or 0)} is dead",
            execution_id=e.execution_id,
            repair=Repair(
                "recover it: mark it FAILED, under a higher fence (S34)",
                "how far it had come since its last commit; a restart goes on behind that",
                operation="recover",
            ),
        )
        for e in suspected
        if e.execution_id in running
    ]


_NOT_ENDED = """SELECT o.owner_id, o.host, o.pid FROM batch_owner o WHERE o.ended_at IS NULL
    AND NOT EXISTS (SELECT 1 FROM batch_job_execution e WHERE e.owner_id = o.owner_id
      AND e.end_time IS NULL) ORDER BY o.owner_id"""


def _owners_not_ended(reader: Reader, database: Database) -> list[Finding]:
    found = []
    for owner_id, host, pid in reader.connection.execute(_NOT_ENDED).fetchall():
        if database.liveness.is_dead(owner_id):
            values = {"owner_id": owner_id}
            which = "FROM batch_owner WHERE owner_id = :owner_id AND ended_at IS NULL"
            repair = Repair(
                "record that it has ended",
                "when it ended",
                Statement(f"SELECT 1 {which}", values),
                (
                    Statement(
                        "UPDATE batch_owner SET ended_at = :now"
                        " WHERE owner_id = :owner_id AND ended_at IS NULL",
                        values,
                    ),
                ),
            )
            found.append(
                _finding(
                    "owner_not_ended",
                    "R23",
                    f"owner {owner_id}",
                    f"pid {pid} on {host} is dead and left nothing behind",
                    severity=Severity.INFO,
                    repair=repair,
                )
            )
    return found


# --- R24: progress -------------------------------------------------------------------------------

_SILENT = f"""SELECT e.job_execution_id, i.job_name, e.status, e.owner_id,
      (SELECT COUNT(*) FROM batch_request r WHERE r.job_execution_id = e.job_execution_id
         AND r.kind = 'stop' AND r.taken_at IS NULL) AS asked,
      (SELECT MAX(s.last_updated) FROM batch_step_execution s
       WHERE s.job_execution_id = e.job_execution_id) AS step_updated, e.last_updated
    FROM {_JOBS} JOIN batch_job_instance i ON i.job_instance_id = e.job_instance_id
    WHERE e.end_time IS NULL AND {RUNNING_JOB} AND e.owner_id IS NOT NULL
    ORDER BY e.job_execution_id"""


def _stalled(reader: Reader, database: Database, known: Known) -> list[Finding]:
    found = []
    for row in reader.connection.execute(_SILENT).fetchall():
        execution_id, job_name, status, owner_id, asked, *updated = row
        heard = max(map(_moment, filter(None, updated)))
        limit_s = (known.timeouts_s or {}).get(job_name, STALLED_AFTER_S)
        silent_s = (known.now - heard).total_seconds()
        # A dead owner is a finding of its own.
        if silent_s > limit_s and not database.liveness.is_dead(owner_id):
            found.append(
                _finding(
                    "no_progress",
                    "R24",
                    f"job execution {execution_id}",
                    f"it is {status}, its owner {owner_id} lives and has committed nothing for"
                    f" {silent_s:,.0f} s; {limit_s:,.0f} s are allowed",
                    severity=Severity.WARNING,
                    hint=f"`stepwell status {execution_id}`; when it hangs:"
                    f" `stepwell recover {execution_id} --force --reason …`",
                    execution_id=execution_id,
                    repair=None if asked else _ask_to_stop(execution_id),
                )
            )
    return found


def _moment(value: Any) -> datetime:
    """A time as the driver gives it: text of SQLite's, a datetime of PostgreSQL's."""
    return value if isinstance(value, datetime) else datetime.fromisoformat(value)


def _ask_to_stop(execution_id: int) -> Repair:
    values: dict[str, Value] = {
        "execution_id": execution_id,
        "reason": "it has made no progress",
    }
    guard = (
        "SELECT 1 FROM batch_job_execution e WHERE e.job_execution_id = :execution_id"
        " AND e.end_time IS NULL AND NOT EXISTS (SELECT 1 FROM batch_request r"
        " WHERE r.job_execution_id = e.job_execution_id AND r.kind = 'stop'"
        " AND r.taken_at IS NULL)"
    )
    insert = (
        "INSERT INTO batch_request (job_execution_id, kind, actor, reason, requested_at, late)"
        " SELECT e.job_execution_id, 'stop', 'doctor', :reason,"
        " CASE WHEN e.create_time > :now THEN e.create_time ELSE :now END, FALSE"
        + guard.removeprefix("SELECT 1")
    )
    return Repair(
        "ask it to stop; a job that hangs does not listen",
        "whether it is only slow",
        Statement(guard, values),
        (Statement(insert, values),),
    )


# --- R26 to R28 ----------------------------------------------------------------------------------

_TIMES = ("create_time", "start_time", "end_time", "last_updated")
_TO_NOW = ", ".join(
    f"{name} = CASE WHEN {name} > :now THEN :now ELSE {name} END" for name in _TIMES[:3]
)


def _not_in_future(breach: Breach) -> Repair:
    does = "set what lies in the future to now"
    cannot_know = "when it was, and whether it is this machine's clock that is wrong"
    if breach.get("step_execution_id") is not None:
        return mend_step(breach, does, cannot_know, _TO_NOW, updated=":now")
    return mend(breach, does, cannot_know, sets=_TO_NOW, updated=":now")


def _in_future(row: str) -> str:
    return " OR ".join(f"{row}.{name} > :latest" for name in _TIMES)


_MORE_RECENT = """SELECT 1 FROM batch_job_execution x WHERE x.job_execution_id > e.job_execution_id
    AND x.status IN ('STARTING', 'STARTED', 'STOPPING')"""

RULES_OF_TIME = (
    Rule(
        "R26",
        "future_timestamp",
        JOB,
        "created {create_time}, started {start_time}, ended {end_time}, changed {last_updated}",
        f"""SELECT {OF_JOB}, e.create_time, e.start_time, e.end_time, e.last_updated
            FROM {_JOBS} WHERE {_in_future("e")} ORDER BY e.job_execution_id""",
        _not_in_future,
        Severity.WARNING,
    ),
    Rule(
        "R26",
        "future_timestamp",
        STEP,
        "created {create_time}, started {start_time}, ended {end_time}, changed {last_updated}",
        f"""SELECT {OF_STEP}, s.create_time, s.start_time, s.end_time, s.last_updated
            FROM {STEPS} WHERE {_in_future("s")} ORDER BY s.step_execution_id""",
        _not_in_future,
        Severity.WARNING,
    ),
)

RULES = (
    NEVER_RUNS,
    Rule(
        "R27",
        "two_running",
        JOB,
        "it is {status}, and so is a later execution of the same instance",
        f"""SELECT {OF_JOB}, e.status FROM {_JOBS} WHERE e.end_time IS NULL AND {RUNNING_JOB}
              AND EXISTS ({_MORE_RECENT} AND x.job_instance_id = e.job_instance_id)""",
        lambda breach: end_job(
            breach,
            "FAILED",
            "a later execution of its instance runs",
            "whether both have worked; whether outputs are there twice",
        ),
    ),
    Rule(
        "R27",
        "two_running",
        JOB,
        "it is {status} under run lock {run_lock_key!r}, and so is a later execution",
        f"""SELECT {OF_JOB}, e.status, e.run_lock_key FROM {_JOBS}
            WHERE e.end_time IS NULL AND {RUNNING_JOB} AND e.owner_id IS NOT NULL
              AND EXISTS ({_MORE_RECENT} AND x.run_lock_key = e.run_lock_key
                AND x.owner_id IS NOT NULL AND x.job_instance_id <> e.job_instance_id)""",
        lambda breach: end_job(breach, "FAILED", "a later execution has its run lock", ""),
    ),
    Rule(
        "R28",
        "purge_open",
        "batch_purge, execution {job_execution_id}",
        "a row stands there outside of a purge: the history of this execution can be deleted",
        "SELECT job_execution_id FROM batch_purge ORDER BY job_execution_id",
        lambda breach: Repair(
            "delete the row",
            "who put it there; whether the history is whole",
            Statement(
                "SELECT 1 FROM batch_purge WHERE job_execution_id = :id",
                {"id": breach["job_execution_id"]},
            ),
            (
                Statement(
                    "DELETE FROM batch_purge WHERE job_execution_id = :id",
                    {"id": breach["job_execution_id"]},
                ),
            ),
        ),
    ),
)
