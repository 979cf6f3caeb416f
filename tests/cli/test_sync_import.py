"""``sync import`` and the desk as a person meets them: two nodes, files between them."""

from __future__ import annotations

import json
import shutil
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from stepwell.sync.import_job import GroupWriter
from tests.cli.test_sync import new, rows, sql
from tests.support.command_line import Here

VISITS = "SELECT id, n FROM visit ORDER BY id"


@pytest.fixture
def shop(tmp_path: Path) -> Here:
    shop = new(tmp_path / "shop", "shop-1")
    shop.done("sync", "peers", "add", "main", "--main")
    return shop


@pytest.fixture
def main(tmp_path: Path) -> Here:
    return new(tmp_path / "main", "main", is_main=True)


def push(shop: Here, file: str = "up.jsonl") -> Path:
    shop.done("sync", "push", "--file", file)
    return shop.path / file


def groups(shop: Here, count: int, first: int = 1) -> None:
    """So many groups of one change."""
    for number in range(first, first + count):
        sql(shop, f"INSERT INTO visit VALUES ({number}, {number})")
        shop.done("sync", "status")


def test_an_import_says_what_it_did_and_is_a_job(shop: Here, main: Here) -> None:
    groups(shop, 3)
    file = push(shop)
    looked = main.json("sync", "import", str(file), "--dry-run")
    assert (3, 0, []) == tuple(looked[name] for name in ("new", "skipped", "refusals"))
    assert (
        "3 groups of shop-1 would be applied"
        in main.done("sync", "import", str(file), "--dry-run").out
    )
    assert [] == rows(main, VISITS)
    told = main.done("sync", "import", str(file), "--batch-size", "2").out

    assert "imported 3 groups of shop-1\n  LSN 1 to 3\n" in told
    assert [(1, 1), (2, 2), (3, 3)] == rows(main, VISITS)
    [(reads, commits)] = rows(
        main, "SELECT read_count, commit_count FROM batch_step_execution WHERE step_name = 'apply'"
    )
    assert (3, 2) == (reads, commits)
    again = main.done("sync", "import", str(file)).out
    assert "3 groups skipped: here already" in again


def test_what_cannot_be_imported_is_refused_and_nothing_is_recorded(shop: Here, main: Here) -> None:
    groups(shop, 2)
    file = push(shop)
    text = file.read_text()
    torn = shop.path / "torn.jsonl"
    torn.write_text("".join(text.splitlines(keepends=True)[:-1]))
    late = shop.path / "late.jsonl"
    shop.done("sync", "export", "--to", late.name, "--since", "1")

    main.call("sync", "import", str(torn)).refused(1, "cannot import", "without its last line")
    main.call("sync", "import", str(late)).refused(4, "1 to 1", "--since 0")
    assert 4 == main.call("sync", "import", str(late), "--dry-run").code
    main.call("sync", "import", "nowhere.jsonl").refused(2, "there is no such file")
    shop.call("sync", "import", str(file)).refused(4, "cannot import")
    assert [] == rows(main, VISITS)
    assert [(0,)] == rows(main, "SELECT COUNT(*) FROM batch_job_execution")


def test_an_import_that_was_broken_off_goes_on_behind_its_last_batch(
    shop: Here, main: Here, monkeypatch: pytest.MonkeyPatch
) -> None:
    groups(shop, 6)
    file = push(shop)
    written: list[int] = []
    write = GroupWriter.write

    def until_the_third(self: GroupWriter, items: Any, step: Any) -> Any:
        written.append(len(items))
        if len(written) == 3:
            raise OSError("the plug is pulled")
        return write(self, items, step)

    with monkeypatch.context() as patch:
        patch.setattr(GroupWriter, "write", until_the_third)
        ended = main.call("sync", "import", str(file), "--batch-size", "2")
    assert 1 == ended.code
    assert "the plug is pulled" in ended.out
    assert 4 == len(rows(main, VISITS))
    assert [(4,)] == rows(main, "SELECT last_lsn FROM sync_state WHERE direction = 'in'")

    [(execution_id,)] = rows(main, "SELECT job_execution_id FROM batch_job_execution")
    done = main.json("restart", str(execution_id))
    assert "COMPLETED" == done["status"]
    assert 6 == len(rows(main, VISITS))
    [*_, (reads,)] = rows(
        main,
        "SELECT read_count FROM batch_step_execution WHERE step_name = 'apply'"
        " ORDER BY step_execution_id",
    )
    assert 2 == reads
    assert [(6,)] == rows(main, "SELECT last_lsn FROM sync_state WHERE direction = 'in'")


def test_a_push_says_when_a_pull_is_due(shop: Here, main: Here, tmp_path: Path) -> None:
    groups(shop, 1)
    first = shop.call("sync", "push", "--file", "1.jsonl")
    assert "a pull is due: nothing of main was ever imported here" in first.err
    main.done("sync", "import", str(shop.path / "1.jsonl"))
    main.done("sync", "export", "--to", "down.jsonl", "--client", "shop-1")
    shop.done("sync", "pull", "--file", str(main.path / "down.jsonl"))
    second = shop.call("sync", "push", "--file", "2.jsonl")

    assert (0, "") == (second.code, second.err)
    # What main has acknowledged is not sent again.
    assert 0 == shop.json("sync", "push", "--file", "3.jsonl")["rows"]
    assert shop.json("sync", "push", "--file", "4.jsonl")["pull_is_due"]
    other = new(tmp_path / "other", "shop-2")
    other.call("sync", "push", "--file", "x.jsonl").refused(2, "none is known here", "--main")


