"""Stepwell's own tables: made once, whoever comes first, and equal to what the code says."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import sqlalchemy
from sqlalchemy import text

from stepwell.database import migrations
from stepwell.database.connect import Database, open_database
from stepwell.database.migrations import HEAD, VERSION_TABLE, migrate, pending_sql
from stepwell.database.tables import metadata
from stepwell.errors import ConstraintViolation, SchemaTooNew, StatementFailed


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    with open_database(database_url) as database:
        yield database


def execute(database: Database, *statements: str) -> None:
    with database.write() as transaction:
        for sql in statements:
            transaction.connection.execute(sql)


def shape(engine: sqlalchemy.Engine) -> dict[str, Any]:
    """Everything that the catalogue of a database says about its batch tables."""
    with engine.connect() as connection:
        if engine.dialect.name == "sqlite":
            rows = connection.execute(
                text("SELECT type, name, sql FROM sqlite_master WHERE name LIKE 'batch%'")
            ).all()
            return {f"{kind} {name}": " ".join((sql or "").split()) for kind, name, sql in rows}
        return {
            question: sorted(map(str, connection.execute(text(question)).all()))
            for question in POSTGRESQL_CATALOGUE
        }


POSTGRESQL_CATALOGUE = (
    """SELECT table_name, column_name, ordinal_position, data_type, is_nullable, column_default,
    is_identity, identity_generation FROM information_schema.columns
    WHERE table_schema = 'public'""",
    """SELECT conrelid::regclass, conname, pg_get_constraintdef(oid) FROM pg_constraint
    WHERE connamespace = 'public'::regnamespace""",
    "SELECT indexdef FROM pg_indexes WHERE schemaname = 'public'",
    "SELECT tgrelid::regclass, pg_get_triggerdef(oid) FROM pg_trigger WHERE NOT tgisinternal",
    "SELECT proname, prosrc FROM pg_proc WHERE pronamespace = 'public'::regnamespace",
    "SELECT viewname, definition FROM pg_views WHERE schemaname = 'public'",
)


def without_version(found: dict[str, Any]) -> dict[str, Any]:
    kept = {name: value for name, value in found.items() if VERSION_TABLE not in name}
    return {
        name: [line for line in value if VERSION_TABLE not in line]
        if isinstance(value, list)
        else value
        for name, value in kept.items()
    }


def test_the_migrated_schema_is_the_one_of_the_code(
    database: Database, request: pytest.FixtureRequest, database_url: str, tmp_path: Any
) -> None:
    migrate(database)
    other_url = f"sqlite:///{tmp_path}/other.db"
    if database.path is None:
        other_url = request.getfixturevalue("new_postgresql_database")()
    migrated = sqlalchemy.create_engine(_with_driver(database_url))
    created = sqlalchemy.create_engine(_with_driver(other_url))
    metadata.create_all(created)
    found, expected = shape(migrated), shape(created)
    migrated.dispose()
    created.dispose()

    assert expected == without_version(found)
    assert any("batch_job_execution_tracking" in str(item) for item in expected.items())


def _with_driver(url: str) -> str:
    return url.replace("postgresql://", "postgresql+psycopg://")


def test_migrating_again_does_nothing_and_does_not_load_alembic(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = migrate(database)
    for name in [name for name in sys.modules if name.partition(".")[0] == "alembic"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "alembic", None)

    assert [] == migrate(database)
    assert first[-1] == HEAD == database.schema_version() == database.info().schema_version


def test_the_head_is_the_last_revision() -> None:
    assert HEAD == migrations._script().get_current_head()
    assert migrations._revisions_after(None)[-1] == HEAD


def test_many_that_migrate_at_once_make_the_tables_once(
    database: Database, database_url: str
) -> None:
    def open_and_migrate(_: int) -> list[str]:
        with open_database(database_url) as mine:
            return migrate(mine)

    with ThreadPoolExecutor(8) as pool:
        applied = list(pool.map(open_and_migrate, range(8)))

    assert [[HEAD]] == [revisions for revisions in applied if revisions]


def test_a_newer_format_is_refused_with_both_numbers(database: Database) -> None:
    migrate(database)
    execute(database, f"UPDATE {VERSION_TABLE} SET version_num = '0099'")
    with pytest.raises(SchemaTooNew) as caught:
        migrate(database)
    with pytest.raises(SchemaTooNew):
        pending_sql(database)

    assert str(caught.value) == (
        f"cannot open database {database.location!r}: its format is 99,"
        f" this release reads up to {int(HEAD)}"
    )
    assert "an older copy of the database" in caught.value.hint


def test_the_applications_own_version_and_tables_are_not_touched(database: Database) -> None:
    execute(
        database,
        "CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL)",
        "INSERT INTO alembic_version VALUES ('theirs')",
        "CREATE TABLE customer (id integer)",
        "INSERT INTO customer VALUES (1)",
    )
    migrate(database)

    with database.read() as reader:
        query = reader.connection.execute
        assert [("theirs", 1)] == query(
            "SELECT version_num, id FROM alembic_version, customer"
        ).fetchall()


def test_a_migration_that_fails_leaves_nothing(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    execute(database, "CREATE TABLE batch_step_execution (theirs integer)")
    with pytest.raises(StatementFailed, match=r"cannot migrate database .*batch_step_execution"):
        migrate(database)

    assert database.schema_version() is None
    execute(database, "DROP TABLE batch_step_execution")
    assert [HEAD] == migrate(database)


def test_a_migration_that_breaks_a_foreign_key_is_not_committed(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Method: a revision that inserts a step of no job; foreign keys are off while it runs."""
    with open_database(f"sqlite:///{tmp_path}/x.db") as database:
        raw = database._writers._idle[0].raw
        raw.execute("PRAGMA foreign_keys = OFF")
        raw.execute("CREATE TABLE their_child (parent_id integer REFERENCES their_parent (id))")
        raw.execute("INSERT INTO their_child VALUES (7)")
        revisions_after = migrations._revisions_after

        def break_a_key(version: str | None) -> list[str]:
            connected[0].cursor.execute("INSERT INTO batch_step_execution_context VALUES (7, '{}')")
            return revisions_after(version)

        connected: list[Any] = []
        connect = database.dialect.connect_to_migrate
        monkeypatch.setattr(
            database.dialect,
            "connect_to_migrate",
            lambda: connected.append(connect()) or connected[0],
        )
        with monkeypatch.context() as broken:
            broken.setattr(migrations, "_revisions_after", break_a_key)
            with pytest.raises(ConstraintViolation) as caught:
                migrate(database)
        assert database.schema_version() is None
        connected.clear()
        applied = migrate(database)

    assert "of table 'batch_step_execution_context' names no row of 'batch_step_execution'" in str(
        caught.value
    )
    assert [HEAD] == applied


def test_the_pending_sql_makes_the_same_tables(
    database: Database, request: pytest.FixtureRequest, database_url: str, tmp_path: Any
) -> None:
    """Method: the text is executed by the databases' own means, on a second database."""
    sql = pending_sql(database)
    migrate(database)
    if database.path is None:
        import psycopg

        other_url = request.getfixturevalue("new_postgresql_database")()
        with psycopg.connect(other_url) as connection:
            connection.execute(sql.encode())
    else:
        import sqlite3

        other_url = f"sqlite:///{tmp_path}/other.db"
        raw = sqlite3.connect(tmp_path / "other.db")
        raw.executescript(sql)
        raw.close()

    assert not pending_sql(database)
    migrated = sqlalchemy.create_engine(_with_driver(database_url))
    executed = sqlalchemy.create_engine(_with_driver(other_url))
    expected, found = shape(migrated), shape(executed)
    migrated.dispose()
    executed.dispose()
    assert expected == found
    with open_database(other_url) as other:
        assert [] == migrate(other)
