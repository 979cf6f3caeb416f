"""The form of a job's parameters: a field for each, made of its type and its limits."""

from __future__ import annotations

import types
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, Literal, Union, get_args, get_origin

from stepwell.looks.definitions import Definition

_INPUTS = {"date": "date", "int": "number", "float": "number", "Decimal": "number", "time": "time"}
_STEPS = {"int": "1", "float": "any", "Decimal": "any", "time": "1"}


@dataclass(frozen=True)
class Field:
    """One parameter as somebody fills it in.

    Attributes:
        input: The type of its input.
        choices: The values that it takes, when they are few; empty when they are not.
        default: What it is unless given; None when the job makes it.
        limits: Attributes of the input: ``min``, ``max``, ``step``, ``maxlength``.
        value: What was given.
        fault: Why that was refused; empty when it was not.
    """

    name: str
    type: str
    input: str
    required: bool
    identifying: bool
    description: str
    choices: tuple[str, ...]
    default: str | None
    limits: dict[str, str]
    value: str
    fault: str


def fields_of(
    definition: Definition, given: Mapping[str, str], faults: Mapping[str, str]
) -> list[Field]:
    """The fields of a job's model, with what was given and refused."""
    model = definition.job.parameters
    if model is None:
        return []
    return [
        Field(
            name=one.name,
            type=one.type.removesuffix(" | None"),
            input=_INPUTS.get(_named(annotation), "text"),
            required=one.required,
            identifying=one.identifying,
            description=one.description,
            choices=_choices(annotation),
            default=one.default,
            limits=_limits(_named(annotation), model.model_fields[one.name].metadata),
            value=given.get(one.name, ""),
            fault=faults.get(one.name, ""),
        )
        for one in definition.parameters
        for annotation in [_plain(model.model_fields[one.name].annotation)]
    ]


def _plain(annotation: Any) -> Any:
    """``int`` of ``int | None``: who gives nothing gives None."""
    if get_origin(annotation) in (Union, types.UnionType):
        others = [one for one in get_args(annotation) if one is not types.NoneType]
        if len(others) == 1:
            return others[0]
    return annotation


def _named(annotation: Any) -> str:
    return annotation.__name__ if isinstance(annotation, type) else ""


def _choices(annotation: Any) -> tuple[str, ...]:
    if annotation is bool:
        return ("true", "false")
    if get_origin(annotation) is Literal:
        return tuple(str(value) for value in get_args(annotation))
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        return tuple(str(member.value) for member in annotation)
    return ()


def _limits(type_name: str, metadata: list[Any]) -> dict[str, str]:
    limits = {"step": _STEPS[type_name]} if type_name in _STEPS else {}
    for mark in metadata:
        for name, limit in (("ge", "min"), ("le", "max"), ("max_length", "maxlength")):
            value = getattr(mark, name, None)
            if value is not None:
                limits[limit] = str(value)
        if type_name == "int":  # Beyond a number is from the next one on.
            if getattr(mark, "gt", None) is not None:
                limits["min"] = str(mark.gt + 1)
            if getattr(mark, "lt", None) is not None:
                limits["max"] = str(mark.lt - 1)
    return limits
