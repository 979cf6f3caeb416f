"""Sealing: places, stamps, groups in one order; nothing is lost between concurrent committers."""

from __future__ import annotations

import random
from datetime import datetime
from pathlib import Path
from threading import Event, Thread

import msgspec
import psycopg

from stepwell.database.connect import Database, open_database
from stepwell.sync.change import Change, hlc_of
from stepwell.sync.log import begin_apply, changes_of, last_lsn, read_group, seal, seal_all
from stepwell.sync.session import Sync
from stepwell.testing import FrozenClock
from tests.support.change_log import execute, log_of, replay, rows_of, told

ITEM = "CREATE TABLE item (id INTEGER PRIMARY KEY, code INTEGER UNIQUE, n INTEGER)"


def insert_items(database: Database, first: int, count: int) -> None:
    with database.write() as transaction:
        transaction.connection.executemany(
            "INSERT INTO item VALUES (:id, :code, 0)",
            [(n, None) for n in range(first, first + count)],
        )


def test_a_long_group_is_sealed_in_several_transactions_and_seen_whole(sync: Sync) -> None:
    """Goal: nobody waits long for the write lock, nobody reads half a group."""
    database = sync.database
    execute(database, ITEM)
    sync.track("item")
    insert_items(database, 1, 25)
    ends = []
    for _ in range(3):
        sealed = database.run(lambda transaction: seal(transaction, limit=10))
        with database.read() as reader:
            ends.append((sealed.is_all, last_lsn(reader), len(list(changes_of(database, 0, 99)))))
    with sync.transaction() as connection:
        connection.execute("DELETE FROM item WHERE id > 20")
    changes = log_of(database)

    assert [(False, 0), (False, 0), (True, 25)] == [end[:2] for end in ends]
    assert {1} == {change.seq for change in changes[:25]}
    assert {2} == {change.seq for change in changes[25:]}
    assert list(range(1, 31)) == [change.lsn for change in changes]
    assert rows_of(database, "item", "id") == replay(changes)["item"]
    with database.read() as reader:
        assert changes[:25] == list(read_group(reader, "shop-1", 1, 1))
        assert [] == list(read_group(reader, "shop-1", 1, 3))


def test_a_row_that_is_replaced_is_one_update_whatever_the_policy(tmp_path: Path) -> None:
    with open_database(f"sqlite:///{tmp_path}/shop.db") as database:
        execute(database, "CREATE TABLE t (id INTEGER NOT NULL PRIMARY KEY, n INTEGER NOT NULL)")
        sync = Sync(database, FrozenClock())
        sync.init("shop-1")
        sync.track("t", policy='{"rows":"columns","columns":{"n":"delta"}}')
        execute(database, "INSERT INTO t VALUES (1, 5)")
        execute(database, "INSERT OR REPLACE INTO t VALUES (1, 7)")

        assert ["I", "U"] == [change.op for change in log_of(database)]


def test_what_is_being_sealed_ends_before_anything_is_applied(sync: Sync) -> None:
    database = sync.database
    execute(database, ITEM)
    sync.track("item")
    insert_items(database, 1, 25)
    database.run(lambda transaction: seal(transaction, limit=10))
    with database.write() as transaction:
        begin_apply(transaction).finish()

    with database.read() as reader:
        assert 25 == last_lsn(reader)
    assert {1} == {change.seq for change in log_of(database)}


def test_a_group_that_ended_exactly_at_the_limit_is_closed(sync: Sync) -> None:
    database = sync.database
    execute(database, ITEM)
    sync.track("item")
    for first in (1, 11, 21):
        insert_items(database, first, 10)
        database.run(lambda transaction: seal(transaction, limit=10))
    changes = log_of(database)

    assert [1, 2, 3] == sorted({change.seq for change in changes})
    assert 30 == len(changes)


def test_a_transaction_has_one_stamp_and_a_run_of_foreign_ones_has_many(
    database: Database, sync: Sync
) -> None:
    execute(database, ITEM)
    sync.track("item")
    with sync.transaction() as connection:
        connection.execute("INSERT INTO item VALUES (1, 1, 1), (2, 2, 2)")
    execute(database, "INSERT INTO item VALUES (3, 3, 3)", "INSERT INTO item VALUES (4, 4, 4)")
    one, two, three, four = log_of(database)

    assert one.hlc == two.hlc < three.hlc
    assert (three.hlc < four.hlc) == (three.boundary == "sealed")
    assert all(abs(c.hlc - hlc_of(moment(c))) < 2**32 for c in (one, two, three, four))


def moment(change: Change) -> datetime:
    return datetime.fromisoformat(change.created_at)


