"""Ages as people write them: ``90d``, ``12h``, ``2w``; as options and as parameters of jobs."""

from __future__ import annotations

import re
from datetime import timedelta

RULE = "a number with m, h, d or w for its unit"

_UNITS = {
    "m": timedelta(minutes=1),
    "h": timedelta(hours=1),
    "d": timedelta(days=1),
    "w": timedelta(weeks=1),
}
_AGE = re.compile(r"(\d{1,6})([mhdw])")


def read_age(text: str) -> timedelta | None:
    """The age that ``text`` says, above 0; None when it is none."""
    found = _AGE.fullmatch(text.strip())
    return int(found[1]) * _UNITS[found[2]] if found and int(found[1]) else None


def require_age(text: str | None) -> str | None:
    """The text of a parameter, for a validator of its model.

    Raises:
        ValueError: it is no age.
    """
    if text is not None and read_age(text) is None:
        raise ValueError(f"it must be {RULE}")
    return text
