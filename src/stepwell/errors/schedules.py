"""Schedules: what cannot be planned, found or changed; children of BatchError like the rest."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from stepwell.errors.batch import BatchError
from stepwell.errors.error import Kind


class InvalidSchedule(BatchError):
    """A cron expression, a time zone or a parameter that a schedule cannot work with."""

    kind = Kind.USAGE


class NoSuchSchedule(BatchError):
    """No schedule has this name."""

    kind = Kind.NOT_FOUND

    def __init__(self, name: str, known: Iterable[str]) -> None:
        close = difflib.get_close_matches(name, known := sorted(known), n=1)
        super().__init__(
            f"cannot find schedule {name!r}: no such schedule is recorded here",
            hint=(f"did you mean {close[0]!r}? " if close else "")
            + "`stepwell schedule list` lists them",
            fields={"schedule": name, "known": known},
        )


class ScheduleAlreadyExists(BatchError):
    """A schedule of this name is there already."""

    kind = Kind.CONFLICT

    def __init__(self, name: str, job_name: str, cron: str) -> None:
        super().__init__(
            f"cannot add schedule {name!r}: there is one of this name,"
            f" it starts job {job_name!r} at {cron!r}",
            hint=f"choose another `--name`, or `stepwell schedule remove {name}` first",
            fields={"schedule": name, "job": job_name, "cron": cron},
        )


class ScheduleInSettings(BatchError):
    """The settings define the schedule: removed here, it would come back with the next worker."""

    kind = Kind.CONFLICT

    def __init__(self, name: str, file: str) -> None:
        super().__init__(
            f"cannot remove schedule {name!r}: it is defined in {file}",
            hint=f"delete it there, or `stepwell schedule pause {name}`",
            fields={"schedule": name, "file": file},
        )
