"""Questions to a SQLite file about its whole state, for copies; each takes an open connection."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from stepwell.database.copies import Contents, Fence
from stepwell.database.dialect import KeptConnection

_SCHEMA = """SELECT type, name, tbl_name, sql FROM sqlite_master
    WHERE name NOT LIKE 'sqlite^_%' ESCAPE '^' ORDER BY type, name"""
_TABLES = """SELECT name FROM sqlite_master WHERE type = 'table'
    AND name NOT LIKE 'sqlite^_%' ESCAPE '^' AND sql NOT LIKE 'CREATE VIRTUAL%' ORDER BY name"""
_VERSION = "SELECT version_num FROM batch_schema_version"
_EPOCH = "SELECT epoch FROM batch_owner ORDER BY owner_id DESC LIMIT 1"
_IDENTITIES = """SELECT name, seq FROM sqlite_sequence
    WHERE name GLOB 'batch_*' OR name GLOB 'sync_*' OR name = 'change_log'"""


def contents(connection: KeptConnection) -> Contents:
    """Every table with its number of rows; virtual tables are counted by what they are made of."""
    cursor = connection.cursor
    schema = cursor.execute(_SCHEMA).fetchall()
    tables = [str(row[0]) for row in cursor.execute(_TABLES).fetchall()]
    versions = cursor.execute(_VERSION).fetchall() if "batch_schema_version" in tables else []
    return Contents(
        schema_version=str(versions[0][0]) if versions else None,
        schema_sha256=hashlib.sha256(repr([tuple(row) for row in schema]).encode()).hexdigest(),
        tables={table: _count(cursor, table) for table in tables},
    )


def _count(cursor: Any, table: str) -> int:
    return int(cursor.execute(f"SELECT COUNT(*) FROM {_quoted(table)}").fetchall()[0][0])


def first_broken_key(connection: KeptConnection) -> tuple[int, str, str, int] | None:
    """A row of Stepwell's that names no row of its parent: row, table, parent, how many such."""
    cursor = connection.cursor
    tables = cursor.execute(
        "SELECT name FROM sqlite_master WHERE type = 'table' AND name GLOB 'batch_*'"
    ).fetchall()
    for (table,) in tables:
        broken = cursor.execute(f"PRAGMA foreign_key_check({_quoted(table)})").fetchall()
        if broken:
            return broken[0][1], str(table), str(broken[0][2]), len(broken)
    return None


def is_empty(connection: KeptConnection) -> bool:
    """Whether the file holds nothing at all."""
    return not connection.cursor.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchall()


def fence(connection: KeptConnection) -> Fence:
    """The epoch, and the ids that Stepwell's tables have given out."""
    cursor = connection.cursor
    epochs = cursor.execute(_EPOCH).fetchall()
    identities = {str(name): int(last) for name, last in cursor.execute(_IDENTITIES).fetchall()}
    return Fence(int(epochs[0][0]) if epochs else None, identities)


def raise_identities(connection: KeptConnection, identities: Mapping[str, int]) -> None:
    """Have AUTOINCREMENT go on above these numbers (sqlite.org/autoinc.html)."""
    cursor = connection.cursor
    own = {str(name): int(last) for name, last in cursor.execute(_IDENTITIES).fetchall()}
    for table, last in identities.items():
        if table not in own:
            # A table that has never held a row has no number yet.
            cursor.execute("INSERT INTO sqlite_sequence (name, seq) VALUES (?, ?)", (table, last))
        elif own[table] < last:
            cursor.execute("UPDATE sqlite_sequence SET seq = ? WHERE name = ?", (last, table))


def give_page_size_of(live: Any, copy: Any) -> None:
    """Rebuild the copy with the live database's page size: pages are written one for one."""
    (wanted,) = live.execute("PRAGMA page_size").fetchone()
    (found,) = copy.execute("PRAGMA page_size").fetchone()
    if wanted != found:
        # The size of a page cannot be changed in WAL mode.
        copy.execute("PRAGMA journal_mode = DELETE").fetchall()
        copy.execute(f"PRAGMA page_size = {int(wanted)}")
        copy.execute("VACUUM")


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
