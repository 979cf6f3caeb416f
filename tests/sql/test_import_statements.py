"""The statements of an import's hot path, known by heart: what a group costs, and what a commit."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from stepwell.clock import Clock
from stepwell.database.connect import Database, open_database
from stepwell.sync.session import Sync
from tests.support.change_log import execute
from tests.support.sync_nodes import Groups, apply_groups, groups_of

ITEM = "CREATE TABLE item (id INTEGER PRIMARY KEY, code TEXT UNIQUE, n INTEGER)"


@pytest.fixture
def main(tmp_path: Path) -> Iterator[Sync]:
    with open_database(f"sqlite:///{tmp_path}/main.db") as database:
        yield _node(database, "main")


@pytest.fixture
def groups(tmp_path: Path) -> Groups:
    """Of a shop: ten inserts, ten updates, ten more, ten deletes; each is one group."""
    with ExitStack() as stack:
        database = stack.enter_context(open_database(f"sqlite:///{tmp_path}/shop.db"))
        sync = _node(database, "shop-1")
        for statement in (
            f"INSERT INTO item VALUES {', '.join(f'({n}, {n}, 0)' for n in range(10))}",
            "UPDATE item SET n = 1",
            "UPDATE item SET n = 2",
            "DELETE FROM item",
        ):
            with sync.transaction() as connection:
                connection.execute(statement)
        return groups_of(database)


def _node(database: Database, name: str) -> Sync:
    sync = Sync(database, Clock())
    sync.init(name)
    execute(database, ITEM)
    sync.track("item")
    return sync


def statements(sync: Sync, groups: Groups) -> list[str]:
    """What the import of these groups executes, each by its first three words, runs as one."""
    found: list[str] = []

    def add(statement: str) -> None:
        words = " ".join(statement.replace("(", " ").split()[:3])
        # A trigger's statements are told as comments; many rows tell one statement many times.
        if not statement.startswith("--") and found[-1:] != [words]:
            found.append(words)

    for kept in sync.database._writers._all:
        kept.raw.set_trace_callback(add)
    apply_groups(sync, groups, source="shop-1", at=Clock().now())
    for kept in sync.database._writers._all:
        kept.raw.set_trace_callback(None)
    return found


def test_a_group_that_follows_takes_a_savepoint_a_look_and_a_batch(
    main: Sync, groups: Groups
) -> None:
    one = statements(main, groups[:1])
    statements(main, groups[1:2])
    two = statements(main, groups[2:4])
    begin = one.index("SAVEPOINT stepwell") - 1

    assert [
        "SELECT sync_row.pk_json, sync_row.origin,",
        "SAVEPOINT stepwell",
        'INSERT INTO "item"',
        "RELEASE stepwell",
        "INSERT INTO sync_applied",
        "DELETE FROM change_context",
        "DELETE FROM change_stash_1",
        "INSERT INTO change_log",
        "INSERT INTO sync_row",
        "UPDATE sync_node SET",
        "COMMIT",
    ] == [s for s in one[begin:] if not s.startswith("SELECT sync_applied")]
    assert ['UPDATE "item" SET', 'DELETE FROM "item"'] == [s for s in two if '"item"' in s]
    assert 1 == two.count("SAVEPOINT stepwell")
    assert begin <= 25, one[:begin]


def test_what_a_commit_costs_does_not_grow_with_its_groups(main: Sync, groups: Groups) -> None:
    """Method: what follows plainly is written under one savepoint, whatever group it is of."""
    statements(main, groups[:1])
    one = statements(main, groups[1:2])
    more = statements(main, groups[2:4])
    for statement in one:
        more.remove(statement)

    assert ['DELETE FROM "item"'] == more


def test_groups_of_which_one_is_not_plain_are_written_around_it(main: Sync, tmp_path: Path) -> None:
    """Method: of five groups main has another row for the third: two, that one alone, two more."""
    with open_database(f"sqlite:///{tmp_path}/shop-2.db") as database:
        shop = _node(database, "shop-1")
        for number in range(5):
            with shop.transaction() as connection:
                connection.execute(f"INSERT INTO item VALUES ({number}, NULL, 0)")
        five = groups_of(database)
    with main.transaction() as connection:
        connection.execute("INSERT INTO item VALUES (2, 'main', 0)")
    found = statements(main, five)

    assert 3 == found.count("SAVEPOINT stepwell") == found.count("RELEASE stepwell")
