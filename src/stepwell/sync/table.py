"""The tables that are captured: how they looked when their triggers were made, and their policy."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import msgspec
from sqlalchemy import bindparam, delete, insert, select, update

from stepwell.database.prepared import Prepared
from stepwell.database.shape import TableShape
from stepwell.database.transaction import Reader, Transaction
from stepwell.errors import TableNotTracked
from stepwell.sync.tables import sync_table

_t = sync_table.c
_COLUMNS = (_t.table_id, _t.table_name, _t.shape, _t.fingerprint, _t.policy, _t.baseline)
_LIST = Prepared(select(*_COLUMNS).order_by(_t.table_name))
_FIND = Prepared(select(*_COLUMNS).where(_t.table_name == bindparam("table_name")))
_NEW = ("table_name", "shape", "fingerprint", "policy", "baseline", "tracked_at")
_INSERT = Prepared(
    insert(sync_table).values({n: bindparam(n) for n in _NEW}).returning(_t.table_id)
)
_DELETE = Prepared(delete(sync_table).where(_t.table_name == bindparam("name_")))
_UPDATE_SHAPE = Prepared(
    update(sync_table)
    .where(_t.table_name == bindparam("name_"))
    .values(
        shape=bindparam("shape"),
        fingerprint=bindparam("fingerprint"),
        baseline=bindparam("baseline"),
    )
)
_UPDATE_POLICY = Prepared(
    update(sync_table).where(_t.table_name == bindparam("name_")).values(policy=bindparam("policy"))
)
_UPDATE_BASELINE = Prepared(
    update(sync_table)
    .where(_t.table_name == bindparam("name_"))
    .values(baseline=bindparam("baseline"))
)

_shape_decoder = msgspec.json.Decoder(TableShape)


@dataclass(frozen=True)
class TrackedTable:
    """A captured table.

    Attributes:
        shape: How it looked when its triggers were made.
        fingerprint: Of its columns: names, kinds, NULL or not, key.
        policy: JSON, for ``sync/policy.py``.
        baseline: ``pk_json`` behind which its first rows are still to be logged; empty: all of
            them; None: none any more.
        uncounted: Its counters, where it was just tracked again and nobody knows what was added
            to them unseen.
    """

    table_id: int
    name: str
    shape: TableShape
    fingerprint: str
    policy: str
    baseline: str | None
    uncounted: tuple[str, ...] = ()

    @property
    def key(self) -> tuple[str, ...]:
        """The columns of its primary key."""
        return self.shape.key


def fingerprint_of(shape: TableShape) -> str:
    """Tells whether two nodes' tables can hold the same rows: 16 hexadecimal digits.

    Type names differ between databases, kinds do not. The order of columns means nothing.
    """
    facts = [
        sorted((c.name, c.kind, c.nullable) for c in shape.columns),
        sorted(shape.key),
    ]
    return hashlib.sha256(msgspec.json.encode(facts)).hexdigest()[:16]


def tracked_tables(reader: Reader) -> dict[str, TrackedTable]:
    """All of them, by name."""
    return {row[1]: _record(row) for row in reader.fetch_all(_LIST)}


def find_table(reader: Reader, name: str) -> TrackedTable | None:
    """The tracked table of this name, or None."""
    row = reader.fetch_one(_FIND, {"table_name": name})
    return None if row is None else _record(row)


def get_table(reader: Reader, name: str) -> TrackedTable:
    """The tracked table of this name.

    Raises:
        TableNotTracked: there is none.
    """
    found = find_table(reader, name)
    if found is None:
        raise TableNotTracked(
            f"cannot find tracked table {name!r}: it is not tracked here",
            hint=f"`stepwell sync track {name}`, or see `stepwell sync status`",
            fields={"table": name},
        )
    return found


def insert_table(
    transaction: Transaction, shape: TableShape, *, policy: str, at: object, baseline: str | None
) -> int:
    """Remember a table that is captured from now on; answers its id."""
    row = transaction.fetch_one(
        _INSERT,
        {
            "table_name": shape.name,
            "shape": _json(shape),
            "fingerprint": fingerprint_of(shape),
            "policy": policy,
            "baseline": baseline,
            "tracked_at": at,
        },
    )
    assert row is not None
    return int(row[0])


def update_shape(transaction: Transaction, shape: TableShape, baseline: str | None) -> None:
    """Remember how a table looks now."""
    transaction.execute(
        _UPDATE_SHAPE,
        {
            "name_": shape.name,
            "shape": _json(shape),
            "fingerprint": fingerprint_of(shape),
            "baseline": baseline,
        },
    )


def set_policy(transaction: Transaction, name: str, policy: str) -> None:
    """Store a table's policy, which ``sync/policy.py`` has checked."""
    transaction.execute(_UPDATE_POLICY, {"name_": name, "policy": policy})


def set_baseline(transaction: Transaction, name: str, baseline: str | None) -> None:
    """How far the first rows of a table have been logged."""
    transaction.execute(_UPDATE_BASELINE, {"name_": name, "baseline": baseline})


def delete_table(transaction: Transaction, name: str) -> None:
    """Forget a table."""
    transaction.execute(_DELETE, {"name_": name})


def _json(shape: TableShape) -> str:
    return msgspec.json.encode(shape).decode("utf-8")


def _record(row: tuple[object, ...]) -> TrackedTable:
    table_id, name, shape, fingerprint, policy, baseline = row
    assert isinstance(table_id, int)
    return TrackedTable(
        table_id=table_id,
        name=str(name),
        shape=_shape_decoder.decode(str(shape)),
        fingerprint=str(fingerprint),
        policy=str(policy),
        baseline=None if baseline is None else str(baseline),
    )
