"""The jobs that come with Stepwell, registered like any other: what ``stepwell jobs`` lists too."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from stepwell.job.registry import JobRegistry
from stepwell.maintenance.jobs import add_maintenance_jobs
from stepwell.maintenance.maintained import Maintained
from stepwell.runner.skipped import add_skips_job

if TYPE_CHECKING:
    from stepwell.database.connect import Database
    from stepwell.sync.session import Sync


class Served(Maintained, Protocol):
    """What the jobs work on when one of them runs; a node is one."""

    @property
    def sync(self) -> Sync:
        """Its side of the change log."""


def nothing() -> Served:
    """For a registry that is only looked at."""
    raise AssertionError("this registry was made to be looked at")


def add_built_in_jobs(
    registry: JobRegistry,
    served: Callable[[], Served] = nothing,
    *,
    database: Callable[[], Database] | None = None,
) -> None:
    """Register the jobs as ones that nobody has defined; ``served`` is asked when one runs.

    ``database`` is asked when one is only to be loaded, for a plan of it; by default that served.
    """
    from stepwell.sync.jobs import add_sync_jobs  # Most programs never ask.

    add_maintenance_jobs(registry, served)
    add_skips_job(registry, database or (lambda: served().database))
    add_sync_jobs(registry, lambda: served().sync)
