"""What a check reports: a stable code, how bad it is, where, what, and what mends it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Severity(StrEnum):
    """How much a finding matters to the person on duty."""

    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True)
class Finding:
    """One broken promise, or one thing to know.

    Attributes:
        code: Stable; documented in ``docs/``; a metric's label.
        where: The row or file, e.g. ``job execution 41``.
        what: The fact that decides, with its values.
        hint: The next command.
        rule: The invariant or rule that the fact breaks, e.g. ``R4``.
    """

    code: str
    severity: Severity
    where: str
    what: str
    hint: str = ""
    rule: str = ""
