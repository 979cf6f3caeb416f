"""Coroutine functions of the user, run on an event loop that the step's thread owns (S80)."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from contextvars import copy_context
from typing import Any

from stepwell.job.function import with_arguments


def is_coroutine_function(function: Callable[..., Any]) -> bool:
    """Whether calling ``function`` gives a coroutine; an object with an async ``__call__`` too."""
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(
        getattr(function, "__call__", None)  # noqa: B004 - what is asked is not whether it can be
    )


class OwnLoop:
    """An event loop of one thread, opened at first use."""

    def __init__(self) -> None:
        self._runner: asyncio.Runner | None = None

    def synchronous(
        self, function: Callable[..., Any], *, available: int | None = None
    ) -> Callable[..., Any]:
        """``function``, or for a coroutine function one that runs it to its end.

        With ``available`` it takes that many arguments and is called with those that it wants.
        """
        called = function if available is None else with_arguments(function, available)
        if not is_coroutine_function(function):
            return called
        return lambda *arguments: self.run(called(*arguments))

    def close(self) -> None:
        """Close the loop, if one was opened."""
        if self._runner is not None:
            self._runner.close()
            self._runner = None

    def run(self, coroutine: Any) -> Any:
        """What ``coroutine`` returns, run to its end on this thread."""
        if self._runner is None:
            self._runner = asyncio.Runner()
        # In the context variables as they are now, not as they were when the loop began (S75).
        return self._runner.run(coroutine, context=copy_context())
