"""What is recorded, line by line, for whoever asks for it: the one place that logs it.

At DEBUG each statement that writes one of Stepwell's tables is told of before and after it is
executed, and each transaction's end: table, id, stage, version, and how many rows it hit. With
another level nothing of this is made.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from stepwell.database.prepared import Prepared

logger = logging.getLogger("stepwell.facts")

# Where a statement names its row; the first one that is there.
_IDS = (
    "id_",
    "step_execution_id",
    "job_execution_id",
    "job_instance_id",
    "history_id",
    "partition_number",
)
_STAGES = ("step_name", "current_step", "last_step")


def writes(prepared: Prepared) -> bool:
    """Whether a statement that answers rows also writes one: an INSERT with RETURNING."""
    return bool(getattr(prepared.statement, "is_dml", False))


def before(prepared: Prepared, values: Mapping[str, Any]) -> dict[str, Any]:
    """Tell what is about to be executed; answers it for :func:`after`."""
    fact = _fact(prepared, values)
    logger.debug("before %s %s%s", fact["verb"], fact["table"], _shown(fact), extra=fact)
    return fact


def after(fact: dict[str, Any], row_count: int | None = None, answered: Any = None) -> None:
    """Tell what came of it: how many rows it hit, or the id that the database gave."""
    if answered is not None:
        fact["id"] = answered
    if fact["verb"] == "UPDATE" and fact["version"] is not None and row_count:
        fact["version"] += 1
    count = "" if row_count is None else f": {row_count} row{'' if row_count == 1 else 's'}"
    logger.debug(
        "after %s %s%s%s",
        fact["verb"],
        fact["table"],
        _shown(fact),
        count,
        extra={**fact, "row_count": row_count},
    )


def _fact(prepared: Prepared, values: Mapping[str, Any]) -> dict[str, Any]:
    statement: Any = prepared.statement
    status = values.get("status") or values.get("to_status")
    return {
        "verb": (statement.__visit_name__ if writes(prepared) else _first_word(statement)).upper(),
        "table": str(getattr(getattr(statement, "table", None), "name", "")),
        "id": next((values[name] for name in _IDS if values.get(name) is not None), None),
        "version": values.get("version_"),
        "fence": values.get("fence_"),
        "status": None if status is None else str(status),
        "stage": next((values[name] for name in _STAGES if values.get(name)), None),
    }


def _first_word(statement: Any) -> str:
    """``INSERT`` for a statement that is written as text."""
    return str(statement).split(None, 1)[0]


def _shown(fact: Mapping[str, Any]) -> str:
    return "".join(
        f" {name}={value}"
        for name, value in fact.items()
        if value is not None and name not in ("verb", "table")
    )
