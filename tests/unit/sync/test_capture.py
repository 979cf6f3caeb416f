"""Every change of a tracked table is logged, whoever makes it; what cannot be is refused."""

from __future__ import annotations

from contextlib import suppress

import pytest

from stepwell.database.connect import Database, open_database
from stepwell.errors import (
    CannotTrack,
    CaptureBroken,
    InvalidNodeId,
    NoSyncNode,
    SyncNodeExists,
    TableNotTracked,
)
from stepwell.sync import capture
from stepwell.sync.change import Lineage
from stepwell.sync.session import Sync
from stepwell.testing import FrozenClock
from tests.support.change_log import execute, log_of, replay, rows_of, told

VISIT = "CREATE TABLE visit (store INTEGER NOT NULL, day TEXT NOT NULL, n INTEGER, note TEXT, PRIMARY KEY (store, day))"  # noqa: E501
ITEM = "CREATE TABLE item (id INTEGER PRIMARY KEY, code TEXT UNIQUE, n INTEGER)"


def test_changes_of_any_writer_become_changes_of_the_log(sync: Sync) -> None:
    database = sync.database
    execute(database, VISIT)
    sync.track("visit")
    execute(database, "INSERT INTO visit VALUES (1, '2026-11-20', 3, NULL)")
    execute(database, "UPDATE visit SET n = 4 WHERE store = 1")
    execute(database, "UPDATE visit SET store = 2", "INSERT INTO visit VALUES (9, 'x', 1, 'y')")
    execute(database, "DELETE FROM visit WHERE store = 9")
    changes = log_of(database)

    one, two, nine = (
        f'{{"day":"{day}","store":{store}}}'
        for store, day in ((1, "2026-11-20"), (2, "2026-11-20"), (9, "x"))
    )
    assert [
        ("I", "visit", one),
        ("U", "visit", one),
        ("U", "visit", one),
        ("I", "visit", nine),
        ("D", "visit", nine),
    ] == told(changes)
    assert [1, 2, 3, 4, 5] == [change.lsn for change in changes]
    assert {"store": 2, "day": "2026-11-20", "n": 4, "note": None} == changes[2].new_values()
    assert b'{"store":1}' == bytes(changes[2].before)
    assert {"store": 9, "day": "x", "n": 1, "note": "y"} == changes[4].old_values()
    assert [0, 0, 0, 0, 1] == [change.tombstone for change in changes]
    assert {"visit": rows_of(database, "visit", "store", "day")} == replay(changes)
    assert two in replay(changes)["visit"]


def test_a_transaction_of_its_own_is_one_exact_group_that_says_who(sync: Sync) -> None:
    database = sync.database
    execute(database, ITEM)
    sync.track("item")
    execute(database, "INSERT INTO item VALUES (1, 'a', 1)")
    with sync.transaction(actor="till") as connection:
        connection.execute("INSERT INTO item VALUES (2, 'b', 1)")
        connection.execute("UPDATE item SET n = 2 WHERE id = 2")
    execute(database, "INSERT INTO item VALUES (3, 'c', 1)")
    changes = log_of(database)

    assert [1, 2, 2, 3] == [change.seq for change in changes]
    assert [None, Lineage(actor="till"), Lineage(actor="till"), None] == [
        change.lineage for change in changes
    ]
    assert changes[1].tx_id == changes[2].tx_id != changes[3].tx_id
    assert "exact" == changes[1].boundary


def test_a_transaction_that_is_rolled_back_leaves_nothing(sync: Sync) -> None:
    database = sync.database
    execute(database, ITEM)
    sync.track("item")
    with suppress(RuntimeError), sync.transaction() as connection:
        connection.execute("INSERT INTO item VALUES (1, 'a', 1)")
        raise RuntimeError
    execute(database, "INSERT INTO item VALUES (2, 'b', 1)")
    changes = log_of(database)

    assert [("I", "item", '{"id":2}')] == told(changes)
    assert ["shop-1.1.1"] == [change.tx_id for change in changes]


def test_an_update_that_changes_nothing_is_not_captured(sync: Sync) -> None:
    database = sync.database
    execute(database, ITEM)
    sync.track("item")
    execute(database, "INSERT INTO item VALUES (1, 'a', NULL)", "UPDATE item SET code = 'a'")

    assert [("I", "item", '{"id":1}')] == told(log_of(database))


