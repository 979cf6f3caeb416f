"""A conflict, column by column: what was, what is here, what came; and where they differ."""

from __future__ import annotations

from dataclasses import dataclass

from stepwell.sync.change import Values, encode_values
from stepwell.sync.conflict import Conflict

NO_ROW = "(no row)"


@dataclass(frozen=True)
class ColumnLook:
    """One column of the images, as texts.

    Attributes:
        differs: In a word, how the sides differ; empty when they do not.
    """

    name: str
    base: str
    ours: str
    theirs: str
    differs: str


def columns_of(conflict: Conflict) -> list[str]:
    """The columns of all images."""
    images = (conflict.base, conflict.ours, conflict.theirs)
    return list(dict.fromkeys(name for image in images if image for name in image))


def compare(conflict: Conflict) -> list[ColumnLook]:
    """Every column, in the order of the images."""
    found = []
    for name in columns_of(conflict):
        base, ours, theirs = (
            value_text(image, name) for image in (conflict.base, conflict.ours, conflict.theirs)
        )
        differs = _differs(None if conflict.base is None else base, ours, theirs)
        found.append(ColumnLook(name, base, ours, theirs, differs))
    return found


def value_text(image: Values | None, name: str) -> str:
    """A value as a file of changes writes it; empty for none."""
    if image is None:
        return NO_ROW
    if name not in image:
        return ""
    return encode_values({"": image[name]}).decode("utf-8")[4:-1]


def _differs(base: str | None, ours: str, theirs: str) -> str:
    if ours == theirs:
        return ""
    if base is None:
        return "differs"
    if ours == base:
        return "changed there"
    return "changed here" if theirs == base else "changed on both sides"
