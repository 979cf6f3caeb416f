"""What is wrong with a job file: line, message, hint; all of it at once (S183)."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass

from stepwell.finding import Severity


@dataclass(frozen=True, order=True)
class Fault:
    """One thing that is wrong, or (a warning) that somebody should know.

    Attributes:
        line: In the document, from 1; 0 when it is about the file as a whole.
        message: Lower case, without a full stop; names the element.
        severity: ERROR refuses the start; WARNING is logged.
    """

    line: int
    message: str
    hint: str = ""
    severity: Severity = Severity.ERROR

    @property
    def is_error(self) -> bool:
        """Whether the job cannot start with it."""
        return self.severity is Severity.ERROR

    def __str__(self) -> str:
        return f"line {self.line}: {self.message}" if self.line else self.message


class Faults:
    """Collects faults; the same one is kept once."""

    def __init__(self) -> None:
        self._found: dict[Fault, None] = {}

    def error(self, line: int, message: str, hint: str = "") -> None:
        """Something that refuses the start."""
        self._found.setdefault(Fault(line, message, hint))

    def warn(self, line: int, message: str, hint: str = "") -> None:
        """Something to know."""
        self._found.setdefault(Fault(line, message, hint, Severity.WARNING))

    def sorted(self) -> list[Fault]:
        """All of them, by line."""
        return sorted(self._found, key=lambda fault: fault.line)

    @property
    def has_errors(self) -> bool:
        """Whether the job cannot start."""
        return any(fault.is_error for fault in self._found)


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """``did you mean 'x'?``, or nothing."""
    close = difflib.get_close_matches(word, list(known), n=1)
    return f"did you mean {close[0]!r}?" if close else ""
