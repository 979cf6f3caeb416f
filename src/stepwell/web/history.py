"""One page of past executions, filtered; the newest first, each page behind the last id."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from typing import Annotated, Any, Literal
from urllib.parse import urlencode

from fastapi import Query
from pydantic import BeforeValidator, Field

from stepwell.execution.records import JobExecution
from stepwell.execution.status import BatchStatus
from stepwell.repository import browse
from stepwell.repository.executions import get_execution
from stepwell.web.documents import ID_MAX
from stepwell.web.face import Face

PAGE = 50
ENDED_BADLY = "FAILED or STOPPED"
STATUSES = (*(str(status) for status in BatchStatus), ENDED_BADLY)

# A form sends what nobody has filled in as an empty text.
_or_none = BeforeValidator(lambda value: value or None)
Status = Annotated[Literal[STATUSES] | None, _or_none]  # type: ignore[valid-type]
_Day = Annotated[date, Field(ge=date(1970, 1, 2), le=date(9998, 12, 31))]
Day = Annotated[_Day | None, _or_none]


class Wanted:
    """What of the history somebody wants to see; a dependency, read from the query.

    Days are local ones, both among.
    """

    def __init__(
        self,
        status: Status = None,
        since: Day = None,
        until: Day = None,
        before: Annotated[int | None, Query(ge=1, le=ID_MAX)] = None,
    ) -> None:
        self.status = status
        self.since = since
        self.until = until
        self.before = before

    @property
    def is_filtered(self) -> bool:
        """Whether something is left out."""
        return bool(self.status or self.since or self.until)


@dataclass(frozen=True)
class Listing:
    """One page; ``older`` is the query that asks for the next one."""

    wanted: Wanted
    executions: list[JobExecution]
    older: str | None


def list_history(face: Face, wanted: Wanted, *, job: str | None = None) -> Listing:
    """The executions that are wanted, with their parameters."""
    statuses = [wanted.status] if wanted.status else []
    with face.node.database.read() as reader:
        page = browse.list_executions(
            reader,
            job_name=job,
            statuses=["FAILED", "STOPPED"] if wanted.status == ENDED_BADLY else statuses,
            since=_midnight(wanted.since),
            until=_midnight(wanted.until, days=1),
            before_id=wanted.before,
            count=PAGE,
        )
        found = [get_execution(reader, execution.execution_id) for execution in page]
    return Listing(wanted, found, _older(wanted, found) if len(found) == PAGE else None)


def _older(wanted: Wanted, found: list[JobExecution]) -> str:
    asked: dict[str, Any] = {
        "status": wanted.status,
        "since": wanted.since,
        "until": wanted.until,
        "before": found[-1].execution_id,
    }
    return urlencode({name: value for name, value in asked.items() if value})


def _midnight(day: date | None, *, days: int = 0) -> datetime | None:
    """Where a local day begins, or so many days later."""
    if day is None:
        return None
    return datetime.combine(day + timedelta(days=days), time()).astimezone()
