"""Metrics: names that are a contract, sums that only grow, work that does not grow with them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from stepwell import ChunkStep, Job, Node, Skip, StepContext
from stepwell.clock import Clock
from stepwell.settings import Settings
from stepwell.web import tallies
from stepwell.web.app import make_app
from stepwell.web.metrics import Metrics
from tests.support.sync_nodes import send
from tests.web.client import Client
from tests.web.conftest import Gate


def samples(text: str) -> dict[Any, float]:
    """Name and label values → value."""
    return {
        (sample.name.removeprefix("stepwell_"), *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_each_execution_step_partition_and_item_is_added_once(node: Node) -> None:
    def process(item: int) -> int | None:
        if item == 3:
            raise ValueError
        return item or None

    copies = ChunkStep("copy", range(5), process, [].extend, skip=Skip(ValueError, limit=1))
    node.registry.add(Job("copies", [copies], identity="each-start"), origin="module jobs")
    metrics = Metrics(node)
    before = samples(metrics.text())
    node.operator.run("copies")
    first = samples(metrics.text())
    again = samples(metrics.text())
    node.operator.run("copies")
    node.operator.run("partly")
    last = samples(metrics.text())
    anew = samples(Metrics(node).text())

    assert not [name for name in before if name[0].startswith(("execution", "items"))]
    assert {
        ("execution_seconds_count", "copies"): 1.0,
        ("step_seconds_count", "copies", "copy"): 1.0,
        ("items_total", "copies", "read", "copy"): 5.0,
        ("items_total", "copies", "written", "copy"): 3.0,
        ("items_total", "copies", "filtered", "copy"): 1.0,
        ("items_total", "copies", "skipped", "copy"): 1.0,
    }.items() <= first.items()
    assert first == again
    assert {
        ("execution_seconds_count", "copies"): 2.0,
        ("execution_seconds_count", "partly"): 1.0,
        ("partition_seconds_count", "partly", "share"): 5.0,
        ("items_total", "copies", "read", "copy"): 10.0,
    }.items() <= last.items()
    # Another server begins with what is there.
    seconds = {name: value for name, value in last.items() if "_seconds_" in name[0]}
    assert seconds == pytest.approx({name: anew[name] for name in seconds})


def test_what_runs_is_counted_as_far_as_it_is_and_timed_when_it_has_ended(
    node: Node, gate: Gate
) -> None:
    def write(items: list[int], step: StepContext) -> None:
        if 2 in items:
            gate.wait()

    slow = ChunkStep("copy", range(4), None, write, chunk_size=2)
    node.registry.add(Job("slow", [slow]), origin="module jobs")
    metrics = Metrics(node)
    node.operator.start("slow")
    assert gate.begun.wait(30)
    running = samples(metrics.text())
    gate.opened.set()
    node.operator.wait(1)
    ended = samples(metrics.text())

    read = ("items_total", "slow", "read", "copy")
    assert (2.0, 1.0) == (running[read], running["running",])
    assert ("execution_seconds_count", "slow") not in running
    assert (4.0, 1.0) == (ended[read], ended["execution_seconds_count", "slow"])


def test_a_long_history_is_not_read_again(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    """Goal: bounded work. Method: pages of two rows; what a look leaves the next ones add."""
    monkeypatch.setattr(tallies, "PAGE_ROWS", 2)
    monkeypatch.setattr(tallies, "OVERLAP", 0)
    for _ in range(5):
        node.operator.run("partly", again=True)
    metrics = Metrics(node)
    counts = [samples(metrics.text())["execution_seconds_count", "partly"] for _ in range(4)]

    assert [2.0, 4.0, 5.0, 5.0] == counts
    monkeypatch.setattr(tallies, "BEGIN_PARTITIONS", 11)
    few = samples(Metrics(node).text())
    assert 10.0 == few["partition_seconds_count", "partly", "share"]


def test_findings_and_zero_row_updates_are_those_of_this_process(
    client: Client, node: Node
) -> None:
    node.operator.run("partly")
    unlooked = samples(client.get("/metrics").text)
    with node.database.write() as transaction:
        transaction.connection.execute("UPDATE batch_job_execution SET version = 70")
    client.get("/api/doctor?quick=true")
    found = samples(client.get("/metrics").text)

    assert not [name for name in unlooked if name[0] == "doctor_findings"]
    assert [1.0] == [v for name, v in found.items() if name[0] == "doctor_findings"][:1]
    assert found["zero_row_updates_total",] >= 0
    assert found["wal_bytes",] > 0


def test_how_far_peers_are_behind(tmp_path: Path) -> None:
    clock = Clock()
    nodes = {}
    for name in ("main", "shop"):
        settings = Settings(f"sqlite:///{tmp_path}/{name}.db", folder=tmp_path)
        nodes[name] = node = Node.open(settings, clock=clock)
        node.sync.init(name, is_main=name == "main")
        with node.database.write() as transaction:
            transaction.connection.execute("CREATE TABLE visit (id INTEGER PRIMARY KEY, n INTEGER)")
        node.sync.track("visit", policy="manual")
    shop, main = nodes["shop"], nodes["main"]
    metrics = Metrics(shop)
    alone = samples(metrics.text())
    shop.sync.add_peer("main", is_main=True)
    with shop.sync.transaction() as connection:
        connection.execute("INSERT INTO visit VALUES (1, 1), (2, 2)")
    send(shop.sync, main.sync, at=clock.now())
    behind = samples(metrics.text())
    for node, n in ((shop, 10), (main, 20)):
        with node.sync.transaction() as connection:
            connection.execute("UPDATE visit SET n = :n WHERE id = 1", {"n": n})
    send(shop.sync, main.sync, at=clock.now())

    assert not [name for name in alone if name[0].startswith("sync_lag")]
    assert 2.0 == behind["sync_lag_lsn", "main"]
    assert 0.0 < behind["sync_lag_seconds", "main"] < 3_600
    assert 0.0 == behind["conflicts_waiting",]
    assert 1.0 == samples(Client(make_app(main)).get("/metrics").text)["conflicts_waiting",]
    for node in nodes.values():
        node.close()
