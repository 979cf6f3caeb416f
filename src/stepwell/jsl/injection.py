"""What a job file gives to an artifact: its properties and the contexts (S76, S86, S87).

A class says what it wants::

    class RecalculateDay:
        day: date = batch_property()
        rate: float = batch_property(1.0)
        target: str | None = batch_property(name="targetTable")
        step = step_context()
        job = job_context()

        def process(self) -> str | None: ...

Properties that a class does not declare, but its constructor or a function takes, are given as
arguments by name. The others are not given to anybody.
"""

from __future__ import annotations

import copy
import functools
import inspect
import types
import typing
from collections.abc import Callable, Hashable, Mapping
from typing import Any, Union, get_args, get_origin

from pydantic import PydanticSchemaGenerationError, TypeAdapter, ValidationError

from stepwell.job.artifact import Scope


class BatchProperty:
    """The declaration of one property; until a job file injects a value it is its default."""

    def __init__(self, default: Any, name: str | None) -> None:
        self.default = default
        self.name = name or ""
        self.attribute = ""

    def __set_name__(self, owner: type, attribute: str) -> None:
        self.attribute = attribute
        self.name = self.name or attribute

    def __get__(self, instance: object, owner: type | None = None) -> Any:
        return self.default


class InjectedContext:
    """The declaration of a context; None until the engine injects it."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.attribute = ""

    def __set_name__(self, owner: type, attribute: str) -> None:
        self.attribute = attribute

    def __get__(self, instance: object, owner: type | None = None) -> Any:
        return None


def batch_property(default: Any = None, *, name: str | None = None) -> Any:
    """Declare that an attribute is a property of the job file.

    >>> class Mail:
    ...     to: str = batch_property("nobody")
    ...     retries: int = batch_property(3, name="mail.retries")

    The text of the file is converted to the attribute's annotation: ``bool`` is true only for
    ``true`` in any case, ``int`` and ``float`` by their constructors, other types (dates, Decimal,
    paths, lists written as JSON, …) as pydantic reads them (S87). Outside of a job file, and when
    the property is absent or yields ``""`` (S86), the attribute is ``default``; a test just sets
    it, ``mail.to = "me"``.

    Args:
        default: The value without a property.
        name: The property's name, where it differs from the attribute's.
    """
    return BatchProperty(default, name)


def job_context() -> Any:
    """Declare an attribute that receives the JobContext of the artifact's scope."""
    return InjectedContext("job")


def step_context() -> Any:
    """Declare an attribute that receives the StepContext; None in job listeners and deciders."""
    return InjectedContext("step")


def create(target: Any, properties: Mapping[str, str], scope: Scope) -> Any:
    """A new instance of ``target`` for ``scope``, everything injected (S77).

    A class is constructed, a function receives its properties as keyword arguments, any other
    object is copied. A property that is ``""`` counts as absent (S86).

    Raises:
        ValueError: a text cannot be converted to the declared type; it fails the step (S87).
    """
    given = {name: text for name, text in properties.items() if text != ""}
    if is_function(target):
        arguments = _arguments(target, given, {})
        return functools.partial(target, **arguments) if arguments else target
    made = target if isinstance(target, type) else type(target)
    declared = declared_properties(made)
    values = _declared_values(made, declared, given)
    if isinstance(target, type):
        rest = {name: text for name, text in given.items() if name not in declared}
        arguments = _arguments(target, rest, values)
        instance = target(**arguments)
    else:
        arguments = {}
        instance = copy.copy(target)
    for attribute, value in values.items():
        if attribute not in arguments:
            setattr(instance, attribute, value)
    for attribute, context in declared_contexts(made).items():
        setattr(instance, attribute, scope.job if context.kind == "job" else scope.step)
    return instance


def is_function(target: Any) -> bool:
    """Whether ``target`` is called itself, rather than made or copied for each scope."""
    return inspect.isroutine(target) or isinstance(target, functools.partial)


