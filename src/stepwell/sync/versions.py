"""The version of every tracked row: read many at once, written once a transaction.

They survive pruning, and hold the tombstones.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import Any

from sqlalchemy import bindparam, select
from sqlalchemy.dialects.postgresql import insert as upsert

from stepwell.database.prepared import Prepared
from stepwell.database.transaction import Reader, Transaction
from stepwell.sync.change import RowKey, Version
from stepwell.sync.tables import sync_row

KEYS_AT_ONCE = 64  # A statement has one text, whatever it is asked for.

_r = sync_row.c
_COLUMNS = (_r.pk_json, _r.origin, _r.epoch, _r.seq, _r.hlc, _r.causal_length, _r.authority)
_FIND = Prepared(
    select(*_COLUMNS).where(
        _r.table_name == bindparam("table_name"), _r.pk_json == bindparam("pk_json")
    )
)
_COLUMNS_OF = Prepared(
    select(_r.column_versions).where(
        _r.table_name == bindparam("table_name"), _r.pk_json == bindparam("pk_json")
    )
)
_NAMES = [f"k{i}" for i in range(KEYS_AT_ONCE)]
_FIND_MANY = Prepared(
    select(*_COLUMNS).where(
        _r.table_name == bindparam("table_name"), _r.pk_json.in_([bindparam(n) for n in _NAMES])
    )
)
_ALIVE = Prepared(
    select(*_COLUMNS)
    .where(
        _r.table_name == bindparam("table_name"),
        _r.pk_json > bindparam("after"),
        _r.causal_length % 2 == 1,
    )
    .order_by(_r.pk_json)
    .limit(bindparam("limit"))
)
_put = upsert(sync_row)
_PUT = Prepared(
    _put.on_conflict_do_update(
        index_elements=[_r.table_name, _r.pk_json],
        set_={
            name: getattr(_put.excluded, name)
            for name in (
                "origin",
                "epoch",
                "seq",
                "hlc",
                "causal_length",
                "authority",
                "column_versions",
            )
        },
    )
)


def find_version(reader: Reader, key: RowKey) -> Version | None:
    """The version of one row; None when it was never written here, nor deleted."""
    row = reader.fetch_one(_FIND, {"table_name": key.table_name, "pk_json": key.pk_json})
    return None if row is None else Version(*row[1:])


def find_columns(reader: Reader, key: RowKey) -> str | None:
    """When each column of a row was written, as ``columns.py`` says it; None: with the row."""
    row = reader.fetch_one(_COLUMNS_OF, {"table_name": key.table_name, "pk_json": key.pk_json})
    return None if row is None else row[0]


def find_versions(reader: Reader, keys: Iterable[RowKey]) -> dict[RowKey, Version]:
    """The versions of many rows; those that have none are left out."""
    by_table: dict[str, dict[str, None]] = {}
    for key in keys:
        by_table.setdefault(key.table_name, {})[key.pk_json] = None
    found: dict[RowKey, Version] = {}
    for table_name, texts in by_table.items():
        every = list(texts)
        for start in range(0, len(every), KEYS_AT_ONCE):
            part = every[start : start + KEYS_AT_ONCE]
            part += part[-1:] * (KEYS_AT_ONCE - len(part))
            values: dict[str, Any] = dict(zip(_NAMES, part, strict=True))
            for row in reader.fetch_all(_FIND_MANY, {**values, "table_name": table_name}):
                found[RowKey(table_name, row[0])] = Version(*row[1:])
    return found


def alive_page(
    reader: Reader, table_name: str, after: str, limit: int
) -> list[tuple[RowKey, Version]]:
    """Rows of a table that are alive as far as this node knows, by key, behind ``after``."""
    rows = reader.fetch_all(_ALIVE, {"table_name": table_name, "after": after, "limit": limit})
    return [(RowKey(table_name, row[0]), Version(*row[1:])) for row in rows]


def alive_keys(reader: Reader, table_name: str) -> Iterator[tuple[RowKey, Version]]:
    """All of them, in pages."""
    after = ""
    while page := alive_page(reader, table_name, after, 1_000):
        yield from page
        after = page[-1][0].pk_json


def put_versions(
    transaction: Transaction,
    versions: Mapping[RowKey, Version],
    columns: Mapping[RowKey, str] = MappingProxyType({}),
) -> None:
    """Store the versions that rows have now; ``columns`` is for the policy of that name."""
    transaction.insert_rows(
        _PUT,
        [
            (
                *key,
                version.origin,
                version.epoch,
                version.seq,
                version.hlc,
                version.causal_length,
                version.authority,
                columns.get(key),
            )
            for key, version in versions.items()
        ],
    )


def put_version(transaction: Transaction, key: RowKey, version: Version) -> None:
    """Store the version that a row has now."""
    put_versions(transaction, {key: version})
