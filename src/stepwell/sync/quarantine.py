"""Groups that could not be applied, and those that wait behind them; what each of them touches.

A parked group is logged and recorded as received all the same; what waits is its effect alone. Its
changes stand in the log. It is tried again when what it waits for has moved.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from sqlalchemy import bindparam, delete, func, select, update
from sqlalchemy.dialects.postgresql import insert

from stepwell.database.prepared import Prepared
from stepwell.database.transaction import Reader, Transaction
from stepwell.errors import CannotResolve, NoSuchQuarantine
from stepwell.sync.change import version_id
from stepwell.sync.tables import sync_quarantine, sync_quarantine_key
from stepwell.sync.touched import Token, Touched

Reason = Literal[
    "early",  # Its base has not come yet.
    "behind",  # It touches what another parked group touches.
    "clock",  # Its stamp is ahead of this node's clock.
    "unknown_table",
    "schema",  # A value for a column that is not here.
    "values",  # A value that cannot be read, or that a column cannot hold.
    "conflict",  # A person, or a main, must decide between two versions of a row.
    "unique",  # The same between two rows.
    "children",  # It deletes a row whose children its origin did not know.
    "foreign_key",
    "constraint",  # NOT NULL, CHECK, or what a trigger refuses.
]

_q, _k = sync_quarantine.c, sync_quarantine_key.c
_COLUMNS = tuple(column for column in sync_quarantine.columns if column.name != "raw_lines")
_NEW = [
    column.name
    for column in _COLUMNS
    if column.name not in ("quarantine_id", "closed_at", "outcome")
]
_INSERT = Prepared(
    insert(sync_quarantine)
    .values({name: bindparam(name) for name in _NEW})
    .returning(_q.quarantine_id)
)
_ADD_KEY = Prepared(insert(sync_quarantine_key).on_conflict_do_nothing())
_GET = Prepared(select(*_COLUMNS).where(_q.quarantine_id == bindparam("quarantine_id")))
_PAGE = {
    is_open: Prepared(
        select(*_COLUMNS)
        .where(
            _q.quarantine_id < bindparam("before"),
            *(() if is_open is None else (_q.closed_at.is_(None) == is_open,)),
        )
        .order_by(_q.quarantine_id.desc())
        .limit(bindparam("limit"))
    )
    for is_open in (True, False, None)
}
_OPEN = Prepared(
    select(_q.quarantine_id)
    .where(_q.closed_at.is_(None), _q.quarantine_id > bindparam("after"))
    .order_by(_q.quarantine_id)
    .limit(bindparam("limit"))
)
_COUNT = Prepared(select(func.count()).where(_q.closed_at.is_(None)))
_HOLDERS = Prepared(
    select(_k.quarantine_id).where(
        _k.table_name == bindparam("table_name"),
        _k.key == bindparam("key"),
        _k.kind == bindparam("kind"),
        _k.quarantine_id < bindparam("until"),
    )
)
_WAITING = Prepared(
    select(_k.quarantine_id).where(
        _k.table_name == bindparam("table_name"), _k.key == bindparam("key")
    )
)
_BEHIND = Prepared(
    select(_q.quarantine_id).where(_q.waits_for == bindparam("waits_for"), _q.closed_at.is_(None))
)
_CLOSE = Prepared(
    update(sync_quarantine)
    .where(_q.quarantine_id == bindparam("id_"), _q.closed_at.is_(None))
    .values(closed_at=bindparam("at"), outcome=bindparam("outcome_"))
)
_DROP_KEYS = Prepared(delete(sync_quarantine_key).where(_k.quarantine_id == bindparam("id_")))
_AGAIN = Prepared(
    update(sync_quarantine)
    .where(_q.quarantine_id == bindparam("id_"))
    .values(
        {
            name: bindparam(f"{name}_")
            for name in ("reason", "message", "table_name", "pk_json", "waits_for", "line")
        }
    )
)

_BEFORE_ALL = 2**63 - 1


@dataclass(frozen=True)
class Quarantined:
    """A parked group.

    Attributes:
        origin, epoch, seq, tx_id: Which.
        reason: See :data:`Reason`.
        message: What the deciding fact was.
        line: Of the file that brought it; None where none did.
        table_name, pk_json: The row that could not be written.
        waits_for: The parked group that holds it back.
        source_node: From whom it came.
        outcome: applied or dropped; None while it waits.
    """

    quarantine_id: int
    origin: str
    epoch: int
    seq: int
    tx_id: str
    reason: Reason
    message: str
    line: int | None
    table_name: str | None
    pk_json: str | None
    waits_for: int | None
    source_node: str
    parked_at: datetime
    closed_at: datetime | None
    outcome: str | None


def list_quarantine(
    reader: Reader, *, is_open: bool | None = True, before: int = _BEFORE_ALL, limit: int = 100
) -> list[Quarantined]:
    """A page, the newest first; ``is_open`` None: also those that are closed."""
    rows = reader.fetch_all(_PAGE[is_open], {"before": before, "limit": limit})
    return [Quarantined(*row) for row in rows]


def find_quarantined(reader: Reader, quarantine_id: int) -> Quarantined | None:
    """The parked group of this id, or None."""
    row = reader.fetch_one(_GET, {"quarantine_id": quarantine_id})
    return None if row is None else Quarantined(*row)


def get_quarantined(reader: Reader, quarantine_id: int) -> Quarantined:
    """The parked group of this id.

    Raises:
        NoSuchQuarantine: there is none.
    """
    found = find_quarantined(reader, quarantine_id)
    if found is None:
        raise NoSuchQuarantine(
            f"cannot find quarantined group {quarantine_id}: there is none of this id",
            hint="`stepwell sync quarantine list`",
            fields={"quarantine_id": quarantine_id},
        )
    return found


def require_open(reader: Reader, quarantine_id: int) -> Quarantined:
    """The same, when it waits still.

    Raises:
        NoSuchQuarantine: there is none.
        CannotResolve: it waits no more.
    """
    found = get_quarantined(reader, quarantine_id)
    if found.closed_at is not None:
        raise CannotResolve(
            f"cannot change quarantined group {quarantine_id}: it was {found.outcome}",
            hint="`stepwell sync quarantine list`",
            fields={"quarantine_id": quarantine_id, "outcome": found.outcome},
        )
    return found


def count_open(reader: Reader) -> int:
    """How many groups wait."""
    row = reader.fetch_one(_COUNT)
    return 0 if row is None else int(row[0])


def open_after(reader: Reader, quarantine_id: int, limit: int) -> list[int]:
    """Groups that wait, in the order in which they came, behind an id."""
    rows = reader.fetch_all(_OPEN, {"after": quarantine_id, "limit": limit})
    return [row[0] for row in rows]


def insert_quarantined(transaction: Transaction, values: Mapping[str, Any]) -> int:
    """Park a group; answers its id."""
    row = transaction.fetch_one(_INSERT, values)
    assert row is not None
    return int(row[0])


def insert_keys(
    transaction: Transaction, quarantine_id: int, touched: Touched, seen: set[Any]
) -> None:
    """Remember what a parked group touches; ``seen`` are those that are there already."""
    keys = {("holds", token) for token in touched.held()}
    keys |= {("needs", token) for token in touched.parents}
    _insert(transaction, quarantine_id, keys - seen)
    seen |= keys


def insert_version_key(transaction: Transaction, quarantine_id: int, version_id: str) -> None:
    """Remember that a group waits for another one to come."""
    _insert(transaction, quarantine_id, {("version", Token("", version_id))})


def _insert(
    transaction: Transaction, quarantine_id: int, keys: Iterable[tuple[str, Token]]
) -> None:
    transaction.execute_many(
        _ADD_KEY,
        [
            {
                "quarantine_id": quarantine_id,
                "kind": kind,
                "table_name": token.table_name,
                "key": token.pk_json,
            }
            for kind, token in sorted(keys)
        ],
    )


def holder_of(
    reader: Reader, tokens: Iterable[Token], *, bases: Container[str], but: int = 0
) -> int | None:
    """The first parked group that holds one of these; ``but`` is not asked, nor what came later.

    One that came before its cause holds back only what was made upon it: ``bases`` are the versions
    that the asker has seen.
    """
    values = {"kind": "holds", "until": but or _BEFORE_ALL}
    found: set[int] = set()
    for token in tokens:
        key = {"table_name": token.table_name, "key": token.pk_json}
        found.update(row[0] for row in reader.fetch_all(_HOLDERS, {**values, **key}))
    for number in sorted(found):
        parked = find_quarantined(reader, number)
        if parked is None:
            continue
        name = version_id(parked.origin, parked.epoch, parked.seq)
        if name in bases or first_of(reader, parked).reason != "early":
            return number
    return None


def first_of(reader: Reader, parked: Quarantined) -> Quarantined:
    """The parked group at the head of those that wait behind each other."""
    while parked.reason == "behind" and parked.waits_for is not None:
        ahead = find_quarantined(reader, parked.waits_for)
        if ahead is None or ahead.closed_at is not None:
            break
        parked = ahead
    return parked


def behind(reader: Reader, parked: Quarantined) -> list[Quarantined]:
    """The groups that wait behind one, and those behind these, as they came."""
    found: dict[int, Quarantined] = {}
    todo = waiting_behind(reader, parked.quarantine_id)
    while todo:
        number = todo.pop()
        each = find_quarantined(reader, number)
        if number not in found and each is not None and each.closed_at is None:
            found[number] = each
            todo += waiting_behind(reader, number)
    return [found[number] for number in sorted(found)]


def waiting_for(reader: Reader, tokens: Iterable[Token]) -> set[int]:
    """Parked groups that hold or need one of these."""
    found: set[int] = set()
    for token in tokens:
        values = {"table_name": token.table_name, "key": token.pk_json}
        found.update(row[0] for row in reader.fetch_all(_WAITING, values))
    return found


def waiting_behind(reader: Reader, quarantine_id: int) -> list[int]:
    """Parked groups that this one holds back."""
    return [row[0] for row in reader.fetch_all(_BEHIND, {"waits_for": quarantine_id})]


def close_quarantined(
    transaction: Transaction, quarantine_id: int, *, outcome: str, at: datetime
) -> None:
    """It waits no more, and holds nobody back."""
    transaction.execute(_CLOSE, {"id_": quarantine_id, "at": at, "outcome_": outcome})
    transaction.execute(_DROP_KEYS, {"id_": quarantine_id})


def update_quarantined(
    transaction: Transaction,
    quarantine_id: int,
    *,
    reason: Reason,
    message: str,
    table_name: str | None,
    pk_json: str | None,
    waits_for: int | None,
    line: int | None,
) -> None:
    """It was tried again, and waits still, perhaps for something else."""
    transaction.execute(
        _AGAIN,
        {
            "id_": quarantine_id,
            "reason_": reason,
            "message_": message,
            "table_name_": table_name,
            "pk_json_": pk_json,
            "waits_for_": waits_for,
            "line_": line,
        },
    )