def declared_properties(made: type) -> dict[str, BatchProperty]:
    """The properties that a class declares, by their names; a subclass overrides."""
    return {one.name: one for one in _declarations(made, BatchProperty).values()}


def declared_contexts(made: type) -> dict[str, InjectedContext]:
    """The contexts that a class declares, by their attributes."""
    return _declarations(made, InjectedContext)


def accepted_arguments(target: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    """The parameters that can be given by name; empty for what has no signature."""
    try:
        parameters = inspect.signature(target).parameters
    except (TypeError, ValueError):
        return {}
    by_name = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return {name: p for name, p in parameters.items() if p.kind in by_name}


def convert(text: str, annotation: Any, what: str) -> Any:
    """The value that ``text`` stands for (S87).

    Raises:
        ValueError: it stands for none; the message names ``what``.
    """
    wanted = _without_none(annotation)
    try:
        if wanted is bool:
            return text.lower() == "true"
        if wanted in (int, float):
            return wanted(text)
        if wanted is str or wanted is Any:
            return text
        adapter = _adapter(wanted) if isinstance(wanted, Hashable) else None
        if adapter is None:
            return text
        if text[:1] in ("[", "{"):
            return adapter.validate_json(text)
        return adapter.validate_strings(text)
    except ValueError as error:
        facts = error.errors() if isinstance(error, ValidationError) else []
        fact = facts[0]["msg"] if facts else str(error)
        raise ValueError(
            f"cannot inject {what}: {text!r} is no {_type_name(wanted)}, {_lower(fact)}"
        ) from error


def annotation_of(made: type, attribute: str) -> Any:
    """The annotation of a class's attribute; ``str`` when there is none that can be read."""
    return type_hints(made).get(attribute, str)


# --- how ----------------------------------------------------------------------------------------


def _declarations(made: type, kind: type[Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for ancestor in reversed(made.__mro__):
        for attribute, value in vars(ancestor).items():
            found.pop(attribute, None)
            if isinstance(value, kind):
                found[attribute] = value
    return found


def _declared_values(
    made: type, declared: Mapping[str, BatchProperty], given: Mapping[str, str]
) -> dict[str, Any]:
    return {
        one.attribute: convert(
            given[name],
            annotation_of(made, one.attribute),
            f"property {name!r} into {made.__name__}",
        )
        for name, one in declared.items()
        if name in given
    }


def _arguments(
    target: Callable[..., Any], given: Mapping[str, str], values: Mapping[str, Any]
) -> dict[str, Any]:
    """What ``target`` takes by name: values that are converted already, then texts."""
    accepted = accepted_arguments(target)
    constructor: Any = inspect.getattr_static(target, "__init__")
    hints = type_hints(constructor if isinstance(target, type) else target)
    name_of_target = getattr(target, "__name__", type(target).__name__)
    arguments = {name: value for name, value in values.items() if name in accepted}
    for name, text in given.items():
        if name in accepted:
            what = f"property {name!r} into {name_of_target}"
            arguments[name] = convert(text, hints.get(name, str), what)
    return arguments


@functools.lru_cache(maxsize=1_000)
def type_hints(target: Any) -> dict[str, Any]:
    """The annotations of a class or function; none when they cannot be read."""
    try:
        return typing.get_type_hints(target, include_extras=True)
    except (TypeError, NameError, AttributeError):
        return {}


@functools.lru_cache(maxsize=1_000)
def _adapter(annotation: Any) -> TypeAdapter[Any] | None:
    try:
        return TypeAdapter(annotation)
    except PydanticSchemaGenerationError:
        return None  # A class of the user's own: it gets the text.


def _without_none(annotation: Any) -> Any:
    if get_origin(annotation) in (Union, types.UnionType):
        rest = [part for part in get_args(annotation) if part is not type(None)]
        if len(rest) == 1:
            return rest[0]
    return annotation


def _type_name(annotation: Any) -> str:
    return annotation.__name__ if isinstance(annotation, type) else str(annotation)


def _lower(fact: str) -> str:
    return fact[:1].lower() + fact[1:]
