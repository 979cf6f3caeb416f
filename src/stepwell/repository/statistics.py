"""How executions went over a window of time, by job: counted by the database, in one statement."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Subquery, bindparam, case, func, select, text

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


def _ended(alike: Sequence[ColumnElement[Any]], *conditions: ColumnElement[bool]) -> Subquery:
    """What has ended, each with its place by duration among those that are ``alike``."""
    # What is recorded as its result stays when an execution is abandoned.
    return (
        select(
            _i.job_name,
            _e.result,
            _took_s.label("took_s"),
            func.row_number().over(partition_by=alike, order_by=_took_s).label("place"),
            func.count().over(partition_by=alike).label("total"),
        )
        .select_from(batch_job_execution.join(batch_job_instance))
        .where(
            _e.job_execution_id > _newest - bindparam("look_back_"),
            _e.end_time >= bindparam("since_"),
            *conditions,
        )
        .subquery("ended")
    )


_PLACE_95 = text("(95 * total + 99) / 100")


def _by_job(ended: Subquery) -> Prepared:
    c = ended.c
    return Prepared(
        select(
            c.job_name,
            *(func.count(case((c.result == result, 1))) for result in Result),
            func.count(case((c.result.is_(None), 1))),
            func.avg(c.took_s),
            func.max(case((c.place == text("(total + 1) / 2"), c.took_s))),
            func.max(case((c.place == _PLACE_95, c.took_s))),
        )
        .group_by(c.job_name)
        .order_by(c.job_name)
    )


STATISTICS = _by_job(_ended((_i.job_name, _is_done)))
STATISTICS_UNTIL = _by_job(_ended((_i.job_name, _is_done), _e.end_time < bindparam("until_")))
_of_all = _ended((_is_done,)).c
P95_OF_ALL = Prepared(select(func.max(case((_of_all.place == _PLACE_95, _of_all.took_s)))))
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


def statistics_since(reader: Reader, since: datetime, *, until: datetime | None = None) -> Window:
    """What has ended since, among the last ``LOOK_BACK_EXECUTIONS`` that were recorded.

    What ended at ``until`` or later is left out.
    """
    look_back = {"look_back_": LOOK_BACK_EXECUTIONS}
    row = reader.fetch_one(OLDEST_NOT_COUNTED, look_back)
    since = max(since, row[0]) if row else since
    if until is None:
        found = reader.fetch_all(STATISTICS, {"since_": since, **look_back})
    else:
        values = {"since_": since, "until_": until, **look_back}
        found = reader.fetch_all(STATISTICS_UNTIL, values)
    return Window(since, {name: Statistics(*values) for name, *values in found})


def p95_since(reader: Reader, since: datetime) -> float | None:
    """What 95 in 100 of the completed executions of all jobs did not exceed, in seconds."""
    values = {"since_": since, "look_back_": LOOK_BACK_EXECUTIONS}
    row = reader.fetch_one(P95_OF_ALL, values)
    return row[0] if row else None


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
