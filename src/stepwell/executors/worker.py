"""What a worker process and the executor that sent it a task tell each other.

A worker says how much of its task has begun, so that, should it die, the rest is known to be
untouched and can be sent again.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol


class WorkerDied(Exception):
    """A worker process ended without an answer to its task.

    ``begun`` is how many parts of the task had begun; None: nobody knows.
    """

    def __init__(self, why: str, *, begun: int | None) -> None:
        super().__init__(why)
        self.begun = begun


class Marks(Protocol):
    """Two numbers that both processes see: which task, and how many of its parts have begun."""

    def __getitem__(self, place: int, /) -> int:
        """The number at 0 or 1."""

    def __setitem__(self, place: int, value: int, /) -> None:
        """Set it."""


_marks: Marks = [0, 0]


def share_marks(marks: Marks) -> None:
    """In the worker: the executor that started this process sees these."""
    global _marks  # noqa: PLW0603 - a process has one executor
    _marks = marks


def mark_begun(parts: int) -> None:
    """In a task: so many of its parts have begun; the executor knows when this has returned."""
    _marks[1] = parts


def run_numbered(
    number: int, function: Callable[..., Any], arguments: tuple[Any, ...], options: dict[str, Any]
) -> Any:
    """In the worker: run a task under its number; none of its parts has begun."""
    _marks[1] = 0
    _marks[0] = number
    return function(*arguments, **options)
