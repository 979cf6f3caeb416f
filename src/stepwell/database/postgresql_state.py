"""Questions to a PostgreSQL database about its whole state, for copies; each takes a connection."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from stepwell.database.copies import Contents, Fence
from stepwell.database.dialect import KeptConnection, OldestReader

_OURS = "n.nspname NOT LIKE 'pg\\_%' AND n.nspname <> 'information_schema'"
_TABLES = f"""SELECT n.nspname, c.relname FROM pg_class c JOIN pg_namespace n
    ON n.oid = c.relnamespace WHERE c.relkind = 'r' AND {_OURS} ORDER BY 1, 2"""
# Without the numbers that a dropped column leaves behind.
_SCHEMA = (
    f"""SELECT n.nspname, c.relname, c.relkind::text, a.attname,
    format_type(a.atttypid, a.atttypmod), a.attnotnull FROM pg_class c
    JOIN pg_namespace n ON n.oid = c.relnamespace
    JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
    WHERE c.relkind IN ('r', 'p', 'v', 'm') AND {_OURS} ORDER BY 1, 2, a.attnum""",
    f"""SELECT n.nspname, c.conname, pg_get_constraintdef(c.oid) FROM pg_constraint c
    JOIN pg_namespace n ON n.oid = c.connamespace WHERE {_OURS} ORDER BY 1, 2, 3""",
    f"""SELECT n.nspname, pg_get_indexdef(c.oid) FROM pg_class c
    JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind = 'i' AND {_OURS}
    ORDER BY 1, 2""",
    f"""SELECT n.nspname, pg_get_triggerdef(t.oid) FROM pg_trigger t
    JOIN pg_class c ON c.oid = t.tgrelid JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE NOT t.tgisinternal AND {_OURS} ORDER BY 1, 2""",
)
_EPOCH = "SELECT epoch FROM batch_owner ORDER BY owner_id DESC LIMIT 1"
_SEQUENCES = """SELECT relname, sequence FROM (
    SELECT c.relname, pg_get_serial_sequence(quote_ident(c.relname), a.attname) AS sequence
    FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
    WHERE c.relkind = 'r' AND c.relname ~ '^(batch_|sync_|change_log$)' AND a.attnum > 0
    AND NOT a.attisdropped AND pg_table_is_visible(c.oid)) columns
    WHERE sequence IS NOT NULL"""


def export_snapshot(connection: KeptConnection) -> str:
    """The id under which another session sees what this transaction sees."""
    # Whoever dumps may take longer than a transaction may stand idle.
    connection.cursor.execute("SET LOCAL idle_in_transaction_session_timeout = 0")
    connection.cursor.execute("SELECT pg_export_snapshot()")
    return str(connection.cursor.fetchall()[0][0])


def oldest_transaction(connection: KeptConnection) -> OldestReader | None:
    """The oldest transaction of another session, which keeps old rows from being cleared."""
    cursor = connection.cursor
    rows = _rows(
        cursor,
        """SELECT pid, application_name, extract(epoch FROM clock_timestamp() - xact_start)
        FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()
        AND xact_start IS NOT NULL ORDER BY xact_start LIMIT 1""",
    )
    return OldestReader(rows[0][0], rows[0][1], None, float(rows[0][2])) if rows else None


def contents(connection: KeptConnection, schema_version: str | None) -> Contents:
    """Every table of every schema, with its number of rows."""
    cursor = connection.cursor
    schema = [_rows(cursor, question) for question in _SCHEMA]
    return Contents(
        schema_version=schema_version,
        schema_sha256=hashlib.sha256(repr(schema).encode()).hexdigest(),
        tables={
            f"{schema}.{table}": _count(cursor, schema, table)
            for schema, table in _rows(cursor, _TABLES)
        },
    )


def fence(connection: KeptConnection) -> Fence:
    """The epoch, and the ids that Stepwell's tables have given out."""
    cursor = connection.cursor
    epochs = _rows(cursor, _EPOCH)
    return Fence(
        int(epochs[0][0]) if epochs else None,
        {table: _last(cursor, sequence) for table, sequence in _rows(cursor, _SEQUENCES)},
    )


def raise_identities(connection: KeptConnection, identities: Mapping[str, int]) -> None:
    """Have the identity columns go on above these numbers."""
    cursor = connection.cursor
    for table, sequence in _rows(cursor, _SEQUENCES):
        last = identities.get(table, 0)
        if last > _last(cursor, sequence):
            cursor.execute("SELECT setval(%s::regclass, %s)", (sequence, last))
            cursor.fetchall()


def _last(cursor: Any, sequence: str) -> int:
    cursor.execute("SELECT COALESCE(pg_sequence_last_value(%s::regclass), 0)", (sequence,))
    return int(cursor.fetchall()[0][0])


def _count(cursor: Any, schema: str, table: str) -> int:
    cursor.execute(f"SELECT COUNT(*) FROM {_quoted(schema)}.{_quoted(table)}")
    return int(cursor.fetchall()[0][0])


def _rows(cursor: Any, question: str) -> list[tuple[Any, ...]]:
    # Not executed with parameters, so that a % needs no doubling.
    cursor.execute(question)
    return list(cursor.fetchall())


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
