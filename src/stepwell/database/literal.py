"""A statement as text with its values in it, for a file that a person or a migration executes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any
from uuid import UUID

from stepwell.database.tokens import SCRIPT_TOKEN
from stepwell.database.types import utc_text
from stepwell.errors import StatementFailed


def with_literals(sql: str, values: Mapping[str, Any]) -> str:
    """``sql`` with each ``:name`` replaced by its value as SQL that both databases read.

    Raises:
        StatementFailed: a name has no value, or its value no such form, such as bytes.
    """
    pieces = []
    for token in SCRIPT_TOKEN.finditer(sql):
        if token.lastgroup == "name":
            name = token["name"]
            if name not in values:
                raise StatementFailed(f"cannot write down a statement: {name!r} has no value")
            pieces.append(literal(values[name]))
        else:
            pieces.append(token[0])
    return "".join(pieces)


def literal(value: Any) -> str:
    """One value as SQL."""
    if value is None:
        return "NULL"
    if isinstance(value, bool):
        return "TRUE" if value else "FALSE"
    if isinstance(value, int | Decimal) or (isinstance(value, float) and math.isfinite(value)):
        return str(value)
    if isinstance(value, datetime) and value.tzinfo is not None:
        value = utc_text(value)
    if isinstance(value, str | date | time | UUID):
        return "'" + str(value).replace("'", "''") + "'"
    kind = type(value).__name__
    raise StatementFailed(f"cannot write down a statement: a value of type {kind} has no text")
