"""Preflight: a whole file is read and told of before anything of it is written."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from stepwell.clock import Clock
from stepwell.database.connect import open_database
from stepwell.database.dialect import DatabaseOptions
from stepwell.errors import (
    BundleTorn,
    GroupMissing,
    HistoryForked,
    ImportRefused,
    NodeRestored,
)
from stepwell.sync.bundle import Meta
from stepwell.sync.bundle_reader import open_bundle
from stepwell.sync.bundle_writer import write_bundle_files
from stepwell.sync.change import Change, encode_values, hlc_of
from stepwell.sync.peers import put_peer
from stepwell.sync.policy import Policy, encode_policy
from stepwell.sync.preflight import Preflight, preflight
from stepwell.sync.session import Sync
from stepwell.sync.table import set_policy
from tests.support.change_log import execute, log_of
from tests.support.sync_nodes import apply_groups, groups_of
from tests.unit.sync.bundles import classic

ITEM = "CREATE TABLE item (id INTEGER PRIMARY KEY, n INTEGER)"


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Callable[[str], Sync]]:
    with ExitStack() as stack:

        def make(name: str) -> Sync:
            database = stack.enter_context(
                open_database(
                    f"sqlite:///{tmp_path}/{name}.db", options=DatabaseOptions(durability="normal")
                )
            )
            sync = Sync(database, Clock())
            sync.init(name, is_main=name == "main")
            execute(database, ITEM)
            sync.track("item")
            return sync

        yield make


@pytest.fixture
def main(node: Callable[[str], Sync]) -> Sync:
    return node("main")


@pytest.fixture
def shop(node: Callable[[str], Sync]) -> Sync:
    """It has three groups of one row each."""
    shop = node("shop-1")
    for number in (1, 2, 3):
        with shop.transaction() as connection:
            connection.execute("INSERT INTO item VALUES (:n, 0)", (number,))
    return shop


@pytest.fixture
def look(main: Sync, tmp_path: Path) -> Callable[..., Preflight]:
    """Writes changes to a file and looks at it from the main."""

    def look(changes: list[Change], at: datetime | None = None, **fields: Any) -> Preflight:
        meta = {"tx_id": "f", "source_node": "shop-1", "epoch": 1, "to_lsn": changes[-1].lsn}
        path = tmp_path / "week.jsonl"
        write_bundle_files(path, Meta(**{**meta, **fields}), changes, replace=True)
        with main.database.read() as reader:
            return preflight(reader, open_bundle(path), at=at or datetime.now(UTC))

    return look


def codes(found: Preflight) -> list[str]:
    return [note.code for note in found.notes]


def test_a_good_file_is_new_once_and_skipped_then(
    shop: Sync, main: Sync, look: Callable[..., Preflight]
) -> None:
    changes = log_of(shop.database)
    before = look(changes)
    apply_groups(main, groups_of(shop.database)[:2], source="shop-1", at=datetime.now(UTC))
    after = look(changes)

    before.require()
    after.require()
    assert (3, 0, 0, []) == (before.new, before.skipped, before.will_park, codes(before))
    assert (1, 2, 3) == (after.new, after.skipped, after.checked.rows)


def test_what_would_harm_is_refused_with_the_way_out(
    shop: Sync, main: Sync, look: Callable[..., Preflight]
) -> None:
    changes = log_of(shop.database)
    apply_groups(main, groups_of(shop.database)[:1], source="shop-1", at=datetime.now(UTC))
    main.database.run(
        lambda t: put_peer(t, "shop-9", is_main=False, epoch=3, at=datetime.now(UTC)), what="a peer"
    )
    other = msgspec.structs.replace(changes[0], created_at="2026-01-01T00:00:00.000000Z")

    with pytest.raises(GroupMissing, match=r"^cannot apply group 3 of .*: 2 are missing here$"):
        look(changes[2:]).require()
    with pytest.raises(GroupMissing, match=r"begins at change 3 of node 'shop-1', 1 to 2 are miss"):
        look(changes[2:], from_lsn=3).require()
    with pytest.raises(HistoryForked):
        look([other]).require()
    with pytest.raises(NodeRestored):
        look(changes, known={"main": (1, 5)}).require()
    with pytest.raises(ImportRefused, match=r"^cannot import 'week.jsonl': it is this node's own"):
        look(changes, source_node="main").require()
    with pytest.raises(ImportRefused, match=r"it is of epoch 1 of node 'shop-9', which is in epo"):
        look(changes, source_node="shop-9").require()


def test_a_column_that_is_not_here_refuses_the_file_or_parks_its_group(
    shop: Sync, main: Sync, look: Callable[..., Preflight]
) -> None:
    changes = log_of(shop.database)
    more = msgspec.Raw(encode_values({"id": 1, "n": 0, "colour": "red"}))
    nothing = msgspec.Raw(encode_values({"id": 1, "n": 0, "colour": None}))
    strange = [msgspec.structs.replace(changes[0], schema="other", payload=more), *changes[1:]]
    harmless = [msgspec.structs.replace(changes[0], schema="other", payload=nothing)]

    look(harmless).require()
    with pytest.raises(
        ImportRefused, match=r"1 changes of table 'item' have a value for column 'c"
    ):
        look(strange).require()
    text = encode_policy(Policy(missing_columns="park"))
    main.database.run(lambda t: set_policy(t, "item", text), what="set a policy")
    found = look(strange)
    found.require()
    assert (1, ["missing_column"]) == (found.will_park, codes(found))


def test_what_will_wait_is_told(shop: Sync, main: Sync, look: Callable[..., Preflight]) -> None:
    changes = log_of(shop.database)
    ahead = hlc_of(datetime.now(UTC) + timedelta(hours=1))
    changes[1] = msgspec.structs.replace(changes[1], table_name="thing")
    changes[2] = msgspec.structs.replace(changes[2], hlc=ahead)
    found = look(changes, client_id="shop-2", is_main=True)

    found.require()
    assert (3, 2) == (found.new, found.will_park)
    assert ["for_another_node", "two_mains", "unknown_table", "clock_ahead"] == codes(found)


def test_a_torn_file_is_no_file(
    shop: Sync, main: Sync, look: Callable[..., Preflight], tmp_path: Path
) -> None:
    look(log_of(shop.database))
    path = tmp_path / "week.jsonl"
    path.write_bytes(path.read_bytes()[:-200])

    with main.database.read() as reader, pytest.raises(BundleTorn):
        preflight(reader, open_bundle(path), at=datetime.now(UTC))


def test_a_classic_file_has_gaps_and_partial_images(main: Sync, tmp_path: Path) -> None:
    """Goal: version 1.0: numbers with gaps, a U of some columns, keys that change; once."""
    path = tmp_path / "old.jsonl"
    lines = [
        {"lsn": 7, "table_name": "item", "payload": {"id": 7, "n": 1}, "pk_json": {"id": 7}},
        {"lsn": 9, "table_name": "item", "op": "U", "payload": {"n": 2}, "pk_json": {"id": 7}},
        {"lsn": 12, "table_name": "item", "op": "U", "payload": {"id": 8}, "pk_json": {"id": 7}},
        {"lsn": 13, "table_name": "item", "payload": {"id": 9, "n": 1}, "pk_json": {"id": 9}},
        {"lsn": 14, "table_name": "item", "op": "D", "payload": None, "pk_json": {"id": 9}},
        {"lsn": 15, "table_name": "item", "op": "U", "payload": {"n": 3}, "pk_json": {"id": 8}},
    ]
    classic(path, *lines)
    with main.database.read() as reader:
        found = preflight(reader, open_bundle(path), at=datetime.now(UTC))
    groups = [list(group.changes()) for group in open_bundle(path).groups()]
    for _ in range(2):
        results = [
            a.result for a in apply_groups(main, groups, source="shop-3", at=datetime.now(UTC))
        ]

    found.require()
    assert 6 == found.new
    assert ["skipped"] * 6 == results
    with main.database.read() as reader:
        rows = reader.connection.execute("SELECT id, n FROM item ORDER BY id").fetchall()
    assert [(8, 3)] == rows
    assert 6 == len(log_of(main.database))
