"""``stepwell sync`` as a person meets it: what it says, its JSON, its refusals."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from stepwell.sync.bundle_reader import open_bundle
from tests.support.command_line import Here

VISIT = "CREATE TABLE visit (id INTEGER PRIMARY KEY, n INTEGER)"


def sql(here: Here, *statements: str) -> None:
    """Another program writes to the database."""
    connection = sqlite3.connect(here.path / "shop.db")
    with connection:
        for statement in statements:
            connection.execute(statement)
    connection.close()


def new(path: Path, name: str, *, is_main: bool = False) -> Here:
    """The folder of a node that tracks ``visit``."""
    path.mkdir()
    (path / "stepwell.toml").write_text('database = "sqlite:///shop.db"\n', encoding="utf-8")
    here = Here(path)
    sql(here, VISIT)
    here.done("db", "migrate")
    here.done("sync", "init", "--node", name, *(["--main"] if is_main else []))
    here.done("sync", "track", "visit")
    return here


@pytest.fixture
def shop(tmp_path: Path) -> Here:
    return new(tmp_path / "shop", "shop-1")


# --- being a node --------------------------------------------------------------------------------


def test_a_database_becomes_a_node_once(tmp_path: Path) -> None:
    (tmp_path / "stepwell.toml").write_text('database = "sqlite:///shop.db"\n', encoding="utf-8")
    here = Here(tmp_path)
    here.call("sync", "status").refused(2, "cannot open", "shop.db")
    sql(here, VISIT)
    here.done("db", "migrate")
    here.call("sync", "status").refused(4, "it is no node yet", "stepwell sync init --node NAME")
    here.call("sync", "init", "--node", "Shop 1").refused(2, "got 'Shop 1'")

    assert (
        "this database is client node 'shop-1', epoch 1"
        in here.done("sync", "init", "--node", "shop-1").out
    )
    assert {"node": "shop-1", "is_main": False, "epoch": 1, "last_lsn": 0, "horizon_lsn": 1} == (
        here.json("sync", "init", "--node", "shop-1")
    )
    here.call("sync", "init", "--node", "shop-2").refused(4, "it is client node 'shop-1'")


def test_tables_are_tracked_and_untracked(shop: Here) -> None:
    shop.call("sync", "track", "vizit").refused(2, "cannot track table 'vizit'")
    shop.call("sync", "track", "visit", "--baseline", "some").refused(2, "'all' or 'none'")
    [table] = shop.json("sync", "track", "visit")["tables"]
    assert ("visit", ["id"], "lww", None) == tuple(
        table[name] for name in ("table", "key", "policy", "fault")
    )

    assert "table 'visit' is not tracked any more\n" == shop.done("sync", "untrack", "visit").out
    shop.call("sync", "untrack", "visit").refused(2, "cannot find tracked table 'visit'")


def test_a_counter_that_was_without_triggers_is_told(shop: Here) -> None:
    counted = '{"rows":"columns","columns":{"n":"delta"}}'
    sql(shop, "CREATE TABLE stock (id INTEGER PRIMARY KEY, n INTEGER NOT NULL)")
    assert [] == shop.json("sync", "track", "stock", "--policy", counted)["tables"][0]["uncounted"]
    sql(
        shop,
        "CREATE TABLE stock_new (id INTEGER PRIMARY KEY, n INTEGER NOT NULL)",
        "DROP TABLE stock",
        "ALTER TABLE stock_new RENAME TO stock",
    )
    told = shop.done("sync", "track", "stock", "--policy", counted).out

    assert "counter 'n' had no triggers for a time: what was added to it then is not sent" in told
    assert "hint: `stepwell sync verify PEER` finds the rows that differ" in told
    assert "counter" not in shop.done("sync", "track", "stock", "--policy", counted).out


def test_the_status_shows_the_log_and_what_is_missed(shop: Here) -> None:
    sql(shop, "INSERT INTO visit VALUES (1, 3), (2, 4)")
    told = shop.done("sync", "status").out
    assert "shop-1 (client, epoch 1)" in told
    assert "2 changes" in told
    assert 2 == shop.json("sync", "status")["last_lsn"]

    sql(shop, "ALTER TABLE visit ADD COLUMN note TEXT")
    ended = shop.call("sync", "status")
    assert 5 == ended.code
    assert "its columns have changed: 'note' is new" in ended.out
    shop.call("sync", "export", "--to", "x.jsonl").refused(4, "cannot export changes", "'visit'")
    shop.done("sync", "track", "visit")
    shop.done("sync", "status")


def test_a_row_tells_who_has_written_it(shop: Here) -> None:
    sql(shop, "INSERT INTO visit VALUES (1, 3)")
    told = shop.done("sync", "row", "visit", "id=1").out
    found = shop.json("sync", "row", "visit", "id=1")

    assert "shop-1, epoch 1, group 1" in told
    assert "no job of Stepwell's wrote it" in told
    assert ({"id": 1, "n": 3}, "shop-1", None) == (
        found["values"],
        found["origin"],
        found["lineage"],
    )
    shop.call("sync", "row", "visit", "1").refused(2, "must be given as NAME=VALUE, got '1'")
    shop.call("sync", "row", "visit", "n=1").refused(2, "its key is id, got n")
    shop.call("sync", "row", "visit", "id=2").refused(2, "nobody has written it")


def test_the_audit_tells_who_did_what(shop: Here) -> None:
    lines = shop.json("sync", "audit")["audit"]

    assert [("track", "visit"), ("init", "shop-1")] == [
        (line["action"], line["subject"]) for line in lines
    ]
    assert [] == shop.json("sync", "audit", "--since", "2999-01-01")["audit"]
    assert "track" in shop.done("sync", "audit", "--limit", "1").out
    shop.call("sync", "audit", "--since", "soon").refused(2, "must be a time", "'soon'")


# --- files ---------------------------------------------------------------------------------------


def test_an_export_is_a_job_and_a_whole_file(shop: Here) -> None:
    sql(shop, "INSERT INTO visit VALUES (1, 3), (2, 4)")
    told = shop.done("sync", "export", "--to", "day.jsonl.gz").out
    bundle = open_bundle(shop.path / "day.jsonl.gz")

    assert "exported 2 changes in 1 group" in told
    assert (2, 1, 2) == (bundle.check().rows, bundle.check().groups, bundle.meta.to_lsn)
    assert ("shop-1", 1, {"shop-1": (1, 1)}) == (
        bundle.meta.source_node,
        bundle.meta.from_lsn,
        bundle.meta.known,
    )
    assert [("COMPLETED",)] == rows(
        shop,
        "SELECT status FROM batch_job_execution e JOIN batch_job_instance USING"
        " (job_instance_id) WHERE job_name = 'stepwell.sync.export'",
    )
    again = shop.call("sync", "export", "--to", "day.jsonl.gz")
    again.refused(4, "there is a file of that name", "choose another name")
    assert 1 == len(rows(shop, "SELECT 1 FROM batch_job_execution"))


def rows(here: Here, query: str) -> list[tuple[object, ...]]:
    connection = sqlite3.connect(f"file:{here.path / 'shop.db'}?mode=ro", uri=True)
    try:
        return connection.execute(query).fetchall()
    finally:
        connection.close()


def test_an_export_begins_where_it_is_told(shop: Here) -> None:
    sql(shop, "INSERT INTO visit VALUES (1, 3), (2, 4)")
    done = shop.json("sync", "export", "--to", "a.jsonl", "--since", "1")
    assert (2, 2, 1) == (done["from_lsn"], done["to_lsn"], done["rows"])
    assert [str(shop.path / "a.jsonl")] == done["files"]

    empty = shop.json("sync", "export", "--to", "b.jsonl", "--since", "2")
    assert (3, 2, 0) == (empty["from_lsn"], empty["to_lsn"], empty["rows"])
    shop.call("sync", "export", "--to", "c.jsonl", "--since", "3").refused(
        2, "the log ends at LSN 2"
    )


def test_a_long_export_is_cut_into_parts(shop: Here) -> None:
    sql(shop, "INSERT INTO visit VALUES (1, 3), (2, 4), (3, 5)")
    done = shop.json("sync", "export", "--to", "a.jsonl", "--part-mb", "0.0005")

    assert ["a.jsonl", "a.part2.jsonl", "a.part3.jsonl"] == [Path(f).name for f in done["files"]]
    assert 3 == open_bundle(shop.path / "a.jsonl").check().rows


# --- the others ----------------------------------------------------------------------------------


def test_peers_are_added_listed_and_retired(shop: Here) -> None:
    assert "no peers are known" in shop.done("sync", "peers", "list").out
    shop.call("sync", "export", "--to", "a.jsonl", "--client", "main").refused(
        2, "no peer of this name is known", "stepwell sync peers add main"
    )
    shop.call("sync", "peers", "add", "shop-1").refused(2, "it is this node itself")
    shop.call("sync", "peers", "add", "M a i n").refused(2, "got 'M a i n'")
    assert "main node 'main' is a peer\n" == shop.done("sync", "peers", "add", "main", "--main").out
    assert ("main", True, 1, None) == tuple(
        shop.json("sync", "peers", "list")["peers"][0][name]
        for name in ("node", "is_main", "epoch", "retired_at")
    )
    shop.call("sync", "peers", "retire", "mian").refused(2, "did you mean 'main'?")

    shop.done("sync", "peers", "retire", "main")
    shop.call("sync", "peers", "retire", "main").refused(4, "it was retired at")
    shop.call("sync", "export", "--to", "a.jsonl", "--client", "main").refused(
        4, "it was retired at", "stepwell sync peers add main"
    )
    assert "RETIRED" in shop.done("sync", "peers", "list").out
    shop.done("sync", "peers", "add", "main", "--main")
    shop.done("sync", "export", "--to", "a.jsonl", "--client", "main")
    assert "main" == open_bundle(shop.path / "a.jsonl").meta.client_id


def test_nothing_is_pruned_that_a_peer_lacks(shop: Here) -> None:
    sql(shop, "INSERT INTO visit VALUES (1, 3), (2, 4)")
    assert "no peer is known" in shop.done("sync", "prune").out
    shop.done("sync", "peers", "add", "main", "--main")
    shop.done("sync", "export", "--to", "a.jsonl", "--client", "main")
    found = shop.json("sync", "prune")

    assert (0, [{"node": "main", "after_lsn": 0, "changes": 2}]) == (
        found["changes"],
        found["holders"],
    )
    assert "KEPT FOR" in shop.done("sync", "prune", "--dry-run").out


# --- all rows ------------------------------------------------------------------------------------


def test_a_new_node_begins_with_the_rows_of_another_one(shop: Here, tmp_path: Path) -> None:
    sql(shop, "INSERT INTO visit VALUES (1, 3), (2, 4)")
    other = new(tmp_path / "other", "shop-2")
    shop.done("sync", "bootstrap", "--to", "../all.jsonl")
    begun = other.done("sync", "bootstrap", "--from", "../all.jsonl")
    shop.done("sync", "peers", "add", "shop-2")
    shop.done("sync", "verify", "shop-2", "--to", "../hashes.jsonl")

    assert "begun with 2 rows of shop-1 as of LSN 2, in epoch 1\n" == begun.out
    told = other.done("sync", "verify", "shop-1", "--from", "../hashes.jsonl").out
    assert "2 rows are the same here and on shop-1\n" == told
    sql(other, "UPDATE visit SET n = 9 WHERE id = 2")
    ended = other.call("sync", "verify", "shop-1", "--from", "../hashes.jsonl")
    assert (5, True) == (ended.code, '{"id":2}  another one there' in ended.out)
    differences = other.json("sync", "verify", "shop-1", "--from", "../hashes.jsonl", code=5)
    assert (2, 1, ["shop-2"]) == tuple(
        differences[name] for name in ("rows", "different", "behind")
    )
    other.call("sync", "bootstrap", "--from", "../all.jsonl").refused(4, "1 groups of this node")
    other.call("sync", "bootstrap").refused(2, "must be given one of --to and --from")
    assert 2 == other.json("sync", "rejoin", "--from", "../all.jsonl")["epoch"]
    assert "node 'shop-2' goes on in epoch 3\n" == other.done("sync", "rejoin").out
