"""What tests ask of a change log: its changes, the rows that they make, strictly replayed."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from stepwell.database.connect import Database
from stepwell.sync.change import Change, Values, decode_values, key_text
from stepwell.sync.log import changes_of, last_lsn, seal_all

Rows = dict[str, dict[str, Values]]


def execute(database: Database, *statements: str) -> None:
    """Statements of the application, in one transaction."""
    with database.write() as transaction:
        for statement in statements:
            transaction.connection.execute(statement)


def log_of(database: Database) -> list[Change]:
    """Every change, with everything sealed that is committed."""
    seal_all(database)
    with database.read() as reader:
        end = last_lsn(reader)
    return list(changes_of(database, 0, end))


def replay(changes: Iterable[Change], *, exact_images: bool = True) -> Rows:
    """Table → key → row, after all changes.

    Strict: nothing is inserted where a row is, nothing updated or deleted where none is, and (with
    ``exact_images``) an old image is what the changes before it made.
    """
    rows: Rows = {}
    for change in changes:
        table = rows.setdefault(change.table_name, {})
        key = change.key.pk_json
        known = table.pop(key, None)
        assert (change.op == "I") == (known is None), (change.op, change.lsn, key, known)
        old = change.old_values()
        if exact_images:
            assert old is None or old == known, (change.lsn, old, known)
        if change.op != "D":
            row = change.new_values()
            new_key = key_text({name: row[name] for name in decode_values(change.pk_json)})
            assert new_key not in table, (change.lsn, new_key)
            table[new_key] = row
    return rows


def rows_of(database: Database, table: str, *key: str) -> dict[str, Values]:
    """The table itself, in the same form."""
    with database.read() as reader:
        result = reader.connection.execute(f'SELECT * FROM "{table}"')
        names = result.columns
        rows: list[dict[str, Any]] = [dict(zip(names, row, strict=True)) for row in result]
    return {key_text({name: row[name] for name in key}): row for row in rows}


def told(changes: Iterable[Change]) -> list[tuple[str, str, str]]:
    """Operation, table and key of each change: what a test can read at a glance."""
    return [(change.op, change.table_name, change.key.pk_json) for change in changes]
