"""How user functions are called: a function that does not want an argument need not take it."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable
from typing import Any


def positional_count(function: Callable[..., Any]) -> int:
    """How many arguments ``function`` wants: the first, then those without a default or ``step``.

    A later argument with a default is the author's own, e.g. ``def load(day, retries=3)``, unless
    it is called ``step``. 99 for ``*args``; 1 for a builtin without a signature.
    """
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):
        return 1
    count = 0
    for index, parameter in enumerate(parameters):
        if parameter.kind is parameter.VAR_POSITIONAL:
            return 99
        if parameter.kind not in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD):
            break
        if index and parameter.default is not parameter.empty and parameter.name != "step":
            break
        count += 1
    return count


def required_count(function: Callable[..., Any]) -> int:
    """How many positional arguments ``function`` cannot be called without."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return 0
    return sum(
        p.default is p.empty and p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)
        for p in parameters
    )


def with_arguments(function: Callable[..., Any], available: int) -> Callable[..., Any]:
    """``function`` as one that takes ``available`` positional arguments and ignores the rest."""
    taken = positional_count(function)
    if taken >= available:
        return function
    return lambda *arguments: function(*arguments[:taken])


def input_annotation(function: Callable[..., Any]) -> Any:
    """The type that the first argument of ``function`` is annotated with; Any when it is not."""
    try:
        names = list(inspect.signature(function).parameters)
        hints = typing.get_type_hints(function, include_extras=True)
    except (TypeError, ValueError, NameError):
        return Any
    return hints.get(names[0], Any) if names else Any
