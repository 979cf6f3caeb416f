"""An invariant of a project's own tables: examined, counted, planned and repaired by the doctor."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from stepwell.errors import InvalidSetting

# When a repair applies: always, when a SELECT answers a row, or when a function says so.
When = str | Callable[..., bool] | None

_NAME = re.compile(r"[a-z][a-z0-9_]*")
_QUERY = re.compile(r"\s*(SELECT|WITH)\b", re.IGNORECASE)


@dataclass(frozen=True)
class Invariant:
    """What must be true of the application's tables, and what mends a row that breaks it.

    >>> paid = Invariant(
    ...     "paid_without_payment",
    ...     breaches="SELECT id, paid_at FROM invoice i WHERE paid_at IS NOT NULL AND NOT EXISTS"
    ...     " (SELECT 1 FROM payment p WHERE p.invoice_id = i.id)",
    ...     explain="invoice {id} is paid since {paid_at}, and there is no payment",
    ...     repairs=[(None, "UPDATE invoice SET paid_at = NULL"
    ...                     " WHERE id = :id AND paid_at = :paid_at")],
    ... )

    A repair says in its WHERE which state it mends, so that it changes nothing a second time; the
    doctor tries it twice and keeps neither when the second one changes a row, or when the breach
    is still there.

    Args:
        code: Stable, in snake_case; not one of the doctor's own.
        breaches: A SELECT; each row that it answers is a breach. The first column names it. On a
            sound database it answers none.
        explain: The fact, with the columns in braces, such as ``{id}``.
        repairs: Pairs of a condition and a statement with the columns as ``:name``, and ``:now``;
            the first one whose condition holds is done. None is "otherwise"; a SELECT with the
            columns as ``:name`` holds when it answers a row; a function is called with the row as
            a dict, and with a connection that reads. Empty: only a person can mend it.
        metric: The name under which breaches are counted, beside ``stepwell_doctor_findings``.
        cannot_know: What nobody can tell from the tables, for the person who reads the plan.
        hint: The next thing to do, when there is no repair.
    """

    code: str
    breaches: str
    explain: str
    repairs: Sequence[tuple[When, str]] = ()
    metric: str = ""
    severity: Literal["info", "warning", "error"] = "error"
    cannot_know: str = ""
    hint: str = ""

    def __post_init__(self) -> None:
        for name in filter(None, (self.code, self.metric)):
            if not _NAME.fullmatch(name):
                raise _fault(self.code, f"a name must be in snake_case, got {name!r}")
        if not self.code:
            raise _fault(self.code, "it has no code")
        if not _QUERY.match(self.breaches):
            raise _fault(self.code, "breaches must be a SELECT")
        if self.severity not in ("info", "warning", "error"):
            raise _fault(self.code, f"severity must be info, warning or error: {self.severity!r}")
        for when, statement in self.repairs:
            if not (when is None or callable(when) or _QUERY.match(str(when))):
                raise _fault(self.code, "a condition must be None, a SELECT or a function")
            if _QUERY.match(statement):
                raise _fault(self.code, "a repair must change something, got a SELECT")

    @property
    def sql(self) -> str:
        """``breaches`` as it stands in other queries."""
        return self.breaches.strip().rstrip(";").rstrip()


def _fault(code: Any, fact: str) -> InvalidSetting:
    return InvalidSetting(
        f"cannot use invariant {code!r}: {fact}",
        hint="correct it in its module",
        fields={"invariant": code},
    )
