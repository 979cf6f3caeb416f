"""Call listeners in their order, and say what their exceptions mean (section 13)."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from stepwell.errors import LostOwnership
from stepwell.job.artifact import Scope, make_artifact
from stepwell.job.function import positional_count

logger = logging.getLogger("stepwell.runner")


class ListenerFailed(Exception):
    """A listener raised ``error``: it fails the step or job, no filter applies (S111, S116)."""

    def __init__(self, error: Exception) -> None:
        super().__init__(error)
        self.error = error


class Listeners:
    """The listeners of one scope: each is made once and hears all of its callbacks (S77).

    Only the callbacks of the level are bound, whatever other methods an object has (S78).
    """

    def __init__(self, listeners: Sequence[Any], scope: Scope, callbacks: Iterable[str]) -> None:
        made = [make_artifact(listener, scope) for listener in listeners]
        self._bound: dict[str, list[Callable[..., Any]]] = {}
        for name in callbacks:
            methods = [m for m in (getattr(one, name, None) for one in made) if callable(m)]
            if methods:
                self._bound[name] = methods

    def hears(self, *names: str) -> bool:
        """Whether anyone hears one of these callbacks."""
        return any(name in self._bound for name in names)

    def before(self, name: str, *arguments: Any) -> None:
        """Call in the order of declaration; after one that raises the rest is left out (S167).

        Raises:
            ListenerFailed: of the one that raised.
            LostOwnership: as it is; nobody else is called (S25).
        """
        for method in self._bound.get(name, ()):
            try:
                call(method, *arguments)
            except LostOwnership:
                raise
            except Exception as error:
                raise ListenerFailed(error) from error

    def after(self, name: str, *arguments: Any) -> None:
        """Call all in reverse order, although some may raise (S165 to S167).

        Raises:
            ListenerFailed: of the first one that raised; the others are logged.
            LostOwnership: as it is; nobody else is called (S25).
        """
        first: Exception | None = None
        for method in reversed(self._bound.get(name, ())):
            try:
                call(method, *arguments)
            except LostOwnership:
                raise
            except Exception as error:
                if first is None:
                    first = error
                else:
                    logger.exception("another %s listener failed", name)
        if first is not None:
            raise ListenerFailed(first) from first


def call(method: Callable[..., Any], *arguments: Any) -> Any:
    """``method`` with as many of the arguments as it takes."""
    return method(*arguments[: positional_count(method)]) if arguments else method()


def unwrapped(error: BaseException) -> BaseException:
    """The original of a ListenerFailed; anything else is itself (S73)."""
    return error.error if isinstance(error, ListenerFailed) else error
