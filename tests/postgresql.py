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
USES_MAX = 30  # Nothing sweeps the server's catalogues.
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


@pytest.fixture(scope="session")
def _emptied() -> dict[str, int]:
    """Databases that are as good as new, by name, with how often each was used."""
    return {}


@pytest.fixture
def new_postgresql_database(
    _administrator: psycopg.Connection, _numbers: Iterator[int], _emptied: dict[str, int]
) -> Iterator[Callable[[], str]]:
    """Call it for the URL of an empty database; as often as the test needs one.

    To make and drop a database costs half a second, to empty one almost nothing.
    """
    made: dict[str, int] = {}
    identities = {}

    def create() -> str:
        name, uses = _emptied.popitem() if _emptied else (f"test_{next(_numbers)}", 0)
        if not uses:
            _administrator.execute(f"CREATE DATABASE {name}")
        made[name] = uses + 1
        identities[name] = _identity(_administrator, name)
        return url_of(name, _administrator.info.host)

    yield create
    for name, uses in made.items():
        is_same = _identity(_administrator, name) == identities[name]
        if is_same and uses < USES_MAX and _is_emptied(url_of(name, _administrator.info.host)):
            _emptied[name] = uses
    # A restore keeps the old database under another name.
    there = "SELECT datname FROM pg_database WHERE datname = ANY(%s) OR datname LIKE ANY(%s)"
    kept = [f"{name}\\_%" for name in made]
    for (name,) in _administrator.execute(there, (list(made), kept)).fetchall():
        if name not in _emptied:
            _administrator.execute(f'DROP DATABASE "{name}" WITH (FORCE)')


def _identity(administrator: psycopg.Connection, name: str) -> tuple[object, ...] | None:
    """What a database of this name is, and whether it has settings of its own."""
    query = (
        "SELECT d.oid, d.datallowconn, d.datconnlimit, (SELECT count(*) FROM pg_db_role_setting s"
        " WHERE s.setdatabase = d.oid) FROM pg_database d WHERE d.datname = %s"
    )
    return administrator.execute(query, (name,)).fetchone()


def _is_emptied(url: str) -> bool:
    """Take everything out of a database; False: it has what only a new one is free of."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        [(others,)] = connection.execute(
            "SELECT count(*) FROM pg_namespace WHERE nspname !~ '^pg_'"
            " AND nspname NOT IN ('public', 'information_schema')"
        ).fetchall()
        connection.execute("DROP SCHEMA public CASCADE")
        connection.execute("CREATE SCHEMA public")
    return others == 0


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
