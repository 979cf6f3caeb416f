"""Workers of several hosts against one PostgreSQL: killed, frozen, cut off, with wrong clocks."""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Callable
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

import stepwell.worker as worker_module
from stepwell import BatchStatus, Node
from stepwell.database.postgresql import PostgresqlDialect
from stepwell.repository.invariants import examine
from stepwell.repository.owners import live_owners, register_owner
from stepwell.testing import Child, WarmParent
from stepwell.testing.statements import each_statement
from tests.cli.program import Folder, until
from tests.crash.test_real_workers import JOBS, Shop
from tests.support.databases import warm_parent
from tests.support.hosts import CREATE, ITEM, host_node
from tests.support.network import Network

__all__ = ["warm_parent"]

WORK = "tests.support.hosts:work"
ITEMS = 60
# Nobody's death, claim or turn is told by these clocks.
HOSTS = {"shop-a": 0.0, "shop-b": 3600.0, "shop-c": -3600.0, "shop-d": 7.0}
DONE = "SELECT number FROM evidence ORDER BY number"
FAILED = """SELECT job_execution_id, failure_type FROM batch_job_execution e
  WHERE status <> 'COMPLETED' AND job_execution_id = (SELECT MAX(job_execution_id)
  FROM batch_job_execution l WHERE l.job_instance_id = e.job_instance_id)"""
UNFINISHED = "SELECT COUNT(*) FROM batch_job_execution WHERE end_time IS NULL"


def ask(node: Node, sql: str) -> list[tuple[Any, ...]]:
    with node.database.read() as reader:
        return [tuple(row) for row in reader.connection.execute(sql)]


def let_lease_run_out(node: Node, host: str) -> None:
    """As if it had been silent for half a minute, by the server's clock."""
    with node.database.write() as transaction:
        transaction.connection.execute(
            "UPDATE batch_owner SET lease_until = clock_timestamp() - interval '1 s'"
            " WHERE ended_at IS NULL AND host = :host",
            {"host": host},
        )


def test_workers_of_several_hosts_do_each_item_once(
    postgresql_database_url: str, warm_parent: WarmParent, tmp_path: Path
) -> None:
    """Goal: T2, T4. Method: kills, and freezes beyond the lease, while four hosts share a queue."""
    chance, url, folder = random.Random(4), postgresql_database_url, str(tmp_path)

    def start(host: str) -> Child:
        return warm_parent.start(WORK, url=url, folder=folder, host=host, ahead_s=HOSTS[host])

    with host_node(url, "desk") as node:
        with node.database.write() as transaction:
            transaction.connection.execute(CREATE)
        for number in range(ITEMS):
            node.operator.register("item", {"number": number})
        workers = {host: start(host) for host in HOSTS}
        until(lambda: len(_hosts(node)) > len(HOSTS), what="four hosts at work")
        for done in range(5, ITEMS - 5, 5):
            until(lambda done=done: len(ask(node, DONE)) >= done, what=f"{done} items")
            host = chance.choice(list(HOSTS))
            if chance.random() < 0.5:
                workers[host].kill()
                workers[host] = start(host)
            else:
                workers[host].send(signal.SIGSTOP)
                let_lease_run_out(node, host)
                time.sleep(chance.uniform(0.1, 0.8))  # Longer than others look for the dead.
                workers[host].send(signal.SIGCONT)
        until(lambda: ask(node, UNFINISHED) == [(0,)], what="the end of all")
        # One that wakes while another host ends its sessions has seen its connection lost: FAILED.
        failed = ask(node, FAILED)
        for execution_id, _ in failed:
            node.operator.restart(execution_id)
        until(lambda: ask(node, FAILED) == [], what="the end of those that were restarted")
        (tmp_path / "enough").touch()
        ended = [worker.wait() for worker in workers.values()]
        numbers = [n for (n,) in ask(node, DONE)]
        hosts = {host for (host,) in ask(node, "SELECT host FROM batch_owner")}
        with node.database.read() as reader:
            findings = examine(reader)

    assert [None] * len(HOSTS) == [each.error for each in ended]
    assert {"ConnectionLost"} >= {failure for _, failure in failed}
    assert list(range(ITEMS)) == numbers
    assert {"desk", *HOSTS} == hosts
    assert [] == findings


