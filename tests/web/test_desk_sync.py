"""Sync as pages show it: how far peers are, the conflict desk, quarantine, audit."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pytest

import stepwell.web.desk.conflicts
from stepwell import Node
from stepwell.database.connect import open_database
from stepwell.database.dialect import DatabaseOptions
from stepwell.repository.tokens import create_token
from stepwell.sync.peers import SyncState, set_state
from stepwell.sync.session import Sync
from stepwell.web.app import make_app
from stepwell.web.desk.words import DONE
from tests.support.change_log import execute
from tests.support.sync_nodes import rows
from tests.support.sync_nodes import send as hand_over
from tests.web.client import Client
from tests.web.desk_pages import IMAGE, NASTY, look, post, send

ITEM = "CREATE TABLE item (id INTEGER PRIMARY KEY, n INTEGER NOT NULL, note TEXT, shelf TEXT)"
SMALL = "CREATE TABLE small (id INTEGER PRIMARY KEY, n INTEGER CHECK (n < 10))"


@pytest.fixture
def shop(node: Node, tmp_path: Path) -> Iterator[Sync]:
    """A shop of a main node; one conflict waits there, and one transaction that cannot be held."""
    main, options = node.sync, DatabaseOptions(durability="normal")
    with open_database(f"sqlite:///{tmp_path}/shop.db", clock=node.clock, options=options) as there:
        shop = Sync(there, node.clock, actor="till")
        main.init("main", is_main=True)
        shop.init("shop-1")
        execute(main.database, ITEM, SMALL)
        execute(there, ITEM, SMALL.replace(" CHECK (n < 10)", ""))
        for sync in (main, shop):
            sync.track("item", policy="manual")
            sync.track("small")
        at = node.clock.now() + timedelta(seconds=1)
        write(shop, "INSERT INTO item VALUES (1, 1, 'new', 'A')")
        hand_over(shop, main, at=at)
        write(shop, f"UPDATE item SET n = 2, note = '{NASTY}', shelf = 'B'")
        write(main, f"UPDATE item SET n = 3, note = '{IMAGE}'")
        write(shop, f"INSERT INTO small VALUES (1, 99), (2, {2**40})")
        hand_over(shop, main, at=at)
        yield shop


def write(sync: Sync, statement: str) -> None:
    with sync.transaction() as connection:
        connection.execute(statement)


def item(sync: Sync) -> tuple[object, ...]:
    [row] = rows(sync.database, "item")["item"].values()
    return tuple(row.values())


def test_a_conflict_is_read_side_by_side_and_decided_once(
    client: Client, node: Node, shop: Sync, monkeypatch: pytest.MonkeyPatch
) -> None:
    action = "/conflicts/1/resolve"
    listed, page = look(client, "/conflicts?status=waiting"), look(client, "/conflicts/1")
    theirs = page.form(action, take="theirs")
    with ThreadPoolExecutor(2) as both:
        answers = list(both.map(lambda _: post(client, theirs), range(2)))
    late = send(client, page.form(action, take="ours"))
    decided = look(client, "/conflicts/1")

    assert "/conflicts/1" in listed.links
    assert f'n 1 3 2 changed on both sides note "new" "{IMAGE}" "{NASTY}"' in page.text
    assert 'shelf "A" "A" "B" changed there' in page.text
    assert "id 1 1 1 same" in page.text
    assert [303, 409] == sorted(answer.status for answer in answers)
    assert 409 == late.status
    assert "it is resolved by operator since it was read" in late.alert
    assert (1, 2, NASTY, "B") == item(node.sync)
    # The losing image stays, and can be had after all; then other values; then somebody else's.
    assert f'"{IMAGE}"' in decided.text
    send(client, decided.form(action, take="ours"))
    assert (1, 3, IMAGE, "A") == item(node.sync)
    values = look(client, "/conflicts/1").form(action, take="values")
    assert {"value.n": "3", "value.shelf": '"A"'}.items() <= values.fields.items()
    torn = send(client, values, **{"value.n": "three"})
    two = send(client, values, **{"value.n": '3,"id":9'})
    none = send(client, values, **{name: "" for name in values.fields if "value." in name})
    done = send(client, values, **{"value.n": "7", "value.note": '"both"', "value.shelf": ""})
    assert "'n': it must be JSON, such as 12" in torn.alert
    assert "it is several values" in two.alert
    assert "no value was written" in none.alert
    assert DONE["resolved"] in done.text
    assert (1, 7, "both", "A") == item(node.sync)
    reopened = send(client, done.form("/conflicts/1/reopen"))
    again = send(client, done.form("/conflicts/1/reopen"))
    assert DONE["reopened"] in reopened.text
    assert (409, True) == (again.status, "it waits already" in again.alert)
    assert 422 == send(client, theirs, take="both").status
    monkeypatch.setattr(stepwell.web.desk.conflicts, "PAGE", 1)
    assert "?before=1" in look(client, "/conflicts").links


def test_what_cannot_be_applied_is_tried_again_or_given_up(
    client: Client, node: Node, shop: Sync
) -> None:
    listed = look(client, "/quarantine")
    # The change of the row in conflict waits too.
    [number] = [n for n in (1, 2) if "small" in look(client, f"/quarantine/{n}").text]
    page = look(client, f"/quarantine/{number}")
    waits = send(client, page.form(f"/quarantine/{number}/retry"))
    dropping = page.form(f"/quarantine/{number}/drop")
    with ThreadPoolExecutor(2) as both:
        answers = list(both.map(lambda _: post(client, dropping), range(2)))
    after = look(client, f"/quarantine/{number}")

    assert "2 transactions wait" in listed.text
    assert "constraint" in page.text
    assert 'small {"id":1} {"id":1,"n":99}' in page.text
    assert DONE["still_waits"] in waits.text
    assert [303, 409] == sorted(answer.status for answer in answers)
    assert "dropped" in after.text
    assert [] == after.forms
    assert DONE["retried_all"] in send(client, listed.form("/quarantine/retry")).text
    assert "?all=true" in listed.links
    assert "small" in look(client, "/quarantine?all=true").text
    audit = look(client, "/audit").text
    assert f"operator drop quarantined group {number} result=dropped" in audit


def test_peers_are_shown_with_how_far_they_are_behind(
    client: Client, node: Node, shop: Sync
) -> None:
    node.sync.add_peer("shop-1")
    page = look(client, "/sync")
    viewer = create_token(node.database, node.clock, "v", "viewer")
    seen = Client(make_app(node, on_loopback=False), token=viewer)
    bare = [look(seen, t) for t in ("/sync", "/conflicts", "/conflicts/1", "/quarantine/1")]

    last = node.sync.node().last_lsn
    assert f"shop-1 client 0 {last} " in page.text
    assert "◐ behind" in page.text
    # What is left behind what it has acknowledged it has written itself.
    sent = SyncState("shop-1", "out", last - 3, 1, None, "sent by hand", node.clock.now())
    node.database.run(lambda transaction: set_state(transaction, sent))
    acknowledged = look(client, "/sync").text
    assert f"shop-1 client {last - 3} 3 – " in acknowledged
    assert "sent by hand never" in acknowledged
    assert "✓ has all" in acknowledged
    assert "1 conflict for a person to decide" in page.text
    assert "2 transactions received, not applied" in page.text
    assert "item id manual ✓ complete" in page.text
    assert [200] * 4 == [each.status for each in bare]
    assert [] == [form for each in bare for form in each.forms]
    execute(node.database, "ALTER TABLE item ADD COLUMN extra TEXT")
    assert "stepwell sync track item mends it" in look(client, "/sync").text
