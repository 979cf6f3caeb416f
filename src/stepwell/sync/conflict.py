"""Conflicts: the losing image of each, and those that wait for a person.

A row is written in the transaction that decided it, or that parked its group. Nothing here is ever
deleted, so a losing image can be looked up for good.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from sqlalchemy import bindparam, func, insert, select, update

from stepwell.database.prepared import Prepared
from stepwell.database.transaction import Reader, Transaction
from stepwell.errors import NoSuchConflict
from stepwell.sync.change import Change, RowKey, Values, Version, decode_values, encode_values
from stepwell.sync.tables import sync_conflict

Kind = Literal["row", "unique", "children"]
Status = Literal["decided", "waiting", "resolved"]

_c = sync_conflict.c
_COLUMNS = tuple(sync_conflict.columns)
_END = ("resolved_by", "resolved_at", "resolution")
_NEW = [c.name for c in _COLUMNS if c.name not in ("conflict_id", *_END)]
_INSERT = Prepared(
    insert(sync_conflict).values({n: bindparam(n) for n in _NEW}).returning(_c.conflict_id)
)
_GET = Prepared(select(*_COLUMNS).where(_c.conflict_id == bindparam("conflict_id")))
_PAGES = {
    status: Prepared(
        select(*_COLUMNS)
        .where(
            _c.conflict_id < bindparam("before"),
            *(() if status is None else (_c.status == status,)),
        )
        .order_by(_c.conflict_id.desc())
        .limit(bindparam("limit"))
    )
    for status in ("decided", "waiting", "resolved", None)
}
_COUNT = Prepared(select(func.count()).where(_c.status == "waiting"))
_WAITING = Prepared(
    select(_c.conflict_id).where(
        _c.status == "waiting",
        _c.table_name == bindparam("table_name"),
        _c.pk_json == bindparam("pk_json"),
        _c.their_version == bindparam("their_version"),
    )
)
_END_IT = Prepared(
    update(sync_conflict)
    .where(_c.conflict_id == bindparam("id_"))
    .values(status=bindparam("status_"), **{name: bindparam(f"{name}_") for name in _END})
)

_END_GROUP = Prepared(
    update(sync_conflict)
    .where(
        _c.origin == bindparam("origin_"),
        _c.epoch == bindparam("epoch_"),
        _c.seq == bindparam("seq_"),
        _c.status == "waiting",
    )
    .values(
        status="resolved", resolved_by="sync", resolved_at=bindparam("at"), resolution="applied"
    )
)

_BEFORE_ALL = 2**63 - 1


@dataclass(frozen=True)
class NewConflict:
    """Two versions of a row, or two rows that claim one unique value.

    Attributes:
        key: The row of the change that came.
        winner: ours, theirs, merged; None while it waits.
        base, ours, theirs: The images; None: no row, or not known. With ``unique``, ``ours`` is the
            row that has the value here; with ``children`` the one that was to be deleted.
        change: What came.
    """

    kind: Kind
    key: RowKey
    policy: str
    status: Status
    winner: str | None
    base: Values | None
    ours: Values | None
    theirs: Values | None
    our_version: Version | None
    their_version: Version
    change: Change
    index_name: str | None = None


@dataclass(frozen=True)
class Conflict:
    """A conflict as it is recorded.

    Attributes:
        table_name, pk_json: The row of the change that came.
        kind: ``row``: two versions of it; ``unique``: another row has its unique value;
            ``children``: it was deleted, and rows that its origin did not know name it.
        policy: Which decided it, or left it to a person.
        status: ``decided`` by the policy, ``waiting``, ``resolved`` by a person.
        winner: ours, theirs, merged.
        ours, theirs, base: The images; None: no row, or not known. With ``unique``, ``ours`` is the
            other row.
        our_version, their_version: Ids of the versions.
        origin, epoch, seq, lsn: The group that came, and where it stood in its source's log.
    """

    conflict_id: int
    table_name: str
    pk_json: str
    kind: Kind
    index_name: str | None
    policy: str
    status: Status
    winner: str | None
    base: Values | None
    ours: Values | None
    theirs: Values | None
    our_version: str | None
    their_version: str | None
    origin: str
    epoch: int
    seq: int
    lsn: int | None
    detected_at: datetime
    resolved_by: str | None
    resolved_at: datetime | None
    resolution: str | None

    @property
    def key(self) -> RowKey:
        """The row."""
        return RowKey(self.table_name, self.pk_json)

    @property
    def state(self) -> str:
        """Tells one decision on it from another."""
        return f"{self.status} {self.resolution or ''}".strip()


def record_conflict(transaction: Transaction, new: NewConflict, *, at: datetime) -> int:
    """Write a conflict down; answers its id. One that waits already is not written twice."""
    if new.status == "waiting":
        row = transaction.fetch_one(
            _WAITING,
            {
                "table_name": new.key.table_name,
                "pk_json": new.key.pk_json,
                "their_version": new.their_version.id,
            },
        )
        if row is not None:
            return int(row[0])
    row = transaction.fetch_one(_INSERT, _values(new, at))
    assert row is not None
    return int(row[0])


def list_conflicts(
    reader: Reader, *, status: Status | None = None, before: int = _BEFORE_ALL, limit: int = 100
) -> list[Conflict]:
    """A page, the newest first."""
    rows = reader.fetch_all(_PAGES[status], {"before": before, "limit": limit})
    return [_conflict(row) for row in rows]


def count_waiting(reader: Reader) -> int:
    """How many wait for a person."""
    row = reader.fetch_one(_COUNT)
    return 0 if row is None else int(row[0])


def get_conflict(reader: Reader, conflict_id: int) -> Conflict:
    """The conflict of this id.

    Raises:
        NoSuchConflict: there is none.
    """
    row = reader.fetch_one(_GET, {"conflict_id": conflict_id})
    if row is None:
        raise NoSuchConflict(
            f"cannot find conflict {conflict_id}: there is none of this id",
            hint="`stepwell sync conflicts list`",
            fields={"conflict_id": conflict_id},
        )
    return _conflict(row)


def end_waiting(
    transaction: Transaction, key: RowKey, their_version: str, *, by: str, at: datetime, how: str
) -> None:
    """A conflict that waited here has been settled, perhaps on another node."""
    values = {
        "table_name": key.table_name,
        "pk_json": key.pk_json,
        "their_version": their_version,
    }
    for (conflict_id,) in transaction.fetch_all(_WAITING, values):
        end_conflict(transaction, conflict_id, status="resolved", by=by, at=at, how=how)


def end_group(transaction: Transaction, origin: str, epoch: int, seq: int, *, at: datetime) -> None:
    """A group that waited has been applied: nothing of it waits for a person any more."""
    transaction.execute(_END_GROUP, {"origin_": origin, "epoch_": epoch, "seq_": seq, "at": at})


def end_conflict(
    transaction: Transaction,
    conflict_id: int,
    *,
    status: Status,
    by: str | None,
    at: datetime | None,
    how: str | None,
) -> None:
    """Store how a conflict ended, or that it is open again."""
    transaction.execute(
        _END_IT,
        {
            "id_": conflict_id,
            "status_": status,
            "resolved_by_": by,
            "resolved_at_": at,
            "resolution_": how,
        },
    )


def _values(new: NewConflict, at: datetime) -> dict[str, Any]:
    change = new.change
    return {
        "table_name": new.key.table_name,
        "pk_json": new.key.pk_json,
        "kind": new.kind,
        "index_name": new.index_name,
        "policy": new.policy,
        "status": new.status,
        "winner": new.winner,
        "base_image": _text(new.base),
        "our_image": _text(new.ours),
        "their_image": _text(new.theirs),
        "our_version": None if new.our_version is None else new.our_version.id,
        "their_version": new.their_version.id,
        "origin": change.origin,
        "epoch": change.epoch,
        "seq": change.seq,
        "lsn": change.lsn or None,
        "detected_at": at,
    }


def _text(image: Values | None) -> str | None:
    return None if image is None else encode_values(image).decode("utf-8")


def _conflict(row: tuple[Any, ...]) -> Conflict:
    fields = dict(zip((column.name for column in _COLUMNS), row, strict=True))
    for name in ("base", "our", "their"):
        text = fields.pop(f"{name}_image")
        image = None if text is None else decode_values(text)
        fields[{"base": "base", "our": "ours", "their": "theirs"}[name]] = image
    return Conflict(**fields)
