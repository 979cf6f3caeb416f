"""What hears a partitioned step as a whole, on its main thread (S140, S141)."""

from __future__ import annotations

import logging
from typing import Any

from stepwell.execution.status import BatchStatus, PartitionOutcome
from stepwell.job.artifact import Scope, make_artifact
from stepwell.job.step import PartitionedStep
from stepwell.repository.partitions import PartitionEnd
from stepwell.runner.share import Payload

logger = logging.getLogger("stepwell.runner")

_STATUS = {
    None: BatchStatus.STOPPED,
    PartitionOutcome.SUCCESS: BatchStatus.COMPLETED,
    PartitionOutcome.PARTIAL: BatchStatus.COMPLETED,
    PartitionOutcome.FAILURE: BatchStatus.FAILED,
}


class Whole:
    """The reducer and the analyzer of one step execution; either may be missing."""

    def __init__(self, step: PartitionedStep, scope: Scope) -> None:
        self._reducer = make_artifact(step.reducer, scope)
        self._analyzer = make_artifact(step.analyzer, scope)

    def begin(self) -> None:
        """Before the plan is made."""
        _call(self._reducer, "begin_partitioned_step")

    def discard(self) -> None:
        """An override throws plan and results away: the clean-up hook, before any partition."""
        _call(self._reducer, "rollback_partitioned_step")

    def complete(self) -> None:
        """The step will be COMPLETED."""
        _call(self._reducer, "before_partitioned_step_completion")
        _call(self._reducer, "after_partitioned_step_completion", "COMMIT")

    def roll_back(self) -> None:
        """The step will be FAILED or STOPPED."""
        _call(self._reducer, "rollback_partitioned_step")
        _call(self._reducer, "after_partitioned_step_completion", "ROLLBACK")

    def roll_back_quietly(self) -> None:
        """The same behind an exception, which counts; another one is only logged."""
        try:
            self.roll_back()
        except Exception:
            logger.exception("the reducer failed while its step was rolled back")

    def analyze(self, told: PartitionEnd | Payload) -> None:
        """One payload, or the end of one partition (S151, S153)."""
        if isinstance(told, Payload):
            _call(self._analyzer, "analyze_collector_data", told.value)
        else:
            status = _STATUS[told.outcome]
            _call(self._analyzer, "analyze_status", status, told.exit_status or str(status))


def _call(artifact: Any, name: str, *arguments: Any) -> None:
    method = getattr(artifact, name, None)
    if callable(method):
        method(*arguments)
