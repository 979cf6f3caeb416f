"""Two keys that are one row: the lost one leads to the kept one, in rows and foreign keys."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from sqlalchemy import bindparam, select
from sqlalchemy.dialects.postgresql import insert as upsert

from stepwell.database.prepared import Prepared
from stepwell.database.shape import TableShape
from stepwell.database.transaction import Reader, Transaction
from stepwell.sync.change import RowKey, Values, Version, decode_values, key_text
from stepwell.sync.tables import sync_alias

_a = sync_alias.c
_ANY = Prepared(select(_a.table_name).limit(1))
_FIND = Prepared(
    select(_a.kept_pk_json).where(
        _a.table_name == bindparam("table_name"), _a.pk_json == bindparam("pk_json")
    )
)
_put = upsert(sync_alias)
_PUT = Prepared(
    _put.on_conflict_do_update(
        index_elements=[_a.table_name, _a.pk_json],
        set_={"kept_pk_json": _put.excluded.kept_pk_json},
    )
)

LEADS_MAX = 100  # A chain of aliases is short; a circle would be a fault of two mains.


def has_aliases(reader: Reader) -> bool:
    """Whether any key leads to another one."""
    return reader.fetch_one(_ANY) is not None


def kept_key(reader: Reader, key: RowKey) -> RowKey:
    """Where a key leads to; mostly to itself."""
    for _ in range(LEADS_MAX):
        row = reader.fetch_one(_FIND, {"table_name": key.table_name, "pk_json": key.pk_json})
        if row is None:
            break
        key = RowKey(key.table_name, row[0])
    return key


def put_alias(
    transaction: Transaction, lost: RowKey, kept: RowKey, version: Version, *, at: datetime
) -> None:
    """From now on the one key leads to the other."""
    if lost == kept or kept_key(transaction, kept) == lost:
        return
    transaction.execute(
        _PUT,
        {
            "table_name": lost.table_name,
            "pk_json": lost.pk_json,
            "kept_pk_json": kept.pk_json,
            "origin": version.origin,
            "epoch": version.epoch,
            "seq": version.seq,
            "created_at": at,
        },
    )


def with_kept_parents(
    reader: Reader, shape: TableShape, keys: Mapping[str, tuple[str, ...]], values: Values
) -> Values:
    """The values with foreign keys that lead to rows that were kept; ``keys`` are of the tables."""
    changed = dict(values)
    for foreign in shape.foreign_keys:
        key = keys.get(foreign.parent)
        if key is None or set(key) != set(foreign.parent_columns):
            continue
        pairs = list(zip(foreign.columns, foreign.parent_columns, strict=True))
        named = {there: values.get(here) for here, there in pairs}
        if None in named.values():
            continue
        parent = RowKey(foreign.parent, key_text(named))
        kept = kept_key(reader, parent)
        if kept != parent:
            columns = decode_values(kept.pk_json)
            changed.update({here: columns[there] for here, there in pairs})
    return changed
