"""An artifact of any origin as a ``ref`` with properties, and what of it no file can say."""

from __future__ import annotations

import functools
import importlib
import inspect
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic_core import PydanticSerializationError, to_json

from stepwell.execution.parameters import render_parameter
from stepwell.job.artifact import ArtifactRegistry
from stepwell.job.importable import NotImportable, import_path
from stepwell.jsl.artifact import ReferencedArtifact
from stepwell.jsl.expression import write
from stepwell.jsl.injection import (
    accepted_arguments,
    annotation_of,
    convert,
    declared_properties,
    type_hints,
)
from stepwell.jsl.model import ArtifactElement, Properties, PropertyElement, Text

# What a text can stand for; lists and mappings of them, too.
PLAIN = (str, int, float, bool, Path)
SHOWN_CHARACTERS_MAX = 160  # Of something that cannot be said.
OURS = ("stepwell", "stepwell.items", "stepwell.errors")  # Where the public names are.
_ADDRESS = re.compile(r" at 0x[0-9a-f]+")


class ShownArtifacts:
    """Turns artifacts into elements; ``losses`` gathers what cannot be said."""

    def __init__(self, registry: ArtifactRegistry, losses: list[str]) -> None:
        self._names = {id(registry.find(name)): name for name in registry}
        self._losses = losses

    def element(self, artifact: Any, what: str) -> ArtifactElement:
        """What a file would write; ``what`` is its place, for the losses."""
        if isinstance(artifact, ReferencedArtifact):
            written = {name: write(value) for name, value in artifact.properties}
            return ArtifactElement(Text(write(artifact.ref)), properties_of(written))
        known = self._names.get(id(artifact))
        if known is not None:
            return ArtifactElement(Text(known))
        if isinstance(artifact, functools.partial):
            if artifact.args:
                self._losses.append(f"{what}: the arguments {artifact.args!r} of a partial")
            given = self._sayable(artifact.func, artifact.keywords, what)
            return ArtifactElement(self._ref(artifact.func, what), properties_of(given))
        if inspect.isroutine(artifact) or isinstance(artifact, type):
            return ArtifactElement(self._ref(artifact, what))
        made = type(artifact)
        if made.__module__ == "builtins":  # A list or range of items, say.
            self._lose(f"{what}:", artifact)
            return ArtifactElement(self._ref(made, what))
        given = {
            **self._sayable(made, dict(self._arguments(artifact, what)), what),
            **self._injected(artifact, what),
        }
        return ArtifactElement(self._ref(made, what), properties_of(given))

    def _lose(self, what: str, value: Any) -> None:
        """Note a value that no text stands for; the same one is always shown the same."""
        named = getattr(value, "__qualname__", None)
        shown = f"function {named}" if named else _ADDRESS.sub("", repr(value))
        self._losses.append(f"{what} {shown}"[:SHOWN_CHARACTERS_MAX])

    def _ref(self, one: Any, what: str) -> Text:
        try:
            return Text(public_path(one))
        except NotImportable as error:
            self._losses.append(f"{what}: {error}")
        if isinstance(one, type):
            return Text(f"{one.__module__}:{one.__qualname__}")
        name = getattr(one, "__qualname__", type(one).__qualname__)
        return Text(f"{getattr(one, '__module__', None) or type(one).__module__}:{name}")

    def _arguments(self, artifact: Any, what: str) -> Iterator[tuple[str, Any]]:
        """What an object was constructed with, as far as it keeps it under the same names."""
        made, missing = type(artifact), object()
        for name, parameter in accepted_arguments(made).items():
            value = getattr(artifact, name, missing)
            default = None if parameter.default is parameter.empty else parameter.default
            if value is missing:
                self._losses.append(
                    f"{what}: the argument {name!r}, if {made.__name__} was given one"
                )
            elif value != default and (value or default is not None):
                yield name, value

    def _sayable(self, target: Any, given: Mapping[str, Any], what: str) -> dict[str, str]:
        """The arguments that a file can hand to ``target``; read again they are the same."""
        of = inspect.getattr_static(target, "__init__") if isinstance(target, type) else target
        hints = type_hints(of)
        name_of_target = getattr(target, "__name__", type(target).__name__)
        said: dict[str, str] = {}
        for name, value in given.items():
            text = text_of_value(value)
            if text is not None and _reads_as(text, value, hints.get(name, str)):
                said[name] = text
            else:
                self._lose(f"{what}: the argument {name} of {name_of_target},", value)
        return said

    def _injected(self, artifact: Any, what: str) -> dict[str, str]:
        """What a class declares as its properties and this object has been given."""
        made, said = type(artifact), dict[str, str]()
        own = getattr(artifact, "__dict__", {})
        for name, declared in declared_properties(made).items():
            value = own.get(declared.attribute, declared.default)
            if value == declared.default:
                continue
            text = text_of_value(value)
            if text is not None and _reads_as(text, value, annotation_of(made, declared.attribute)):
                said[name] = text
            else:
                self._lose(f"{what}: the property {name},", value)
        return said


def public_path(one: Any) -> str:
    """Its import path; a class of Stepwell's under its public name.

    Raises:
        NotImportable: importing that path does not lead back to it.
    """
    path = import_path(one)
    if path.startswith(f"{OURS[0]}."):
        name = path.partition(":")[2]
        for module in OURS:
            if getattr(importlib.import_module(module), name, None) is one:
                return f"{module}:{name}"
    return path


def _reads_as(text: str, value: Any, annotation: Any) -> bool:
    """Whether the text is injected as this value again; a path may be given as text."""
    try:
        read = convert(text, annotation, "it")
    except ValueError:
        return False
    same = list(value) if isinstance(value, (tuple, set, frozenset)) else value
    again = list(read) if isinstance(read, (tuple, set, frozenset)) else read
    return text != "" and bool(again == same or (isinstance(value, Path) and str(value) == read))


def text_of_value(value: Any) -> str | None:
    """A plain value as text: itself, its canonical text, or JSON; None for any other."""
    if isinstance(value, (str, Path)):
        return str(value)
    if not _is_plain(value):
        return None
    try:
        return render_parameter("value", value).value or ""
    except TypeError:
        pass
    try:
        return to_json(value).decode()
    except PydanticSerializationError:
        return None


def _is_plain(value: Any) -> bool:
    if isinstance(value, Mapping):
        return all(isinstance(key, str) and _is_plain(inner) for key, inner in value.items())
    if isinstance(value, (list, tuple)):
        return all(map(_is_plain, value))
    return value is None or isinstance(value, PLAIN) or hasattr(value, "isoformat")


def properties_of(properties: Mapping[str, str]) -> Properties:
    """A list of properties."""
    return tuple(PropertyElement(Text(name), Text(text)) for name, text in properties.items())
