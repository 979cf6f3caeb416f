"""A node begins anew with another one's rows, or not at all; two are compared by a file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from stepwell.database.connect import open_database
from stepwell.errors import BundleDamaged, BundleTorn, CannotBootstrap, ForeignFile, InvalidPeer
from stepwell.sync.change import RowKey
from stepwell.sync.peers import SyncState, set_state
from stepwell.sync.session import Sync
from stepwell.sync.versions import find_version
from stepwell.testing import FrozenClock
from tests.support.change_log import execute, log_of, rows_of

SHELF = "CREATE TABLE z_shelf (id INTEGER PRIMARY KEY, name TEXT)"
ITEM = (
    'CREATE TABLE "Item" (id INTEGER PRIMARY KEY, shelf INTEGER REFERENCES z_shelf (id), r DOUBLE'
    " PRECISION)"
)
TABLES = (SHELF, ITEM)


@pytest.fixture
def shop(sync: Sync) -> Sync:
    """shop-1 on each database: rows, a deleted one, a foreign key; LSN 1 to 6."""
    execute(sync.database, *TABLES)
    sync.track("z_shelf")
    sync.track("Item")
    execute(sync.database, "INSERT INTO z_shelf VALUES (1, 'a'), (2, 'b')")
    execute(
        sync.database,
        'INSERT INTO "Item" VALUES (1, 2, 0.1), (2, 1, 5e-324), (3, NULL, NULL)',
        'DELETE FROM "Item" WHERE id = 3',
    )
    log_of(sync.database)
    return sync


@pytest.fixture
def new(tmp_path: Path, clock: FrozenClock) -> Iterator[Sync]:
    """shop-2, a SQLite file with the tables."""
    with open_database(f"sqlite:///{tmp_path}/new.db", clock=clock) as database:
        execute(database, *TABLES)
        sync = Sync(database, clock)
        sync.init("shop-2")
        sync.track("z_shelf", with_rows=False)
        sync.track("Item", with_rows=False)
        yield sync


def versions(sync: Sync) -> list[object]:
    with sync.database.read() as reader:
        return [
            find_version(reader, RowKey(table, f'{{"id":{number}}}'))
            for table in ("z_shelf", "Item")
            for number in (1, 2, 3)
        ]


def test_a_new_node_begins_with_all_rows_and_their_versions(
    shop: Sync, new: Sync, tmp_path: Path
) -> None:
    head = shop.write_snapshot(tmp_path / "all.jsonl.gz")
    done = new.bootstrap(tmp_path / "all.jsonl.gz")

    assert (4, 1, 1) == (done.rows, done.tombstones, done.epoch)
    for table in ("z_shelf", "Item"):
        assert rows_of(shop.database, table, "id") == rows_of(new.database, table, "id")
    assert versions(shop) == versions(new)
    # Nothing of it is its own change, and it goes on behind the last one of the source.
    assert [] == log_of(new.database)
    state = next(s for s in new.status().states if s.direction == "in")
    assert ("shop-1", head.lsn, 1) == (state.client_id, state.last_lsn, state.peer_epoch)
    assert {"shop-1": (1, head.known["shop-1"][1]), "shop-2": (1, 0)} == new.prepare_export().known


def test_what_was_there_is_replaced(shop: Sync, new: Sync, tmp_path: Path) -> None:
    shop.write_snapshot(tmp_path / "1.jsonl")
    new.bootstrap(tmp_path / "1.jsonl")
    execute(shop.database, 'DELETE FROM "Item"', "UPDATE z_shelf SET name = 'c'")
    shop.write_snapshot(tmp_path / "2.jsonl")
    new.bootstrap(tmp_path / "2.jsonl")

    assert {} == rows_of(new.database, "Item", "id")
    assert versions(shop) == versions(new)


def test_changes_that_the_snapshot_lacks_are_not_lost(
    shop: Sync, new: Sync, tmp_path: Path
) -> None:
    execute(new.database, "INSERT INTO z_shelf VALUES (9, 'own')")
    shop.write_snapshot(tmp_path / "1.jsonl")
    with pytest.raises(CannotBootstrap, match="it lacks 1 groups of this node") as refused:
        new.bootstrap(tmp_path / "1.jsonl")

    assert "import that on shop-1" in refused.value.hint
    assert 1 == len(rows_of(new.database, "z_shelf", "id"))
    done = new.bootstrap(tmp_path / "1.jsonl", new_epoch=True)
    assert (2, 2) == (done.epoch, new.node().epoch)
    assert rows_of(shop.database, "z_shelf", "id") == rows_of(new.database, "z_shelf", "id")
    execute(new.database, "INSERT INTO z_shelf VALUES (9, 'own')")
    [change] = log_of(new.database)
    assert (2, 1, 1) == (change.epoch, change.seq, change.lsn)


def test_a_snapshot_that_does_not_fit_is_refused(shop: Sync, new: Sync, tmp_path: Path) -> None:
    path = tmp_path / "1.jsonl"
    shop.write_snapshot(path)
    with pytest.raises(CannotBootstrap, match="node 'shop-1' wrote it itself"):
        shop.bootstrap(path)
    new.untrack("Item")
    with pytest.raises(CannotBootstrap, match="table 'Item' is not tracked here"):
        new.bootstrap(path)
    execute(new.database, 'ALTER TABLE "Item" ADD COLUMN more TEXT')
    new.track("Item", with_rows=False)
    with pytest.raises(CannotBootstrap, match="table 'Item' has other columns there"):
        new.bootstrap(path)

    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:-1]))
    with pytest.raises(BundleTorn, match="without its last line"):
        new.bootstrap(path)
    path.write_bytes(b"".join([*lines[:2], *lines[3:]]))
    with pytest.raises(BundleDamaged, match="it counts 5 lines"):
        new.bootstrap(path)
    shop.export(tmp_path / "2.jsonl")
    with pytest.raises(ForeignFile, match="has no `__snapshot__`"):
        new.bootstrap(tmp_path / "2.jsonl")


def test_a_node_goes_on_in_a_new_epoch(shop: Sync) -> None:
    before = shop.node()
    after = shop.rejoin()
    execute(shop.database, "INSERT INTO z_shelf VALUES (9, 'later')")
    change = log_of(shop.database)[-1]

    assert (before.epoch + 1, before.last_lsn + 1) == (after.epoch, change.lsn)
    assert (2, 1) == (change.epoch, change.seq)


def test_an_epoch_in_which_nothing_was_written_is_used_all_the_same(
    shop: Sync, new: Sync, clock: FrozenClock, tmp_path: Path
) -> None:
    """Goal: a copy from before the last new epoch is put back; what it writes now must arrive."""
    heard = SyncState("shop-2", "in", 5, 3, None, None, clock.now())
    shop.database.run(lambda t: set_state(t, heard))
    shop.write_snapshot(tmp_path / "all.snapshot")

    assert 4 == new.bootstrap(tmp_path / "all.snapshot", new_epoch=True).epoch


# --- verify --------------------------------------------------------------------------------------


def test_rows_that_differ_are_named(shop: Sync, new: Sync, tmp_path: Path) -> None:
    shop.write_snapshot(tmp_path / "all.jsonl")
    new.bootstrap(tmp_path / "all.jsonl")
    shop.write_digest(tmp_path / "1.jsonl")
    same = new.verify(tmp_path / "1.jsonl")
    assert (0, 4, ()) == (same.different, same.rows, same.behind)

    execute(
        new.database,
        'UPDATE "Item" SET r = 0.2 WHERE id = 1',
        'DELETE FROM "Item" WHERE id = 2',
        "INSERT INTO z_shelf VALUES (9, 'own')",
    )
    found = new.verify(tmp_path / "1.jsonl")
    assert [
        ("Item", '{"id":1}', "another one there"),
        ("Item", '{"id":2}', "only there"),
        ("z_shelf", '{"id":9}', "only here"),
    ] == [(d.table_name, d.pk_json, d.what) for d in found.differences]
    assert ("shop-2",) == found.behind
    with pytest.raises(InvalidPeer, match="is of node 'shop-1'"):
        new.verify(tmp_path / "1.jsonl", peer="main")
