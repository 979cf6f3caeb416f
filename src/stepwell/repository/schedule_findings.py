"""What is wrong with the schedules now: runs that did not happen, and will not.

Nothing here writes, and no row of another program's can make it fail.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from sqlalchemy import bindparam, func, or_, select

from stepwell.database.prepared import Prepared
from stepwell.database.tables import batch_job_execution, batch_job_instance, batch_schedule
from stepwell.database.transaction import Reader
from stepwell.finding import Finding, Severity
from stepwell.job.schedule import LATE_AFTER

_s = batch_schedule.c
_e = batch_job_execution.c

LIST_POSITIONS = Prepared(
    select(_s.schedule_name, _s.job_name, _s.last_due_at, _s.skipped_due_at, _s.next_due_at)
    .where(_s.paused_at.is_(None))
    .order_by(_s.schedule_name)
)
LIST_WAITING = Prepared(
    select(
        _e.triggered_by,
        batch_job_instance.c.job_name,
        func.count(),
        func.min(_e.job_execution_id),
    )
    .select_from(batch_job_execution.join(batch_job_instance))
    .where(
        _e.end_time.is_(None),
        _e.status == "STARTING",
        _e.owner_id.is_(None),
        _e.trigger_source == "system",
        _e.create_time < bindparam("before_"),
        or_(_e.run_after.is_(None), _e.run_after < bindparam("before_")),
    )
    .group_by(_e.triggered_by, batch_job_instance.c.job_name)
    .order_by(func.min(_e.job_execution_id))
)


def schedule_findings(reader: Reader, *, now: datetime) -> list[Finding]:
    """One for each schedule whose run did not happen, or cannot; none while all is well."""
    found: list[Finding] = []
    for name, job_name, last, skipped, next_due in reader.fetch_all(LIST_POSITIONS):
        found += _of_schedule(name, job_name, last, skipped, next_due, now)
    for triggered_by, job_name, count, first in reader.fetch_all(
        LIST_WAITING, {"before_": now - LATE_AFTER}
    ):
        found.append(
            Finding(
                code="scheduled_run_waits",
                severity=Severity.WARNING,
                where=str(triggered_by),
                what=f"{count} of its runs of job {job_name!r} wait for a worker,"
                f" the first is execution {first}",
                hint=f"`stepwell status {first}`; workers must run, and know this job",
            )
        )
    return found


def _of_schedule(
    name: str,
    job_name: str,
    last: datetime | None,
    skipped: datetime | None,
    next_due: datetime | None,
    now: datetime,
) -> Iterator[Finding]:
    where = f"schedule {name!r}"
    if next_due is None:
        yield Finding(
            code="schedule_never_due",
            severity=Severity.WARNING,
            where=where,
            what=f"job {job_name!r} is never due again",
            hint=f"`stepwell schedule remove {name}`",
        )
    elif next_due < now - LATE_AFTER:
        yield Finding(
            code="schedule_overdue",
            severity=Severity.ERROR,
            where=where,
            what=f"job {job_name!r} was due {next_due.isoformat()} and was not started",
            hint="`stepwell work` starts it, if it knows the job; its log says why it cannot",
        )
    if skipped is not None:
        yield Finding(
            code="schedule_skipped",
            severity=Severity.WARNING,
            where=where,
            what=f"job {job_name!r} did not run at {skipped.isoformat()}: no worker was there",
            hint=f"`stepwell run {job_name}` runs it by hand; with `catch_up` last or all the next"
            " worker would",
        )
    if last is not None and last > now + LATE_AFTER:
        yield Finding(
            code="schedule_ahead_of_clock",
            severity=Severity.WARNING,
            where=where,
            what=f"its last run was for {last.isoformat()}, which is still to come:"
            " the clock was set back",
            hint=f"`stepwell schedule resume {name}` plans it from now, if the clock is right now",
        )
