"""What a person asks for on the command line: a job, a time, and who asks."""

from __future__ import annotations

import getpass
import re
from datetime import UTC, datetime, timedelta

from stepwell.cli.session import Session
from stepwell.errors import JobStartError, NoSuchJob

_TIME_OF_DAY = re.compile(r"(\d{1,2}):(\d{2})")


def require_job(session: Session, name: str) -> None:
    """Refuse an unknown job before a database is made for it.

    Raises:
        NoSuchJob: with the nearest name, or where the settings are missing.
    """
    registry = session.load_jobs()
    settings = session.settings
    if settings.file is None and not settings.jobs:
        raise NoSuchJob(
            f"cannot find job {name!r}: there is no stepwell.toml in {str(settings.folder)!r}",
            hint="`stepwell init` writes one; or go to its folder, or name it with `--config`",
            fields={"job": name, "known": []},
        )
    registry.get(name)


def user() -> str | None:
    """The login name of whoever starts a job; None where the system knows none."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return None


def read_time(purpose: str, text: str, now: datetime) -> datetime:
    """``2026-11-20T03:00``, ``2026-11-20T03:00+01:00``, or ``03:00``: the next such time.

    Without an offset it is local time; of the two that a clock shows in autumn, the first one.

    Raises:
        JobStartError: it is no time, or the clocks skip it in spring.
    """
    hours_minutes = _TIME_OF_DAY.fullmatch(text)
    try:
        if hours_minutes:
            hour, minute = map(int, hours_minutes.groups())
            at = now.astimezone().replace(
                hour=hour, minute=minute, second=0, microsecond=0, tzinfo=None
            )
            if at.astimezone() <= now:
                at += timedelta(days=1)
        else:
            at = datetime.fromisoformat(text)
    except ValueError:
        raise JobStartError(
            f"cannot {purpose}: a time must be written like 2026-11-20T03:00 or 03:00,"
            f" got {text!r}",
            hint="add an offset, such as +01:00, when it is not local time",
            fields={"time": text},
        ) from None
    if at.tzinfo is not None:
        return at.astimezone(UTC)
    moment = at.astimezone(UTC)
    if moment.astimezone().replace(tzinfo=None) != at:
        raise JobStartError(
            f"cannot {purpose}: {at:%Y-%m-%d %H:%M} does not exist here, the clocks skip it",
            hint=f"they go on at {moment.astimezone():%H:%M %Z}; name a time that exists",
            fields={"time": text},
        )
    return moment
