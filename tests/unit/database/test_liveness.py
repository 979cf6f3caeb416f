"""Proof of life and death with real processes and real signals (S33, S189)."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from stepwell import Job, Node, TaskletStep
from stepwell.database.connect import Database, open_database
from stepwell.database.migrations import migrate
from stepwell.database.transaction import Transaction
from stepwell.errors import DatabaseBusy
from stepwell.testing import FrozenClock
from tests.conformance.stories import rows, until
from tests.unit.database.conftest import make_item_table
from tests.unit.database.statements import line_of, program, tell

OWNER = """
import sys
from stepwell.database.connect import open_database
database = open_database(sys.argv[1])
database.run(lambda transaction: database.liveness.hold(7, transaction))
print("holds", flush=True)
for line in sys.stdin:
    if line == "release\\n":
        database.liveness.release(7)
    print("ok", flush=True)
"""


@pytest.fixture(autouse=True)
def _tables(request: pytest.FixtureRequest) -> None:
    """An owner's epoch stands in its row."""
    for name in ("database", "sqlite"):
        if name in request.fixturenames:
            migrate(request.getfixturevalue(name))


DEAD_WITHIN_S = 5.0  # Milliseconds on SQLite; PostgreSQL's backend has to notice.


def dies(database: Database, owner_id: int) -> bool:
    """Whether the owner is dead within a bounded time."""
    deadline = time.monotonic() + DEAD_WITHIN_S
    while not database.liveness.is_dead(owner_id):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.001)
    return True


def test_an_owner_lives_as_long_as_its_process(database: Database, database_url: str) -> None:
    with program(OWNER, database_url) as owner:
        assert "holds" == line_of(owner)
        alive = not database.liveness.is_dead(7)
        os.kill(owner.pid, signal.SIGSTOP)
        frozen = not database.liveness.is_dead(7)
        os.kill(owner.pid, signal.SIGKILL)

        assert (True, True) == (alive, frozen)
        assert dies(database, 7)


def test_an_owner_that_nobody_ever_held_is_dead(database: Database) -> None:
    assert database.liveness.is_dead(1)


def test_asking_does_not_change_the_answer(database: Database, database_url: str) -> None:
    """Goal: POSIX would drop the process's own lock when it tried and unlocked it."""
    with database.write() as transaction:
        database.liveness.hold(3, transaction)
    with open_database(database_url) as other, program(OWNER, database_url) as owner:
        assert "holds" == line_of(owner)
        for _ in range(3):
            for asked in (database, other):
                assert not asked.liveness.is_dead(3)
                assert not asked.liveness.is_dead(7)
        assert (True, False) == (database.liveness.keeps(3), database.liveness.keeps(4))


def test_closing_one_database_does_not_end_the_owners_of_another(
    sqlite: Database, sqlite_url: str
) -> None:
    """Goal: closing any descriptor of a file drops all of a process's POSIX locks on it."""
    with sqlite.write() as transaction:
        sqlite.liveness.hold(3, transaction)
    other = open_database(sqlite_url)
    other.liveness.is_dead(9)
    other.close()

    with program(ASK, sqlite_url, "3") as process:
        assert "alive" == line_of(process)


ASK = """
import sys
from stepwell.database.connect import open_database
with open_database(sys.argv[1]) as database:
    print("dead" if database.liveness.is_dead(int(sys.argv[2])) else "alive", flush=True)
"""


def test_an_owner_that_is_held_elsewhere_cannot_be_held(
    database: Database, database_url: str
) -> None:
    with program(OWNER, database_url) as owner:
        assert "holds" == line_of(owner)
        with (
            pytest.raises(DatabaseBusy, match="cannot hold owner 7: another process holds it"),
            database.write() as transaction,
        ):
            database.liveness.hold(7, transaction)


def test_a_released_owner_is_dead_though_its_process_lives(
    database: Database, database_url: str
) -> None:
    with program(OWNER, database_url) as owner:
        assert "holds" == line_of(owner)
        tell(owner, "release")
        assert "ok" == line_of(owner)

        assert database.liveness.is_dead(7)


def test_an_owner_whose_row_was_not_committed_is_given_up(
    database: Database, database_url: str
) -> None:
    def fact(transaction: Transaction) -> None:
        database.liveness.hold(7, transaction)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        database.run(fact)

    with program(OWNER, database_url) as owner:
        assert "holds" == line_of(owner)


