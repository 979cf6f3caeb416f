"""The root of the tree, and what the caller can do about an error."""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import StrEnum


class Kind(StrEnum):
    """What the caller can do about an error; one table a face maps it to a status."""

    USAGE = "usage"
    NOT_FOUND = "not found"
    CONFLICT = "conflict"
    UNAVAILABLE = "unavailable"
    CORRUPT = "corrupt"
    BUG = "bug"


class StepwellError(Exception):
    """The root of the tree: a message for people, a code for programs, a hint for both."""

    code = "stepwell_error"
    kind = Kind.BUG

    def __init_subclass__(cls) -> None:
        # The code is the class's name in snake case; docs/errors.md pins each one.
        cls.code = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", cls.__name__).lower()

    def __init__(
        self, message: str, *, hint: str = "", fields: Mapping[str, object] | None = None
    ) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.fields = dict(fields or {})

    def __reduce__(self) -> tuple[object, ...]:
        # Subclasses take other arguments than the message; it must come back from processes too.
        return (_restore, (type(self), self.message, self.hint, self.fields))


def _restore(
    error_class: type[StepwellError], message: str, hint: str, fields: dict[str, object]
) -> StepwellError:
    error = error_class.__new__(error_class)
    StepwellError.__init__(error, message, hint=hint, fields=fields)
    return error
