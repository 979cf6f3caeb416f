"""``node.sync.provenance``: the node, the run, the step and the chunk that have written a row."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path

import pytest

from stepwell.clock import Clock
from stepwell.database.connect import open_database
from stepwell.errors import InvalidKey, NoSuchRow, TableNotTracked
from stepwell.sync import capture
from stepwell.sync.change import Lineage
from stepwell.sync.session import Sync
from tests.support.change_log import execute
from tests.support.sync_nodes import send

KINDS = (
    "CREATE TABLE kinds (a BIGINT NOT NULL, b TEXT NOT NULL, c NUMERIC(9,2), PRIMARY KEY (a, b))"
)
RUN = Lineage(job_name="load", execution_id=7, step_name="write", chunk="3")


@pytest.fixture
def nodes(database_url: str, tmp_path: Path) -> Iterator[tuple[Sync, Sync]]:
    """A shop, and a main on each kind of database in turn."""
    clock, found = Clock(), []
    with ExitStack() as stack:
        for name, url in (("shop-1", f"sqlite:///{tmp_path}/shop.db"), ("main", database_url)):
            database = stack.enter_context(open_database(url, clock=clock))
            sync = Sync(database, clock, actor="test")
            sync.init(name, is_main=name == "main")
            execute(
                database, KINDS.replace("INTEGER", "BIGINT NOT NULL").replace("T,", "T NOT NULL,")
            )
            sync.track("kinds")
            found.append(sync)
        yield found[0], found[1]


def test_a_row_tells_its_run_here_and_where_it_was_sent(nodes: tuple[Sync, Sync]) -> None:
    shop, main = nodes
    with shop.database.write() as transaction:
        capture.tell(transaction, "tx", RUN)
        transaction.connection.execute("INSERT INTO kinds VALUES (1, 'x', 2)")
    with shop.transaction(actor="till") as connection:
        connection.execute("INSERT INTO kinds VALUES (2, 'x', 2)")
        connection.execute("UPDATE kinds SET a = 5 WHERE a = 2")
    send(shop, main, at=Clock().now() + timedelta(seconds=1))
    found = [sync.provenance("kinds", {"b": "x", "a": "1"}) for sync in nodes]
    moved = main.provenance("kinds", {"a": "5", "b": "x"})

    assert [RUN, RUN] == [each.change and each.change.lineage for each in found]
    assert ["shop-1", "shop-1"] == [each.version.origin for each in found]
    assert [1, 1] == [each.values and each.values["a"] for each in found]
    assert "till" == (moved.change and moved.change.lineage and moved.change.lineage.actor)


def test_a_deleted_row_tells_who_deleted_it(nodes: tuple[Sync, Sync]) -> None:
    _, main = nodes
    execute(main.database, "INSERT INTO kinds VALUES (1, 'x', 2)")
    with main.transaction(actor="clerk") as connection:
        connection.execute("DELETE FROM kinds")
    found = main.provenance("kinds", {"a": "1", "b": "x"})

    assert (None, False) == (found.values, found.version.is_alive)
    assert "clerk" == (found.change and found.change.lineage and found.change.lineage.actor)


def test_what_is_no_row_is_refused(nodes: tuple[Sync, Sync]) -> None:
    _, main = nodes
    with pytest.raises(TableNotTracked):
        main.provenance("other", {})
    with pytest.raises(
        InvalidKey,
        match=r"^cannot find a row of table 'kinds': its key is a, b, got a$",
    ):
        main.provenance("kinds", {"a": "1"})
    with pytest.raises(
        InvalidKey,
        match=r"^cannot find a row of table 'kinds': 'a' must be of kind integer, got 'one'$",
    ):
        main.provenance("kinds", {"a": "one", "b": "x"})
    with pytest.raises(
        NoSuchRow,
        match=r"^cannot find row \{\"a\":9,\"b\":\"x\"\} of table 'kinds': nobody has written it$",
    ):
        main.provenance("kinds", {"a": "9", "b": "x"})
