"""The built-in job ``stepwell.purge``: old instances deleted, a few a transaction.

Each turn deletes some and commits; then how far it has come is committed. Killed in between, it
looks at some instances again that are gone, and what it counts is at least what it has deleted.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from pydantic import Field, field_validator, model_validator

from stepwell.execution.status import BatchStatus
from stepwell.job.age import read_age, require_age
from stepwell.job.job import Job
from stepwell.job.parameters import Parameters
from stepwell.job.step import Repeat, TaskletStep
from stepwell.maintenance.maintained import Care

if TYPE_CHECKING:
    from stepwell.repository.purge import PurgeRule

NAME = "stepwell.purge"


class Purging(Parameters):
    """What is given up; one of ``older_than`` and ``keep`` is required, with both both must allow.

    Attributes:
        older_than: What has ended longer ago than this, such as ``90d``.
        keep: The newest so many instances of each job stay.
        job: Only those of this job.
        status: Only what has ended so.
    """

    older_than: str | None = None
    keep: int | None = Field(None, ge=0)
    job: str | None = None
    status: tuple[str, ...] = ("COMPLETED", "ABANDONED")

    _is_an_age = field_validator("older_than")(require_age)

    @field_validator("status", mode="before")
    @classmethod
    def _is_a_list(cls, status: object) -> object:
        return status.split(",") if isinstance(status, str) else status

    @field_validator("status")
    @classmethod
    def _are_statuses(cls, status: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(BatchStatus(name.strip().upper()) for name in status)

    @model_validator(mode="after")
    def _says_what_is_kept(self) -> Purging:
        self.rule()
        return self

    def rule(self) -> PurgeRule:
        """The same for the repository.

        Raises:
            JobStartError: neither an age nor a number, or a status that is no end.
        """
        from stepwell.repository.purge import PurgeRule

        older_than = read_age(self.older_than) if self.older_than is not None else None
        statuses = tuple(BatchStatus(name) for name in self.status)
        return PurgeRule(older_than, self.keep, self.job, statuses)


def purge_job(care: Care) -> Job:
    """The job that deletes what :class:`Purging` gives up; its progress is in instances."""

    def delete(step: Any) -> object:
        from stepwell.repository.purge import list_purgeable, purge_some

        database, rule = care().database, step.parameters.rule()
        context = step.context
        if not context:
            now = care().clock.now()
            with database.read(what="look for old executions") as reader:
                total = sum(1 for _ in list_purgeable(reader, rule, now=now))
            context |= {"now": now.isoformat(), "total": total, "seen": 0}
            context |= {"instances": 0, "executions": 0, "rows": 0}
        now = datetime.fromisoformat(context["now"])
        some = purge_some(database, rule, now=now, after_id=context["seen"])
        if some is None:
            return None
        context["seen"] = some.seen_id
        context["instances"] += some.instance_count
        context["executions"] += some.execution_count
        context["rows"] += some.row_count
        step.progress(context["instances"], max(context["instances"], context["total"]))
        return Repeat

    return Job(
        NAME,
        description="deletes old executions with all that was recorded of them",
        parameters=Purging,
        identity="each-start",
        run_lock="job",
        steps=[TaskletStep("delete", delete)],
    )
