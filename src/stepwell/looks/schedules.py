"""What a schedule does at this moment, in words."""

from __future__ import annotations

from datetime import datetime

from stepwell.job.schedule import LATE_AFTER
from stepwell.looks.text import local_time
from stepwell.repository.schedules import RecordedSchedule


def state_text(recorded: RecordedSchedule, now: datetime) -> str:
    """Why it starts nothing; empty when it goes on as it should."""
    if recorded.paused_at is not None:
        return f"paused since {local_time(recorded.paused_at)}"
    if recorded.next_due_at is None:
        return "never due again"
    if recorded.next_due_at < now - LATE_AFTER:
        return f"overdue since {local_time(recorded.next_due_at)}: no worker has started it"
    return ""