def test_applied_rows_are_not_captured(sync: Sync) -> None:
    """Goal: no echo, and the switch is the transaction's own."""
    database = sync.database
    execute(database, ITEM)
    sync.track("item")
    with database.write() as transaction:
        transaction.connection.execute("INSERT INTO item VALUES (1, 'a', 1)")
        with capture.echo(transaction):
            transaction.connection.execute("INSERT INTO item VALUES (2, 'b', 1)")
        transaction.connection.execute("INSERT INTO item VALUES (3, 'c', 1)")
    execute(database, "INSERT INTO item VALUES (4, 'd', 1)")

    assert ['{"id":1}', '{"id":3}', '{"id":4}'] == [key for _, _, key in told(log_of(database))]


def test_versions_name_what_they_were_based_on(sync: Sync) -> None:
    database = sync.database
    execute(database, ITEM)
    sync.track("item")
    execute(database, "INSERT INTO item VALUES (1, 'a', 1)")
    log_of(database)
    execute(database, "UPDATE item SET n = 2")
    log_of(database)
    execute(database, "DELETE FROM item")
    log_of(database)
    execute(database, "INSERT INTO item VALUES (1, 'a', 9)", "UPDATE item SET id = 5")
    changes = log_of(database)

    assert [None, "shop-1.1.1", "shop-1.1.2", "shop-1.1.3", "shop-1.1.4"] == [
        change.base for change in changes
    ]
    assert [1, 1, 2, 3, 4] == [change.causal_length for change in changes]
    assert (None, 1) == (changes[4].new_base, changes[4].new_causal_length)
    assert sorted({c.hlc for c in changes}) == list(dict.fromkeys(c.hlc for c in changes))


