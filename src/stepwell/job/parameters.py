"""Typed job parameters: a pydantic model, checked before anything is recorded (S8)."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Any, TypeVar

import msgspec
from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic.alias_generators import to_camel

from stepwell.errors import JobRestartError, JobStartError
from stepwell.execution.parameters import (
    DUE,
    JobParameter,
    parse_parameters,
    render_parameter,
)

_T = TypeVar("_T")


class _NotIdentifying:
    """The mark that :data:`NonIdentifying` leaves in a field's metadata."""


# ``user: NonIdentifying[str]``: the parameter is recorded, but a second start with another value
# is the same instance (S4).
NonIdentifying = Annotated[_T, _NotIdentifying()]


class Parameters(BaseModel):
    """The parameters of a job: fields with types and defaults; names in snake_case or camelCase.

    >>> class Range(Parameters):
    ...     start_date: date
    ...     end_date: date

    Each field is identifying, that is part of the job key, unless it is ``NonIdentifying[…]``.
    """

    model_config = ConfigDict(
        extra="forbid", frozen=True, alias_generator=to_camel, populate_by_name=True
    )


@dataclass(frozen=True)
class ResolvedParameters:
    """What an execution runs with: the value for user code, and what is recorded of it."""

    value: Any
    recorded: tuple[JobParameter, ...]

    def scheduled_like(self, recorded: tuple[JobParameter, ...]) -> ResolvedParameters:
        """With the due time that ``recorded`` may have; user code does not see it."""
        return replace(self, recorded=(*self.recorded, *(p for p in recorded if p.name == DUE)))


def resolve_parameters(
    job_name: str, model: type[Parameters] | None, given: Mapping[str, object]
) -> ResolvedParameters:
    """Check ``given`` against the job's model; without a model everything becomes a string (S8).

    Raises:
        JobStartError: names every faulty parameter; nothing has been recorded.
    """
    if model is None:
        recorded = tuple(_as_string(name, value) for name, value in given.items())
        return ResolvedParameters({p.name: p.value for p in recorded}, recorded)
    try:
        value = model.model_validate(_decode_structures(model, given))
    except ValidationError as error:
        raise _start_error(job_name, model, error) from None
    recorded = tuple(
        render_parameter(name, getattr(value, name), identifying=_is_identifying(model, name))
        for name in model.model_fields
    )
    return ResolvedParameters(value, recorded)


def restore_parameters(
    job_name: str, model: type[Parameters] | None, recorded: tuple[JobParameter, ...]
) -> ResolvedParameters:
    """The parameters of an earlier execution, validated by the model as it is now (S10, S63).

    Raises:
        JobRestartError: today's model refuses what was recorded.
    """
    try:
        resolved = resolve_parameters(job_name, model, parse_parameters(recorded))
    except JobStartError as error:
        raise JobRestartError(
            error.message.replace("cannot start", "cannot restart", 1),
            hint="the job's parameters have changed since: give them anew",
            fields=error.fields,
        ) from error
    if model is None:
        return replace(resolved, recorded=recorded)
    return resolved.scheduled_like(recorded)


def _as_string(name: str, value: object) -> JobParameter:
    text = render_parameter(name, value).value
    return JobParameter(name, "str", text if text is not None else "")


def _is_identifying(model: type[Parameters], name: str) -> bool:
    return not any(isinstance(m, _NotIdentifying) for m in model.model_fields[name].metadata)


def _decode_structures(model: type[Parameters], given: Mapping[str, object]) -> dict[str, object]:
    """Lists and objects arrive as text from a command line: ``shops=[1,2]``."""
    decoded = dict(given)
    for name, value in given.items():
        if isinstance(value, str) and value[:1] in ("[", "{"):
            field = model.model_fields.get(name) or model.model_fields.get(_to_snake(model, name))
            if field is not None and field.annotation is not str:
                try:
                    decoded[name] = msgspec.json.decode(value)
                except msgspec.DecodeError:
                    continue  # The model's own error will say what it expected.
    return decoded


def _to_snake(model: type[Parameters], alias: str) -> str:
    return next((n for n, f in model.model_fields.items() if f.alias == alias), alias)


def _start_error(job_name: str, model: type[Parameters], error: ValidationError) -> JobStartError:
    known = list(model.model_fields)
    faults: dict[str, str] = {}
    for fault in error.errors():
        name = _to_snake(model, ".".join(str(part) for part in fault["loc"])) or "parameters"
        if fault["type"] == "extra_forbidden":
            close = difflib.get_close_matches(name, known, n=1)
            meant = f", did you mean {close[0]!r}?" if close else ""
            twice = name in known  # In both spellings.
            faults[name] = "it is given twice" if twice else f"there is no such parameter{meant}"
        elif fault["type"] == "missing":
            faults[name] = "it is missing"
        else:
            message = fault["msg"].removeprefix("Value error, ")  # Of a validator of the user's.
            faults[name] = f"{message[:1].lower()}{message[1:]}, got {fault['input']!r}"
    listed = "; ".join(f"parameter {name!r}: {what}" for name, what in faults.items())
    return JobStartError(
        f"cannot start job {job_name!r}: {listed}",
        hint=f"`stepwell jobs show {job_name}` lists its parameters: {', '.join(known) or 'none'}",
        fields={"job": job_name, "parameters": faults},
    )
