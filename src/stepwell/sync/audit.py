"""Who did what to this node and its log, and when; append-only by habit, pruned by nobody."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import msgspec
from sqlalchemy import bindparam, insert, select

from stepwell.database.prepared import Prepared
from stepwell.database.transaction import Reader, Transaction
from stepwell.sync.tables import sync_audit

_a = sync_audit.c
_NEW = ("at", "actor", "action", "subject", "detail")
_INSERT = Prepared(insert(sync_audit).values({name: bindparam(name) for name in _NEW}))
_PAGE = Prepared(
    select(_a.audit_id, _a.at, _a.actor, _a.action, _a.subject, _a.detail)
    .where(_a.at >= bindparam("since"), _a.audit_id < bindparam("before"))
    .order_by(_a.audit_id.desc())
    .limit(bindparam("limit"))
)

_BEFORE_ALL = 2**63 - 1


@dataclass(frozen=True)
class Audit:
    """One line: ``actor`` did ``action`` to ``subject``."""

    audit_id: int
    at: datetime
    actor: str
    action: str
    subject: str
    detail: dict[str, object]


def record_audit(
    transaction: Transaction,
    *,
    at: datetime,
    actor: str,
    action: str,
    subject: str,
    detail: dict[str, object] | None = None,
) -> None:
    """Write a line in the transaction of what it tells."""
    text = msgspec.json.encode(detail).decode("utf-8") if detail else None
    transaction.execute(
        _INSERT,
        {"at": at, "actor": actor, "action": action, "subject": subject, "detail": text},
    )


def list_audit(
    reader: Reader, *, since: datetime, before: int = _BEFORE_ALL, limit: int = 100
) -> list[Audit]:
    """A page, the newest first: lines since a time, and before an id."""
    rows = reader.fetch_all(_PAGE, {"since": since, "before": before, "limit": limit})
    return [
        Audit(number, at, actor, action, subject, msgspec.json.decode(detail) if detail else {})
        for number, at, actor, action, subject, detail in rows
    ]
