"""What people are to be told of, and whether they were.

Nobody who runs a job takes part: what has ended is found in the history afterwards, what did not
run among the schedules. So a job never fails, waits or is slower because of a notification, and
none is lost when the process that ended the job dies right behind it. Guarantees: a change of a
status, and a due time that did not run, is told to a channel once it has been found, until the
channel takes it or its attempts are used up; a receiver may hear of it twice, when a process dies
while it tells.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import bindparam, delete, func, literal_column, select, update
from sqlalchemy.dialects.postgresql import insert

from stepwell.database.prepared import Prepared
from stepwell.database.tables import (
    batch_job_execution,
    batch_job_instance,
    batch_notification,
    batch_notification_channel,
    batch_schedule,
    batch_status_history,
)
from stepwell.database.transaction import Reader, Transaction
from stepwell.execution.result import MESSAGE_CHARACTERS_MAX, cut
from stepwell.execution.status import BatchStatus
from stepwell.finding import Finding, Severity
from stepwell.job.schedule import LATE_AFTER

NEWS_FOR = timedelta(days=1)  # What has ended before that is no news any more.
KEPT_FOR = timedelta(days=7)  # A notification that was delivered.
# Rows of the history that are looked through again: one that was inserted before another may be
# committed after it.
LOOK_BACK_ROWS = 10_000

MISSED, PARTIAL = "MISSED", "PARTIAL"

_n = batch_notification.c
_h = batch_status_history.c
_e = batch_job_execution.c
_i = batch_job_instance.c
_s = batch_schedule.c
_c = batch_notification_channel.c


@dataclass(frozen=True)
class Notification:
    """One thing to tell one channel.

    Attributes:
        event: COMPLETED, PARTIAL, FAILED, STOPPED, ABANDONED or MISSED.
        execution_id: The execution that has ended; None for a run that did not happen.
        due_at: When that run was due; None for an execution.
        attempts: How often it was tried, this time included once it is claimed.
    """

    notification_id: int
    channel: str
    event: str
    job_name: str
    history_id: int | None
    execution_id: int | None
    schedule_name: str | None
    due_at: datetime | None
    happened_at: datetime
    attempts: int


Hears = Callable[[str, str], bool]  # A job's name and an event.

NEWEST_HISTORY_ID = Prepared(select(func.coalesce(func.max(_h.history_id), 0)))
LIST_CHANNELS = Prepared(select(_c.channel, _c.history_id))
INSERT_CHANNEL = Prepared(
    insert(batch_notification_channel)
    .values(channel=bindparam("channel"), history_id=bindparam("history_id"))
    .on_conflict_do_nothing()
)
_ENDED = (BatchStatus.COMPLETED, BatchStatus.FAILED, BatchStatus.STOPPED, BatchStatus.ABANDONED)
FIND_ENDED = Prepared(
    select(_h.history_id, _h.job_execution_id, _i.job_name, _h.to_status, _e.result, _h.changed_at)
    .select_from(batch_status_history.join(batch_job_execution).join(batch_job_instance))
    .where(
        _h.history_id > bindparam("floor_"),
        _h.step_execution_id.is_(None),
        _h.to_status.in_(_ENDED),
        _h.changed_at >= bindparam("since_"),
        ~select(_n.notification_id)
        .where(_n.channel == bindparam("channel_"), _n.history_id == _h.history_id)
        .exists(),
    )
    .order_by(_h.history_id)
)
LIST_SCHEDULES_MISSED = Prepared(
    select(_s.schedule_name, _s.job_name, _s.skipped_due_at, _s.next_due_at).where(
        _s.paused_at.is_(None)
    )
)
IS_TOLD = Prepared(
    select(_n.notification_id).where(
        _n.channel == bindparam("channel_"),
        _n.event == MISSED,
        _n.schedule_name == bindparam("schedule_"),
        _n.due_at == bindparam("due_"),
    )
)
_INSERTED = (
    "channel",
    "event",
    "job_name",
    "history_id",
    "job_execution_id",
    "schedule_name",
    "due_at",
    "happened_at",
    "next_attempt_at",
)
INSERT_NOTIFICATION = Prepared(
    insert(batch_notification)
    .values({_n[name]: bindparam(name) for name in _INSERTED})
    .on_conflict_do_nothing()
)
FIND_WAITING = Prepared(
    select(
        _n.notification_id,
        _n.channel,
        _n.event,
        _n.job_name,
        _n.history_id,
        _n.job_execution_id,
        _n.schedule_name,
        _n.due_at,
        _n.happened_at,
        _n.attempts,
    )
    .where(
        _n.channel == bindparam("channel_"),
        _n.next_attempt_at.is_not(None),
        _n.next_attempt_at <= bindparam("now_"),
    )
    .order_by(_n.next_attempt_at, _n.notification_id)
    .limit(1)
)
CLAIM_NOTIFICATION = Prepared(
    update(batch_notification)
    .where(
        _n.notification_id == bindparam("id_"),
        _n.attempts == bindparam("attempts_"),
        _n.next_attempt_at.is_not(None),
    )
    .values(attempts=literal_column("attempts + 1"), next_attempt_at=bindparam("next_"))
)
SETTLE_NOTIFICATION = Prepared(
    update(batch_notification)
    .where(_n.notification_id == bindparam("id_"), _n.attempts == bindparam("attempts_"))
    .values(
        next_attempt_at=bindparam("next_"),
        delivered_at=bindparam("delivered_"),
        last_error=bindparam("error_"),
    )
)
LIST_GIVEN_UP = Prepared(
    select(_n.notification_id, _n.channel, _n.event, _n.job_name, _n.attempts, _n.last_error)
    .where(
        _n.next_attempt_at.is_(None),
        _n.delivered_at.is_(None),
        _n.happened_at >= bindparam("since_"),
    )
    .order_by(_n.notification_id)
)
PRUNE_NOTIFICATIONS = Prepared(
    delete(batch_notification).where(
        _n.next_attempt_at.is_(None), _n.happened_at < bindparam("before_")
    )
)


def newest_history_id(reader: Reader) -> int:
    """The id of the last change of a status; 0 when there is none."""
    row = reader.fetch_one(NEWEST_HISTORY_ID)
    return int(row[0]) if row else 0


def find_new_channels(reader: Reader, names: Collection[str]) -> list[str]:
    """The channels that nobody has told of anything yet."""
    known = {str(row[0]) for row in reader.fetch_all(LIST_CHANNELS)}
    return [name for name in names if name not in known]


def begin_channels(transaction: Transaction, names: Iterable[str]) -> None:
    """Tell these channels of what happens from now on; of one that has begun nothing changes."""
    newest = newest_history_id(transaction)
    for name in names:
        transaction.execute(INSERT_CHANNEL, {"channel": name, "history_id": newest})


def find_news(
    reader: Reader, channel: str, hears: Hears, *, now: datetime, also_overdue: bool
) -> list[dict[str, Any]]:
    """What ``channel`` is to be told of and is not yet, as rows to be inserted.

    With ``also_overdue`` a schedule counts too that is late and may still be fired.
    """
    return [
        *_ended(reader, channel, hears, now=now),
        *_missed(reader, channel, hears, now=now, also_overdue=also_overdue),
    ]


def _ended(reader: Reader, channel: str, hears: Hears, *, now: datetime) -> list[dict[str, Any]]:
    births: dict[str, int] = dict(reader.fetch_all(LIST_CHANNELS))
    floor = max(births.get(channel, 0), newest_history_id(reader) - LOOK_BACK_ROWS)
    values = {"floor_": floor, "since_": now - NEWS_FOR, "channel_": channel}
    found = []
    for history_id, execution_id, job_name, status, result, at in reader.fetch_all(
        FIND_ENDED, values
    ):
        is_partial = status == BatchStatus.COMPLETED and result == PARTIAL
        event = PARTIAL if is_partial else str(status)
        if hears(job_name, event):
            found.append(
                _row(
                    channel,
                    event,
                    job_name,
                    now,
                    happened_at=at,
                    history_id=history_id,
                    job_execution_id=execution_id,
                )
            )
    return found


def _missed(
    reader: Reader, channel: str, hears: Hears, *, now: datetime, also_overdue: bool
) -> list[dict[str, Any]]:
    found = []
    for name, job_name, skipped, next_due in reader.fetch_all(LIST_SCHEDULES_MISSED):
        is_late = next_due is not None and next_due < now - LATE_AFTER
        for due in (skipped, next_due if is_late and also_overdue else None):
            if due is None or not hears(job_name, MISSED):
                continue
            values = {"channel_": channel, "schedule_": name, "due_": due}
            if reader.fetch_one(IS_TOLD, values) is None:
                found.append(_row(channel, MISSED, job_name, now, schedule_name=name, due_at=due))
    return found


def _row(
    channel: str,
    event: str,
    job_name: str,
    now: datetime,
    *,
    happened_at: datetime | None = None,
    **what: Any,
) -> dict[str, Any]:
    empty = dict.fromkeys(("history_id", "job_execution_id", "schedule_name", "due_at"))
    return {
        **empty,
        **what,
        "channel": channel,
        "event": event,
        "job_name": job_name,
        "happened_at": happened_at or now,
        "next_attempt_at": now,
    }


def insert_notifications(transaction: Transaction, found: Iterable[dict[str, Any]]) -> None:
    """Record what is to be told; what another process has found too is there once."""
    for row in found:
        transaction.execute(INSERT_NOTIFICATION, row)


def find_waiting(reader: Reader, channel: str, *, now: datetime) -> Notification | None:
    """What ``channel`` is to be told now, the longest waiting first; or None."""
    row = reader.fetch_one(FIND_WAITING, {"channel_": channel, "now_": now})
    return None if row is None else Notification(*row)


def claim_notification(
    transaction: Transaction, waiting: Notification, *, next_attempt_at: datetime
) -> bool:
    """Take it for one attempt; False when another process has. If this one dies it is tried anew.

    The other one waits until ``next_attempt_at``.
    """
    values = {
        "id_": waiting.notification_id,
        "attempts_": waiting.attempts,
        "next_": next_attempt_at,
    }
    return transaction.execute(CLAIM_NOTIFICATION, values) == 1


def settle_notification(
    transaction: Transaction,
    claimed: Notification,
    *,
    delivered_at: datetime | None,
    next_attempt_at: datetime | None = None,
    error: str | None = None,
) -> None:
    """Record how an attempt went; without a next one it is delivered or given up.

    Whoever took longer than his turn finds it claimed by another one, and changes nothing.
    """
    values = {
        "id_": claimed.notification_id,
        "attempts_": claimed.attempts,
        "next_": next_attempt_at,
        "delivered_": delivered_at,
        "error_": error and cut(error, MESSAGE_CHARACTERS_MAX),
    }
    transaction.execute(SETTLE_NOTIFICATION, values)


def prune_notifications(transaction: Transaction, *, now: datetime) -> None:
    """Forget what was settled long ago."""
    transaction.execute(PRUNE_NOTIFICATIONS, {"before_": now - KEPT_FOR})


def notification_findings(reader: Reader, *, now: datetime) -> list[Finding]:
    """One for each notification of the last days that no attempt has brought to its channel."""
    return [
        Finding(
            code="notification_not_delivered",
            severity=Severity.WARNING,
            where=f"notification {number}",
            what=f"{job_name!r} {event}: channel {channel!r} has failed {attempts} times: {error}",
            hint=f"try it with `stepwell notify {channel}`",
        )
        for number, channel, event, job_name, attempts, error in reader.fetch_all(
            LIST_GIVEN_UP, {"since_": now - KEPT_FOR}
        )
    ]
