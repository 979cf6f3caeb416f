"""What a channel receives: one JSON object, the same for a command and for a webhook."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from stepwell.errors import NoSuchJobExecution
from stepwell.execution.records import JobExecution
from stepwell.execution.result import cut
from stepwell.repository.notifications import MISSED, Notification
from stepwell.repository.repository import JobRepository

FAILURE_CHARACTERS_MAX = 2_000  # The whole of it is in the database.
TEST = "TEST"
# Of every message, in this order.
KEYS = (
    "text",
    "event",
    "job",
    "execution_id",
    "parameters",
    "started_at",
    "ended_at",
    "failure_type",
    "failure_message",
    "schedule",
    "due_at",
    "happened_at",
    "attempt",
    "database",
    "notification_id",
)


def compose_message(notification: Notification, repository: JobRepository) -> dict[str, Any]:
    """The message: flat, of texts and numbers; what is not known is null.

    ``text`` says it in one line. A traceback is not in it: that may hold what nobody should send.
    """
    execution: JobExecution | None = None
    if notification.execution_id is not None:
        try:
            execution = repository.get_execution(notification.execution_id)
        except NoSuchJobExecution:
            execution = None  # It was purged meanwhile.
    failure = execution.failure if execution is not None else None
    started = execution.start_time if execution is not None else None
    ended = execution.end_time if execution is not None else None
    said = None if failure is None else cut(failure.message, FAILURE_CHARACTERS_MAX)
    return {
        "text": _text(notification, said),
        "event": notification.event,
        "job": notification.job_name,
        "execution_id": notification.execution_id,
        "parameters": {p.name: p.value for p in execution.parameters} if execution else {},
        "started_at": _iso(started),
        "ended_at": _iso(ended),
        "failure_type": failure.type if failure is not None else None,
        "failure_message": said,
        "schedule": notification.schedule_name,
        "due_at": _iso(notification.due_at),
        "happened_at": _iso(notification.happened_at),
        "attempt": notification.attempts,
        "database": repository.database.location,
        "notification_id": notification.notification_id,
    }


def compose_test(channel: str) -> dict[str, Any]:
    """A message like every other, for trying a channel out."""
    text = f"this is a test of channel {channel!r}"
    return {**dict.fromkeys(KEYS), "text": text, "event": TEST, "parameters": {}}


def _text(notification: Notification, failure: str | None) -> str:
    if notification.event == MISSED:
        return (
            f"job {notification.job_name!r} did not run: schedule {notification.schedule_name!r}"
            f" was due {_iso(notification.due_at)}"
        )
    said = f"job {notification.job_name!r} is {notification.event}"
    if notification.execution_id is not None:
        said += f" (execution {notification.execution_id})"
    return said if failure is None else f"{said}: {' '.join(failure.split())}"


def _iso(at: datetime | None) -> str | None:
    return None if at is None else at.astimezone(UTC).isoformat().replace("+00:00", "Z")
