"""Tables that are altered, on one node before the other: what is announced, and what it beats."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from stepwell.database.connect import open_database
from stepwell.database.dialect import DatabaseOptions
from stepwell.sync import baseline
from stepwell.sync.change import Version
from stepwell.sync.columns import Write, merge
from stepwell.sync.conflict import list_conflicts
from stepwell.sync.policy import Policy
from stepwell.sync.session import Sync
from stepwell.testing import FrozenClock
from tests.support.change_log import execute, log_of, told
from tests.support.sync_nodes import rows, send, with_applier

ITEM = "CREATE TABLE item (id INTEGER PRIMARY KEY, n INTEGER NOT NULL, code TEXT)"
THREE = "INSERT INTO item VALUES (1, 1, 'a'), (2, 2, 'b'), (3, 3, 'c')"
ADD = "ALTER TABLE item ADD COLUMN note TEXT"
ADD_DEFAULT = "ALTER TABLE item ADD COLUMN note TEXT NOT NULL DEFAULT '100% new'"
NODES = ("main", "shop-1", "shop-2")
POLICIES = ("lww", "main_wins", '{"rows":"columns","columns":{"n":"delta"}}')
EPOCH_JULIAN_DAY = 2440587.5
BY_POLICY = pytest.mark.parametrize("policy", POLICIES, ids=("lww", "main_wins", "columns"))


class Chain:
    """Nodes with one table, and the ways between them."""

    def __init__(self, syncs: dict[str, Sync], clock: FrozenClock) -> None:
        self.syncs = syncs
        self.clock = clock
        self.policy = "lww"

    def begin(self, policy: str, *make: str) -> None:
        self.policy = policy
        for sync in self.syncs.values():
            execute(sync.database, ITEM)
            sync.track("item", policy=policy)
        self.write("main", *(make or (THREE,)))
        self.settle()

    def write(self, name: str, *statements: str) -> None:
        self.clock.advance(1)
        with self.syncs[name].transaction() as connection:
            for sql in statements:
                connection.execute(sql)
            connection.execute(f"UPDATE change_raw SET at = {self.julian_day()}")

    def julian_day(self) -> float:
        """By this clock, not by the machine's."""
        return EPOCH_JULIAN_DAY + self.clock.now().timestamp() / 86_400

    def migrate(self, name: str, *statements: str, unseen: tuple[str, ...] = ()) -> None:
        """The statements of a migration, whatever is written behind it, and `sync track`."""
        self.clock.advance(1)
        stamp = f"UPDATE change_raw SET at = {self.julian_day()}"
        execute(self.syncs[name].database, *statements, *unseen, stamp)
        self.clock.advance(1)
        self.syncs[name].track("item", policy=self.policy)

    def send(self, source: str, target: str) -> None:
        self.clock.advance(1)
        with_applier(self.syncs[target], self.clock.now(), lambda applier: applier.retry_all())
        send(self.syncs[source], self.syncs[target], at=self.clock.now())

    def settle(self) -> None:
        for _ in range(3):
            for source, target in itertools.permutations(NODES, 2):
                self.send(source, target)

    def row(self, name: str, key: int) -> dict[str, object]:
        return dict(rows(self.syncs[name].database)["item"][f'{{"id":{key}}}'])

    def alike(self) -> dict[str, dict[str, object]]:
        """The rows, which are those of every node."""
        first, *others = [rows(sync.database)["item"] for sync in self.syncs.values()]
        assert [first] * len(others) == others
        return {key: dict(row) for key, row in first.items()}

    def length(self, name: str) -> int:
        return len(log_of(self.syncs[name].database))

    def conflicts(self) -> int:
        found = 0
        for sync in self.syncs.values():
            with sync.database.read() as reader:
                found += len(list_conflicts(reader))
        return found


@pytest.fixture
def chain(tmp_path: Path, clock: FrozenClock) -> Iterator[Chain]:
    with ExitStack() as stack:
        syncs = {}
        for name in NODES:
            database = stack.enter_context(
                open_database(
                    f"sqlite:///{tmp_path}/{name}.db",
                    clock=clock,
                    options=DatabaseOptions(durability="normal"),
                )
            )
            syncs[name] = Sync(database, clock, actor="test")
            syncs[name].init(name, is_main=name == "main")
        yield Chain(syncs, clock)


def rebuild(columns: str, select: str) -> tuple[str, ...]:
    """A new table in the place of the old one, as one does on SQLite."""
    return (
        f"CREATE TABLE item_new ({columns})",
        f"INSERT INTO item_new SELECT {select} FROM item",
        "DROP TABLE item",
        "ALTER TABLE item_new RENAME TO item",
    )


