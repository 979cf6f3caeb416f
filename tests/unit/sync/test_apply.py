"""Applying: whole or not at all, once, in the order of each origin; what cannot be is parked."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from stepwell.clock import Clock
from stepwell.database.connect import open_database
from stepwell.database.dialect import DatabaseOptions
from stepwell.errors import (
    CannotResolve,
    GroupMissing,
    HistoryForked,
    NodeRestored,
    NoSuchConflict,
    NoSuchQuarantine,
)
from stepwell.sync.apply import Applied
from stepwell.sync.change import Change, Values, encode_values, hlc_of
from stepwell.sync.conflict import get_conflict, list_conflicts
from stepwell.sync.policy import Policy, encode_policy, resolver
from stepwell.sync.quarantine import get_quarantined, list_quarantine
from stepwell.sync.resolution import reopen, resolve
from stepwell.sync.session import Sync
from stepwell.sync.table import set_policy
from tests.support.change_log import execute, log_of, told
from tests.support.sync_nodes import apply_groups, groups_of, rows, send, with_applier

Make = Callable[..., Sync]

ITEM = "CREATE TABLE item (id INTEGER PRIMARY KEY, code TEXT, n INTEGER NOT NULL DEFAULT 0)"
CODE = "CREATE UNIQUE INDEX item_code ON item (code)"
PART = (
    "CREATE TABLE part (id INTEGER PRIMARY KEY, item_id INTEGER NOT NULL REFERENCES item (id)"
    " ON DELETE CASCADE DEFERRABLE)"
)


@pytest.fixture(params=["sqlite3", "postgresql"])
def node(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Make]:
    """Makes nodes; the one that receives is on each kind of database in turn, others on SQLite."""
    clock = Clock()  # Triggers stamp by the machine's.
    with ExitStack() as stack:

        def make(name: str, *, policy: Policy | None = None, receives: bool = False) -> Sync:
            url = f"sqlite:///{tmp_path}/{name}.db"
            if receives and request.param == "postgresql":
                url = str(request.getfixturevalue("postgresql_database_url"))
            options = DatabaseOptions(durability="normal")
            database = stack.enter_context(open_database(url, clock=clock, options=options))
            sync = Sync(database, clock, actor="test")
            sync.init(name, is_main=name == "main")
            execute(database, ITEM, CODE, PART)
            for table in ("item", "part"):
                sync.track(table)
            text = encode_policy(policy or Policy())
            database.run(lambda t: set_policy(t, "item", text), what="set a policy")
            return sync

        yield make


@pytest.fixture
def at() -> datetime:
    return Clock().now() + timedelta(seconds=1)


def write(sync: Sync, *statements: str) -> None:
    with sync.transaction() as connection:
        for statement in statements:
            connection.execute(statement)


def results(applied: list[Applied]) -> list[str]:
    return [each.reason or each.result for each in applied]


def item(sync: Sync) -> list[Values]:
    return list(rows(sync.database, "item")["item"].values())


def waiting(sync: Sync) -> list[str]:
    with sync.database.read() as reader:
        return [q.reason for q in reversed(list_quarantine(reader))]


def test_a_group_is_applied_once_and_passed_on_under_its_own_name(node: Make, at: datetime) -> None:
    shop, main, other = node("shop-1"), node("main", receives=True), node("shop-2")
    write(shop, "INSERT INTO item VALUES (1, 'a', 1), (2, 'b', 2)", "UPDATE item SET n = 5")
    write(shop, "DELETE FROM item WHERE id = 2", "UPDATE item SET id = 3 WHERE id = 1")

    assert ["applied", "applied"] == results(send(shop, main, at=at))
    assert ["skipped", "skipped"] == results(send(shop, main, at=at))
    assert ["applied", "applied"] == results(send(main, other, at=at))
    assert [] == send(main, shop, at=at)
    assert [{"id": 3, "code": "a", "n": 5}] == item(main) == item(other)
    assert told(log_of(shop.database)) == told(log_of(main.database))
    assert [{"shop-1"}, {"main"}] == [
        {change.source_node for change in log_of(sync.database)} for sync in (main, other)
    ]


def test_a_gap_a_fork_and_a_restored_node_are_refused(node: Make, at: datetime) -> None:
    shop, main = node("shop-1"), node("main", receives=True)
    for number in (1, 2, 3):
        write(shop, f"INSERT INTO item VALUES ({number}, NULL, 1)")
    groups = groups_of(shop.database)
    apply_groups(main, groups[:1], source="shop-1", at=at)
    other = [msgspec.structs.replace(groups[0][0], created_at="2026-01-01T00:00:00.000000Z")]
    write(main, "INSERT INTO item VALUES (9, NULL, 1)")
    [own] = [g for g in groups_of(main.database) if g[0].origin == "main"]
    later = [msgspec.structs.replace(own[0], seq=2)]
    forked = [msgspec.structs.replace(own[0], created_at="2026-01-01T00:00:00.000000Z")]

    with pytest.raises(
        GroupMissing, match=r"^cannot apply group 3 of node 'shop-1' \(epoch 1\): 2"
    ):
        apply_groups(main, groups[2:], source="shop-1", at=at)
    with pytest.raises(HistoryForked, match=r"another group of this name is here: two databases"):
        apply_groups(main, [other], source="shop-1", at=at)
    with pytest.raises(HistoryForked):
        apply_groups(main, [forked], source="shop-1", at=at)
    with pytest.raises(NodeRestored, match=r"which ends at group 1 of epoch 1: it was restored"):
        apply_groups(main, [later], source="shop-1", at=at)
    assert ["skipped"] == results(apply_groups(main, [own], source="shop-1", at=at))
    assert [1, 9] == [row["id"] for row in item(main)]


def test_a_group_that_breaks_a_constraint_is_undone_alone_and_holds_back_what_touches_it(
    node: Make, at: datetime
) -> None:
    """Goal: the rows of one bad transaction wait, and what builds on them; all else is applied."""
    shop, main = node("shop-1"), node("main", receives=True)
    execute(main.database, "CREATE TABLE small (id INTEGER PRIMARY KEY, n INTEGER CHECK (n < 10))")
    execute(shop.database, "CREATE TABLE small (id INTEGER PRIMARY KEY, n INTEGER)")
    for sync in (shop, main):
        sync.track("small")
    write(shop, "INSERT INTO item VALUES (1, 'a', 1)", "INSERT INTO small VALUES (1, 99)")
    write(shop, "INSERT INTO item VALUES (2, 'b', 1)")
    write(shop, "UPDATE item SET n = 2 WHERE id = 1")
    write(shop, "INSERT INTO part VALUES (1, 1)")
    write(shop, "INSERT INTO part VALUES (2, 2)")
    applied = send(shop, main, at=at)

    assert ["constraint", "applied", "behind", "behind", "applied"] == results(applied)
    assert [{"id": 2, "code": "b", "n": 1}] == item(main)
    assert (3, "small", '{"id":1}') == (applied[0].line, applied[0].table_name, applied[0].pk_json)
    assert [2] == [row["id"] for row in rows(main.database, "part")["part"].values()]
    assert len(log_of(main.database)) == len(log_of(shop.database))

    # The cause is mended by the next change of the row that could not be.
    write(shop, "UPDATE small SET n = 9")
    [*_, last] = send(shop, main, at=at)
    first = with_applier(main, at, lambda a: a.drop(1))

    assert "behind" == last.reason
    assert ("dropped", (2, 3, 4)) == (first.result, first.released)
    assert [] == waiting(main)
    assert rows(shop.database) == rows(main.database)


def test_a_child_waits_for_its_parent_and_is_released_with_it(node: Make, at: datetime) -> None:
    shop, main, other = node("shop-1"), node("main", receives=True), node("shop-2")
    write(shop, "INSERT INTO item VALUES (1, 'a', 1)")
    send(shop, other, at=at)
    write(other, "INSERT INTO part VALUES (1, 1)")
    [part] = [g for g in groups_of(other.database) if g[0].origin == "shop-2"]
    first = apply_groups(main, [part], source="shop-2", at=at)
    second = send(shop, main, at=at)

    assert ["foreign_key"] == results(first)
    assert re.search(r"of table 'item' that is not here \(item_id = 1\)|_fkey", first[0].message)
    assert [("applied", (1,))] == [(a.result, a.released) for a in second]
    assert [] == waiting(main)
    assert rows(other.database) == rows(main.database)


def test_a_child_whose_parent_is_gone_is_applied_with_its_own_end(node: Make, at: datetime) -> None:
    """Goal: a group that can never be applied alone does not hold back the one that mends it."""
    shop, main = node("shop-1"), node("main", receives=True)
    write(shop, "INSERT INTO item VALUES (1, 'a', 1)")
    send(shop, main, at=at)
    write(main, "DELETE FROM item")
    write(shop, "INSERT INTO part VALUES (1, 1)", "INSERT INTO item VALUES (2, 'b', 2)")
    write(shop, "UPDATE item SET n = 3 WHERE id = 2")
    write(shop, "DELETE FROM part")
    applied = send(shop, main, at=at)

    assert ["skipped", "foreign_key", "behind", "behind"] == results(applied)
    assert (1, 2, 3) == applied[-1].released
    assert [] == waiting(main)
    assert [{"id": 2, "code": "b", "n": 3}] == item(main)
    assert {} == rows(main.database)["part"]


def test_a_change_that_comes_before_its_cause_waits_for_it(node: Make, at: datetime) -> None:
    shop, main, other = node("shop-1"), node("main", receives=True), node("shop-2")
    write(shop, "INSERT INTO item VALUES (1, 'a', 1)")
    send(shop, other, at=at)
    write(other, "UPDATE item SET n = 2")
    write(other, "UPDATE item SET n = 3")
    early = [g for g in groups_of(other.database) if g[0].origin == "shop-2"]

    assert ["early", "behind"] == results(apply_groups(main, early, source="shop-2", at=at))
    assert [("applied", (1, 2))] == [(a.result, a.released) for a in send(shop, main, at=at)]
    assert [{"id": 1, "code": "a", "n": 3}] == item(main)


def test_foreign_keys_are_deferred_inside_the_group(node: Make, at: datetime) -> None:
    """Goal: whatever order the origin had its changes in. Method: two parents, swapped and back."""
    shop, main = node("shop-1"), node("main", receives=True)
    write(
        shop, "INSERT INTO item VALUES (1, 'a', 1), (2, 'b', 1)", "INSERT INTO part VALUES (1, 1)"
    )
    send(shop, main, at=at)
    write(shop, "DELETE FROM part", "DELETE FROM item WHERE id = 1")
    groups = groups_of(shop.database)
    # As PostgreSQL would have logged it: the parent first, then what its cascade took.
    turned = [msgspec.structs.replace(c, lsn=0) for c in reversed(groups[-1])]

    assert ["applied"] == results(apply_groups(main, [turned], source="shop-1", at=at))
    assert rows(shop.database) == rows(main.database)


def test_a_delete_takes_no_children_that_its_origin_did_not_know(node: Make, at: datetime) -> None:
    shop, main = node("shop-1"), node("main", receives=True)
    write(shop, "INSERT INTO item VALUES (1, 'a', 1), (2, 'b', 1)")
    send(shop, main, at=at)
    write(main, "INSERT INTO part VALUES (1, 1), (2, 2)")
    write(shop, "DELETE FROM item")
    [*_, applied] = send(shop, main, at=at)
    back = send(main, shop, at=at)

    assert ("children", "foreign_key") == (applied.reason, back[-1].reason)
    assert "row {\"id\":1} of table 'part' names it here" in applied.message
    assert 2 == len(item(main))

    # A person keeps the first one, and gives up the second.
    with main.database.read() as reader:
        [conflict] = list_conflicts(reader, status="waiting")
    with_applier(main, at, lambda a: resolve(a, conflict.conflict_id, "ours"))
    with main.database.read() as reader:
        [conflict] = list_conflicts(reader, status="waiting")
    resolved = with_applier(main, at, lambda a: resolve(a, conflict.conflict_id, "theirs"))
    send(main, shop, at=at)

    assert '{"id":2}' == conflict.pk_json
    assert (1,) == resolved.released
    assert [] == waiting(main) == waiting(shop)
    assert [{"id": 1, "code": "a", "n": 1}] == item(main) == item(shop)
    assert rows(shop.database) == rows(main.database)


def test_the_loser_is_kept_where_a_person_sees_it(node: Make, at: datetime) -> None:
    shop, main = node("shop-1"), node("main", receives=True)
    write(shop, "INSERT INTO item VALUES (1, 'a', 1)")
    send(shop, main, at=at)
    write(shop, "UPDATE item SET n = 2")
    write(main, "UPDATE item SET n = 3")
    [*_, applied] = send(shop, main, at=at)
    send(main, shop, at=at)
    with main.database.read() as reader:
        [conflict] = list_conflicts(reader)

    assert ("conflict", 1) == (applied.result, applied.conflicts)
    assert ("row", "lww", "decided", "ours") == (
        *(conflict.kind, conflict.policy),
        *(conflict.status, conflict.winner),
    )
    assert [1, 3, 2] == [
        image["n"] for image in (conflict.base, conflict.ours, conflict.theirs) if image
    ]
    assert [{"id": 1, "code": "a", "n": 3}] == item(main) == item(shop)

    # The other one after all.
    with_applier(main, at, lambda a: resolve(a, conflict.conflict_id, "theirs"))
    send(main, shop, at=at)

    assert [{"id": 1, "code": "a", "n": 2}] == item(main) == item(shop)
    with main.database.read() as reader:
        assert "resolved" == get_conflict(reader, conflict.conflict_id).status


@pytest.mark.parametrize(
    ("take", "values", "n"), [("ours", None, 3), ("theirs", None, 2), ("values", {"n": 7}, 7)]
)
def test_what_waits_for_a_person_is_decided_once_for_all_nodes(
    take: Any, values: Any, n: int, node: Make, at: datetime
) -> None:
    shop = node("shop-1", policy=Policy(rows="manual"))
    main = node("main", policy=Policy(rows="manual"), receives=True)
    write(shop, "INSERT INTO item VALUES (1, 'a', 1)")
    send(shop, main, at=at)
    write(shop, "UPDATE item SET n = 2")
    write(main, "UPDATE item SET n = 3")
    here, there = send(shop, main, at=at)[-1], send(main, shop, at=at)[-1]
    with main.database.read() as reader:
        [conflict] = list_conflicts(reader, status="waiting")
    with_applier(main, at, lambda a: resolve(a, conflict.conflict_id, take, values=values))
    write(main, "INSERT INTO item VALUES (2, 'b', 1)")
    send(main, shop, at=at)

    assert ("conflict", "conflict") == (here.reason, there.reason)
    assert [] == waiting(main) == waiting(shop)
    assert [n, 1] == [row["n"] for row in item(main)] == [row["n"] for row in item(shop)]
    for sync in (main, shop):
        with sync.database.read() as reader:
            assert [] == list_conflicts(reader, status="waiting")


def test_a_function_decides_on_the_main_and_its_word_travels(node: Make, at: datetime) -> None:
    @resolver("sum of both")
    def add(base: Any, ours: Any, theirs: Any) -> Any:
        return {"n": ours["n"] + theirs["n"] - base["n"]}

    policy = Policy(rows="function", function="sum of both")
    shop, main = node("shop-1", policy=policy), node("main", policy=policy, receives=True)
    write(shop, "INSERT INTO item VALUES (1, 'a', 1)")
    send(shop, main, at=at)
    write(shop, "UPDATE item SET n = 2")
    write(main, "UPDATE item SET n = 3")
    send(main, shop, at=at)
    send(shop, main, at=at)
    send(main, shop, at=at)

    assert [{"id": 1, "code": "a", "n": 4}] == item(main) == item(shop)
    assert [] == waiting(main) == waiting(shop)


@pytest.mark.parametrize("take", ["ours", "theirs", "values"])
def test_two_rows_with_one_unique_value_wait_for_a_person(
    take: Any, node: Make, at: datetime
) -> None:
    shop, main = node("shop-1"), node("main", receives=True)
    write(shop, "INSERT INTO item VALUES (1, 'a', 1)")
    write(main, "INSERT INTO item VALUES (2, 'a', 2)")
    here, there = send(shop, main, at=at)[-1], send(main, shop, at=at)[-1]
    with main.database.read() as reader:
        [conflict] = list_conflicts(reader, status="waiting")
    values = {"code": "b"} if take == "values" else None
    with_applier(main, at, lambda a: resolve(a, conflict.conflict_id, take, values=values))
    send(main, shop, at=at)
    expected = {
        "ours": [{"id": 2, "code": "a", "n": 2}],
        "theirs": [{"id": 1, "code": "a", "n": 1}],
        "values": [{"id": 1, "code": "a", "n": 1}, {"id": 2, "code": "b", "n": 2}],
    }[take]

    assert ("unique", "unique") == (here.reason, there.reason)
    assert "has the unique value of row {\"id\":2} here (item_code: code = 'a')" in here.message
    assert expected == item(main) == item(shop)
    assert [] == waiting(main) == waiting(shop)


def test_two_rows_that_are_one_keep_one_key(node: Make, at: datetime) -> None:
    policy = Policy(uniques={"item_code": "merge_identity"})
    shop, main = node("shop-1", policy=policy), node("main", policy=policy, receives=True)
    write(main, "INSERT INTO item VALUES (2, 'a', 2)")
    write(shop, "INSERT INTO item VALUES (900, 'a', 1)", "INSERT INTO part VALUES (1, 900)")
    send(main, shop, at=at)
    send(shop, main, at=at)
    write(shop, "INSERT INTO part VALUES (2, 900)")
    send(main, shop, at=at)
    write(shop, "UPDATE item SET n = 8")
    send(shop, main, at=at)

    assert [] == waiting(main) == waiting(shop)
    assert [{"id": 2, "code": "a", "n": 8}] == item(main) == item(shop)
    parts = [{"id": 1, "item_id": 2}, {"id": 2, "item_id": 2}]
    assert parts == list(rows(main.database)["part"].values())
    assert parts == list(rows(shop.database)["part"].values())


def test_a_column_that_only_grows_is_put_back_where_it_was_lowered(
    node: Make, at: datetime
) -> None:
    policy = Policy(rows="columns", columns={"n": "max"})
    shop, main = node("shop-1", policy=policy), node("main", policy=policy, receives=True)
    write(main, "INSERT INTO item VALUES (1, 'a', 5)")
    send(main, shop, at=at)
    for sync in (main, shop):
        write(sync, "UPDATE item SET n = 3", "UPDATE item SET code = 'b'")
        assert [("U", "item", '{"id":1}')] == told(log_of(sync.database))[1:2]
    write(main, "UPDATE item SET n = 2")
    log_of(main.database)
    for source, target in ((main, shop), (shop, main)):
        send(source, target, at=at)

    assert [{"id": 1, "code": "b", "n": 5}] == item(main) == item(shop)
    assert [] == told(log_of(main.database))[4:]


def test_changes_of_one_group_that_leave_a_row_as_it_is_leave_its_latest_version(
    node: Make, at: datetime
) -> None:
    """Method: strangers' transactions are sealed together, each with a stamp of its own."""
    policy = Policy(rows="columns", columns={"n": "max"})
    shop, main = node("shop-1", policy=policy), node("main", policy=policy, receives=True)
    write(main, "INSERT INTO item VALUES (1, 'a', 5)")
    send(main, shop, at=at)
    write(main, "UPDATE item SET n = 9")
    log_of(main.database)
    with closing(sqlite3.connect(str(shop.database.path), isolation_level=None)) as stranger:
        stranger.execute("UPDATE item SET n = 6")
        stranger.execute("UPDATE item SET n = 7")
    [group] = groups_of(shop.database)[1:]

    assert 2 == len({change.hlc for change in group})
    send(shop, main, at=at)
    assert [{"id": 1, "code": "a", "n": 9}] == item(main)
    send(main, shop, at=at)
    assert [{"id": 1, "code": "a", "n": 9}] == item(shop)


