"""What the doctor has mended: one row a repair, written in the repair's own transaction."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import bindparam, insert, literal_column, select

from stepwell.database.prepared import Prepared
from stepwell.database.tables import batch_repair
from stepwell.database.transaction import Reader, Transaction
from stepwell.execution.result import MESSAGE_CHARACTERS_MAX, cut
from stepwell.finding import Finding, Statement
from stepwell.repository.repairs import ACTOR

_r = batch_repair.c
_COLUMNS = (
    *("code", "place", "job_execution_id", "found", "done", "rows_changed", "actor", "copy"),
    "repaired_at",
)

INSERT_REPAIR = Prepared(insert(batch_repair).values({_r[n]: bindparam(n) for n in _COLUMNS}))
LIST_REPAIRS = Prepared(
    select(_r.repair_id, *(_r[name] for name in _COLUMNS))
    .where(_r.repair_id < bindparam("before_"))
    .order_by(_r.repair_id.desc())
    .limit(literal_column("100"))
)
LAST_ID = 2**62


@dataclass(frozen=True)
class RecordedRepair:
    """One row of ``batch_repair``."""

    repair_id: int
    code: str
    place: str
    execution_id: int | None
    found: str
    done: str
    rows_changed: int
    actor: str
    copy: str | None
    repaired_at: datetime


def record_repair(
    transaction: Transaction,
    finding: Finding,
    done: str,
    *,
    rows_changed: int,
    copy: str | None,
    at: datetime,
    actor: str = ACTOR,
) -> None:
    """Add the row for a repair that the same transaction has done; ``actor`` asked for it."""
    transaction.execute(
        INSERT_REPAIR,
        {
            "code": finding.code,
            "place": finding.where,
            "job_execution_id": finding.execution_id,
            "found": cut(finding.what, MESSAGE_CHARACTERS_MAX),
            "done": cut(done, MESSAGE_CHARACTERS_MAX),
            "rows_changed": rows_changed,
            "actor": actor,
            "copy": copy,
            "repaired_at": at,
        },
    )


def list_repairs(reader: Reader, *, before_id: int = LAST_ID) -> list[RecordedRepair]:
    """At most 100 repairs, the last one first, behind ``before_id``."""
    return [RecordedRepair(*row) for row in reader.fetch_all(LIST_REPAIRS, {"before_": before_id})]


def recording_statement(finding: Finding, done: str, guard: Statement | None) -> Statement:
    """The same row as SQL for a plan that somebody else executes, as long as ``guard`` holds."""
    only = f" WHERE EXISTS ({guard.sql})" if guard is not None else ""
    return Statement(
        f"INSERT INTO batch_repair ({', '.join(_COLUMNS)})"
        " SELECT :code_, :place_, :execution_id_, :found_, :done_, 1, :actor_, NULL, :now" + only,
        {
            **(guard.values if guard is not None else {}),
            "code_": finding.code,
            "place_": finding.where,
            "execution_id_": finding.execution_id,
            "found_": cut(finding.what, MESSAGE_CHARACTERS_MAX),
            "done_": cut(done, MESSAGE_CHARACTERS_MAX),
            "actor_": ACTOR,
        },
    )
