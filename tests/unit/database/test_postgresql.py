"""PostgreSQL: sessions that are lost, what errors mean, what cannot be opened."""

from __future__ import annotations

from collections.abc import Iterator
from threading import Thread

import psycopg
import pytest

from stepwell.database import postgresql
from stepwell.database.connect import Database, open_database
from stepwell.database.dialect import DatabaseOptions
from stepwell.database.postgresql_errors import is_rerunnable, translate
from stepwell.database.postgresql_url import without_password
from stepwell.database.transaction import Transaction
from stepwell.errors import (
    CannotOpenDatabase,
    ConnectionLost,
    ConstraintViolation,
    DatabaseBusy,
    DatabaseDamaged,
    DatabaseError,
    DatabaseFull,
    DatabaseReadOnly,
    StatementFailed,
    TransactionEnded,
)
from tests.unit.database.conftest import make_item_table
from tests.unit.database.statements import ADD, ALL, LOCK, row

END_OTHERS = (
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
    " WHERE datname = current_database() AND pid <> pg_backend_pid()"
)


@pytest.fixture
def postgres(postgresql_database_url: str) -> Iterator[Database]:
    with open_database(postgresql_database_url) as database:
        make_item_table(database)
        yield database


def end_all_sessions(url: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(END_OTHERS)


def test_idle_sessions_that_were_lost_are_replaced(
    postgres: Database, postgresql_database_url: str
) -> None:
    """Goal: the server was started again overnight; nothing was sent, so nothing is lost."""
    with postgres.read() as reader:
        reader.fetch_all(ALL)
    end_all_sessions(postgresql_database_url)

    assert 1 == postgres.run(lambda t: t.execute(ADD, row(1)))
    with postgres.read() as reader:
        assert [(1, "x", 0)] == reader.fetch_all(ALL)


def test_a_session_lost_inside_a_transaction_is_said_and_replaced(
    postgres: Database, postgresql_database_url: str
) -> None:
    with pytest.raises(ConnectionLost, match="cannot add items: ") as caught:
        postgres.run(
            lambda t: (end_all_sessions(postgresql_database_url), t.execute(ADD, row(1))),
            what="add items",
        )

    assert False is caught.value.fields["during_commit"]
    with postgres.read() as reader:
        assert [] == reader.fetch_all(ALL)


def test_a_session_lost_before_its_commit_committed_nothing(
    postgres: Database, postgresql_database_url: str
) -> None:

    def fact(transaction: Transaction) -> None:
        transaction.execute(ADD, row(1))
        end_all_sessions(postgresql_database_url)
        with pytest.raises(ConnectionLost):
            transaction.execute(ADD, row(2))

    with pytest.raises(ConnectionLost) as caught:
        postgres.run(fact)

    assert False is caught.value.fields["during_commit"]


def test_a_session_lost_during_its_commit_says_that_the_outcome_is_unknown(
    postgres: Database,
) -> None:
    """Goal: S37. Method: a deferred trigger ends the session while it commits."""
    with postgres.write() as transaction:
        transaction.connection.execute(
            "CREATE FUNCTION end_session() RETURNS trigger LANGUAGE plpgsql AS"
            " $$ BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); RETURN NULL; END $$"
        )
        transaction.connection.execute(
            "CREATE CONSTRAINT TRIGGER end_session AFTER INSERT ON item"
            " DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION end_session()"
        )
    with pytest.raises(ConnectionLost) as caught:
        postgres.run(lambda t: t.execute(ADD, row(1)), what="record a chunk")

    assert True is caught.value.fields["during_commit"]
    assert (
        f"cannot record a chunk: the connection to {postgres.location!r} was lost during its"
        in str(caught.value)
    )
    assert 0 == postgres.run(lambda t: len(t.fetch_all(ALL)))


def test_a_row_that_stays_locked_is_not_waited_for_without_bound(
    postgres: Database, postgresql_database_url: str
) -> None:
    postgres.run(lambda t: t.execute(ADD, row(1)))
    impatient = open_database(postgresql_database_url, options=DatabaseOptions(gate_timeout_s=0.05))
    caught: list[DatabaseError] = []

    def wait_in_vain() -> None:
        try:
            impatient.run(lambda t: t.fetch_all(LOCK, {"item_id": 1}))
        except DatabaseError as error:
            caught.append(error)

    with postgres.write() as transaction, impatient:
        transaction.fetch_all(LOCK, {"item_id": 1})
        thread = Thread(target=wait_in_vain)
        thread.start()
        thread.join(10)

    assert [DatabaseBusy] == [type(error) for error in caught]
    assert not postgres.dialect.may_rerun(caught[0])


def test_what_cannot_be_opened_is_said_without_the_password(postgresql_database_url: str) -> None:
    host = postgresql_database_url.partition("?")[2]
    with pytest.raises(CannotOpenDatabase) as caught:
        open_database(f"postgresql+psycopg://postgres:secret@/no_such?{host}")

    assert 'database "no_such" does not exist' in str(caught.value)
    assert "secret" not in f"{caught.value} {caught.value.fields} {caught.value.hint}"


def test_a_server_that_is_not_there_is_said() -> None:
    with pytest.raises(
        CannotOpenDatabase, match="cannot open database 'postgresql://localhost:1/x'"
    ):
        open_database("postgres://localhost:1/x")


def test_a_missing_driver_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> object:
        raise ImportError(name)

    monkeypatch.setattr(postgresql.importlib, "import_module", missing)
    with pytest.raises(CannotOpenDatabase, match="psycopg, the PostgreSQL driver, is missing") as e:
        open_database("postgresql://localhost/x")

    assert "`pip install 'stepwell[postgres]'`" == e.value.hint


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://a:secret@host:5432/db", "postgresql://a@host:5432/db"),
        (
            "postgresql://host/db?password=secret&sslmode=require",
            "postgresql://host/db?sslmode=require",
        ),
        ("postgresql:///db?host=%2Ftmp", "postgresql:///db?host=/tmp"),
    ],
)
def test_a_location_has_no_password(url: str, shown: str) -> None:
    assert shown == without_password(url)


