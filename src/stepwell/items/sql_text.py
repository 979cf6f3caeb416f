"""Identifiers in SQL text: always quoted, so that any name is only a name."""

from __future__ import annotations

from collections.abc import Iterable

from stepwell.errors import ItemError


def quoted(name: str) -> str:
    """One identifier; ``"`` inside it is doubled."""
    if not name or "\0" in name:
        raise ItemError(f"the name of a table or column must be text, got {name!r}")
    return '"' + name.replace('"', '""') + '"'


def quoted_table(name: str) -> str:
    """``table`` or ``schema.table``; a dot always divides."""
    return ".".join(map(quoted, name.split(".")))


def listed(names: Iterable[str]) -> str:
    """Quoted identifiers with commas between."""
    return ", ".join(map(quoted, names))
