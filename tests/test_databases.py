"""The databases that tests are given: real, empty, apart from each other, gone afterwards."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import psycopg
import sqlalchemy

from tests.postgresql import SERVER, url_of


def test_psycopg_connects_with_the_url(postgresql_database_url: str) -> None:
    with psycopg.connect(postgresql_database_url) as connection:
        row = connection.execute("SELECT current_database() LIKE 'test_%', 1").fetchone()

    assert (True, 1) == row


def test_databases_of_one_test_are_apart_and_empty(
    new_postgresql_database: Callable[[], str],
) -> None:
    first, second = new_postgresql_database(), new_postgresql_database()
    with psycopg.connect(first) as connection:
        connection.execute("CREATE TABLE thing (id integer)")
    with psycopg.connect(second) as connection:
        row = connection.execute("SELECT to_regclass('thing')").fetchone()

    assert (None,) == row


def test_sqlalchemy_opens_the_url_of_each_database(database_url: str) -> None:
    engine = sqlalchemy.create_engine(database_url)
    with engine.begin() as connection:
        connection.execute(sqlalchemy.text("CREATE TABLE thing (id integer)"))
        connection.execute(sqlalchemy.text("INSERT INTO thing VALUES (1)"))
    with engine.connect() as connection:
        rows = connection.execute(sqlalchemy.text("SELECT id FROM thing")).all()
    engine.dispose()

    assert [(1,)] == rows


def test_a_server_ends_when_its_owner_is_killed() -> None:
    """Method: a process that starts a server is killed; the connection to the server must end."""
    owner = subprocess.Popen(
        [sys.executable, "-c", OWNER, str(SERVER)], stdout=subprocess.PIPE, text=True
    )
    assert owner.stdout is not None
    directory = owner.stdout.readline().removeprefix("ready ").strip()
    with psycopg.connect(url_of("postgres", directory)) as connection:
        os.kill(owner.pid, signal.SIGKILL)
        owner.wait()
        owner.stdout.read()  # ends with the last process that writes there, the server's keeper

        gone = False
        try:
            connection.execute("SELECT 1")
        except psycopg.OperationalError:
            gone = True

    owner.stdout.close()
    assert gone
    assert not Path(directory).exists()


OWNER = """
import subprocess, sys
keeper = subprocess.Popen([sys.executable, sys.argv[1]], stdin=subprocess.PIPE)
keeper.wait()
"""