class Failure(Exception):
    def __init__(self, sqlstate: str | None) -> None:
        super().__init__("first line\nsecond line")
        self.sqlstate = sqlstate


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        ("08006", ConnectionLost),
        ("23P01", ConstraintViolation),
        ("25006", DatabaseReadOnly),
        ("25P02", TransactionEnded),
        ("25P03", ConnectionLost),
        ("28P01", CannotOpenDatabase),
        ("40001", DatabaseBusy),
        ("40P01", DatabaseBusy),
        ("42601", StatementFailed),
        ("53100", DatabaseFull),
        ("53300", DatabaseBusy),
        ("55P03", DatabaseBusy),
        ("57014", StatementFailed),
        ("57P01", ConnectionLost),
        ("P0001", ConstraintViolation),
        ("XX001", DatabaseDamaged),
        (None, StatementFailed),
    ],
)
def test_a_state_is_translated(state: str | None, expected: type[DatabaseError]) -> None:
    error = translate(Failure(state), "write", "postgresql://host/db")

    assert (expected, "cannot write: first line") == (type(error), str(error))
    assert error.hint
    assert is_rerunnable(error) == (state in ("40001", "40P01"))


def test_info_says_what_there_is_to_know(postgres: Database) -> None:
    info = postgres.info()

    assert ("postgresql", "on", False) == (info.dialect, info.synchronous, info.wal_reset_affected)
    assert info.version[0].isdigit()
    assert info.size_bytes > 1_000_000
    assert postgres.path is None


def test_sessions_are_bounded_and_in_utc(postgres: Database) -> None:
    with postgres.read() as reader:
        settings = reader.connection.execute(
            "SELECT name, setting FROM pg_settings WHERE name IN ('TimeZone', 'lock_timeout',"
            " 'idle_in_transaction_session_timeout', 'application_name') ORDER BY name"
        ).fetchall()

    assert [
        ("TimeZone", "UTC"),
        ("application_name", "stepwell"),
        ("idle_in_transaction_session_timeout", "25000"),
        ("lock_timeout", "30000"),
    ] == settings
