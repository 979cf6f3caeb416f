"""T14: random changes to the tables never end an examination or a repair in an exception."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pysqlite3
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from stepwell import Node
from stepwell.database.tables import metadata
from stepwell.doctor.doctor import Doctor
from stepwell.finding import Finding
from stepwell.settings import Settings
from stepwell.testing import FrozenClock
from tests.conformance.test_invariants import tell_a_story
from tests.doctor.patients import no_copy

TABLES = [table for table in metadata.sorted_tables if table.name != "batch_purge"]
VALUES: st.SearchStrategy[Any] = st.one_of(
    st.none(),
    st.integers(-2, 5),
    st.sampled_from([2**62, 0.5, b"\x00\xff", "", "x", "{", "null", "STARTED", "COMPLETED"]),
    st.sampled_from(["FAILED", "SUCCESS", "2026-02-30", "9999-12-31T23:59:59.999999Z", "DONE"]),
)
HISTORY = ("batch_status_history", "")
COLUMNS = [(table.name, column.name) for table in TABLES for column in table.columns]
ROWS_OF = st.sampled_from(TABLES).map(lambda table: (table.name, ""))
CHANGES = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(COLUMNS), VALUES, st.integers(0, 6)),
        st.tuples(ROWS_OF, st.none(), st.none()),  # A table is emptied,
        st.tuples(ROWS_OF, st.none(), st.integers(0, 6)),  # or loses one row.
    ),
    min_size=1,
    max_size=4,
)


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with a past; each example breaks a copy of it."""
    path = tmp_path_factory.mktemp("told") / "told.db"
    clock = FrozenClock()
    with Node.open(_settings(path), clock=clock) as node:
        tell_a_story(node, clock)
    with Node.open(_settings(path), clock=clock):
        """Whose close moves the log into the file."""
    return path


def _settings(path: Path) -> Settings:
    return Settings(database=f"sqlite:///{path}", sqlite_driver="pysqlite3")


def mutate(path: Path, changes: list[Any]) -> None:
    """What a person at a shell could do: any value, any row gone, nothing that checks."""
    connection = pysqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA ignore_check_constraints = ON")
    for (trigger,) in connection.execute(
        "SELECT name FROM sqlite_master WHERE type = 'trigger'"
    ).fetchall():
        connection.execute(f"DROP TRIGGER {trigger}")
    for (table, column), value, place in changes:
        offset = "" if place is None else f" LIMIT 1 OFFSET {place}"
        keys = ", ".join(key.name for key in metadata.tables[table].primary_key)
        which = f"WHERE ({keys}) IN (SELECT {keys} FROM {table}{offset})"
        verb = f"UPDATE {table} SET {column} = ?" if column else f"DELETE FROM {table}"
        try:
            connection.execute(f"{verb} {which}", (value,) if column else ())
        except pysqlite3.Error:
            continue  # NOT NULL and unique keys hold whatever is switched off.
    connection.close()


def mutate_postgresql(url: str, changes: list[Any]) -> None:
    """The same on a server, which keeps its types and CHECKs; references and triggers are off."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("SET session_replication_role = replica")
        for (table, column), value, place in changes:
            offset = "" if place is None else f" LIMIT 1 OFFSET {place}"
            keys = ", ".join(key.name for key in metadata.tables[table].primary_key)
            which = f"WHERE ({keys}) IN (SELECT {keys} FROM {table}{offset})"
            shown = "NULL" if value is None else "'" + str(value).replace("'", "''") + "'"
            verb = f"UPDATE {table} SET {column} = {shown}" if column else f"DELETE FROM {table}"
            try:
                connection.execute(f"{verb} {which}".encode())
            except psycopg.Error:
                continue  # It is no value of that column.


def examine_and_repair(settings: Settings) -> None:
    with Node.open(settings, clock=FrozenClock()) as node:
        doctor = Doctor(node.database, copy=no_copy)
        found = doctor.examine()
        outcome = doctor.repair()
        again = doctor.examine()

    assert all(isinstance(finding, Finding) and finding.explanation for finding in found)
    # What was mended is mended: a second run finds nothing that the first one had answered.
    assert [finding.code for finding in outcome.after] == [finding.code for finding in again]
    refused = {(each.finding.code, each.finding.where) for each in outcome.not_repaired}
    left = {(f.code, f.where) for f in again if f.repair is not None}
    assert left <= refused


@settings(max_examples=40, suppress_health_check=[HealthCheck.too_slow])
@given(changes=CHANGES)
@example(changes=[(("batch_step_execution", ""), None, None), (HISTORY, None, 2)])
@example(changes=[(HISTORY, None, None)])
def test_nothing_that_is_in_the_tables_ends_the_doctor(told: Path, changes: list[Any]) -> None:
    path = told.with_name("patient.db")
    for file in told.parent.glob("patient.db*"):
        file.unlink()
    shutil.copy(told, path)
    mutate(path, changes)

    examine_and_repair(_settings(path))


@pytest.fixture
def copy_of_told(
    postgresql_database_url: str, _administrator: psycopg.Connection
) -> Callable[[], str]:
    """Call it for the URL of a database with a past, like the last time."""
    clock = FrozenClock()
    with Node.open(postgresql_database_url, clock=clock) as node:
        tell_a_story(node, clock)
    name = str(psycopg.conninfo.conninfo_to_dict(postgresql_database_url)["dbname"])

    def copy() -> str:
        # The names of copies begin with that of the first one, which takes them with it.
        _administrator.execute(f"DROP DATABASE IF EXISTS {name}_patient WITH (FORCE)".encode())
        _administrator.execute(f"CREATE DATABASE {name}_patient TEMPLATE {name}".encode())
        return postgresql_database_url.replace(f"/{name}", f"/{name}_patient", 1)

    return copy


@settings(
    max_examples=6,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
@given(changes=CHANGES)
def test_nothing_that_is_in_the_tables_of_a_server_ends_the_doctor(
    copy_of_told: Callable[[], str], changes: list[Any]
) -> None:
    url = copy_of_told()
    mutate_postgresql(url, changes)

    examine_and_repair(Settings(database=url))