def test_a_clock_that_is_ahead_does_not_win(node: Make, at: datetime) -> None:
    shop, main = node("shop-1"), node("main", receives=True)
    write(shop, "INSERT INTO item VALUES (1, 'a', 1)")
    [group] = groups_of(shop.database)
    ahead = [msgspec.structs.replace(c, hlc=hlc_of(at + timedelta(hours=1))) for c in group]

    assert ["clock"] == results(apply_groups(main, [ahead], source="shop-1", at=at))
    write(main, "INSERT INTO item VALUES (2, 'b', 1)")
    assert hlc_of(at + timedelta(minutes=1)) > log_of(main.database)[-1].hlc
    later = at + timedelta(hours=1)
    assert ["applied"] == [a.result for a in with_applier(main, later, lambda a: a.retry_all())]
    assert 2 == len(item(main))


def bad(change: Change, **values: Any) -> list[Change]:
    payload = msgspec.Raw(encode_values({**change.new_values(), **values}))
    return [msgspec.structs.replace(change, payload=payload)]


def test_what_cannot_be_read_or_held_parks_its_group_alone(node: Make, at: datetime) -> None:
    shop, main = node("shop-1"), node("main", receives=True)
    for number in range(1, 6):
        write(shop, f"INSERT INTO item VALUES ({number}, NULL, 1)")
    groups = groups_of(shop.database)
    form = msgspec.Raw(b'{"id":1,"code":{"$q":"?"},"n":1}')
    groups[0] = [msgspec.structs.replace(groups[0][0], payload=form)]
    groups[1] = bad(groups[1][0], colour="red")
    groups[2] = [msgspec.structs.replace(groups[2][0], table_name="thing")]
    groups[3] = [msgspec.structs.replace(groups[3][0], pk_json=msgspec.Raw(b'{"number":4}'))]

    expected = ["values", "schema", "unknown_table", "schema", "applied"]
    assert expected == results(apply_groups(main, groups, source="shop-1", at=at))
    assert [5] == [row["id"] for row in item(main)]
    assert len(log_of(main.database)) == 5


