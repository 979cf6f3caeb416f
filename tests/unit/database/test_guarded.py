"""The connection of user code: what it understands, what it refuses, on each database."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date

import pytest

from stepwell.database.connect import Database, open_database
from stepwell.database.guarded import GuardedConnection
from stepwell.database.transaction import Transaction
from stepwell.errors import ConstraintViolation, StatementFailed, StatementRefused, TransactionEnded
from tests.unit.database.conftest import make_item_table
from tests.unit.database.statements import ADD, ALL, row

INSERT = "INSERT INTO item (id, name, n) VALUES (:id, :name, :n)"


@pytest.fixture
def transaction(database: Database) -> Iterator[Transaction]:
    with database.write() as transaction:
        yield transaction


@pytest.fixture
def connection(transaction: Transaction) -> GuardedConnection:
    return transaction.connection


@pytest.mark.parametrize(
    "values", [{"id": 1, "name": "a", "n": 2, "unused": 0}, (1, "a", 2), [1, "a", 2]]
)
def test_parameters_are_a_mapping_or_stand_in_the_order_of_the_names(
    connection: GuardedConnection, values: object
) -> None:
    result = connection.execute(INSERT, values)

    assert 1 == result.rowcount
    assert [(1, "a", 2)] == connection.execute("SELECT id, name, n FROM item").fetchall()


def test_many_rows_of_each_kind(connection: GuardedConnection) -> None:
    tuples = connection.executemany(INSERT, ((n, "t", 0) for n in range(1000)))
    mappings = connection.executemany(
        INSERT, [{"n": 1, "name": "m", "id": n} for n in range(1000, 1010)]
    )
    nothing = connection.executemany(INSERT, [])
    counted = connection.execute("SELECT count(*), max(n) FROM item").fetchone()

    assert (1000, 10, 0, (1010, 1)) == (tuples, mappings, nothing, counted)


def test_a_name_that_stands_twice_is_given_once(connection: GuardedConnection) -> None:
    twice = "INSERT INTO item (id, name, n) VALUES (:id, CAST(:id AS text), :n)"
    connection.execute(twice, (1, 10))
    connection.execute(twice, {"id": 2, "n": 20})
    connection.executemany(twice, [(3, 30), (4, 40)])

    rows = connection.execute("SELECT name, n FROM item ORDER BY id").fetchall()
    assert [("1", 10), ("2", 20), ("3", 30), ("4", 40)] == rows


def test_rows_can_be_read_in_every_way(connection: GuardedConnection) -> None:
    connection.executemany(INSERT, [(n, "x", 0) for n in range(6)])
    result = connection.execute("SELECT id, name AS label FROM item ORDER BY id")

    assert ["id", "label"] == result.columns
    assert (0, "x") == result.fetchone()
    assert [(1, "x"), (2, "x")] == result.fetchmany(2)
    assert [(3, "x"), (4, "x"), (5, "x")] == list(result)
    assert ([], None) == (result.fetchall(), result.fetchone())
    assert [] == connection.execute(INSERT, (9, "x", 0)).columns


def test_one_result_is_read_while_others_are_executed(connection: GuardedConnection) -> None:
    connection.executemany(INSERT, [(n, "x", 0) for n in range(3)])
    for (number,) in connection.execute("SELECT id FROM item ORDER BY id"):
        connection.execute("UPDATE item SET n = :n WHERE id = :id", (number, number))

    assert [(0,), (1,), (2,)] == connection.execute("SELECT n FROM item ORDER BY id").fetchall()


def test_a_result_left_unread_does_not_outlive_its_transaction(database: Database) -> None:
    """Goal: on SQLite an open SELECT would hold the old state, an open INSERT the COMMIT."""
    for number in range(3):
        with database.write() as transaction:
            transaction.execute_many(ADD, [row(10 * number + n) for n in range(5)])
            transaction.connection.execute("SELECT * FROM item").fetchone()
            transaction.connection.execute(
                "INSERT INTO item (id, name) VALUES (:a, 'x'), (:b, 'x') RETURNING id",
                (10 * number + 6, 10 * number + 7),
            ).fetchone()

    with database.read() as reader:
        assert 21 == len(reader.fetch_all(ALL))


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("SELECT ':no', \"n\" /* :no */ FROM (SELECT 1 AS n) q -- :no ; COMMIT", [(":no", 1)]),
        ("SELECT '100%', 7 % 4, 'it''s :no'", [("100%", 3, "it's :no")]),
        ("SELECT CAST(:a AS integer) % 4;", [(3,)]),
        ("SELECT :a || '%' ; -- done", [("7%",)]),
        ("WITH begin_ AS (SELECT 1 AS commit_) SELECT commit_ FROM begin_", [(1,)]),
    ],
)
def test_text_that_only_looks_like_a_parameter_is_left_alone(
    connection: GuardedConnection, sql: str, expected: list[tuple[object, ...]]
) -> None:
    value = "7" if "||" in sql else 7
    parameters = {"a": value} if ":a" in sql else None

    assert expected == connection.execute(sql, parameters).fetchall()


def test_postgresql_keeps_casts_slices_dollar_quotes_and_escapes(
    postgresql_database_url: str,
) -> None:
    with open_database(postgresql_database_url) as database, database.write() as transaction:
        execute = transaction.connection.execute
        assert [(5,)] == execute("SELECT :a::int + 1 -- %s", (4,)).fetchall()
        assert [([2, 3],)] == execute("SELECT (ARRAY[1,2,3])[2:3]").fetchall()
        assert [([2, 3],)] == execute("SELECT (ARRAY[1,2,3])[:a:3]", (2,)).fetchall()
        assert [("; COMMIT :a",)] == execute("SELECT $tag$; COMMIT :a$tag$").fetchall()
        assert [("it's; :a",)] == execute(r"SELECT E'it\'s; :a'").fetchall()
        assert [(True,)] == execute("SELECT '{\"a\": 1}'::jsonb ? :a", ("a",)).fetchall()
        assert [(date(2026, 11, 20),)] == execute("SELECT :d::date", {"d": "2026-11-20"}).fetchall()
        execute("DO $$ BEGIN PERFORM 1; END $$")
        execute("SET LOCAL search_path TO public")


def test_sqlite_keeps_its_quotes_and_triggers(sqlite: Database) -> None:
    with sqlite.write() as transaction:
        execute = transaction.connection.execute
        execute('CREATE TABLE [a:b] (`c:d` int, "e;f" int)')
        execute(
            "CREATE TRIGGER copy AFTER INSERT ON item BEGIN"
            " INSERT INTO [a:b] VALUES (NEW.id, 0); UPDATE [a:b] SET `c:d` = 7; END;"
        )
        transaction.execute(ADD, row(1))

        assert [(7, 0)] == execute('SELECT `c:d`, "e;f" FROM [a:b]').fetchall()
        with pytest.raises(StatementFailed, match="one statement at a time"):
            execute("CREATE TRIGGER two AFTER INSERT ON item BEGIN SELECT 1; END; DROP TABLE item")


@pytest.mark.parametrize(
    "sql",
    [
        "BEGIN",
        "begin immediate",
        "  -- a comment\n COMMIT",
        "/* another */ END TRANSACTION",
        "ROLLBACK",
        "rollback transaction",
        "ROLLBACK PREPARED 'x'",
        "ABORT",
        "START TRANSACTION",
        "SET TRANSACTION ISOLATION LEVEL SERIALIZABLE",
        "SET search_path TO public",
        "RESET ALL",
        "PREPARE TRANSACTION 'x'",
        "DISCARD ALL",
        "PRAGMA journal_mode = DELETE",
        "ATTACH 'other.db' AS other",
        "DETACH other",
        "VACUUM",
        "LISTEN channel",
    ],
)
def test_what_would_end_or_bend_the_transaction_is_refused(
    transaction: Transaction, sql: str
) -> None:
    transaction.execute(ADD, row(1))
    with pytest.raises(StatementRefused, match="would end or change the transaction") as caught:
        transaction.connection.execute(sql)
    with pytest.raises(StatementRefused):
        transaction.connection.executemany(sql, [()])

    assert "SAVEPOINT" in caught.value.hint
    assert transaction.is_open()


@pytest.mark.parametrize("sql", ["SELECT 1; COMMIT", "SELECT 1;;/* */ DROP TABLE item"])
def test_a_second_statement_is_refused(connection: GuardedConnection, sql: str) -> None:
    with pytest.raises(StatementRefused, match="it holds more than one statement"):
        connection.execute(sql)


def test_a_positional_marker_is_refused_with_what_to_write(database: Database) -> None:
    marker = "?" if database.path else "%s"
    with database.write() as transaction:
        if marker == "?":
            with pytest.raises(StatementRefused, match="it has a positional marker") as caught:
                transaction.connection.execute(f"SELECT {marker}", (1,))
            assert "write `:name`, also for tuples" == caught.value.hint


def test_savepoints_of_user_code_pass(connection: GuardedConnection) -> None:
    connection.execute(INSERT, (1, "x", 0))
    connection.execute("SAVEPOINT mine")
    with pytest.raises(ConstraintViolation):
        connection.execute(INSERT, (1, "x", 0))
    connection.execute("ROLLBACK TO SAVEPOINT mine")
    connection.execute("ROLLBACK TO mine")
    connection.execute("RELEASE mine")

    assert [(1,)] == connection.execute("SELECT count(*) FROM item").fetchall()


def test_a_missing_value_is_named(connection: GuardedConnection) -> None:
    with pytest.raises(StatementFailed, match="no value for parameter 'n'"):
        connection.execute(INSERT, {"id": 1, "name": "x"})


def test_too_few_values_are_refused(connection: GuardedConnection) -> None:
    with pytest.raises(StatementFailed, match="cannot execute 'INSERT INTO item"):
        connection.execute(INSERT, (1, "x"))
    with pytest.raises(StatementFailed):
        connection.executemany(INSERT, [(1, "x")])


def test_a_long_statement_is_shown_short(sqlite: Database) -> None:
    with pytest.raises(StatementFailed) as caught, sqlite.write() as transaction:
        transaction.connection.execute("SELECT\n    nonsense" + ", nonsense" * 100)

    shown = str(caught.value).partition("'")[2].partition("'")[0]
    assert shown == "SELECT nonsense, nonsense, nonsense, nonsense, nonsense, no…"


@pytest.mark.parametrize(
    "sql",
    [
        "INSERT OR ROLLBACK INTO item (id, name) VALUES (1, 'x')",
        "INSERT INTO item (id, name) VALUES (2, 'rollback')",
    ],
)
def test_a_transaction_that_user_code_ended_does_not_commit(sqlite: Database, sql: str) -> None:
    """Goal: S192. Method: a conflict clause, a trigger that rolls back; the error is swallowed."""
    with sqlite.write() as transaction:
        transaction.execute(ADD, row(1))
        transaction.connection.execute(
            "CREATE TRIGGER harsh BEFORE INSERT ON item WHEN NEW.name = 'rollback'"
            " BEGIN SELECT RAISE(ROLLBACK, 'no'); END"
        )

    def fact(transaction: Transaction) -> None:
        transaction.execute(ADD, row(7))
        with pytest.raises(ConstraintViolation):
            transaction.connection.execute(sql)
        assert not transaction.is_open()
        with pytest.raises(TransactionEnded):
            transaction.execute(ADD, row(8))
        with pytest.raises(StatementRefused, match="its transaction has ended"):
            transaction.connection.execute("SELECT 1")

    with pytest.raises(TransactionEnded, match="the transaction had ended before its commit"):
        sqlite.run(fact)

    with sqlite.read() as reader:
        assert [(1, "x", 0)] == reader.fetch_all(ALL)


def test_on_postgresql_a_failed_statement_that_was_swallowed_fails_the_commit(
    postgresql_database_url: str,
) -> None:
    """Goal: PostgreSQL would answer the COMMIT with a quiet ROLLBACK."""

    def fact(transaction: Transaction) -> None:
        transaction.execute(ADD, row(1))
        with pytest.raises(StatementFailed):
            transaction.connection.execute("SELECT nonsense")
        assert not transaction.is_open()
        with pytest.raises(TransactionEnded, match="current transaction is aborted"):
            transaction.connection.execute("SELECT 1")

    with open_database(postgresql_database_url) as database:
        make_item_table(database)
        with pytest.raises(TransactionEnded, match="a statement of the transaction had failed"):
            database.run(fact)


def test_values_that_sqlite_does_not_know_are_refused(sqlite: Database) -> None:
    with sqlite.write() as transaction, pytest.raises(StatementFailed, match="cannot execute"):
        transaction.connection.execute("SELECT :a", (object(),))


def test_rows_are_the_drivers_own(sqlite: Database) -> None:
    with sqlite.write() as transaction:
        found = transaction.connection.execute("SELECT :b, :i", (b"\0", 2**63 - 1)).fetchone()

    assert (b"\0", 2**63 - 1) == found
