"""Fixtures for tests that need many databases, one after the other, each like the last one."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from stepwell.testing import WarmParent

CREATE = "tests.support.processes:create"
RUN = "tests.support.processes:recover_and_run_small_job"


class SqliteDatabases:
    """Files in one folder; a copy of a migrated one costs nothing."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._template: str | None = None
        self._made = 0

    def empty(self) -> str:
        """The URL of a file that is not there."""
        self._made += 1
        return f"sqlite:///{self._folder}/{self._made}.db"

    def migrated(self, parent: WarmParent) -> str:
        """The URL of a database with Stepwell's tables and no rows."""
        if self._template is None:
            self._template = self.empty()
            parent.run(CREATE, url=self._template)
            parent.run(CREATE, url=self._template)  # Whose close moves the log into the file.
        url = self.empty()
        shutil.copy(_path(self._template), _path(url))
        return url

    def drop(self, url: str) -> None:
        """Delete a database with what stands beside it."""
        for file in self._folder.glob(f"{_path(url).name}*"):
            file.unlink()


class PostgresqlDatabases:
    """One database of the session's server, made as good as new each time: that is much faster."""

    def __init__(self, url: str, connection: psycopg.Connection) -> None:
        self._url = url
        self._connection = connection

    def empty(self) -> str:
        """The URL of a database without tables."""
        self._connection.execute("DROP SCHEMA public CASCADE")
        self._connection.execute("CREATE SCHEMA public")
        return self._url

    def migrated(self, parent: WarmParent) -> str:
        """The URL of a database with Stepwell's tables and no rows."""
        tables = [
            str(row[0])
            for row in self._connection.execute(
                "SELECT tablename FROM pg_tables WHERE schemaname = 'public'"
            )
        ]
        if "batch_schema_version" not in tables:
            parent.run(CREATE, url=self.empty())
            return self._url
        statements = [
            f"DELETE FROM {table}" if table.startswith("batch_") else f"DROP TABLE {table}"
            for table in tables
            if table != "batch_schema_version"
        ]
        with self._connection.transaction():
            # Without triggers: the history refuses to be deleted.
            self._connection.execute("SET LOCAL session_replication_role = replica")
            self._connection.execute("; ".join(statements))
        return self._url

    def drop(self, url: str) -> None:
        """The next one is made of it."""


Databases = SqliteDatabases | PostgresqlDatabases


def _path(url: str) -> Path:
    return Path(url.removeprefix("sqlite:///"))


@pytest.fixture(params=["sqlite3", "postgresql"])
def databases(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Databases]:
    """As many databases as a test needs, one after the other, on each kind in turn."""
    if request.param == "sqlite3":
        yield SqliteDatabases(tmp_path)
        return
    url: str = request.getfixturevalue("postgresql_database_url")
    with psycopg.connect(url, autocommit=True) as connection:
        yield PostgresqlDatabases(url, connection)


@pytest.fixture(scope="session")
def warm_parent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WarmParent]:
    """Forks children that have imported Stepwell and have run the small job once."""
    with WarmParent(["tests.support.quiet", "tests.support.processes"]) as parent:
        warm = f"sqlite:///{tmp_path_factory.mktemp('warm')}/warm.db"
        parent.warm_up(CREATE, url=warm)
        parent.warm_up(RUN, url=warm)
        yield parent