def test_a_group_that_is_longer_than_a_page_is_one_all_the_same(
    node: Make, at: datetime, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Goal: it is never held whole. Method: pages of three; one bad change in its last one."""
    for module in ("apply", "parking", "group"):
        monkeypatch.setattr(f"stepwell.sync.{module}.CHANGES_AT_ONCE", 3)
    shop, main = node("shop-1"), node("main", receives=True)
    values = ", ".join(f"({n}, NULL, 1)" for n in range(1, 11))
    write(shop, f"INSERT INTO item VALUES {values}", "UPDATE item SET n = 2")
    write(shop, f"INSERT INTO part VALUES {', '.join(f'({n}, {n})' for n in range(1, 11))}")
    whole, parts = groups_of(shop.database)
    broken = [*parts[:-1], *bad(parts[-1], item_id=77)]

    assert [("applied", 20)] == [
        (a.result, a.rows) for a in apply_groups(main, [whole], source="shop-1", at=at)
    ]
    [applied] = apply_groups(main, [broken], source="shop-1", at=at)
    assert ("foreign_key", 11, 0) == (
        *(applied.reason, applied.line),
        len(rows(main.database)["part"]),
    )
    write(main, "INSERT INTO item VALUES (77, NULL, 1)")
    assert [("applied", 10)] == [
        (a.result, a.rows) for a in with_applier(main, at, lambda a: a.retry_all())
    ]
    assert 10 == len(rows(main.database)["part"])
    assert 30 == len([c for c in log_of(main.database) if c.origin == "shop-1"])


def test_what_is_not_there_or_closed_cannot_be_decided(node: Make, at: datetime) -> None:
    shop, main = node("shop-1"), node("main", receives=True)
    write(shop, "INSERT INTO item VALUES (1, 'a', 1)")
    write(main, "INSERT INTO item VALUES (2, 'a', 2)")
    send(shop, main, at=at)

    with pytest.raises(NoSuchQuarantine, match=r"^cannot find quarantined group 9: there is none"):
        with_applier(main, at, lambda a: a.retry(9))
    with pytest.raises(NoSuchConflict, match=r"^cannot find conflict 9: there is none of this id$"):
        with_applier(main, at, lambda a: resolve(a, 9, "ours"))
    with pytest.raises(CannotResolve, match=r"conflict 1 of table 'item': values must be given"):
        with_applier(main, at, lambda a: resolve(a, 1, "values"))
    assert "parked" == with_applier(main, at, lambda a: a.retry(1)).result
    with_applier(main, at, lambda a: resolve(a, 1, "theirs"))
    with pytest.raises(CannotResolve, match=r"^cannot change quarantined group 1: it was applied$"):
        with_applier(main, at, lambda a: a.drop(1))
    main.database.run(lambda t: reopen(t, 1, at=at, actor="test"), what="reopen")
    with main.database.read() as reader:
        assert "waiting" == get_conflict(reader, 1).status
        assert "applied" == get_quarantined(reader, 1).outcome
    with pytest.raises(CannotResolve, match=r"^cannot reopen conflict 1 .*: it waits already$"):
        main.database.run(lambda t: reopen(t, 1, at=at, actor="test"), what="reopen")


@pytest.mark.parametrize("rows_policy", ["lww", "columns"])
def test_a_key_that_one_transaction_gives_up_and_takes_again_is_there(
    rows_policy: Any, node: Make, at: datetime
) -> None:
    """Goal: the second change of a row in a group is no duplicate of the first."""
    policy = Policy(rows=rows_policy)
    shop, main = node("shop-1", policy=policy), node("main", policy=policy, receives=True)
    write(shop, "INSERT INTO item VALUES (1, 'a', 1), (2, 'b', 2)")
    write(shop, "DELETE FROM item WHERE id = 1", "UPDATE item SET id = 1 WHERE id = 2")

    assert ["applied", "applied"] == results(send(shop, main, at=at))
    assert [{"id": 1, "code": "b", "n": 2}] == item(main) == item(shop)
