"""What child processes run of an import: a small main, a shop's file with every trouble."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any

from stepwell.clock import Clock
from stepwell.database.connect import Database, open_database
from stepwell.sync.apply import applying
from stepwell.sync.bundle import Meta
from stepwell.sync.bundle_reader import BundleGroup, open_bundle
from stepwell.sync.bundle_writer import write_bundle_files
from stepwell.sync.log import changes_of, last_lsn, seal_all
from stepwell.sync.peers import SyncState, find_state, set_state
from stepwell.sync.policy import Policy, encode_policy
from stepwell.sync.session import Sync
from stepwell.sync.table import set_policy

TABLES = (
    "CREATE TABLE item (id INTEGER PRIMARY KEY, code TEXT, tag TEXT, n INTEGER NOT NULL)",
    "CREATE UNIQUE INDEX item_code ON item (code)",
    "CREATE UNIQUE INDEX item_tag ON item (tag)",
    "CREATE TABLE part (id INTEGER PRIMARY KEY, item_id INTEGER NOT NULL REFERENCES item (id))",
)
POLICY = Policy(uniques={"item_tag": "null_loser"})
GROUPS_A_COMMIT = 3

SHOP = (
    (
        "INSERT INTO item VALUES (1, 'shop', NULL, 1), (2, 'b', NULL, 1), (3, 'c', NULL, 1)",
        "UPDATE item SET n = 2 WHERE id = 2",
    ),
    ("INSERT INTO part VALUES (1, 2), (2, 3)",),
    ("INSERT INTO item VALUES (7, 'x', NULL, 7)",),  # Main has another row with this code.
    ("UPDATE item SET n = 8 WHERE id = 7", "INSERT INTO part VALUES (3, 7)"),
    ("INSERT INTO item VALUES (9, NULL, 't', 9)",),  # And with this tag: here one must give way.
    ("DELETE FROM part WHERE id = 2", "UPDATE item SET id = 4 WHERE id = 3"),
    ("DELETE FROM part WHERE id = 1", "DELETE FROM item WHERE id = 2"),
    ("INSERT INTO item VALUES (10, NULL, NULL, 10)",),
)


def prepare(url: str) -> None:
    """A main that has rows of its own, some of them not yet sealed."""
    with open_database(url) as database:
        _make(database, "main")
        with database.write() as transaction:
            transaction.connection.execute(
                "INSERT INTO item VALUES (1, 'm', NULL, 100), (8, 'x', NULL, 8), (11, NULL, 't', 1)"
            )


def write_file(folder: Path) -> Path:
    """The file of the shop."""
    with open_database(f"sqlite:///{folder}/shop.db") as database:
        sync = _make(database, "shop-1")
        for statements in SHOP:
            with sync.transaction() as connection:
                for statement in statements:
                    connection.execute(statement)
        seal_all(database)
        with database.read() as reader:
            end = last_lsn(reader)
        path = folder / "shop.jsonl"
        meta = Meta(tx_id="f", source_node="shop-1", epoch=1, to_lsn=end)
        write_bundle_files(path, meta, changes_of(database, 0, end))
    return path


def _make(database: Database, name: str) -> Sync:
    sync = Sync(database, Clock())
    sync.init(name, is_main=name == "main")
    with database.write() as transaction:
        for statement in TABLES:
            transaction.connection.execute(statement)
    for table in ("item", "part"):
        sync.track(table)
    database.run(lambda t: set_policy(t, "item", encode_policy(POLICY)), what="set a policy")
    return sync


def import_file(url: str, file: str) -> None:
    """Apply what the file has, some groups a commit, with the position in the same commit."""
    bundle = open_bundle(Path(file))
    at = datetime.now(UTC)
    with open_database(url) as database:
        groups = bundle.groups()
        while _apply_some(database, groups, at):
            pass


def _apply_some(database: Database, groups: Iterator[BundleGroup], at: datetime) -> bool:
    with database.write() as transaction:
        with applying(transaction, source_node="shop-1", at=at, actor="test") as applier:
            some = [list(group.lines) for group in islice(groups, GROUPS_A_COMMIT)]
            applier.apply_all([(line.line, line.change) for line in lines] for lines in some)
            last = some[-1][-1].change.lsn if some else 0
        state = find_state(transaction, "shop-1", "in")
        if last > (state.last_lsn if state is not None else 0):
            set_state(transaction, SyncState("shop-1", "in", last, 1, None, None, at))
    return last > 0


def import_and_tell(url: str, file: str) -> dict[str, Any]:
    """The same; and everything that stands in the database then."""
    import_file(url, file)
    with open_database(url) as database, database.read() as reader:
        return {
            what: [list(row) for row in reader.connection.execute(sql)]
            for what, sql in EVERYTHING.items()
        }


# Without times and ids: a sequence goes on although its transaction was rolled back.
EVERYTHING = {
    "items": "SELECT * FROM item ORDER BY id",
    "parts": "SELECT * FROM part ORDER BY id",
    "versions": "SELECT table_name, pk_json, origin, epoch, seq, causal_length FROM sync_row"
    " ORDER BY table_name, pk_json",
    "received": "SELECT origin, epoch, seq, hash, result FROM sync_applied ORDER BY seq",
    "conflicts": "SELECT pk_json, kind, status, winner, our_image, their_image FROM sync_conflict"
    " ORDER BY conflict_id",
    "quarantine": "SELECT origin, seq, reason, waits_for IS NULL, outcome FROM sync_quarantine"
    " ORDER BY quarantine_id",
    "waits": "SELECT kind, table_name, key FROM sync_quarantine_key ORDER BY 1, 2, 3",
    "log": "SELECT lsn, origin, seq, table_name, pk_json, op, payload, source_node FROM change_log"
    " ORDER BY lsn",
    "node": "SELECT last_lsn, last_seq, sealing FROM sync_node",
    "state": "SELECT client_id, direction, last_lsn FROM sync_state",
    "raw": "SELECT count(*) FROM change_raw",
}
