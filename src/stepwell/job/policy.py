"""Which exceptions of a chunk are skipped or retried, how often, and after which wait."""

from __future__ import annotations

from collections.abc import Callable, Iterable

ExceptionClass = type[BaseException]


class ExceptionFilter:
    """Matches exceptions by ``isinstance``; the class nearest in the MRO decides (S110).

    A class that is both included and excluded is excluded; nothing included matches nothing.
    """

    def __init__(
        self, include: Iterable[ExceptionClass], exclude: Iterable[ExceptionClass] = ()
    ) -> None:
        self.include = tuple(include)
        self.exclude = tuple(exclude)

    def matches(self, exception: BaseException) -> bool:
        """Whether ``exception`` is meant."""
        for ancestor in type(exception).__mro__:
            if ancestor in self.exclude:
                return False
            if ancestor in self.include:
                return True
        # A virtual subclass (abc) stands in no MRO.
        return isinstance(exception, self.include) and not isinstance(exception, self.exclude)


class Skip(ExceptionFilter):
    """Leave out an item whose reading, processing or writing raises one of ``exceptions``.

    >>> Skip(ValueError, limit=10).matches(UnicodeDecodeError("utf-8", b"", 0, 1, ""))
    True

    Args:
        exceptions: The classes that may be skipped, with their subclasses.
        limit: How many in one step execution; None is unlimited, 0 is none (S113).
        exclude: Subclasses that must not be skipped all the same.
    """

    def __init__(
        self,
        *exceptions: ExceptionClass,
        limit: int | None = None,
        exclude: Iterable[ExceptionClass] = (),
    ) -> None:
        super().__init__(exceptions, exclude)
        self.limit = limit


class Retry(ExceptionFilter):
    """Try again when ``exceptions`` are raised: roll back and go through the chunk item by item.

    Reader and writer are closed and opened again for it; an exception of theirs then fails the step
    (S127). What the chunk had touched is read and processed a second time (S131).

    Args:
        exceptions: The classes that are worth another try, with their subclasses.
        limit: How many retries in one step execution; None is unlimited, 0 is none (S113).
        backoff: Seconds before a retry, or a function of the retry's number (1, 2, …). Waited
            outside any transaction (S123).
        no_rollback: Classes for which the same operation is repeated within the chunk (S121).
        exclude: Subclasses that must not be retried all the same.
    """

    def __init__(
        self,
        *exceptions: ExceptionClass,
        limit: int | None = None,
        backoff: float | Callable[[int], float] = 0.0,
        no_rollback: Iterable[ExceptionClass] = (),
        exclude: Iterable[ExceptionClass] = (),
    ) -> None:
        super().__init__(exceptions, exclude)
        self.limit = limit
        self.backoff = backoff
        self.no_rollback = ExceptionFilter(no_rollback)

    def backoff_s(self, number: int) -> float:
        """Seconds to wait before retry ``number``."""
        return float(self.backoff(number) if callable(self.backoff) else self.backoff)