def test_the_desk_settles_what_waits_for_a_person(shop: Here, main: Here) -> None:
    for node in (shop, main):
        node.done("sync", "untrack", "visit")
        node.done("sync", "track", "visit", "--policy", "manual")
    groups(shop, 1)
    main.done("sync", "import", str(push(shop, "1.jsonl")))
    sql(shop, "UPDATE visit SET n = 10 WHERE id = 1")
    sql(main, "UPDATE visit SET n = 20 WHERE id = 1")
    file = push(shop, "2.jsonl")
    ended = main.call("sync", "import", str(file))

    assert 3 == ended.code
    errors = (shop.path / "2.jsonl.errors.jsonl").read_text().splitlines()
    assert [("visit", {"id": 1}, "conflict")] == [
        (e["table"], e["pk_json"], e["reason"]) for e in map(json.loads, errors)
    ]
    [conflict] = main.json("sync", "conflicts", "list", "--status", "waiting")["conflicts"]
    number = str(conflict["conflict_id"])
    assert ({"id": 1, "n": 20}, {"id": 1, "n": 10}) == (conflict["ours"], conflict["theirs"])
    shown = main.done("sync", "conflicts", "show", number).out
    assert "(version)" in shown
    [parked] = main.json("sync", "quarantine", "list")["quarantine"]
    group = str(parked["quarantine_id"])
    assert "group shop-1.1.2 waits" in main.done("sync", "quarantine", "show", group).out
    assert 3 == main.call("sync", "quarantine", "retry", group).code

    main.call("sync", "conflicts", "resolve", number).refused(2, "one of --take and --value")
    main.call("sync", "conflicts", "resolve", number, "--take", "mine").refused(2, "'mine'")
    main.call("sync", "conflicts", "resolve", number, "--value", "n=ten").refused(2, "'n=ten'")
    main.call("sync", "conflicts", "show", "99").refused(2, "there is none of this id")
    main.call("sync", "quarantine", "drop", "99").refused(2, "there is none of this id")
    main.done("sync", "conflicts", "resolve", number, "--value", "n=15")
    main.call("sync", "conflicts", "resolve", number, "--take", "ours").refused(
        4, "it is resolved by", "values: main.1.", "reopen"
    )
    assert [(1, 15)] == rows(main, VISITS)
    assert "nothing is in quarantine" in main.done("sync", "quarantine", "list").out
    assert "nothing is in quarantine" in main.done("sync", "quarantine", "retry").out
    main.done("sync", "export", "--to", "down.jsonl", "--client", "shop-1")
    shop.done("sync", "pull", "--file", str(main.path / "down.jsonl"))
    assert [(1, 15)] == rows(shop, VISITS)
    assert "resolved" in main.done("sync", "conflicts", "list").out
    assert "waiting" in main.done("sync", "conflicts", "reopen", number).out
    assert {"import", "resolve", "reopen"} <= {
        line["action"] for line in main.json("sync", "audit")["audit"]
    }


def test_a_clone_that_went_on_is_detected(shop: Here, main: Here, tmp_path: Path) -> None:
    groups(shop, 1)
    clone = Here(tmp_path / "clone")
    shutil.copytree(shop.path, clone.path)
    groups(shop, 1, first=2)
    groups(clone, 1, first=3)
    main.done("sync", "import", str(push(shop, "a.jsonl")))

    main.call("sync", "import", str(push(clone, "b.jsonl"))).refused(4, "shop-1", "another group")
    assert [(1, 1), (2, 2)] == rows(main, VISITS)
    found = clone.call("doctor", "--json").json["findings"]
    assert "node_moved" in {each["code"] for each in found}


def test_a_node_that_was_restored_is_detected_and_comes_back(
    shop: Here, main: Here, tmp_path: Path
) -> None:
    groups(shop, 1)
    shutil.copy(shop.path / "shop.db", tmp_path / "last-week.db")
    groups(shop, 2, first=2)
    main.done("sync", "import", str(push(shop, "a.jsonl")))
    main.done("sync", "export", "--to", "down.jsonl", "--client", "shop-1")
    for file in shop.path.glob("shop.db*"):
        file.unlink()
    shutil.copy(tmp_path / "last-week.db", shop.path / "shop.db")

    shop.call("sync", "pull", "--file", str(main.path / "down.jsonl")).refused(
        4, "it was restored from an older copy", "stepwell sync rejoin"
    )
    main.done("sync", "bootstrap", "--to", "all.jsonl")
    shop.done("sync", "rejoin", "--from", str(main.path / "all.jsonl"))
    assert rows(main, VISITS) == rows(shop, VISITS)
    groups(shop, 1, first=9)
    main.done("sync", "import", str(push(shop, "b.jsonl")))
    assert (9, 9) == rows(main, VISITS)[-1]


def test_the_tracked_tables_may_lie_in_another_file_than_the_jobs(
    shop: Here, main: Here, tmp_path: Path
) -> None:
    groups(shop, 3)
    file = push(shop)
    apart = Here(tmp_path / "apart")
    apart.path.mkdir()
    (apart.path / "stepwell.toml").write_text(
        'database = "sqlite:///jobs.db"\nsync_database = "sqlite:///shop.db"\n', encoding="utf-8"
    )
    sql(apart, "CREATE TABLE visit (id INTEGER PRIMARY KEY, n INTEGER)")
    sqlite3.connect(apart.path / "jobs.db").close()
    apart.done("db", "migrate", "--database", "sqlite:///jobs.db")
    apart.done("sync", "init", "--node", "main", "--main")
    apart.done("sync", "track", "visit")
    done = apart.json("sync", "import", str(file), "--batch-size", "1")

    assert 3 == done["applied"]
    assert [(1, 1), (2, 2), (3, 3)] == rows(apart, VISITS)
    assert [(3,)] == rows(apart, "SELECT last_lsn FROM sync_state WHERE direction = 'in'")
