"""How executions went over a window of time, by job: counted by the database, in one statement."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from sqlalchemy import bindparam, case, func, select, text

from stepwell.database.prepared import Prepared
from stepwell.database.tables import batch_job_execution, batch_job_instance
from stepwell.database.transaction import Reader
from stepwell.database.types import ElapsedSeconds, UtcDay
from stepwell.execution.status import Result
from stepwell.repository.browse import LOOK_BACK_EXECUTIONS

_e = batch_job_execution.c
_i = batch_job_instance.c

_newest = select(func.coalesce(func.max(_e.job_execution_id), 0)).scalar_subquery()
OLDEST_NOT_COUNTED = Prepared(
    select(_e.create_time)
    .where(_e.job_execution_id <= _newest - bindparam("look_back_"))
    .order_by(_e.job_execution_id.desc())
    .limit(1)
)
_is_done = _e.result.in_([Result.COMPLETED, Result.PARTIAL])
_took_s = case((_is_done, ElapsedSeconds(_e.start_time, _e.end_time)))
_alike = (_i.job_name, _is_done)
# What is recorded as its result stays when an execution is abandoned.
_ended = (
    select(
        _i.job_name,
        _e.result,
        _took_s.label("took_s"),
        func.row_number().over(partition_by=_alike, order_by=_took_s).label("place"),
        func.count().over(partition_by=_alike).label("total"),
    )
    .select_from(batch_job_execution.join(batch_job_instance))
    .where(
        _e.job_execution_id > _newest - bindparam("look_back_"),
        _e.end_time >= bindparam("since_"),
    )
    .subquery("ended")
)
_c = _ended.c
STATISTICS = Prepared(
    select(
        _c.job_name,
        *(func.count(case((_c.result == result, 1))) for result in Result),
        func.count(case((_c.result.is_(None), 1))),
        func.avg(_c.took_s),
        func.max(case((_c.place == text("(total + 1) / 2"), _c.took_s))),
        func.max(case((_c.place == text("(95 * total + 99) / 100"), _c.took_s))),
    )
    .group_by(_c.job_name)
    .order_by(_c.job_name)
)
_days = (
    select(UtcDay(_e.end_time).label("day"), _e.result)
    .where(
        _e.job_execution_id > _newest - bindparam("look_back_"),
        _e.end_time >= bindparam("since_"),
    )
    .subquery("days")
)
BY_DAY = Prepared(
    select(
        _days.c.day,
        *(func.count(case((_days.c.result == result, 1))) for result in Result),
        func.count(case((_days.c.result.is_(None), 1))),
    ).group_by(_days.c.day)
)


@dataclass(frozen=True)
class Statistics:
    """How many executions ended in a window, how, and how long those took that completed.

    Attributes:
        completed: In full.
        partial: Completed, with partitions that failed or were partial themselves.
        average_s: Of those that completed, in full or in part; None when there is none.
        p50_s: The shortest time that at least 50 in 100 of them did not exceed; of one job only.
        p95_s: Likewise, of 95 in 100.
    """

    completed: int = 0
    partial: int = 0
    failed: int = 0
    stopped: int = 0
    average_s: float | None = None
    p50_s: float | None = None
    p95_s: float | None = None

    @property
    def ended(self) -> int:
        """How many ended, however."""
        return self.judged + self.stopped

    @property
    def judged(self) -> int:
        """How many ended by themselves: what somebody stopped was neither success nor failure."""
        return self.completed + self.partial + self.failed

    @property
    def success_rate(self) -> float | None:
        """The share of ``judged`` that completed in full, from 0 to 1; None of none."""
        return self.completed / self.judged if self.judged else None


@dataclass(frozen=True)
class Window:
    """The statistics of one window.

    Attributes:
        since: Its begin; later than asked for when more than ``LOOK_BACK_EXECUTIONS`` came since.
        by_job: Of each job of which an execution has ended in it, by name.
    """

    since: datetime
    by_job: dict[str, Statistics]

    @property
    def total(self) -> Statistics:
        """Of all jobs together; of several jobs without the percentiles."""
        return _together(list(self.by_job.values()))

    def of(self, job_name: str) -> Statistics:
        """Of one job, all zero when nothing of it has ended."""
        return self.by_job.get(job_name, Statistics())

    def only(self, job_name: str) -> Window:
        """The same for one job alone."""
        return replace(self, by_job={job_name: self.of(job_name)})


def statistics_since(reader: Reader, since: datetime) -> Window:
    """What has ended since, among the last ``LOOK_BACK_EXECUTIONS`` that were recorded."""
    look_back = {"look_back_": LOOK_BACK_EXECUTIONS}
    row = reader.fetch_one(OLDEST_NOT_COUNTED, look_back)
    since = max(since, row[0]) if row else since
    found = reader.fetch_all(STATISTICS, {"since_": since, **look_back})
    return Window(since, {name: Statistics(*values) for name, *values in found})


def statistics_by_day(reader: Reader, now: datetime, days: int) -> dict[str, Statistics]:
    """How many ended on each of the last ``days`` days in UTC, the oldest first; no durations.

    Among the last ``LOOK_BACK_EXECUTIONS`` that were recorded.
    """
    midnight = now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    wanted = [midnight - timedelta(days=back) for back in reversed(range(days))]
    values = {"since_": wanted[0], "look_back_": LOOK_BACK_EXECUTIONS}
    found = {day: Statistics(*counts) for day, *counts in reader.fetch_all(BY_DAY, values)}
    return {f"{day:%Y-%m-%d}": found.get(f"{day:%Y-%m-%d}", Statistics()) for day in wanted}


def _together(found: Sequence[Statistics]) -> Statistics:
    if len(found) == 1:
        return found[0]
    measured = [
        (one.average_s, one.completed + one.partial) for one in found if one.average_s is not None
    ]
    times = sum(count for _, count in measured)
    return Statistics(
        completed=sum(one.completed for one in found),
        partial=sum(one.partial for one in found),
        failed=sum(one.failed for one in found),
        stopped=sum(one.stopped for one in found),
        average_s=sum(mean * count for mean, count in measured) / times if times else None,
    )