SAME = rebuild("id INTEGER PRIMARY KEY, n INTEGER NOT NULL, code TEXT", "id, n, code")
WITH_NOTE = rebuild(
    "id INTEGER PRIMARY KEY, n INTEGER NOT NULL, code TEXT, note TEXT", "id, n, code, NULL"
)


# --- what is announced ---


@pytest.mark.parametrize("add", [ADD, ADD_DEFAULT], ids=("null", "default"))
@pytest.mark.parametrize("policy", POLICIES, ids=("lww", "main_wins", "columns"))
def test_a_column_more_is_no_news_where_it_has_its_default(
    sync: Sync, policy: str, add: str
) -> None:
    database = sync.database
    execute(database, ITEM)
    sync.track("item", policy=policy)
    execute(database, THREE)
    before = told(log_of(database))
    execute(
        database, add, "UPDATE item SET note = 'real' WHERE id = 2", "DELETE FROM item WHERE id = 3"
    )
    execute(database, "UPDATE item SET n = 7 WHERE id = 1")
    sync.track("item", policy=policy)
    changes = log_of(database)

    assert [
        ("D", "item", '{"id":3}'),
        ("U", "item", '{"id":1}'),
        ("U", "item", '{"id":2}'),
    ] == told(changes)[len(before) :]
    old = None if add is ADD else "100% new"
    assert {"id": 2, "n": 2, "code": "b", "note": "real"} == changes[-1].new_values()
    assert {"id": 2, "n": 2, "code": "b", "note": old} == changes[-1].old_values()


def test_a_number_as_default_is_compared_as_one(sync: Sync) -> None:
    database = sync.database
    execute(database, ITEM, THREE)
    sync.track("item")
    before = len(log_of(database))
    execute(
        database,
        "ALTER TABLE item ADD COLUMN rate NUMERIC(6,2) DEFAULT '1.50'",
        "ALTER TABLE item ADD COLUMN size INTEGER NOT NULL DEFAULT 0",
        "ALTER TABLE item ADD COLUMN is_new BOOLEAN DEFAULT TRUE",
    )
    sync.track("item")

    assert before == len(log_of(database))


@pytest.mark.parametrize("migration", [SAME, WITH_NOTE], ids=("same", "with a column"))
@pytest.mark.parametrize("policy", ["lww", "main_wins"])
def test_of_a_table_that_was_rebuilt_only_what_nobody_saw_is_announced(
    chain: Chain, policy: str, migration: tuple[str, ...]
) -> None:
    """Method: rows of its own, one that got another key, rows that came from elsewhere."""
    chain.begin(policy)
    chain.write("shop-1", "INSERT INTO item VALUES (5, 5, 'e'), (6, 6, 'f')")
    chain.write("shop-1", "UPDATE item SET id = 7 WHERE id = 6")
    length = chain.length("shop-1")
    unseen = ("UPDATE item SET n = 20 WHERE id = 2", "DELETE FROM item WHERE id = 1")
    chain.migrate("shop-1", *migration, unseen=(*unseen, "INSERT INTO item (id, n) VALUES (9, 9)"))
    changes = log_of(chain.syncs["shop-1"].database)[length:]

    assert [
        ("U", "item", '{"id":2}'),
        ("I", "item", '{"id":9}'),
        ("D", "item", '{"id":1}'),
    ] == told(changes)
    old = changes[0].old_values()
    assert old is not None
    assert (2, 20) == (old["n"], changes[0].new_values()["n"])


def test_a_row_of_which_nobody_knows_what_it_was_beats_nothing(chain: Chain) -> None:
    """Goal: of a node that began with a snapshot, or whose log is pruned, the log tells nothing."""
    chain.begin("lww")
    execute(chain.syncs["shop-1"].database, "DELETE FROM change_log")
    chain.write("shop-2", "UPDATE item SET n = 20 WHERE id = 2")
    chain.migrate("shop-1", *SAME, unseen=("UPDATE item SET n = 10 WHERE id = 1",))
    chain.settle()

    assert [10, 20, 3] == [row["n"] for row in chain.alike().values()]


# --- what it beats ---