def _hosts(node: Node) -> set[str]:
    with node.database.read() as reader:
        return {owner.host for owner in live_owners(reader)}


def test_looking_for_the_dead_costs_the_same_however_many_hosts_there_are(
    postgresql_database_url: str,
) -> None:
    """Method: count the statements of a look with one owner, and with forty, half of them dead."""
    counted: list[str] = []

    def look(node: Node) -> int:
        counted.clear()
        node.operator.recover_dead()
        return len(counted)

    def hook(when: str, sql: str, _connection: object) -> None:
        if when == "before":
            counted.append(sql)

    with each_statement(hook), host_node(postgresql_database_url, "desk") as node:
        first = node.operator.owner_id
        look(node)
        alone = look(node)
        database = node.database
        for _ in range(39):
            database.run(lambda t: register_owner(t, database.liveness, node.clock, "work"))
        with database.read() as reader:
            everybody = {owner.owner_id for owner in live_owners(reader)}
        among_many = look(node)
        dead = {owner_id for owner_id in everybody if owner_id % 2 and owner_id != first}
        for owner_id in dead:
            database.liveness.release(owner_id)
        one_by_one = {each for each in everybody if database.liveness.is_dead(each)}
        at_once = database.liveness.dead_among(everybody)
        look(node)
        with database.read() as reader:
            left = {owner.owner_id for owner in live_owners(reader)}

    assert (alone, 40) == (among_many, len(everybody))
    assert dead == one_by_one == at_once
    assert everybody - dead == left


def test_a_host_that_the_network_has_lost_is_taken_over_and_fenced(
    postgresql_database_url: str, tmp_path: Path
) -> None:
    """Goal: S33, S34. Method: its sessions stay open at the server, but nothing passes any more."""
    with (
        Network(postgresql_database_url) as network,
        Node.open(postgresql_database_url) as node,
    ):
        shop = Shop(tmp_path, network.url, node)
        first = shop.worker_at_gate()
        network.cut()
        shop.folder = Folder(tmp_path, STEPWELL_DATABASE=postgresql_database_url)
        second = shop.worker()
        shop.open_gate()
        with node.database.write() as transaction:
            transaction.connection.execute(
                "UPDATE batch_owner SET lease_until = clock_timestamp() - interval '1 s'"
                " WHERE owner_id = (SELECT owner_id FROM batch_job_execution"
                " WHERE job_execution_id = 1)"
            )
        after = shop.ended(2)
        written = shop.written()
        network.mend()
        first.until("execution 1 of job 'gated' was taken by another process")
        for worker in (first, second):
            worker.send(signal.SIGTERM)
            assert 0 == worker.end().code

        assert "gated" in JOBS
        assert BatchStatus.COMPLETED is after.batch_status
        assert written == shop.written()
        shop.check()


def _runs_soon(url: str, meanwhile: Callable[[], None] = lambda: None) -> float:
    """How long a registered item waits for a worker that has nothing to do."""
    with host_node(url, "shop-a") as node, host_node(url, "desk") as desk:
        with node.database.write() as transaction:
            transaction.connection.execute(CREATE)
        working = node.worker()
        thread = Thread(target=working.run)
        thread.start()
        try:
            meanwhile()
            time.sleep(1.0)  # It looks, finds nothing, and waits.
            began = time.monotonic()
            desk.operator.register("item", {"number": 1})
            until(lambda: ask(desk, "SELECT number FROM evidence"), what="the item")
            return time.monotonic() - began
        finally:
            working.request_stop("the test")
            thread.join()


def test_what_is_registered_elsewhere_is_heard_of(
    postgresql_database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Method: the worker would look again in an hour."""
    monkeypatch.setattr(worker_module, "POLL_S", 3600.0)

    took = _runs_soon(postgresql_database_url)

    assert took < 60


def test_what_nobody_heard_of_runs_all_the_same(
    postgresql_database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Method: every notice is swallowed; the worker looks for itself."""
    swallowed: list[str] = []
    monkeypatch.setattr(
        PostgresqlDialect, "announce", lambda _self, _c, subject, _what: swallowed.append(subject)
    )

    _runs_soon(postgresql_database_url)

    assert "queue" in swallowed
    assert "item" == ITEM.name
