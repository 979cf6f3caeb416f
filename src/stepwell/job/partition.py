"""What knows all partitions of a step: plan, mapper, reducer, collector and analyzer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol


class PartitionReducer(Protocol):
    """Hears the partitioned step as a whole, on its main thread (S140, S141)."""

    def begin_partitioned_step(self) -> None:
        """Before the plan is made."""

    def before_partitioned_step_completion(self) -> None:
        """All partitions are recorded and the step will be COMPLETED."""

    def rollback_partitioned_step(self) -> None:
        """The step will be FAILED or STOPPED; or everything is to be discarded (S157)."""

    def after_partitioned_step_completion(self, status: str) -> None:
        """``COMMIT`` or ``ROLLBACK``."""


class PartitionCollector(Protocol):
    """Runs where a partition runs and returns what its analyzer is to hear (S150)."""

    def collect_partition_data(self) -> Any:
        """A JSON value; None is not delivered (S151)."""


class PartitionAnalyzer(Protocol):
    """Hears collectors and ends on the step's main thread, one at a time (S141, S151).

    Without a collector it hears ends only; without it what a collector returns is dropped (S152).
    """

    def analyze_collector_data(self, payload: Any) -> None:
        """One payload, in the order of its arrival."""

    def analyze_status(self, batch_status: Any, exit_status: str) -> None:
        """The end of one partition, behind all its payloads (S153)."""


@dataclass(frozen=True)
class PartitionPlan:
    """What a mapper of a job file answers (S142, S157).

    Attributes:
        partitions: How many; numbered from 0.
        threads: How many run at a time; 0 means as many as there are partitions.
        override: Throw an earlier plan and its results away.
        properties: Those of each partition, by index; missing ones are empty.
    """

    partitions: int
    threads: int = 0
    override: bool = False
    properties: Sequence[Mapping[str, str]] = ()


class PartitionMapper(Protocol):
    """Makes the plan of a partitioned step of a job file."""

    def map_partitions(self) -> PartitionPlan:
        """Called on the step's main thread, before any partition runs."""
