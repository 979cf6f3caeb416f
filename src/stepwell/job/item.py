"""The protocols of readers, processors and writers of a chunk step.

The engine shallow-copies each reader and writer before a step execution opens it: a value in a Job
holds configuration, what ``open`` sets belongs to one execution. ``open`` may take ``step`` as its
second argument.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, TypeVar, runtime_checkable

from stepwell.execution.result import WriteReport

Item = TypeVar("Item", covariant=True)
In = TypeVar("In", contravariant=True)
Out = TypeVar("Out", covariant=True)


@runtime_checkable
class ItemReader(Protocol[Item]):
    """Reads items one by one; None is the end of the data (S96).

    Rewinding is the reader's job: after ``open(checkpoint)`` the next ``read`` returns the item
    behind the last one returned before ``checkpoint()`` gave that value (S94). A checkpoint is any
    JSON value; None opens at the beginning. ``read`` may raise and be called again: the next item
    is then the one behind the faulty one, so that the fault can be skipped.
    """

    def open(self, checkpoint: Any) -> None:
        """Take position; called once before the first read, and again after a rollback."""

    def read(self) -> Item | None:
        """The next item, or None at the end."""

    def checkpoint(self) -> Any:
        """The position behind the last item returned, as a JSON value (S95)."""

    def close(self) -> None:
        """Give back files and connections; called once for each ``open`` that returned (S100)."""


@runtime_checkable
class ItemProcessor(Protocol[In, Out]):
    """Turns an item into another; None filters it out."""

    def process(self, item: In) -> Out | None:
        """What is to be written for ``item``, or None."""


@runtime_checkable
class ItemWriter(Protocol[In]):
    """Writes the items of one chunk inside the chunk's transaction.

    What it writes through ``step.connection`` commits together with the checkpoint: exactly once.
    Any other effect is at least once; ``step.idempotency_key`` tells a repetition (S91, S92).
    """

    def open(self, checkpoint: Any) -> None:
        """Take position; a file writer truncates to its checkpoint (S94)."""

    def write(self, items: Sequence[In], step: Any) -> WriteReport | None:
        """Write a list that is never empty (S98). None means that all of it was written (S196)."""

    def checkpoint(self) -> Any:
        """What ``open`` needs to go on behind the items written so far, as a JSON value."""

    def close(self) -> None:
        """Give back files and connections."""
