"""Groups that are applied together end as if each had been applied by itself."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from stepwell.clock import Clock
from stepwell.database.connect import open_database
from stepwell.database.dialect import DatabaseOptions
from stepwell.errors import ConstraintViolation, GroupMissing
from stepwell.sync.apply import Applied
from stepwell.sync.session import Sync
from tests.support.change_log import execute, log_of, told
from tests.support.sync_nodes import Groups, groups_of, numbered, rows, with_applier

ITEM = "CREATE TABLE item (id INTEGER PRIMARY KEY, code TEXT UNIQUE, n INTEGER)"
PART = "CREATE TABLE part (id INTEGER PRIMARY KEY, item_id INTEGER NOT NULL REFERENCES item (id))"
RECEIVED = "SELECT origin, epoch, seq, hash, result FROM sync_applied ORDER BY 1, 2, 3"
VERSIONS = "SELECT table_name, pk_json, origin, seq, causal_length FROM sync_row ORDER BY 1, 2"
PARKED = "SELECT seq, reason, waits_for, outcome FROM sync_quarantine ORDER BY quarantine_id"
CONFLICTS = "SELECT pk_json, kind, status, winner FROM sync_conflict ORDER BY conflict_id"


@pytest.fixture
def nodes(tmp_path: Path) -> Iterator[Any]:
    with ExitStack() as stack:

        def make(name: str, file: str) -> Sync:
            url = f"sqlite:///{tmp_path}/{file}.db"
            options = DatabaseOptions(durability="normal")
            sync = Sync(stack.enter_context(open_database(url, options=options)), Clock())
            sync.init(name, is_main=name == "main")
            execute(sync.database, ITEM, PART)
            for table in ("item", "part"):
                sync.track(table)
            return sync

        yield make


def write(sync: Sync, dice: random.Random, count: int) -> None:
    """Groups of rows that mostly are new, sometimes are the other node's, or refer to one."""
    for _ in range(count):
        key, other = dice.randrange(12), dice.randrange(40)
        statement = dice.choice(
            (
                f"INSERT INTO item VALUES ({other}, '{dice.randrange(30)}', 0)",
                f"INSERT INTO item VALUES ({other}, NULL, 1)",
                f"UPDATE item SET n = {other} WHERE id >= {key}",
                f"UPDATE item SET id = {other} WHERE id = {key}",
                f"INSERT INTO part SELECT {other}, id FROM item WHERE id >= {key} LIMIT 1",
                f"DELETE FROM part WHERE item_id >= {key}",
                f"DELETE FROM item WHERE id = {key}",
            )
        )
        with suppress(ConstraintViolation), sync.transaction() as connection:
            connection.execute(statement)


def everything(sync: Sync) -> list[Any]:
    with sync.database.read() as reader:
        asked = [
            list(reader.connection.execute(sql)) for sql in (RECEIVED, VERSIONS, PARKED, CONFLICTS)
        ]
    return [rows(sync.database), told(log_of(sync.database)), *asked]


def together(sync: Sync, groups: Groups) -> list[Applied]:
    at = Clock().now() + timedelta(seconds=1)
    return list(with_applier(sync, at, lambda a: a.apply_all(map(numbered, groups))))


def one_by_one(sync: Sync, groups: Groups) -> list[Applied]:
    at = Clock().now() + timedelta(seconds=1)
    return list(with_applier(sync, at, lambda a: [a.apply(numbered(g)) for g in groups]))


@pytest.mark.parametrize("seed", range(6))
def test_groups_applied_together_end_like_groups_applied_one_by_one(seed: int, nodes: Any) -> None:
    dice = random.Random(seed)
    shop, one, other = nodes("shop-1", "shop"), nodes("main", "one"), nodes("main", "other")
    write(shop, dice, 40)
    for main in (one, other):
        write(main, random.Random(seed + 100), 4)
    groups = groups_of(shop.database)
    cut = dice.randrange(len(groups))

    assert one_by_one(one, groups[:cut]) == together(other, groups[:cut])
    assert one_by_one(one, groups) == together(other, groups)
    assert everything(one)[0] == everything(other)[0]
    assert everything(one)[2:] == everything(other)[2:]
    assert len(everything(one)[1]) == len(everything(other)[1])


def test_a_group_that_is_missing_is_told_before_anything_is_kept(nodes: Any) -> None:
    shop, main = nodes("shop-1", "shop"), nodes("main", "main")
    for number in range(5):
        execute(shop.database, f"INSERT INTO item VALUES ({number}, NULL, 0)")
        groups_of(shop.database)
    groups = groups_of(shop.database)
    with pytest.raises(GroupMissing, match="4 are missing"):
        together(main, [*groups[:3], groups[4]])

    assert {} == rows(main.database)["item"]
    assert ["applied"] * 5 == [applied.result for applied in together(main, groups)]
