"""Split a SQL file into its statements: a migration is a list of statements, not of semicolons."""

from __future__ import annotations

import re

from stepwell.database.tokens import SCRIPT_TOKEN

_TRIGGER = re.compile(r"CREATE\s+(TEMP\s+|TEMPORARY\s+)?TRIGGER\b", re.IGNORECASE)


def split_statements(script: str) -> list[str]:
    """The statements of ``script`` in order, without their semicolons and without empty ones.

    Semicolons inside strings, comments, dollar quotes and the bodies of SQLite triggers belong to
    the statement around them.

    >>> split_statements("CREATE TABLE a (b TEXT DEFAULT ';'); -- done;")
    ["CREATE TABLE a (b TEXT DEFAULT ';')"]
    """
    statements: list[str] = []
    parts: list[str] = []
    depth = 0
    for token in SCRIPT_TOKEN.finditer(script):
        kind, text = token.lastgroup, token.group()
        if kind == "comment":
            parts.append(" ")
            continue
        bracket = kind == "word" and text.upper() in ("BEGIN", "CASE", "END")
        if bracket and _TRIGGER.match("".join(parts).lstrip()):
            depth += -1 if text.upper() == "END" else 1
        if kind == "end" and depth <= 0:
            statements.append("".join(parts).strip())
            parts, depth = [], 0
            continue
        parts.append(text)
    statements.append("".join(parts).strip())
    return [statement for statement in statements if statement]