def test_a_received_group_raises_the_stamps_that_follow(sync: Sync) -> None:
    database = sync.database
    execute(database, ITEM)
    sync.track("item")
    execute(database, "INSERT INTO item VALUES (1, 1, 1)")
    [own] = log_of(database)
    later = own.hlc + 10**12
    other = msgspec.structs.replace(own, origin="main", source_node="main", seq=7, hlc=later)
    with database.write() as transaction:
        writer = begin_apply(transaction)
        places = writer.append([other], "main")
        writer.finish()
    execute(database, "UPDATE item SET n = 2")
    changes = log_of(database)

    assert (2, 2) == places
    assert [1, 2, 3] == [change.lsn for change in changes]
    assert ["shop-1", "main", "shop-1"] == [change.origin for change in changes]
    assert later + 1 == changes[2].hlc
    assert 2 == changes[2].seq
    assert [1, 3] == [c.lsn for c in changes_of(database, 0, 3, not_for="main")]


def test_truncate_deletes_every_row_that_is_known(
    postgresql_database_url: str, clock: FrozenClock
) -> None:
    with open_database(postgresql_database_url, clock=clock) as database:
        sync = Sync(database, clock)
        sync.init("main", is_main=True)
        execute(database, ITEM)
        sync.track("item")
        execute(database, "INSERT INTO item VALUES (1, 1, 1), (2, 2, 2)")
        execute(database, "TRUNCATE item", "INSERT INTO item VALUES (3, 3, 3)")

        assert [("I", 1), ("I", 2), ("D", 1), ("D", 2), ("I", 3)] == [
            (op, int(key[6:-1])) for op, _, key in told(log_of(database))
        ]


NEW = "INSERT INTO item VALUES (%(id)s, %(code)s, %(n)s)"
WRITERS = 6
TRANSACTIONS = 60


def test_concurrent_committers_lose_nothing_and_replay_in_a_possible_order(
    postgresql_database_url: str, clock: FrozenClock
) -> None:
    """Goal: order of commits, not of a sequence. Method: writers race while a sealer seals."""
    with open_database(postgresql_database_url, clock=clock) as database:
        sync = Sync(database, clock)
        sync.init("main", is_main=True)
        execute(database, ITEM)
        sync.track("item")
        done = Event()
        sealer = Thread(target=seal_until, args=(database, done))
        writers = [
            Thread(target=write_items, args=(postgresql_database_url, seed))
            for seed in range(WRITERS)
        ]
        for thread in (sealer, *writers):
            thread.start()
        for thread in writers:
            thread.join()
        done.set()
        sealer.join()
        changes = log_of(database)

        assert len(changes) > WRITERS * TRANSACTIONS // 2
        assert list(range(1, len(changes) + 1)) == [change.lsn for change in changes]
        assert rows_of(database, "item", "id") == replay(changes)["item"]
        # Unique codes hold behind each group, so that another node can apply it.
        replay_groups(changes)


def seal_until(database: Database, done: Event) -> None:
    while not done.is_set():
        seal_all(database)


def write_items(url: str, seed: int) -> None:
    """Transactions of several statements, some rolled back, some refused."""
    draw = random.Random(seed)
    with psycopg.connect(url, autocommit=True) as connection:
        for _ in range(TRANSACTIONS):
            try:
                with connection.transaction(force_rollback=draw.random() < 0.1):
                    if draw.random() < 0.3:  # It has a transaction id long before it writes.
                        connection.execute("SELECT pg_current_xact_id()")
                    for _ in range(draw.randint(1, 4)):
                        connection.execute(*statement(draw))
            except (psycopg.errors.IntegrityError, psycopg.errors.DeadlockDetected):
                continue


def statement(draw: random.Random) -> tuple[str, dict[str, object]]:
    values: dict[str, object] = {
        "id": draw.randrange(12),
        "code": draw.choice([None, *range(6)]),
        "n": draw.randrange(999),
    }
    return (
        draw.choice(
            (
                f"{NEW} ON CONFLICT (id) DO UPDATE SET n = excluded.n",
                "UPDATE item SET code = %(code)s, n = %(n)s WHERE id = %(id)s",
                "UPDATE item SET id = id + 12 WHERE id = %(id)s",
                "DELETE FROM item WHERE id = %(id)s OR id = %(id)s + 12",
            )
        ),
        values,
    )


def replay_groups(changes: list[Change]) -> None:
    """No code stands twice behind any group."""
    by_group: dict[int, int] = {change.seq: change.lsn for change in changes}
    assert list(by_group) == sorted(by_group)
    for end in list(by_group.values())[:: max(1, len(by_group) // 40)]:
        codes = [row["code"] for row in replay(changes[:end]).get("item", {}).values()]
        given = [code for code in codes if code is not None]
        assert len(given) == len(set(given))


def test_two_sealers_at_once_give_each_place_once(
    database_url: str, database: Database, sync: Sync
) -> None:
    execute(database, ITEM)
    sync.track("item")
    with open_database(database_url) as other:
        for round_ in range(5):
            insert_items(database, round_ * 200, 200)
            threads = [Thread(target=seal_all, args=(each,)) for each in (database, other)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
    changes = log_of(database)

    assert list(range(1, 1_001)) == [change.lsn for change in changes]
    assert rows_of(database, "item", "id") == replay(changes)["item"]
