"""Parameters as they are written behind a command: ``day=2026-11-20``."""

from __future__ import annotations

from collections.abc import Sequence


def read_parameters(purpose: str, command: str, words: Sequence[str]) -> dict[str, object]:
    """``["day=2026-11-20"]`` as a mapping.

    Raises:
        JobStartError: a word is no ``name=value``, or a name stands twice.
    """
    from stepwell.errors import JobStartError

    example = f"for example `{command} day=2026-11-20`"
    given: dict[str, object] = {}
    for word in words:
        name, sign, value = word.partition("=")
        if not sign or not name.strip():
            raise JobStartError(
                f"cannot {purpose}: a parameter must be written name=value, got {word!r}",
                hint=example,
                fields={"parameter": word},
            )
        if name in given:
            raise JobStartError(
                f"cannot {purpose}: parameter {name!r} is given twice",
                hint=example,
                fields={"parameter": name},
            )
        given[name] = value
    return given
