"""What user code returns: the result of a partition, and the report of a writer."""

from __future__ import annotations

import traceback
from dataclasses import dataclass, field
from typing import ClassVar

from stepwell.execution.status import PartitionOutcome

ERRORS_MAX = 20  # Of one partition; beyond it only their number is kept.
MESSAGE_CHARACTERS_MAX = 2_000
EXIT_STATUS_CHARACTERS_MAX = 2_500  # Spring Batch's column has this width; tools expect it.
TRACE_CHARACTERS_MAX = 8_000  # The end of a traceback is where the fault stands: keep that.


@dataclass(frozen=True)
class Failure:
    """An exception as it is stored: type, message, traceback (S171), cut to their limits."""

    type: str
    message: str
    trace: str | None = None

    @classmethod
    def of(cls, exception: BaseException) -> Failure:
        """What ``exception`` says, with its causes in the trace."""
        if isinstance(exception, ElsewhereFailed):
            return exception.failure
        kind = type(exception)
        name = kind.__qualname__
        if kind.__module__ != "builtins" and not kind.__module__.startswith("stepwell.errors"):
            name = f"{kind.__module__}.{name}"
        trace = "".join(traceback.format_exception(exception))
        return cls(
            name,
            cut(message_of(exception), MESSAGE_CHARACTERS_MAX),
            cut_front(trace, TRACE_CHARACTERS_MAX),
        )


class ElsewhereFailed(Exception):
    """An exception of another process: what it said there stands in ``failure``."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure)
        self.failure = failure

    def __str__(self) -> str:
        return f"{self.failure.type}: {self.failure.message}"


@dataclass(frozen=True)
class PartitionError:
    """One piece of a partition that failed under ``step.attempt(key)`` (S160)."""

    key: str
    failure: Failure


@dataclass(frozen=True)
class PartitionResult:
    """What a partition returns: SUCCESS, PARTIAL or FAILURE, with message and counts (S160).

    >>> PartitionResult.success(rows=12).counts
    {'rows': 12}
    """

    outcome: PartitionOutcome
    message: str | None = None
    counts: dict[str, int | float] = field(default_factory=dict)
    exit_status: str | None = None
    errors: tuple[PartitionError, ...] = ()

    SUCCESS: ClassVar = PartitionOutcome.SUCCESS
    PARTIAL: ClassVar = PartitionOutcome.PARTIAL
    FAILURE: ClassVar = PartitionOutcome.FAILURE

    @classmethod
    def success(cls, message: str | None = None, **counts: int | float) -> PartitionResult:
        """Everything was done."""
        return cls(PartitionOutcome.SUCCESS, message, counts)

    @classmethod
    def partial(cls, message: str | None = None, **counts: int | float) -> PartitionResult:
        """Some of it was done; a restart does not run the partition again (S156)."""
        return cls(PartitionOutcome.PARTIAL, message, counts)

    @classmethod
    def failure(cls, message: str | None = None, **counts: int | float) -> PartitionResult:
        """It was not done; a restart runs the partition again."""
        return cls(PartitionOutcome.FAILURE, message, counts)


@dataclass(frozen=True)
class WriteReport:
    """What a writer that isolates items itself did with a list (S196)."""

    written: int
    skipped: int = 0


def message_of(exception: BaseException) -> str:
    """What an exception says; one that cannot even say it must not fail its own record."""
    try:
        return str(exception)
    except Exception as error:  # noqa: BLE001 - whatever a user's __str__ raises
        return f"(it cannot be shown: {type(error).__name__})"


def storable(text: str) -> str:
    """``text`` without what a database or UTF-8 refuses: NUL and halves of surrogate pairs."""
    if text.isascii() and "\0" not in text:
        return text
    return text.replace("\0", "␀").encode("utf-8", "replace").decode()


def cut(text: str, characters_max: int) -> str:
    """``text``, or its beginning and a note of how much was cut; fit to be stored."""
    text = storable(text)
    if len(text) <= characters_max:
        return text
    return f"{text[:characters_max]}… ({len(text) - characters_max} more characters were cut)"


def cut_front(text: str, characters_max: int) -> str:
    """``text``, or a note of how much was cut and its end; fit to be stored."""
    text = storable(text)
    if len(text) <= characters_max:
        return text
    return f"({len(text) - characters_max} characters were cut) …{text[-characters_max:]}"
