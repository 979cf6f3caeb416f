"""What is to be done about an exception of a chunk: retry, skip or fail (S110 to S116)."""

from __future__ import annotations

from enum import Enum

from stepwell.errors import (
    ContextTooLarge,
    ItemError,
    LostOwnership,
    MalformedItem,
    OptimisticLockingFailure,
    ValueNotJson,
)
from stepwell.job.policy import Retry, Skip

# Never skipped or retried, even when Exception is included (S112).
NEVER = (LostOwnership, OptimisticLockingFailure, ValueNotJson, ContextTooLarge)


class CheckpointTimeout(Exception):
    """A chunk did not reach its commit within its checkpoint timeout (S103)."""

    def __init__(self, step_name: str) -> None:
        super().__init__(f"a chunk of step {step_name!r} did not reach its commit in time")


class Choice(Enum):
    """The answer for one exception."""

    RETRY = "retry"
    SKIP = "skip"
    FAIL = "fail"


class FaultPolicy:
    """Skip and retry of one step execution, with their counters.

    The skip counter is restored on a rollback, like the metrics; the retry counter never is (S114).
    """

    def __init__(self, skip: Skip | None, retry: Retry | None) -> None:
        self._skip = skip
        self._retry = retry
        self.skip_count = 0
        self.retry_count = 0

    def choose(self, error: Exception, *, in_window: bool, skippable: bool = True) -> Choice:
        """Retry before skip in a normal chunk, skip before retry in the window (S115)."""
        if isinstance(error, NEVER) or _is_the_source(error):
            return Choice.FAIL
        skips = skippable and self.may_skip(error)
        if self.may_retry(error) and not (skips and in_window):
            return Choice.RETRY
        return Choice.SKIP if skips else Choice.FAIL

    def may_skip(self, error: Exception) -> bool:
        """Whether ``error`` is skippable and the limit is not used up."""
        skip = self._skip
        return (
            skip is not None
            and skip.matches(error)
            and (skip.limit is None or self.skip_count < skip.limit)
        )

    def may_retry(self, error: Exception) -> bool:
        """Whether ``error`` is retryable and the limit is not used up."""
        retry = self._retry
        return (
            retry is not None
            and retry.matches(error)
            and (retry.limit is None or self.retry_count < retry.limit)
        )

    def keeps_chunk(self, error: Exception) -> bool:
        """Whether a retry repeats the operation within the chunk: no_rollback matches (S121)."""
        return self._retry is not None and self._retry.no_rollback.matches(error)

    def count_retry(self) -> float:
        """Count a retry; return the seconds to wait before it (S123)."""
        self.retry_count += 1
        return self._retry.backoff_s(self.retry_count) if self._retry else 0.0


def _is_the_source(error: Exception) -> bool:
    """A vanished file is raised on every read: an unlimited skip would never end."""
    return isinstance(error, ItemError) and not isinstance(error, MalformedItem)
