"""L1 and L3: whatever the order in which nodes receive groups, they end alike.

Three nodes write at random, and hand each other groups in any order that is legal: those of one
origin by their numbers, some twice, some by way of the third node, some before what they build on.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from stepwell.clock import Clock
from stepwell.database.connect import open_database
from stepwell.database.dialect import DatabaseOptions
from stepwell.errors import CannotResolve, ConstraintViolation
from stepwell.sync.conflict import list_conflicts
from stepwell.sync.policy import Policy, encode_policy
from stepwell.sync.quarantine import list_quarantine
from stepwell.sync.resolution import resolve
from stepwell.sync.session import Sync
from stepwell.sync.table import set_policy
from tests.support.change_log import execute
from tests.support.sync_nodes import apply_groups, groups_of, rows, with_applier

FAST = DatabaseOptions(durability="normal")  # Nobody pulls the plug here.
DECISIONS_MAX = 200
NODES = ("main", "shop-1", "shop-2")
ITEM = "CREATE TABLE item (id INTEGER PRIMARY KEY, code TEXT, n INTEGER NOT NULL, note TEXT)"
UNIQUE = "CREATE UNIQUE INDEX item_code ON item (code)"
CHILD = "CREATE TABLE part (id INTEGER PRIMARY KEY, item_id INTEGER NOT NULL REFERENCES item (id))"


class World:
    """Nodes, and what they do at random."""

    def __init__(self, seed: int, syncs: dict[str, Sync], clock: Clock) -> None:
        self.random = random.Random(seed)
        self.syncs = syncs
        self.clock = clock
        self.has_parts = bool(rows(syncs["main"].database).get("part") is not None)

    def step(self) -> None:
        if self.random.random() < 0.6:
            self.write(self.random.choice(list(self.syncs.values())))
        else:
            source, target = self.random.sample(NODES, 2)
            self.hand_over(source, target, of=self.random.choice((None, None, *NODES)))

    def write(self, sync: Sync) -> None:
        choose = self.random.choice
        try:
            with sync.transaction() as connection:
                for _ in range(choose((1, 1, 2, 4))):
                    self.statement(connection)
        except ConstraintViolation:
            return

    def statement(self, connection: Any) -> None:
        choose = self.random.choice
        key, code = choose(range(5)), choose((None, "a", "b", "c"))
        n = self.random.randrange(100)
        values = {"id": key, "code": code, "n": n, "to": choose(range(5))}
        kinds = ["insert", "insert", "update", "update", "code", "key", "delete"]
        kinds += ["part", "part", "no part"] * self.has_parts
        statement = {
            "insert": "INSERT INTO item VALUES (:id, :code, :n, 'new') ON CONFLICT DO NOTHING",
            "update": "UPDATE item SET n = :n, note = 'old' WHERE id = :id",
            "code": "UPDATE item SET code = :code WHERE id = :id",
            "key": "UPDATE item SET id = :to, n = :n WHERE id = :id",
            "delete": "DELETE FROM item WHERE id = :id",
            "part": "INSERT INTO part SELECT :n, id FROM item WHERE id = :id AND :n NOT IN"
            " (SELECT id FROM part)",
            "no part": "DELETE FROM part WHERE item_id = :id",
        }[choose(kinds)]
        connection.execute(statement, values)

    def hand_over(self, source: str, target: str, *, of: str | None = None) -> None:
        groups = groups_of(self.syncs[source].database, not_for=target)
        if of is not None:
            groups = [group for group in groups if group[0].origin == of]
        cut = self.random.randrange(len(groups) + 1) if self.random.random() < 0.5 else None
        apply_groups(self.syncs[target], groups[:cut], source=source, at=self.clock.now())

    def settle(self) -> None:
        """Everybody to everybody, until nobody has anything new."""
        for _ in range(12):
            before = [self.position(name) for name in NODES]
            for source in NODES:
                for target in NODES:
                    if source != target:
                        groups = groups_of(self.syncs[source].database, not_for=target)
                        apply_groups(self.syncs[target], groups, source=source, at=self.clock.now())
            for name in NODES:
                with_applier(self.syncs[name], self.clock.now(), lambda a: a.retry_all())
            if before == [self.position(name) for name in NODES]:
                return
        raise AssertionError("the nodes go on deciding")

    def decide_everything(self) -> None:
        """A person at one desk after the other, who decides by the dice."""
        for _ in range(DECISIONS_MAX):
            self.settle()
            if not self.decide_one():
                return
        raise AssertionError(f"there is no end of deciding: {self.waiting()}")

    def decide_one(self) -> bool:
        """Whether anything could be decided; what would break a constraint is not."""
        for sync in self.syncs.values():
            with sync.database.read() as reader:
                waiting = list_conflicts(reader, status="waiting")
            for conflict in self.random.sample(waiting, len(waiting)):
                for take in self.random.sample(("ours", "theirs"), 2):
                    with suppress(CannotResolve):
                        number = conflict.conflict_id
                        with_applier(
                            sync, self.clock.now(), partial(resolve, conflict_id=number, take=take)
                        )
                        return True
        return False

    def position(self, name: str) -> int:
        return self.syncs[name].status().node.last_lsn

    def waiting(self) -> dict[str, list[str]]:
        found = {}
        for name, sync in self.syncs.items():
            with sync.database.read() as reader:
                found[name] = [f"{q.reason}: {q.message}" for q in list_quarantine(reader)]
        return found


@pytest.fixture
def worlds(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Any]:
    """Makes a world from a seed; its databases are made anew each time."""
    made = 0

    def make(
        seed: int,
        policy: Policy,
        *,
        with_index: bool,
        with_parts: bool = False,
        main: str = "sqlite3",
    ) -> World:
        nonlocal made
        made += 1
        clock = Clock()  # Triggers stamp by the machine's.
        syncs = {}
        for name in NODES:
            url = f"sqlite:///{tmp_path}/{made}-{name}.db"
            if name == "main" and main == "postgresql":
                url = request.getfixturevalue("postgresql_database_url")
            database = stack.enter_context(open_database(url, clock=clock, options=FAST))
            syncs[name] = sync = Sync(database, clock)
            sync.init(name, is_main=name == "main")
            execute(database, ITEM, *[UNIQUE] * with_index, *[CHILD] * with_parts)
            for table in ("item", *["part"] * with_parts):
                sync.track(table)
            database.run(
                lambda transaction: set_policy(transaction, "item", encode_policy(policy)),
                what="set a policy",
            )
        return World(seed, syncs, clock)

    with ExitStack() as stack:
        yield make


POLICIES = {
    "lww": Policy(),
    "main_wins": Policy(rows="main_wins"),
    "delete_wins": Policy(delete_wins=True),
    "columns": Policy(rows="columns"),
    "columns with a counter": Policy(rows="columns", columns={"n": "delta"}),
    "main_wins, delete_wins": Policy(rows="main_wins", delete_wins=True),
}


SEEDS = [*range(4), *(pytest.param(n, marks=pytest.mark.slow) for n in range(4, 104))]


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("policy", POLICIES)
def test_any_order_of_delivery_ends_alike(policy: str, seed: int, worlds: Any) -> None:
    world = worlds(seed, POLICIES[policy], with_index=False)
    for _ in range(40):
        world.step()
    world.settle()
    first, *others = [rows(sync.database) for sync in world.syncs.values()]

    assert {"main": [], "shop-1": [], "shop-2": []} == world.waiting()
    assert [first, first] == others


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("rule", ["newer_wins", "main_wins", "null_loser", "rename_loser"])
@pytest.mark.parametrize("kind", ["lww", "columns"])
def test_unique_values_that_collide_end_alike(kind: Any, rule: Any, seed: int, worlds: Any) -> None:
    policy = Policy(rows=kind, uniques={"item_code": rule})
    world = worlds(seed, policy, with_index=True)
    for _ in range(40):
        world.step()
    world.settle()
    first, *others = [rows(sync.database) for sync in world.syncs.values()]

    assert {"main": [], "shop-1": [], "shop-2": []} == world.waiting()
    assert [first, first] == others


DESKS: dict[str, dict[str, Any]] = {
    "unique values": {"policy": Policy(), "with_index": True},
    "children": {"policy": Policy(), "with_index": False, "with_parts": True},
    "rows": {"policy": Policy(rows="manual"), "with_index": False},
}


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("desk", DESKS)
def test_when_a_person_has_decided_everything_the_nodes_are_equal(
    desk: str, seed: int, worlds: Any
) -> None:
    world = worlds(seed, **DESKS[desk])
    for _ in range(30):
        world.step()
    world.decide_everything()
    first, *others = [rows(sync.database) for sync in world.syncs.values()]

    assert {"main": [], "shop-1": [], "shop-2": []} == world.waiting()
    assert [first, first] == others


ALL_AT_ONCE: dict[str, dict[str, Any]] = {
    rows: {"policy": Policy(rows=rows), "with_index": True, "with_parts": True}  # type: ignore[arg-type]
    for rows in ("lww", "manual")
}


@pytest.mark.parametrize(
    ("policy", "seed"),
    [
        *[("manual", 184), ("lww", 274), ("lww", 276)],
        *(
            pytest.param(policy, n, marks=pytest.mark.slow)
            for policy in ALL_AT_ONCE
            for n in range(50)
        ),
    ],
)
def test_a_group_that_a_later_one_mends_waits_no_longer_than_that_one(
    policy: str, seed: int, worlds: Any
) -> None:
    """Method: unique values and children, both; the seeds are those where groups were left over.

    A parent was moved away and back, or born again, by groups that waited behind the child's.
    """
    world = worlds(seed, **ALL_AT_ONCE[policy])
    for _ in range(30):
        world.step()
    world.decide_everything()
    first, *others = [rows(sync.database) for sync in world.syncs.values()]

    assert {"main": [], "shop-1": [], "shop-2": []} == world.waiting()
    assert [first, first] == others


MIXED: dict[str, dict[str, Any]] = {
    "columns": {"policy": Policy(rows="columns", columns={"n": "delta"}), "with_index": False},
    "null_loser": {"policy": Policy(uniques={"item_code": "null_loser"}), "with_index": True},
    "children": {"policy": Policy(), "with_index": False, "with_parts": True},
}


@pytest.mark.parametrize(
    "seed", [0, 1, *(pytest.param(n, marks=pytest.mark.slow) for n in range(2, 20))]
)
@pytest.mark.parametrize("kind", MIXED)
def test_a_main_on_postgresql_ends_like_its_shops_on_sqlite(
    kind: str, seed: int, worlds: Any
) -> None:
    world = worlds(seed, **MIXED[kind], main="postgresql")
    for _ in range(30):
        world.step()
    world.decide_everything()
    first, *others = [rows(sync.database) for sync in world.syncs.values()]

    assert {"main": [], "shop-1": [], "shop-2": []} == world.waiting()
    assert [first, first] == others