def test_rows_that_are_there_are_logged_first_by_key_range(sync: Sync) -> None:
    database = sync.database
    execute(database, VISIT)
    with database.write() as transaction:
        transaction.connection.executemany(
            "INSERT INTO visit VALUES (:store, :day, :n, :note)",
            [(n // 10, f"day {n % 10}", n, None) for n in range(2_345)],
        )
    sync.track("visit")
    execute(database, "UPDATE visit SET n = 0 WHERE store = 7")
    changes = log_of(database)

    assert ["baseline"] * 2_345 == [change.boundary for change in changes[:2_345]]
    assert [1_000, 1_000, 345] == [
        sum(change.seq == seq for change in changes) for seq in (1, 2, 3)
    ]
    assert {"visit": rows_of(database, "visit", "store", "day")} == replay(changes)
    assert {1} == {change.hlc for change in changes[:2_345]}


def test_a_table_may_be_tracked_without_the_rows_that_are_there(sync: Sync) -> None:
    database = sync.database
    execute(database, ITEM, "INSERT INTO item VALUES (1, 'a', 1)")
    sync.track("item", with_rows=False)
    execute(database, "UPDATE item SET n = 2")

    assert [("U", "item", '{"id":1}')] == told(log_of(database))


def test_tracking_again_changes_nothing_while_capture_is_whole(sync: Sync) -> None:
    database = sync.database
    execute(database, ITEM)
    sync.track("item")
    execute(database, "INSERT INTO item VALUES (1, 'a', 1)")
    sync.track("item")

    assert [("I", "item", '{"id":1}')] == told(log_of(database))
    assert 1 == sum(line.action == "track" for line in sync.audit())


def test_a_changed_table_is_found_refused_and_mended(sync: Sync) -> None:
    """Goal: no export ships a hole. Method: a column more, then what was written there is told."""
    database = sync.database
    execute(database, ITEM, "INSERT INTO item VALUES (1, 'a', 1), (2, 'b', 2)")
    sync.track("item")
    log_of(database)
    execute(database, "ALTER TABLE item ADD COLUMN note TEXT")
    broken = pytest.raises(CaptureBroken, match=r"its columns have changed: 'note' is new$")
    with database.read() as reader, broken as caught:
        capture.require_capture(reader)

    assert "`stepwell sync track item` mends it" in caught.value.hint
    execute(database, "UPDATE item SET note = 'x' WHERE id = 2")
    sync.track("item")
    with database.read() as reader:
        capture.require_capture(reader)
    execute(database, "UPDATE item SET note = 'y' WHERE id = 1")
    changes = log_of(database)
    assert [("U", "item", f'{{"id":{key}}}') for key in (2, 1)] == told(changes[2:])
    assert {"id": 1, "code": "a", "n": 1, "note": "y"} == changes[-1].new_values()
    # The old image has the new column, too.
    assert rows_of(database, "item", "id") == replay(changes, exact_images=False)["item"]


def test_a_table_that_lost_rows_while_nobody_looked_is_announced_as_it_is(sync: Sync) -> None:
    database = sync.database
    execute(database, ITEM, "INSERT INTO item VALUES (1, 'a', 1), (2, 'b', 2), (3, 'c', 3)")
    sync.track("item")
    sync.untrack("item")
    execute(database, "DELETE FROM item WHERE id = 2", "UPDATE item SET n = 9 WHERE id = 3")
    sync.track("item")
    changes = log_of(database)

    assert rows_of(database, "item", "id") == replay(changes)["item"]
    assert "D" == changes[-1].op


def test_a_table_that_was_dropped_is_a_fault(sync: Sync) -> None:
    database = sync.database
    execute(database, ITEM)
    sync.track("item")
    execute(database, "DROP TABLE item")

    assert ["the table is not there any more"] == [fault.what for fault in sync.status().faults]
    sync.untrack("item")
    assert [] == sync.status().faults


@pytest.mark.parametrize(
    ("made", "fact"),
    [
        ("", "there is no such table"),
        ("CREATE TABLE t (a INTEGER)", "it has no declared primary key"),
        ("CREATE VIEW t AS SELECT 1 AS a", "it is a view"),
    ],
)
def test_what_cannot_be_carried_is_refused(sync: Sync, made: str, fact: str) -> None:
    if made:
        execute(sync.database, made)

    with pytest.raises(CannotTrack, match=f"^cannot track table 't': {fact}$"):
        sync.track("t")
    assert [] == sync.status().tables


def test_a_key_that_may_be_null_is_refused(tmp_path: object, clock: FrozenClock) -> None:
    """Goal: SQLite lets a key be NULL unless it is the rowid or says NOT NULL."""
    with open_database(f"sqlite:///{tmp_path}/x.db", clock=clock) as database:
        sync = Sync(database, clock)
        sync.init("shop-1")
        execute(
            database,
            "CREATE TABLE a (id TEXT PRIMARY KEY)",
            "CREATE TABLE b (id TEXT PRIMARY KEY) WITHOUT ROWID",
            "CREATE TABLE c (id INTEGER PRIMARY KEY)",
            "CREATE VIRTUAL TABLE d USING fts5(x)",
        )

        with pytest.raises(CannotTrack, match=r"column 'id' of its key may be NULL$"):
            sync.track("a")
        with pytest.raises(CannotTrack, match=r"it is a virtual table$"):
            sync.track("d")
        with pytest.raises(CannotTrack, match=r"it is not the application's$"):
            sync.track("sync_row")
        sync.track("b")
        sync.track("c")


def test_a_database_is_one_node_for_ever(database: Database, clock: FrozenClock) -> None:
    sync = Sync(database, clock)
    with pytest.raises(NoSyncNode, match=r"it is no node yet$"):
        sync.track("item")
    with pytest.raises(InvalidNodeId, match=r"got 'Shop.1'$"):
        sync.init("Shop.1")
    assert not sync.is_node

    node = sync.init("shop-1", is_main=True)

    assert node == sync.init("shop-1", is_main=True) == sync.node()
    with pytest.raises(SyncNodeExists, match=r"node 'shop-2': it is main node 'shop-1'$"):
        sync.init("shop-2")
    with pytest.raises(SyncNodeExists, match=r"it is main node 'shop-1'$"):
        sync.init("shop-1")
    with pytest.raises(TableNotTracked, match=r"it is not tracked here$"):
        sync.untrack("item")
    assert [("test", 0), ("init", 1)] == [
        (name, sum(line.action == name for line in sync.audit())) for name in ("test", "init")
    ]
