"""What a table looks like, from SQLite's schema and pragmas."""

from __future__ import annotations

import itertools
import re
from dataclasses import replace
from typing import Any

from stepwell.database.dialect import KeptConnection
from stepwell.database.shape import (
    Column,
    ForeignKey,
    Kind,
    TableShape,
    Unique,
    columns_in,
    index_terms,
    literal,
    quoted,
)

# The first word of a declared type that says what is in the column; then SQLite's own affinities.
_KIND_OF_TYPE: dict[str, Kind] = {
    "bool": "boolean",
    "boolean": "boolean",
    "date": "date",
    "time": "time",
    "datetime": "timestamp",
    "timestamp": "timestamp",
    "timestamptz": "timestamp",
    "json": "json",
    "jsonb": "json",
    "uuid": "uuid",
    "decimal": "decimal",
    "numeric": "decimal",
}
_CONSTANTS = ("NULL", "TRUE", "FALSE", "CURRENT_TIME", "CURRENT_DATE", "CURRENT_TIMESTAMP")
_KIND_OF_AFFINITY: tuple[tuple[str, Kind], ...] = (
    ("int", "integer"),
    ("char", "text"),
    ("clob", "text"),
    ("text", "text"),
    ("blob", "blob"),
    ("real", "real"),
    ("floa", "real"),
    ("doub", "real"),
)


def read_table(connection: KeptConnection, name: str) -> TableShape | None:
    """A table or view of the main schema; None when there is none."""
    found = rows_of(
        connection,
        "SELECT name, type, sql FROM sqlite_master WHERE name = ? COLLATE NOCASE"
        " AND type IN ('table', 'view')",
        name,
    )
    if not found:
        return None
    name, kind, sql = found[0]
    if re.match(r"\s*CREATE\s+VIRTUAL\b", sql or "", re.IGNORECASE):
        kind = "virtual table"
    infos = rows_of(
        connection,
        'SELECT name, type, "notnull", dflt_value, pk, hidden FROM pragma_table_xinfo(?)'
        " ORDER BY cid",
        name,
    )
    key = tuple(row[0] for row in sorted(infos, key=lambda row: row[4]) if row[4])
    uniques, rowid_key = _uniques(connection, name, key, tuple(row[0] for row in infos))
    columns = tuple(
        Column(
            name=column,
            type_name=type_name,
            kind=kind_of(type_name),
            # An INTEGER PRIMARY KEY is the rowid, which is never NULL.
            nullable=not not_null and (column,) != rowid_key,
            has_default=default is not None or (column,) == rowid_key,
        )
        for column, type_name, not_null, default, _, hidden in infos
        if not hidden
    )
    foreign_keys = _foreign_keys(connection, name)
    if re.search(r"\bINITIALLY\s+DEFERRED\b", sql or "", re.IGNORECASE):
        # Which of them it is, SQLite does not tell.
        foreign_keys = tuple(replace(each, is_deferred=True) for each in foreign_keys)
    return TableShape(name, kind, columns, key, uniques, foreign_keys)


def default_sql(connection: KeptConnection, table: str, column: str) -> str | None:
    """The expression of a column's default; None without one."""
    found = rows_of(
        connection, "SELECT dflt_value FROM pragma_table_info(?) WHERE name = ?", table, column
    )
    sql: str | None = found[0][0] if found else None
    name = re.fullmatch(r'"(.*)"|([^\W\d]\w*)', sql or "", re.DOTALL)
    if name is None or (name[2] or "").upper() in _CONSTANTS:
        return sql
    return literal(name[1] or name[2])  # A name is a text in this one place.


def rows_of(connection: KeptConnection, sql: str, *values: object) -> list[tuple[Any, ...]]:
    """All rows of a query."""
    rows: list[tuple[Any, ...]] = connection.cursor.execute(sql, values).fetchall()
    return rows


def kind_of(type_name: str) -> Kind:
    """What a declared type promises; ``any`` when it promises nothing."""
    words = re.findall(r"\w+", type_name.lower())
    if words and words[0] in _KIND_OF_TYPE:
        return _KIND_OF_TYPE[words[0]]
    for part, kind in _KIND_OF_AFFINITY:
        if part in type_name.lower():
            return kind
    return "any"


def _uniques(
    connection: KeptConnection, table: str, key: tuple[str, ...], names: tuple[str, ...]
) -> tuple[tuple[Unique, ...], tuple[str, ...]]:
    """The key first, then every unique index; and the key again, when it is the rowid."""
    found = []
    listed = rows_of(
        connection,
        "SELECT l.name, l.origin, m.sql FROM pragma_index_list(?) l LEFT JOIN sqlite_master m"
        " ON m.type = 'index' AND m.name = l.name WHERE l.\"unique\" ORDER BY l.seq DESC",
        table,
    )
    for name, origin, sql in listed:
        infos = rows_of(
            connection,
            'SELECT name, coll FROM pragma_index_xinfo(?) WHERE "key" ORDER BY seqno',
            name,
        )
        terms, where = index_terms(sql) if sql else ([], "")
        terms = [
            quoted(column) if column is not None else terms[place]
            for place, (column, _) in enumerate(infos)
        ]
        columns = tuple(dict.fromkeys(c for term in terms for c in columns_in(term, names)))
        collations = tuple(collation for _, collation in infos)
        found.append(Unique(name, tuple(terms), collations, columns, where, origin == "pk"))
    found.sort(key=lambda unique: not unique.is_key)
    if key and not any(unique.is_key for unique in found):
        rowid = Unique("primary key", tuple(map(quoted, key)), ("",) * len(key), key, is_key=True)
        return (rowid, *found), key
    return tuple(found), ()


def _foreign_keys(connection: KeptConnection, table: str) -> tuple[ForeignKey, ...]:
    rows = rows_of(
        connection,
        'SELECT id, "table", "from", "to", on_update, on_delete FROM pragma_foreign_key_list(?)'
        " ORDER BY id, seq",
        table,
    )
    found = []
    for _, together in itertools.groupby(rows, key=lambda row: row[0]):
        parts = list(together)
        _, parent, _, to, on_update, on_delete = parts[0]
        parent_columns = tuple(part[3] for part in parts)
        if to is None:  # It names the parent's key without saying so.
            infos = rows_of(
                connection, "SELECT name FROM pragma_table_info(?) WHERE pk ORDER BY pk", parent
            )
            parent_columns = tuple(name for (name,) in infos)
        columns = tuple(part[2] for part in parts)
        found.append(ForeignKey(columns, parent, parent_columns, on_delete, on_update))
    return tuple(found)
