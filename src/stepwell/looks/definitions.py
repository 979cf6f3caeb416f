"""Jobs as they are defined: parameters with types and defaults, steps with kind and options."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from stepwell.execution.parameters import render_parameter
from stepwell.job.job import Job
from stepwell.job.parameters import NonIdentifying
from stepwell.job.policy import Retry, Skip
from stepwell.job.registry import RegisteredJob
from stepwell.job.step import ChunkStep, PartitionedStep, TaskletStep
from stepwell.jsl.artifact import ReferencedArtifact
from stepwell.jsl.expression import write
from stepwell.jsl.fault import Fault

_NOT_IDENTIFYING = type(get_args(NonIdentifying)[1])
_KINDS = {TaskletStep: "tasklet", ChunkStep: "chunk", PartitionedStep: "partitioned"}
# What an element is made of; listed by themselves, below it.
_PARTS = ("steps", "elements", "flows")
LISTED_MAX = 10


@dataclass(frozen=True)
class ParameterDefinition:
    """One parameter of a job.

    Attributes:
        default: Its canonical text; None when it is required, has no default or makes one.
    """

    name: str
    type: str
    required: bool
    default: str | None
    identifying: bool
    description: str


@dataclass(frozen=True)
class Definition:
    """A job and where it is defined.

    Attributes:
        path: The job file; None for a job in Python.
    """

    job: Job
    origin: str
    path: Path | None = None

    @classmethod
    def of(cls, found: RegisteredJob) -> Definition:
        """A registered job, as far as it is known without parameters."""
        return cls(found.job, found.origin, getattr(found.source, "path", None))

    @property
    def parameters(self) -> list[ParameterDefinition]:
        """The fields of the job's model, in their order."""
        if self.job.parameters is None:
            return []
        return [_parameter(name, field) for name, field in self.job.parameters.model_fields.items()]

    @property
    def elements(self) -> list[tuple[str | None, Any]]:
        """Every step, flow, split and decision in order, each with the name of what it is in."""
        return list(_elements(None, self.job.steps))

    @property
    def step_names(self) -> list[str]:
        """The names of the steps, at any depth, in order."""
        steps = [element for _, element in self.elements if kind_of(element) in _KINDS.values()]
        return [step.name for step in steps]

    @property
    def step_count(self) -> int:
        """How many steps there are, at any depth."""
        return len(self.step_names)

    @property
    def file(self) -> str | None:
        """The job file, or that of the module, when it was imported from one."""
        if self.path is not None:
            return str(self.path)
        module = sys.modules.get(self.origin.removeprefix("module "))
        return getattr(module, "__file__", None)


def definition_json(definition: Definition) -> dict[str, Any]:
    """A job as JSON, see ``docs/cli.md``."""
    job = definition.job
    return {
        "job": job.name,
        "description": job.description,
        "defined_in": definition.origin,
        "file": definition.file,
        "identity": job.identity,
        "run_lock": job.run_lock,
        "restartable": job.restartable,
        "takes_any_parameter": job.parameters is None,
        "parameters": [dataclasses.asdict(parameter) for parameter in definition.parameters],
        "steps": [
            {
                "step": element.name,
                "kind": kind_of(element),
                "within": within,
                "options": options_of(element),
            }
            for within, element in definition.elements
        ],
    }


def parameter_text(parameter: ParameterDefinition) -> str:
    """``day: date``, ``shop: int = 7``."""
    text = f"{parameter.name}: {parameter.type}"
    return text if parameter.required else f"{text} = {parameter.default or '…'}"


def kind_of(element: Any) -> str:
    """``tasklet``, ``chunk``, ``partitioned``, ``flow``, ``split`` or ``decision``."""
    known = (kind for cls, kind in _KINDS.items() if isinstance(element, cls))
    return next(known, type(element).__name__.lower())


def options_of(element: Any) -> dict[str, Any]:
    """What an element is made of, and its options that are not at their default."""
    options: dict[str, Any] = {}
    for field in dataclasses.fields(element):
        value = getattr(element, field.name)
        is_default = value is None or value == _default_of(field)
        if field.name not in ("name", *_PARTS) and (not is_default or _is_told(field.name)):
            options[field.name] = _shown(value)
    return options


def _elements(within: str | None, elements: Sequence[Any]) -> Iterator[tuple[str | None, Any]]:
    for element in elements:
        yield within, element
        for part in _PARTS:
            yield from _elements(element.name, getattr(element, part, ()))


def _default_of(field: dataclasses.Field[Any]) -> Any:
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return field.default


def _is_told(name: str) -> bool:
    """Options that everybody wants to see, at their default too."""
    return name in ("chunk_size", "workers", "executor")


def _shown(value: Any) -> Any:
    """A value of a definition as JSON."""
    match value:
        case bool() | int() | float() | str():
            return value
        case Skip() | Retry():
            names = ", ".join(cls.__name__ for cls in value.include)
            return f"{names} (limit {value.limit if value.limit is not None else 'none'})"
        case _ if hasattr(value, "pattern") and hasattr(value, "kind"):
            goal = f" {value.to}" if value.to else ""
            return f"on {value.pattern}: {value.kind}{goal}"
        case list() | tuple() if len(value) <= LISTED_MAX and not _are_data(value):
            return [_shown(part) for part in value]
        case list() | tuple() | range() | dict() | set():
            return f"{type(value).__name__} of {len(value)}"
        case ReferencedArtifact():
            return write(value.ref)
        case _ if hasattr(value, "__qualname__"):
            return value.__qualname__
        case _:
            return type(value).__name__


def _are_data(values: Sequence[Any]) -> bool:
    """Items or partitions, of which the number says more than they do."""
    return any(isinstance(value, str | int | float | dict | list | tuple) for value in values)


def _parameter(name: str, field: Any) -> ParameterDefinition:
    required = bool(field.is_required())
    makes_default = required or field.default_factory is not None
    return ParameterDefinition(
        name=name,
        type=_type_name(field.annotation),
        required=required,
        default=None if makes_default else _default_text(name, field.default),
        identifying=not any(isinstance(mark, _NOT_IDENTIFYING) for mark in field.metadata),
        description=field.description or "",
    )


def _default_text(name: str, value: object) -> str:
    try:
        return render_parameter(name, value).value or "none"
    except TypeError:
        return repr(value)


def _type_name(annotation: Any) -> str:
    """``date``, ``int | None``, ``list[int]``: without the modules."""
    if isinstance(annotation, type) and not get_args(annotation):
        return annotation.__name__
    text = str(annotation).replace("typing.", "").replace("datetime.", "")
    return text.replace("decimal.", "").replace("NoneType", "None")


def fault_json(fault: Fault) -> dict[str, Any]:
    """One thing that is wrong with a job file."""
    return {
        "line": fault.line or None,
        "severity": str(fault.severity),
        "message": fault.message,
        "hint": fault.hint,
    }
