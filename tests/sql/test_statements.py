"""Every prepared statement of the package is understood by both databases; hot ones have an index.

The statements are found by looking at all modules, so that a new one is tested without being named.
"""

from __future__ import annotations

import importlib
import itertools
import pkgutil
import re
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from sqlalchemy.schema import CreateTable

import stepwell
from stepwell.database.connect import Database, open_database
from stepwell.database.migrations import migrate
from stepwell.database.moves import batch_move
from stepwell.database.postgresql import PostgresqlDialect
from stepwell.database.prepared import Prepared
from stepwell.database.sqlite import SqliteDialect
from stepwell.database.tables import metadata
from stepwell.sync.schema import make_tables
from stepwell.sync.tables import metadata as sync_metadata

STORAGE = ("database", "repository", "sync", "backup", "items")

# Statements that may read a whole table, and why.
GROWING = re.compile("SCAN (batch_|change_log|sync_(row|applied|conflict|quarantine|alias|audit))")
# A scan of one of these reads the few rows that are not done.
PARTIAL_INDEXES = {
    index.name
    for table in (*metadata.tables.values(), *sync_metadata.tables.values())
    for index in table.indexes
    if index.dialect_options["sqlite"]["where"] is not None
}
# These have as many rows as people have written, or as are held right now, or one.
SMALL_TABLES = (
    "SCAN (?:batch_(?:schedule|notification_channel|lock|token|move)|sync_quarantine_key)"
)
WHOLE_TABLE = {
    "LIST_GIVEN_UP": "what was told in the last week, for the doctor",
    "PRUNE_NOTIFICATIONS": "what was told in the last week, once an hour",
    "LIST_SIZES": "the pools, which people name one by one",
    "LIST_CONFIGURED": "the pools, which people name one by one",
    "_CHANGES": "the doctor replays all of the history",
    "_ANY": "one row is enough to know",
    "_UNDECIDED": "the doctor looks at every conflict",
    "_KNOWN": "one look an export or import; pruning keeps it short",
    "_PAGE": "the audit, for people; the newest of it, by its key",
    "FALLING_EPOCHS": "the doctor looks at every owner",
}


def statements() -> Iterator[tuple[str, Prepared]]:
    seen: set[int] = set()
    for found in pkgutil.walk_packages(stepwell.__path__, "stepwell."):
        if found.name.split(".")[1] not in STORAGE or ".versions." in found.name:
            continue
        for name, value in vars(importlib.import_module(found.name)).items():
            # Some stand together, in a tuple.
            for number, one in enumerate(value if isinstance(value, tuple) else (value,)):
                if isinstance(one, Prepared) and id(one) not in seen:
                    seen.add(id(one))
                    yield f"{found.name}.{name}" + (f"-{number}" if number else ""), one


STATEMENTS = dict(statements())


def make_all_tables(database: Database) -> None:
    migrate(database)
    make_tables(database)
    with database.write() as transaction:
        create = CreateTable(batch_move).compile(dialect=database.dialect.core)
        transaction.connection.execute(str(create).strip())


@pytest.fixture(scope="module")
def sqlite_connection(tmp_path_factory: pytest.TempPathFactory) -> Iterator[sqlite3.Connection]:
    path: Path = tmp_path_factory.mktemp("sql") / "stepwell.db"
    with open_database(f"sqlite:///{path}") as database:
        make_all_tables(database)
    connection = sqlite3.connect(path)
    yield connection
    connection.close()


def test_there_are_statements() -> None:
    assert len(STATEMENTS) > 40


@pytest.mark.parametrize("name", STATEMENTS)
def test_sqlite_understands_it_and_reads_no_growing_table_whole(
    name: str, sqlite_connection: sqlite3.Connection
) -> None:
    plan = STATEMENTS[name].plan(SqliteDialect.core)
    steps = sqlite_connection.execute(
        f"EXPLAIN QUERY PLAN {plan.sql}", [None] * len(plan.names)
    ).fetchall()
    scans = [
        step[3]
        for step in steps
        if GROWING.match(step[3])
        and step[3].rpartition("USING INDEX ")[2] not in PARTIAL_INDEXES
        and not re.match(rf"{SMALL_TABLES}\b", step[3])
    ]

    if name.rpartition(".")[2] not in WHOLE_TABLE:
        assert [] == scans


def test_postgresql_understands_all_of_them(postgresql_database_url: str) -> None:
    with open_database(postgresql_database_url) as database:
        make_all_tables(database)
    refused = {}
    with psycopg.connect(postgresql_database_url, autocommit=True) as connection:
        for name, prepared in STATEMENTS.items():
            try:
                connection.execute(f"EXPLAIN (GENERIC_PLAN) {numbered(prepared)}".encode())
            except psycopg.Error as error:
                refused[name] = str(error)

    assert {} == refused


def numbered(prepared: Prepared) -> str:
    """The text with the server's own markers, ``$1``, as the driver sends it."""
    numbers = itertools.count(1)
    sql = prepared.plan(PostgresqlDialect.core).sql
    return re.sub("%s|%%", lambda found: "%" if found[0] == "%%" else f"${next(numbers)}", sql)
