"""Where the partitions of one run go, beside what the definition says."""

from __future__ import annotations

from typing import NamedTuple

from stepwell.job.step import ExecutorName


class Placement(NamedTuple):
    """What a run is told of its executors.

    Attributes:
        executor: Replaces that of its partitioned steps; None: each has its own.
        dask_scheduler: See the setting of this name.
        folder: Where the modules of the settings are; workers of this machine find them there.
    """

    executor: ExecutorName | None = None
    dask_scheduler: str = ""
    folder: str = ""


WHEREVER = Placement()
