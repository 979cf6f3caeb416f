"""What a table looks like, from PostgreSQL's catalog."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from stepwell.database.dialect import KeptConnection
from stepwell.database.shape import Column, ForeignKey, Kind, TableShape, Unique, columns_in

_KIND_OF_TYPE: dict[str, Kind] = {
    "int2": "integer",
    "int4": "integer",
    "int8": "integer",
    "float4": "real",
    "float8": "real",
    "numeric": "decimal",
    "bool": "boolean",
    "text": "text",
    "varchar": "text",
    "bpchar": "text",
    "name": "text",
    "citext": "text",
    "bytea": "blob",
    "date": "date",
    "time": "time",
    "timetz": "time",
    "timestamp": "timestamp",
    "timestamptz": "timestamp",
    "json": "json",
    "jsonb": "json",
    "uuid": "uuid",
}
_ACTIONS = {
    "a": "NO ACTION",
    "r": "RESTRICT",
    "c": "CASCADE",
    "n": "SET NULL",
    "d": "SET DEFAULT",
}


def read_table(connection: KeptConnection, name: str) -> TableShape | None:
    """A table of the schema that the search path finds first; None when there is none."""
    found = rows_of(
        connection,
        "SELECT c.oid, c.relkind, c.relname FROM pg_class c"
        " WHERE c.oid = to_regclass(quote_ident(%s))",
        name,
    )
    if not found:
        return None
    oid, relkind, relname = found[0]
    kinds = {"r": "table", "p": "table", "v": "view", "m": "view", "f": "foreign table"}
    infos = rows_of(
        connection,
        "SELECT a.attnum, a.attname, format_type(a.atttypid, a.atttypmod),"
        " COALESCE(base.typname, t.typname), a.attnotnull,"
        " a.atthasdef OR a.attidentity <> '', a.attgenerated"
        " FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid"
        " LEFT JOIN pg_type base ON base.oid = t.typbasetype AND t.typtype = 'd'"
        " WHERE a.attrelid = %s AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum",
        oid,
    )
    columns = tuple(
        Column(
            name=column,
            type_name=type_name,
            kind=_KIND_OF_TYPE.get(type_id, "any"),
            nullable=not not_null,
            has_default=has_default,
        )
        for _, column, type_name, type_id, not_null, has_default, generated in infos
        if not generated
    )
    names = tuple(info[1] for info in infos)
    uniques = _uniques(connection, oid, names)
    key = next((unique.columns for unique in uniques if unique.is_key), ())
    return TableShape(
        relname,
        kinds.get(relkind, relkind),
        columns,
        key,
        uniques,
        _foreign_keys(connection, oid),
    )


def default_sql(connection: KeptConnection, table: str, column: str) -> str | None:
    """The expression of a column's default; None without one, or where it calls a function."""
    found = rows_of(
        connection,
        "SELECT pg_get_expr(d.adbin, d.adrelid) FROM pg_attrdef d JOIN pg_attribute a"
        " ON a.attrelid = d.adrelid AND a.attnum = d.adnum"
        " WHERE d.adrelid = to_regclass(quote_ident(%s)) AND a.attname = %s",
        table,
        column,
    )
    return None if not found or re.search(r"\w\(", found[0][0]) else found[0][0]


def rows_of(connection: KeptConnection, sql: str, *values: object) -> list[tuple[Any, ...]]:
    """All rows of a query."""
    connection.cursor.execute(sql, values)
    rows: list[tuple[Any, ...]] = connection.cursor.fetchall()
    return rows


def _uniques(connection: KeptConnection, oid: int, names: Sequence[str]) -> tuple[Unique, ...]:
    """The key first, then every unique index."""
    rows = rows_of(
        connection,
        "SELECT c.relname, i.indisprimary, pg_get_expr(i.indpred, i.indrelid),"
        " to_jsonb(i)->>'indnullsnotdistinct',"
        " ARRAY(SELECT pg_get_indexdef(i.indexrelid, n, true)"
        " FROM generate_series(1, i.indnkeyatts) n)"
        " FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid"
        " WHERE i.indrelid = %s AND i.indisunique ORDER BY NOT i.indisprimary, c.relname",
        oid,
    )
    return tuple(
        Unique(
            name,
            tuple(terms),
            ("",) * len(terms),
            tuple(dict.fromkeys(c for term in terms for c in columns_in(term, names))),
            where or "",
            is_key,
            nulls_equal == "true",
        )
        for name, is_key, where, nulls_equal, terms in rows
    )


def _foreign_keys(connection: KeptConnection, oid: int) -> tuple[ForeignKey, ...]:
    columns = (
        "ARRAY(SELECT a.attname::text FROM unnest({key}) WITH ORDINALITY AS k(number, place)"
        " JOIN pg_attribute a ON a.attrelid = {relation} AND a.attnum = k.number ORDER BY k.place)"
    )
    rows = rows_of(
        connection,
        f"SELECT {columns.format(key='f.conkey', relation='f.conrelid')}, p.relname,"
        f" {columns.format(key='f.confkey', relation='f.confrelid')},"
        " f.confdeltype::text, f.confupdtype::text"
        " FROM pg_constraint f JOIN pg_class p ON p.oid = f.confrelid"
        " WHERE f.conrelid = %s AND f.contype = 'f' ORDER BY f.oid",
        oid,
    )
    return tuple(
        ForeignKey(tuple(here), parent, tuple(there), _ACTIONS[delete], _ACTIONS[update])
        for here, parent, there, delete, update in rows
    )
