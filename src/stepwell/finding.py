"""What a check reports: a stable code, how bad it is, where, what, why, and what mends it.

A repair is written down before it is done: it is data, so it can be shown, kept as SQL, and found
stale when what it mends has changed meanwhile.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

Value = str | int | float | None  # What Stepwell's own repairs bind; a project's, anything.


class Severity(StrEnum):
    """How much a finding matters to the person on duty; an INFO is no reason to act."""

    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True)
class Statement:
    """One SQL statement; ``:name`` stands for one of its values. Times are text in UTC."""

    sql: str
    values: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Repair:
    """What mends one finding, in one transaction.

    Attributes:
        does: What will be done, in words; what the history says afterwards.
        cannot_know: What nobody can tell from the database, and a person may have to look at.
        guard: A SELECT that answers a row as long as the repair applies; without a row it is stale.
            None: the statements say so themselves, or there are none.
        statements: What is executed, in this order; a second time they change nothing.
        operation: The name of what is no SQL, such as ``recover``; empty for statements.
    """

    does: str
    cannot_know: str = ""
    guard: Statement | None = None
    statements: tuple[Statement, ...] = ()
    operation: str = ""


@dataclass(frozen=True)
class Choice:
    """Two repairs, between which only the evidence of an execution's outputs can choose."""

    execution_id: int
    if_outputs_exist: Repair
    otherwise: Repair


@dataclass(frozen=True)
class Finding:
    """One broken promise, or one thing to know.

    Attributes:
        code: Stable; documented in ``docs/doctor.md``; a metric's label.
        where: The row or file, e.g. ``job execution 41``.
        what: The fact that decides, with its values.
        hint: The next command.
        rule: The invariant or rule that the fact breaks, e.g. ``R4``.
        explanation: Why it matters and how it may have come about.
        repair: What mends it; None when only a person can.
        execution_id: The job execution that it belongs to, if it belongs to one.
    """

    code: str
    severity: Severity
    where: str
    what: str
    hint: str = ""
    rule: str = ""
    explanation: str = ""
    repair: Repair | Choice | None = None
    execution_id: int | None = None
