"""The tables of the change log are made once, whoever comes first, and never guessed at."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from stepwell.database.connect import open_database
from stepwell.errors import SchemaTooNew
from stepwell.sync.schema import is_made, make_tables
from stepwell.sync.tables import metadata


def test_the_tables_are_made_once(database_url: str) -> None:
    with open_database(database_url) as database, open_database(database_url) as other:
        assert not is_made(database)
        with ThreadPoolExecutor(2) as threads:
            made = list(threads.map(make_tables, (database, other)))
        with database.read() as reader:
            there = [
                reader.ask(lambda c, name=name: database.dialect.has_table(c, name))
                for name in metadata.tables
            ]

        assert [False, True] == sorted(made)
        assert all(there)
        assert is_made(other)
        assert not make_tables(other)


def test_the_tables_of_a_newer_release_are_refused(database_url: str) -> None:
    with open_database(database_url) as database:
        make_tables(database)
        with database.write() as transaction:
            transaction.connection.execute("UPDATE sync_schema SET version = 99")

        with pytest.raises(SchemaTooNew, match=r"change log is 99, this release reads up to 1$"):
            make_tables(database)