def test_the_owners_file_is_never_deleted(sqlite: Database, sqlite_url: str) -> None:
    with sqlite.write() as transaction:
        sqlite.liveness.hold(2**40, transaction)
    sqlite.close()

    assert Path(f"{sqlite.path}-owners").exists()
    with open_database(sqlite_url) as database:
        assert database.liveness.is_dead(2**40)


def test_a_forked_child_holds_nothing_and_takes_nothing_away(sqlite: Database) -> None:
    with sqlite.write() as transaction:
        sqlite.liveness.hold(3, transaction)
    child = os.fork()
    if child == 0:
        os._exit(int(sqlite.liveness.is_dead(3)))
    _, status = os.waitpid(child, 0)

    assert 0 == os.waitstatus_to_exitcode(status)
    with program(ASK, f"sqlite:///{sqlite.path}", "3") as process:
        assert "alive" == line_of(process)


def test_on_postgresql_a_lost_proof_is_taken_again(postgresql_database_url: str) -> None:
    with open_database(postgresql_database_url) as database:
        migrate(database)
        with database.write() as transaction:
            database.liveness.hold(7, transaction)
        with database.read() as reader:
            reader.connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory'"
            ).fetchall()
        assert dies(database, 7)

        assert database.liveness.keeps(7)
        assert not database.liveness.is_dead(7)


def test_the_sessions_of_a_frozen_owner_can_be_ended(postgresql_database_url: str) -> None:
    """Goal: S34. Method: an owner is stopped inside a transaction that holds a row lock."""
    frozen_in_a_transaction = OWNER.replace(
        'print("holds", flush=True)',
        "database.write().__enter__().connection.execute('LOCK TABLE item');"
        "print('holds', flush=True)",
    )
    with open_database(postgresql_database_url) as database:
        migrate(database)
        make_item_table(database)
        with program(frozen_in_a_transaction, postgresql_database_url) as owner:
            assert "holds" == line_of(owner)
            os.kill(owner.pid, signal.SIGSTOP)
            ended = database.liveness.end_sessions(7)
            database.run(lambda t: t.connection.execute("SELECT 1 FROM item"))

            assert ended >= 2
            assert dies(database, 7)


def test_sqlite_has_no_sessions_to_end(sqlite: Database) -> None:
    assert 0 == sqlite.liveness.end_sessions(7)


LEASED = "SELECT owner_id FROM batch_owner WHERE lease_until IS NOT NULL"


def owner_with_a_lease(node: Node) -> int:
    """Its timer has beaten once, and will not again: its clock stands still."""
    owner_id = node.operator.owner_id
    until(lambda: (owner_id,) in rows(node, LEASED))
    return owner_id


def expire(database: Database, owner_id: int) -> None:
    """As if the server's clock had gone on."""
    with database.write() as transaction:
        transaction.connection.execute(
            "UPDATE batch_owner SET lease_until = clock_timestamp() - interval '1 second'"
            " WHERE owner_id = :id",
            {"id": owner_id},
        )


def test_on_postgresql_a_lease_that_ran_out_is_proof_for_everybody_else(
    postgresql_database_url: str,
) -> None:
    """S33: a frozen process keeps its session; until it wakes up and renews it, it is dead."""
    with (
        Node.open(postgresql_database_url, clock=FrozenClock()) as mine,
        open_database(postgresql_database_url) as other,
    ):
        owner_id = owner_with_a_lease(mine)
        alive = other.liveness.is_dead(owner_id)
        expire(other, owner_id)
        dead = other.liveness.is_dead(owner_id), mine.database.liveness.is_dead(owner_id)
        awake = mine.database.liveness.keeps(owner_id)

        assert (False, (True, False), True) == (alive, dead, awake)
        assert not other.liveness.is_dead(owner_id)


def test_on_postgresql_who_was_taken_for_dead_becomes_another_owner(
    postgresql_database_url: str,
) -> None:
    """Goal: a process that slept claims nothing as the owner whose death is recorded."""
    job = Job("billing", [TaskletStep("only", lambda: None)])
    with (
        Node.open(postgresql_database_url, clock=FrozenClock()) as mine,
        Node.open(postgresql_database_url, clock=FrozenClock()) as other,
    ):
        mine.registry.add(job, origin="the test")
        first = owner_with_a_lease(mine)
        mine.operator.register("billing")
        expire(other.database, first)
        other.operator.recover_dead()
        wanted = mine.operator.wanted()
        asleep = list(mine.repository.claim_executions(first, wanted, 1))
        mine.operator._runner._beat()
        awake = list(mine.repository.claim_executions(mine.operator.owner_id, wanted, 1))

        assert ([], 1) == (asleep, len(awake))
        assert first != mine.operator.owner_id