@BY_POLICY
@pytest.mark.parametrize("add", [ADD, "rebuild"], ids=("added", "rebuilt"))
@pytest.mark.parametrize("first", ["main", "shop-1"])
def test_who_migrates_late_takes_nothing_from_who_has_written_the_new_column(
    chain: Chain, first: str, add: str, policy: str
) -> None:
    """Method: one writes the new column, then the others migrate, then they meet."""
    migration = (add,) if add == ADD else WITH_NOTE
    chain.begin(policy)
    chain.migrate(first, *migration)
    chain.write(first, "UPDATE item SET note = 'real' WHERE id = 2")
    for name in NODES:
        if name != first:
            chain.migrate(name, *migration)
    chain.settle()

    assert [None, "real", None] == [row["note"] for row in chain.alike().values()]
    if add == ADD or "columns" not in policy:  # There, nobody knows what a rebuilt row was.
        assert 0 == chain.conflicts()


@BY_POLICY
@pytest.mark.parametrize("first", ["main", "shop-1"])
@pytest.mark.parametrize("is_migrated_first", [True, False])
def test_what_came_before_its_column_waits_and_is_not_beaten(
    chain: Chain, first: str, policy: str, is_migrated_first: bool
) -> None:
    """Method: the change arrives at a node without the column, or just behind the migration."""
    chain.begin(policy)
    chain.migrate(first, ADD, unseen=("UPDATE item SET note = 'unseen' WHERE id = 3",))
    chain.write(first, "UPDATE item SET note = 'real', n = n + 1 WHERE id = 2")
    others = [name for name in NODES if name != first]
    for name in others:
        if is_migrated_first:
            chain.migrate(name, ADD)
        chain.send(first, name)
    for name in others:
        chain.migrate(name, *([] if is_migrated_first else [ADD]))
    chain.settle()

    assert [None, "real", "unseen"] == [row["note"] for row in chain.alike().values()]
    assert [1, 3, 3] == [row["n"] for row in chain.alike().values()]
    assert 0 == chain.conflicts()


@BY_POLICY
@pytest.mark.parametrize("late", ["main", "shop-1"])
@pytest.mark.parametrize("order", ["late first", "new first"])
def test_a_later_write_without_the_column_leaves_it_alone_on_every_node(
    chain: Chain, policy: str, late: str, order: str
) -> None:
    """Method: the third node hears of the two in either order."""
    chain.begin(policy)
    first = "main" if late == "shop-1" else "shop-1"
    chain.migrate(first, ADD)
    chain.migrate("shop-2", ADD)
    chain.write(first, "UPDATE item SET note = 'real' WHERE id = 2")
    chain.write(late, "UPDATE item SET code = 'late' WHERE id = 2")
    for name in (late, first) if order == "late first" else (first, late):
        chain.send(name, "shop-2")
    chain.send(late, first)
    chain.migrate(late, ADD)
    chain.settle()

    row = chain.alike()['{"id":2}']
    if policy == "main_wins" and late == "shop-1":
        assert (row["code"], row["note"]) == ("b", "real")
    else:
        assert (row["code"], row["note"]) == ("late", "real")


# --- counters ---

COUNTED = '{"rows":"columns","columns":{"n":"delta"}}'


@pytest.mark.parametrize("migration", [(ADD,), WITH_NOTE], ids=("added", "rebuilt"))
def test_what_was_added_to_a_counter_without_triggers_is_not_sent_and_said(
    chain: Chain, migration: tuple[str, ...]
) -> None:
    """Goal: what cannot be known is not made up. Method: both add, one of them unseen."""
    chain.begin(COUNTED)
    chain.write("shop-2", "UPDATE item SET n = n + 100 WHERE id = 1")
    chain.migrate("shop-1", *migration, unseen=("UPDATE item SET n = n + 5 WHERE id = 1",))
    sync = chain.syncs["shop-1"]
    [line] = [line for line in sync.audit() if "uncounted" in (line.detail or "")] or [None]
    for name in ("main", "shop-2"):
        chain.migrate(name, ADD)
    chain.settle()

    assert 106 - 5 * (migration is WITH_NOTE) == chain.row("main", 1)["n"]
    assert 106 == chain.row("shop-1", 1)["n"]
    assert (line is not None) == (migration is WITH_NOTE)
    assert ("n",) * (migration is WITH_NOTE) == _tracked_anew(chain, migration)


def _tracked_anew(chain: Chain, migration: tuple[str, ...]) -> tuple[str, ...]:
    sync = chain.syncs["shop-2"]
    again = (ADD.replace("note", "more"),) if migration == (ADD,) else SAME
    execute(sync.database, *again)
    return sync.track("item", policy=COUNTED).uncounted


