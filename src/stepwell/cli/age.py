"""Options that hold an age, such as ``--older-than 90d``."""

from __future__ import annotations

from datetime import timedelta


def age(option: str, text: str | None) -> timedelta | None:
    """The value of an option such as ``--older-than``; None when it was not given.

    Raises:
        InvalidSetting: it is no age.
    """
    from stepwell.errors import InvalidSetting
    from stepwell.job.age import RULE, read_age

    if text is None:
        return None
    found = read_age(text)
    if found is None:
        raise InvalidSetting(
            f"{option} must be {RULE}, got {text!r}",
            hint=f"for example `{option} 90d`",
            fields={"option": option},
        )
    return found
