"""The log of a real node, on each kind of database, written to a file and read back."""

from __future__ import annotations

from pathlib import Path

from stepwell.sync.bundle_reader import open_bundle
from stepwell.sync.bundle_writer import write_bundle_files
from stepwell.sync.session import Sync
from tests.support.change_log import execute, log_of
from tests.unit.sync.bundles import meta, read

ITEM = "CREATE TABLE item (id INTEGER PRIMARY KEY, code TEXT UNIQUE, n BIGINT, r DOUBLE PRECISION)"


def test_a_log_comes_back_as_it_was(sync: Sync, tmp_path: Path) -> None:
    database = sync.database
    execute(database, ITEM)
    execute(database, "INSERT INTO item VALUES (1, 'before', 1, 0.1)")
    sync.track("item")
    execute(
        database,
        "INSERT INTO item VALUES (2, 'b', 9223372036854775807, 5e-324)",
        "INSERT INTO item VALUES (3, NULL, NULL, NULL)",
    )
    execute(database, "UPDATE item SET id = 4, code = 'c' WHERE id = 3")
    with sync.transaction(actor="Ann") as connection:
        connection.execute("DELETE FROM item WHERE id = 2")
    execute(database, "UPDATE item SET r = 0.30000000000000004 WHERE id = 1")
    changes = log_of(database)
    path = tmp_path / "week.jsonl.gz"
    write_bundle_files(path, meta(changes[-1].lsn), changes, part_bytes_max=1_000)

    assert 6 == len(changes)
    assert changes == read(path)
    assert len({change.seq for change in changes}) == open_bundle(path).check().groups
