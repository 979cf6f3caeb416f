"""What a step's value names, made ready for one step execution: one shape for every spelling."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

from stepwell.items import IterableReader
from stepwell.job.artifact import Scope, make_artifact
from stepwell.job.function import positional_count, with_arguments
from stepwell.job.step import ChunkStep
from stepwell.runner.loop import OwnLoop


def make_own(artifact: Any, scope: Scope) -> Any:
    """An artifact that belongs to one execution or partition alone: what it keeps is its own.

    A factory makes one; an object of the definition is copied, so that partitions on several
    threads do not share its state (S141). Functions, and what refuses to be copied, are themselves.
    """
    made = make_artifact(artifact, scope)
    if made is not artifact or made is None:
        return made
    try:
        return copy.copy(made)
    except TypeError:
        return made


def make_reader(step: ChunkStep[Any, Any], scope: Scope) -> Any:
    """An ItemReader of its own for this execution; a plain iterable, say a file, is wrapped."""
    reader = make_artifact(step.reader, scope)
    if reader is not step.reader:
        return reader if hasattr(reader, "read") else IterableReader(reader)
    if hasattr(reader, "read") and hasattr(reader, "checkpoint"):
        return copy.copy(reader)
    return IterableReader(reader)


def make_writer(step: ChunkStep[Any, Any], scope: Scope) -> Any:
    """An ItemWriter of its own for this execution; a plain function is wrapped."""
    writer = make_artifact(step.writer, scope)
    if not hasattr(writer, "write"):
        return FunctionWriter(writer)
    return copy.copy(writer) if writer is step.writer else writer


def make_processor(
    step: ChunkStep[Any, Any], scope: Scope, loop: OwnLoop
) -> Callable[[Any], Any] | None:
    """One function from item to result; None when there is nothing to do."""
    if step.processor is None:
        return None
    parts = step.processor if isinstance(step.processor, (list, tuple)) else [step.processor]
    make = make_artifact if scope.step.partition is None else make_own  # S141
    functions = [loop.synchronous(_as_function(make(part, scope))) for part in parts]
    return functions[0] if len(functions) == 1 else chain(functions)


def _as_function(processor: Any) -> Callable[[Any], Any]:
    process = getattr(processor, "process", None)
    return process if callable(process) else processor  # type: ignore[no-any-return]


def chain(functions: list[Callable[[Any], Any]]) -> Callable[[Any], Any]:
    """Each function on the result of the one before; None ends it, the item is filtered."""

    def process(item: Any) -> Any:
        for function in functions:
            item = function(item)
            if item is None:
                return None
        return item

    return process


class FunctionWriter:
    """An ItemWriter of ``function(items)`` or ``function(items, step)``, without a position."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.write = with_arguments(function, 2)

    def open(self, checkpoint: Any) -> None:
        """Nothing to take up."""

    def checkpoint(self) -> None:
        """No position."""

    def close(self) -> None:
        """Nothing to give back."""


def open_at(artifact: Any, checkpoint: Any, step: Any) -> None:
    """``artifact.open(checkpoint)``, or with ``step`` behind it when it takes one."""
    if positional_count(artifact.open) >= 2:
        artifact.open(checkpoint, step)
    else:
        artifact.open(checkpoint)
