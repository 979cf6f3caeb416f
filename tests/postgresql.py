"""Fixtures that give tests a real database: a fresh one each, on a server that starts when needed.

A test session (with pytest-xdist: each worker) starts at most one PostgreSQL, for the first test
that asks; see ``postgresql_server.py`` for how it ends.
"""

from __future__ import annotations

import itertools
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest

SERVER = Path(__file__).with_name("postgresql_server.py")
DATABASES = ("sqlite3", "postgresql")


def url_of(database: str, directory: str) -> str:
    """The URL of a database on the server whose socket is in ``directory``."""
    return f"postgresql://postgres@/{database}?host={directory}"


@pytest.fixture(scope="session")
def postgresql_url() -> Iterator[str]:
    """The URL of the session's server, with its database ``postgres``; for administration only."""
    server = subprocess.Popen(
        [sys.executable, SERVER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,  # Ctrl-C is for the tests, the server goes when they are gone
    )
    assert server.stdin is not None
    assert server.stdout is not None
    try:
        answer, _, directory = server.stdout.readline().strip().partition(" ")
        if answer != "ready":
            pytest.fail("PostgreSQL did not start, its log is on stderr", pytrace=False)
        yield url_of("postgres", directory)
    finally:
        server.stdin.close()
        server.wait()
        server.stdout.close()


@pytest.fixture(scope="session")
def _administrator(postgresql_url: str) -> Iterator[psycopg.Connection]:
    with psycopg.connect(postgresql_url, autocommit=True) as connection:
        yield connection


@pytest.fixture(scope="session")
def _numbers() -> Iterator[int]:
    return itertools.count(1)


@pytest.fixture
def new_postgresql_database(
    _administrator: psycopg.Connection, _numbers: Iterator[int]
) -> Iterator[Callable[[], str]]:
    """Call it for the URL of a new, empty database; as often as the test needs one."""
    made: list[str] = []

    def create() -> str:
        name = f"test_{next(_numbers)}"
        _administrator.execute(f"CREATE DATABASE {name}")
        made.append(name)
        return url_of(name, _administrator.info.host)

    yield create
    # A restore keeps the old database under another name.
    there = "SELECT datname FROM pg_database WHERE datname = ANY(%s) OR datname LIKE ANY(%s)"
    kept = [f"{name}\\_%" for name in made]
    for (name,) in _administrator.execute(there, (made, kept)).fetchall():
        _administrator.execute(f'DROP DATABASE "{name}" WITH (FORCE)')


@pytest.fixture
def postgresql_database_url(new_postgresql_database: Callable[[], str]) -> str:
    """The URL of a new, empty PostgreSQL database of this test's own."""
    return new_postgresql_database()


@pytest.fixture(params=DATABASES)
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a new, empty database of this test's own, on each kind of database in turn."""
    if request.param == "postgresql":
        return str(request.getfixturevalue("postgresql_database_url"))
    return f"sqlite:///{tmp_path}/stepwell.db"
