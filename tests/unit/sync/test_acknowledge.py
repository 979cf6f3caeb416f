"""A peer's cursor moves by what its own files say; what every peer has may be pruned."""

from __future__ import annotations

from pathlib import Path

import pytest

from stepwell.errors import BehindHorizon
from stepwell.sync import acknowledge as receipts
from stepwell.sync.acknowledge import Received
from stepwell.sync.bundle_reader import open_bundle
from stepwell.sync.session import Sync
from tests.support.change_log import execute, log_of

ITEM = "CREATE TABLE item (id INTEGER PRIMARY KEY, n INTEGER)"


@pytest.fixture
def item(sync: Sync) -> Sync:
    """Three groups of one, two and three changes: LSN 1, 2 to 3, 4 to 6."""
    execute(sync.database, ITEM)
    sync.track("item")
    number = 0
    for count in (1, 2, 3):
        with sync.transaction() as connection:
            for _ in range(count):
                number += 1
                connection.execute(f"INSERT INTO item VALUES ({number}, 0)")
        log_of(sync.database)
    sync.add_peer("main", is_main=True)
    return sync


def acknowledge(sync: Sync, received: Received, epoch: int = 1) -> int:
    """The peer's file has said ``received``."""
    at = sync.database.clock.now()
    return sync.database.run(
        lambda t: receipts.acknowledge(t, "main", received, epoch=epoch, at=at)
    )


def cursor(sync: Sync) -> int | None:
    state = sync.state("main")
    return None if state is None else state.last_lsn


def test_a_cursor_stands_behind_the_last_group_that_the_peer_has(item: Sync) -> None:
    assert None is cursor(item)
    assert 0 == acknowledge(item, {})
    assert 3 == acknowledge(item, {"shop-1": (1, 3), "other": (1, 9)})
    assert 3 == cursor(item)
    assert 6 == acknowledge(item, {"shop-1": (1, 6)})
    # An older file that comes late moves nothing back.
    assert 6 == acknowledge(item, {"shop-1": (1, 1)})


def test_a_cursor_goes_back_when_the_peer_was_restored(item: Sync) -> None:
    acknowledge(item, {"shop-1": (1, 6)})

    assert 1 == acknowledge(item, {"shop-1": (1, 1)}, epoch=2)
    assert 1 == cursor(item)


def test_what_a_peer_says_of_an_epoch_that_is_over_counts_no_more(item: Sync) -> None:
    acknowledge(item, {"shop-1": (1, 3)})
    item.rejoin()

    assert 3 == acknowledge(item, {"shop-1": (1, 6)})
    assert 6 == acknowledge(item, {"shop-1": (2, 99)})


def test_the_next_export_begins_where_the_peer_stands(item: Sync, tmp_path: Path) -> None:
    item.export(tmp_path / "1.jsonl", client="main")
    first = open_bundle(tmp_path / "1.jsonl")
    acknowledge(item, {"shop-1": (1, 3)})
    item.export(tmp_path / "2.jsonl", client="main")
    second = open_bundle(tmp_path / "2.jsonl")

    assert (1, 6) == (first.meta.from_lsn, first.meta.to_lsn)
    assert (4, 6) == (second.meta.from_lsn, second.meta.to_lsn)
    assert first.check().sha256 == second.meta.prev_hash


def test_what_every_live_peer_has_is_pruned_and_nothing_else(item: Sync, tmp_path: Path) -> None:
    item.add_peer("shop-2")
    acknowledge(item, {"shop-1": (1, 6)})
    assert 0 == item.prune().changes
    item.retire_peer("shop-2")
    acknowledge(item, {"shop-1": (1, 6)})
    execute(item.database, "INSERT INTO item VALUES (7, 0)")

    assert (7, 6) == (item.prune(dry_run=True).below_lsn, item.prune(dry_run=True).changes)
    assert 6 == item.prune().changes
    assert [7] == [change.lsn for change in log_of(item.database)]
    assert 7 == item.status().node.horizon_lsn
    assert 0 == item.prune().changes
    with pytest.raises(BehindHorizon, match="the log begins at LSN 7, what was before is pruned"):
        item.export(tmp_path / "1.jsonl", client="main", since=3)
    item.export(tmp_path / "2.jsonl", client="main")
    assert 1 == open_bundle(tmp_path / "2.jsonl").check().rows


def test_an_export_that_was_broken_off_is_written_over_by_itself_alone(
    item: Sync, tmp_path: Path
) -> None:
    path = tmp_path / "1.jsonl"
    item.export(path, file_id="a")
    before = path.read_bytes()
    item.export(path, file_id="a")

    assert before == path.read_bytes()
