"""Open databases for the tests of database/: each kind in turn, or SQLite alone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from stepwell.database.connect import Database, open_database


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    """A new database of each kind, with one table of the application's."""
    with open_database(database_url) as database:
        make_item_table(database)
        yield database


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/stepwell.db"


@pytest.fixture
def sqlite(sqlite_url: str) -> Iterator[Database]:
    """A new SQLite database with one table of the application's."""
    with open_database(sqlite_url) as database:
        make_item_table(database)
        yield database


def make_item_table(database: Database) -> None:
    with database.write() as transaction:
        transaction.connection.execute(
            "CREATE TABLE item"
            " (id bigint PRIMARY KEY, name text NOT NULL, n integer CHECK (n < 100))"
        )
