"""Identifying parameters and the job key that is made of them (S4).

A parameter is stored as name, type and canonical text. The text is what a person reads in the
table and types at the command line; the type tells ``'1'`` from ``1`` in the job key.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from decimal import Decimal

import msgspec

# Of an execution that a schedule has started: its due time, beside the job's own parameters. With
# the point in it no field of a model can have this name.
DUE = "schedule.due"


@dataclass(frozen=True)
class JobParameter:
    """One parameter of an execution, as it is stored.

    Attributes:
        type: ``str``, ``int``, ``float``, ``bool``, ``decimal``, ``date``, ``datetime``, ``time``,
            ``json`` or ``none``.
        value: The canonical text; None for ``none``.
    """

    name: str
    type: str
    value: str | None
    identifying: bool = True


def render_parameter(name: str, value: object, *, identifying: bool = True) -> JobParameter:
    """``value`` with its type and its canonical text: ``true``, ISO 8601, shortest decimal (S8)."""
    kind, text = _render(value)
    return JobParameter(name, kind, text, identifying)


def due_parameter(due: datetime) -> JobParameter:
    """What tells the run of this due time from every other run of the job (S4)."""
    return render_parameter(DUE, due.astimezone(UTC))


def parse_parameters(recorded: Iterable[JobParameter]) -> dict[str, object]:
    """The job's own parameters as they were given, to be validated by its model again."""
    return {p.name: parse_parameter(p) for p in recorded if p.name != DUE}


def _render(value: object) -> tuple[str, str | None]:
    match value:
        case None:
            return "none", None
        case bool():
            return "bool", "true" if value else "false"
        case str():
            return "str", str(value)
        case int():
            return "int", str(int(value))
        case float():
            return "float", repr(float(value))
        case Decimal():
            return "decimal", format(value.normalize(), "f")
        case datetime():
            return "datetime", value.isoformat()
        case date():
            return "date", value.isoformat()
        case time():
            return "time", value.isoformat()
        case _:
            return "json", msgspec.json.encode(value, order="sorted").decode()


def parse_parameter(parameter: JobParameter) -> object:
    """The value that a stored parameter stands for, to be validated by the job's model again."""
    text = parameter.value
    if text is None:
        return None
    match parameter.type:
        case "bool":
            return text == "true"
        case "int":
            return int(text)
        case "float":
            return float(text)
        case "decimal":
            return Decimal(text)
        case "datetime":
            return datetime.fromisoformat(text)
        case "date":
            return date.fromisoformat(text)
        case "time":
            return time.fromisoformat(text)
        case "json":
            return msgspec.json.decode(text)
        case _:
            return text


def job_key(parameters: Iterable[JobParameter], *, mark: str = "") -> str:
    """SHA-256 of the canonical JSON of the identifying parameters, sorted by name (S4).

    ``mark`` joins the key of an instance that equal parameters must not find: the run number of
    ``--again`` (S184), or a trial (S198).
    """
    rows = sorted([p.name, p.type, p.value] for p in parameters if p.identifying)
    canonical = msgspec.json.encode([*rows, mark] if mark else rows)
    return hashlib.sha256(canonical).hexdigest()


def describe_parameters(parameters: Iterable[JobParameter]) -> str:
    """The identifying parameters as a person types them: ``run_date='2026-11-20', shop=7``."""
    return ", ".join(
        f"{p.name}={p.value!r}" if p.type not in ("int", "float", "bool") else f"{p.name}={p.value}"
        for p in parameters
        if p.identifying
    )
