"""What a transaction promises, on each database."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier, Thread

import pytest

from stepwell.database.connect import RUNS_MAX, Database, open_database
from stepwell.database.transaction import Transaction
from stepwell.errors import (
    ConstraintViolation,
    DatabaseBusy,
    DatabaseError,
    DatabaseReadOnly,
    StatementFailed,
    StatementRefused,
    StepUsageError,
    TransactionEnded,
)
from tests.unit.database.statements import ADD, ALL, COUNT_UP, GET, LOCK, RENAME, row


def rows(database: Database) -> list[tuple[object, ...]]:
    with database.read() as reader:
        return reader.fetch_all(ALL)


def test_a_fact_is_committed_and_its_answer_returned(database: Database) -> None:
    answer = database.run(lambda t: (t.execute(ADD, row(1)), t.execute(ADD, row(2)), "done"))

    assert (1, 1, "done") == answer
    assert [(1, "x", 0), (2, "x", 0)] == rows(database)


def test_execute_says_how_many_rows_it_changed(database: Database) -> None:
    with database.write() as transaction:
        added = transaction.execute_many(ADD, (row(n) for n in range(5)))
        hit = transaction.execute(RENAME, {"item_id": 3, "to": "y"})
        missed = transaction.execute(RENAME, {"item_id": 30, "to": "y"})
        nothing = transaction.execute_many(ADD, [])

    assert (5, 1, 0, 0) == (added, hit, missed, nothing)


@pytest.mark.parametrize("exception", [ValueError, KeyboardInterrupt, SystemExit])
def test_any_exception_rolls_back_and_is_raised(
    database: Database, exception: type[BaseException]
) -> None:
    def fact(transaction: Transaction) -> None:
        transaction.execute(ADD, row(1))
        raise exception

    with pytest.raises(exception):
        database.run(fact)

    assert [] == rows(database)
    assert 1 == database.run(lambda t: t.execute(ADD, row(1)))


def test_a_reader_sees_one_state_while_others_commit(database: Database) -> None:
    database.run(lambda t: t.execute(ADD, row(1)))
    with database.read() as reader:
        before = reader.fetch_one(GET, {"item_id": 1})
        database.run(lambda t: t.execute(RENAME, {"item_id": 1, "to": "y"}))
        after = reader.fetch_one(GET, {"item_id": 1})
        unknown = reader.fetch_one(GET, {"item_id": 2})

    assert (1, "x", 0) == before == after
    assert unknown is None
    assert [(1, "y", 0)] == rows(database)


def test_a_reader_cannot_write(database: Database) -> None:
    with pytest.raises(DatabaseReadOnly), database.read() as reader:
        reader.connection.execute("INSERT INTO item (id, name) VALUES (1, 'x')")

    assert [] == rows(database)


def test_a_write_transaction_in_another_one_of_the_thread_is_refused(database: Database) -> None:
    with database.write():
        with pytest.raises(StepUsageError, match="this thread is inside another write transaction"):
            database.run(lambda t: t.execute(ADD, row(1)))
        with database.read() as reader:
            assert [] == reader.fetch_all(ALL)

    assert 1 == database.run(lambda t: t.execute(ADD, row(1)))


def test_an_ended_transaction_refuses_everything(database: Database) -> None:
    with database.write() as transaction:
        connection = transaction.connection
    with database.read() as reader:
        pass

    assert not transaction.is_open()
    for use in (
        lambda: transaction.execute(ADD, row(1)),
        lambda: transaction.fetch_all(ALL),
        lambda: transaction.connection,
        lambda: reader.fetch_one(ALL),
        lambda: transaction.savepoint().__enter__(),
    ):
        with pytest.raises(TransactionEnded, match="the transaction is not open"):
            use()
    with pytest.raises(StatementRefused, match="its transaction has ended"):
        connection.execute("SELECT 1")


def test_a_savepoint_undoes_what_failed_and_the_transaction_goes_on(database: Database) -> None:
    with database.write() as transaction:
        transaction.execute(ADD, row(1))
        with pytest.raises(ConstraintViolation), transaction.savepoint():
            transaction.execute_many(ADD, [row(2), row(1)])
        with transaction.savepoint(), transaction.savepoint():
            transaction.execute(ADD, row(3))

    assert [1, 3] == [number for number, *_ in rows(database)]


def test_what_belongs_to_a_transaction_is_undone_with_it(database: Database) -> None:
    undone: list[str] = []
    with database.write() as transaction:
        transaction.after_rollback(lambda: undone.append("committed"))

    def fact(transaction: Transaction) -> None:
        transaction.after_rollback(lambda: undone.append("rolled back"))
        raise ValueError

    with pytest.raises(ValueError):
        database.run(fact)

    assert ["rolled back"] == undone


@pytest.mark.parametrize(
    ("values", "constraint"),
    [(row(1), "unique"), ({"id": 2, "name": None, "n": 0}, "not null"), (row(2, n=100), "check")],
)
def test_a_broken_constraint_says_which(
    database: Database, values: dict[str, object], constraint: str
) -> None:
    database.run(lambda t: t.execute(ADD, row(1)))
    with pytest.raises(ConstraintViolation, match="cannot add an item: ") as caught:
        database.run(lambda t: t.execute(ADD, values), what="add an item")

    assert constraint == caught.value.fields["constraint"]


def test_a_wrong_statement_says_what_is_wrong_with_it(database: Database) -> None:
    with pytest.raises(StatementFailed, match="cannot execute 'SELECT nonsense': "):
        database.run(lambda t: t.connection.execute("SELECT nonsense"))


def test_threads_that_write_and_read_at_once_lose_nothing(database: Database) -> None:
    database.run(lambda t: t.execute(ADD, row(1)))
    barrier = Barrier(8)

    def count_up(_: int) -> None:
        barrier.wait()
        for _ in range(10):
            assert 1 == database.run(lambda t: t.execute(COUNT_UP, {"item_id": 1}))
            rows(database)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(count_up, range(8)))

    assert [(1, "x", 80)] == rows(database)


def test_two_databases_of_one_process_on_the_same_data_take_turns(
    database: Database, database_url: str
) -> None:
    database.run(lambda t: t.execute(ADD, row(1)))
    with open_database(database_url) as other:

        def count_up(mine: Database) -> None:
            for _ in range(20):
                mine.run(lambda t: t.execute(COUNT_UP, {"item_id": 1}))

        with ThreadPoolExecutor(2) as pool:
            list(pool.map(count_up, [database, other]))

    assert [(1, "x", 40)] == rows(database)


# --- run again


class MeetsAnother(DatabaseBusy):
    """What a dialect says may be run again."""


@pytest.fixture
def meeting(database: Database, monkeypatch: pytest.MonkeyPatch) -> Database:
    monkeypatch.setattr(database.dialect, "may_rerun", lambda e: isinstance(e, MeetsAnother))
    return database


def test_a_transaction_that_met_another_is_run_again_whole(meeting: Database) -> None:
    attempts: list[int] = []

    def fact(transaction: Transaction) -> str:
        attempts.append(transaction.execute(ADD, row(len(attempts))))
        if len(attempts) < 3:
            raise MeetsAnother("cannot write: another was first")
        return "done"

    assert "done" == meeting.run(fact)
    assert [(2, "x", 0)] == rows(meeting)


def test_it_is_run_again_a_bounded_number_of_times(meeting: Database) -> None:
    attempts: list[int] = []

    def fact(transaction: Transaction) -> None:
        attempts.append(1)
        raise MeetsAnother("cannot write: another was first")

    with pytest.raises(MeetsAnother):
        meeting.run(fact)
    assert RUNS_MAX == len(attempts)


def test_other_errors_are_not_run_again(database: Database) -> None:
    attempts: list[int] = []

    def fact(transaction: Transaction) -> None:
        attempts.append(1)
        transaction.execute(ADD, row(1, n=100))

    with pytest.raises(DatabaseError):
        database.run(fact)
    assert [1] == attempts


def test_transactions_that_lock_rows_crosswise_both_succeed(database: Database) -> None:
    """Goal: a deadlock on PostgreSQL is run again; on SQLite writers take turns anyway."""
    database.run(lambda t: t.execute_many(ADD, [row(1), row(2)]))
    both_hold_a_row = Barrier(2)

    def crosswise(one: int, other: int) -> None:
        attempts: list[int] = []

        def fact(transaction: Transaction) -> None:
            attempts.append(1)
            transaction.fetch_one(LOCK, {"item_id": one})
            if attempts == [1] and database.path is None:
                both_hold_a_row.wait(10)
            for number in (one, other):
                transaction.execute(COUNT_UP, {"item_id": number})

        database.run(fact)

    threads = [Thread(target=crosswise, args=pair) for pair in ((1, 2), (2, 1))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)

    assert [(1, "x", 2), (2, "x", 2)] == rows(database)
