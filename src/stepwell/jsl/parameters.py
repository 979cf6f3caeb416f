"""The typed parameters of a YAML job as a pydantic model (S8)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, get_args

from pydantic import Field, TypeAdapter, ValidationError, create_model

from stepwell.job.artifact import ArtifactRegistry
from stepwell.job.importable import MADE_BY
from stepwell.job.parameters import NonIdentifying, Parameters
from stepwell.jsl.fault import Faults, did_you_mean
from stepwell.jsl.model import ParameterElement, Text
from stepwell.jsl.references import NotFound, find_artifact

# The mark that ``NonIdentifying[…]`` leaves; a type checker cannot apply that to a value.
NOT_IDENTIFYING = get_args(NonIdentifying)[1]

TYPES: dict[str, Any] = {
    "str": str,
    "int": int,
    "float": float,
    "bool": bool,
    "decimal": Decimal,
    "date": date,
    "datetime": datetime,
    "time": time,
    "timedelta": timedelta,
    "path": Path,
}


def build_parameters(
    job_name: str,
    written: tuple[ParameterElement, ...] | Text | None,
    registry: ArtifactRegistry,
    faults: Faults,
) -> type[Parameters] | None:
    """The model; None when the job takes any name."""
    if written is None:
        return None
    if isinstance(written, Text):
        return _named_model(written, registry, faults)
    fields: dict[str, Any] = {}
    for parameter in written:
        name = parameter.name.text
        if not name.isidentifier() or name.startswith("_") or hasattr(Parameters, name):
            faults.error(
                parameter.name.line,
                f"parameter {name!r} has a name that cannot be used",
                "letters, digits and underscores, beginning with a letter, say `start_date`",
            )
            continue
        fields[name] = _field(parameter, registry, faults)
    model = create_model(f"Parameters of {job_name}", __base__=Parameters, **fields)
    setattr(model, MADE_BY, WrittenModel(job_name, written, registry))
    return model


@dataclass(frozen=True)
class WrittenModel:
    """What a job file says of its parameters: makes the model again in another process (S193)."""

    job_name: str
    written: tuple[ParameterElement, ...]
    registry: ArtifactRegistry

    def load(self) -> type[Parameters] | None:
        """The same model; its faults have refused the start."""
        return build_parameters(self.job_name, self.written, self.registry, Faults())


def _named_model(
    named: Text, registry: ArtifactRegistry, faults: Faults
) -> type[Parameters] | None:
    try:
        found = find_artifact(named.text, registry)
    except NotFound as error:
        faults.error(named.line, f"parameters: {error.fact}", error.hint)
        return None
    if not (isinstance(found, type) and issubclass(found, Parameters)):
        faults.error(named.line, f"parameters: {named.text!r} is no subclass of Parameters")
        return None
    return found


def _field(parameter: ParameterElement, registry: ArtifactRegistry, faults: Faults) -> Any:
    name = parameter.name.text
    annotation: Any = _type_of(parameter.type, name, registry, faults)
    default: Any = ...
    if parameter.default is not None:
        default = _default(parameter.default, name, annotation, faults)
    elif parameter.optional or parameter.type.text.endswith("?"):
        annotation, default = annotation | None, None
    identifying = parameter.identifying
    if identifying is not None:
        if identifying.text.lower() not in ("true", "false"):
            faults.error(
                identifying.line,
                f"parameter {name!r}: identifying must be true or false, got {identifying.text!r}",
            )
        elif identifying.text.lower() == "false":
            annotation = Annotated[annotation, NOT_IDENTIFYING]
    return annotation, Field(default, description=parameter.description or None)


def _default(written: Text, name: str, annotation: Any, faults: Faults) -> Any:
    adapter = TypeAdapter(annotation)
    try:
        if written.text[:1] in ("[", "{"):
            return adapter.validate_json(written.text)
        return adapter.validate_strings(written.text)
    except ValidationError as error:
        fact = error.errors()[0]["msg"]
        faults.error(
            written.line,
            f"parameter {name!r}: its default must be of its type, got {written.text!r}",
            fact[:1].lower() + fact[1:],
        )
        return ...


def _type_of(written: Text, name: str, registry: ArtifactRegistry, faults: Faults) -> Any:
    """``date``, ``int?``, ``list[int]``, or ``package.module:Type``."""
    text = written.text.replace(" ", "")
    if text.endswith("?"):
        return _type_of(Text(text[:-1], written.line), name, registry, faults) | None
    if text.startswith("list[") and text.endswith("]"):
        inner: Any = _type_of(Text(text[5:-1], written.line), name, registry, faults)
        return list[inner]
    if text.lower() in TYPES:
        return TYPES[text.lower()]
    if ":" in text or "." in text:
        try:
            return find_artifact(text, registry)
        except NotFound as error:
            faults.error(written.line, f"parameter {name!r}: {error.fact}", error.hint)
            return str
    meant = did_you_mean(text.lower(), TYPES)
    faults.error(
        written.line,
        f"parameter {name!r}: type {written.text!r} is unknown",
        f"{meant} there are {', '.join(TYPES)}, `list[int]`, `int?`, `package.module:Type`".strip(),
    )
    return str