def test_a_counter_that_was_not_counted_is_put_right_by_hand(chain: Chain) -> None:
    """Method: as DB_SYNC_POLICY says."""
    chain.begin(COUNTED)
    chain.migrate("shop-1", *SAME, unseen=("UPDATE item SET n = n + 5 WHERE id = 1",))
    chain.settle()
    assert (6, 1) == (chain.row("shop-1", 1)["n"], chain.row("main", 1)["n"])

    shop = chain.syncs["shop-1"]
    shop.untrack("item")
    chain.migrate("shop-1", "UPDATE item SET n = 1 WHERE id = 1")
    chain.write("shop-1", "UPDATE item SET n = n + 5 WHERE id = 1")
    chain.settle()

    assert 6 == chain.alike()['{"id":1}']["n"]


@pytest.mark.parametrize("late", ["main", "shop-1"])
@pytest.mark.parametrize("order", ["late first", "new first"])
def test_one_row_born_twice_with_and_without_the_column_keeps_it(
    chain: Chain, late: str, order: str
) -> None:
    """Goal: what a birth did not speak of was never written (policy `columns`)."""
    chain.begin(COUNTED)
    first = "main" if late == "shop-1" else "shop-1"
    chain.migrate(first, ADD)
    chain.migrate("shop-2", ADD)
    chain.write(first, "INSERT INTO item VALUES (9, 1, 'new', 'real')")
    chain.write(late, "INSERT INTO item VALUES (9, 1, 'late')")
    for name in (late, first) if order == "late first" else (first, late):
        chain.send(name, "shop-2")
    chain.migrate(late, ADD)
    chain.settle()

    row = chain.alike()['{"id":9}']
    assert ("late", "real") == (row["code"], row["note"])


def test_rows_that_are_the_same_but_for_the_column_keep_it(chain: Chain) -> None:
    chain.begin("lww")
    chain.migrate("main", ADD)
    chain.migrate("shop-2", ADD)
    chain.write("main", "UPDATE item SET n = 7, note = 'real' WHERE id = 2")
    chain.write("shop-1", "UPDATE item SET n = 7 WHERE id = 2")
    chain.send("shop-1", "shop-2")
    chain.send("shop-1", "main")
    chain.migrate("shop-1", ADD)
    chain.settle()

    assert (7, "real") == tuple(chain.alike()['{"id":2}'][name] for name in ("n", "note"))


def test_a_track_that_was_killed_goes_on_with_what_it_had_to_announce(
    sync: Sync, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Method: the triggers are made, no row is announced; and the table gets another column."""
    database = sync.database
    execute(database, ITEM)
    sync.track("item")
    execute(database, THREE)
    before = len(log_of(database))
    execute(database, ADD, "UPDATE item SET note = 'real' WHERE id = 2")
    with monkeypatch.context() as patch:
        patch.setattr(baseline, "log_baselines", lambda *args, **options: 0)
        sync.track("item")
    execute(database, "ALTER TABLE item ADD COLUMN more TEXT")
    execute(database, "UPDATE item SET more = 'x' WHERE id = 3")
    sync.track("item")

    changes = log_of(database)[before:]
    assert [("U", "item", f'{{"id":{key}}}') for key in (2, 3)] == told(changes)


def test_a_name_without_quotes_is_a_default_on_sqlite(chain: Chain) -> None:
    chain.begin("lww")
    length = chain.length("main")
    chain.migrate(
        "main",
        "ALTER TABLE item ADD COLUMN state TEXT DEFAULT open",
        'ALTER TABLE item ADD COLUMN place TEXT DEFAULT "it\'s new"',
    )

    assert ("open", "it's new") == tuple(chain.row("main", 1)[name] for name in ("state", "place"))
    assert length == chain.length("main")


def test_a_later_birth_leaves_a_column_that_it_does_not_speak_of() -> None:
    """By column, in whatever order the two births come: it is as old as who has written it."""
    policy = Policy(rows="columns")
    early, late = (Version(f"shop-{n}", 1, 1, n << 16, 1) for n in (1, 2))
    spoken = Write(early, {"id": 1, "extra": 1}, None, is_birth=True)
    silent = Write(late, {"id": 1, "extra": 1}, None, is_birth=True, unspoken={"extra"})

    for first, second in ((spoken, silent), (silent, spoken)):
        joined = merge(policy, merge(policy, None, first).row, second).row
        assert (late.by_time, early.by_time) == (joined.stamps.born, joined.stamps.of("extra"))
