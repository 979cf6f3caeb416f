"""Ages as people write them: ``90d``, ``12h``, ``2w``."""

from __future__ import annotations

import re
from datetime import timedelta

_UNITS = {
    "m": timedelta(minutes=1),
    "h": timedelta(hours=1),
    "d": timedelta(days=1),
    "w": timedelta(weeks=1),
}
_AGE = re.compile(r"(\d{1,6})([mhdw])")


def age(option: str, text: str | None) -> timedelta | None:
    """The value of an option such as ``--older-than``; None when it was not given.

    Raises:
        InvalidSetting: it is no age.
    """
    from stepwell.errors import InvalidSetting

    if text is None:
        return None
    found = _AGE.fullmatch(text.strip())
    if found is None or not int(found[1]):
        raise InvalidSetting(
            f"{option} must be a number with m, h, d or w for its unit, got {text!r}",
            hint=f"for example `{option} 90d`",
            fields={"option": option},
        )
    return int(found[1]) * _UNITS[found[2]]
