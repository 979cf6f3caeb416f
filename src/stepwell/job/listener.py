"""The listeners: implement the methods you need; a listener hears those of its level (S78).

``before_…`` methods are called in the order of declaration, all others in reverse (S165). One that
raises fails the step or the job, and the other ``after_…`` methods are called all the same (S167).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

JOB_CALLBACKS = ("before_job", "after_job")
STEP_CALLBACKS = (
    "before_step",
    "after_step",
    "before_chunk",
    "after_chunk",
    "on_error",
    "before_read",
    "after_read",
    "on_read_error",
    "before_process",
    "after_process",
    "on_process_error",
    "before_write",
    "after_write",
    "on_write_error",
    "on_skip_read_item",
    "on_skip_process_item",
    "on_skip_write_item",
    "on_retry_read_exception",
    "on_retry_process_exception",
    "on_retry_write_exception",
)


class JobListener(Protocol):
    """Hears a job begin and end; each method takes the JobContext, or nothing."""

    def before_job(self, job: Any) -> None:
        """The execution is STARTED; no step has run."""

    def after_job(self, job: Any) -> None:
        """All has run; the status that is about to be committed can be seen, not changed (S36)."""


class StepListener(Protocol):
    """Hears a step begin and end; each method takes the StepContext, or nothing."""

    def before_step(self, step: Any) -> None:
        """The step is recorded; none of its work has run."""

    def after_step(self, step: Any) -> None:
        """The work has ended, well or not; the exit status may still be set (S36)."""


class ChunkListener(Protocol):
    """Hears each chunk; ``after_chunk`` runs inside the transaction, before the commit (S170)."""

    def before_chunk(self) -> None:
        """Before the first read of a chunk."""

    def after_chunk(self) -> None:
        """Written, not yet committed."""

    def on_error(self, exception: Exception) -> None:
        """The chunk was rolled back; reader and writer are closed, no transaction is open."""


class ItemListener(Protocol):
    """Hears each item; the methods of reading, processing and writing."""

    def before_read(self) -> None:
        """Before each read."""

    def after_read(self, item: Any) -> None:
        """After each read that returned, None at the end too."""

    def on_read_error(self, exception: Exception) -> None:
        """A read raised."""

    def before_process(self, item: Any) -> None:
        """Before each processing."""

    def after_process(self, item: Any, result: Any) -> None:
        """The result, None when the item is filtered."""

    def on_process_error(self, item: Any, exception: Exception) -> None:
        """A processor raised."""

    def before_write(self, items: Sequence[Any]) -> None:
        """Inside the transaction, before the list is written."""

    def after_write(self, items: Sequence[Any]) -> None:
        """Inside the transaction, after it was."""

    def on_write_error(self, items: Sequence[Any], exception: Exception) -> None:
        """The write raised and was rolled back."""


class SkipListener(Protocol):
    """Hears what is left out."""

    def on_skip_read_item(self, exception: Exception) -> None:
        """A read is left out."""

    def on_skip_process_item(self, item: Any, exception: Exception) -> None:
        """An item is left out."""

    def on_skip_write_item(self, items: Sequence[Any], exception: Exception) -> None:
        """A list is left out; of one item when the chunk is scanned (S130)."""


class RetryListener(Protocol):
    """Hears what is tried again, before it is."""

    def on_retry_read_exception(self, exception: Exception) -> None:
        """A read is tried again."""

    def on_retry_process_exception(self, item: Any, exception: Exception) -> None:
        """An item is processed again."""

    def on_retry_write_exception(self, items: Sequence[Any], exception: Exception) -> None:
        """A list is written again."""
