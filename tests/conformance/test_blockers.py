"""What forbids an execution to run now: pools and resources, read from the rows that hold them."""

from __future__ import annotations

import threading
from collections.abc import Callable

from sqlalchemy import bindparam, insert

from stepwell import BatchStatus, Node
from stepwell.database.prepared import Prepared
from stepwell.database.tables import batch_pool
from stepwell.job.resource import Declared
from stepwell.repository.blockers import (
    Blocker,
    blockers,
    copy_declared,
    insert_declared,
    list_declarations,
    list_declared,
    read_occupancy,
    take_claim_turn,
)
from stepwell.repository.history import Because
from tests.conformance.stories import owned, waiting

INSERT_POOL = Prepared(
    insert(batch_pool).values(pool_name=bindparam("name"), size=bindparam("size"))
)


def pool(node: Node, name: str, size: int) -> None:
    node.database.run(lambda t: t.execute(INSERT_POOL, {"name": name, "size": size}))


def declared(
    node: Node, make: Callable[[Node, str], object], name: str, *paths: str, pool: str = ""
) -> int:
    execution_id: int = make(node, name).execution_id  # type: ignore[attr-defined]
    declares = Declared(paths, (pool,) if pool else ())
    node.database.run(lambda t: insert_declared(t, execution_id, declares))
    return execution_id


def found(node: Node, execution_id: int) -> list[tuple[str, str, int | None]]:
    with node.database.read() as reader:
        return [
            (blocker.kind, blocker.name, blocker.holder_execution_id)
            for blocker in blockers(reader, execution_id)
        ]


def test_what_declares_nothing_is_never_blocked(node: Node) -> None:
    assert [] == found(node, declared(node, waiting, "plain"))


def test_a_held_resource_blocks_what_overlaps_with_it_and_nothing_else(node: Node) -> None:
    holder = declared(node, owned, "holder", "/data/a")
    inside = declared(node, waiting, "inside", "/data/a/b.csv")
    glob = declared(node, waiting, "glob", "/data/*")
    beside = declared(node, waiting, "beside", "/data/ab")

    assert [("resource", "/data/a/b.csv", holder)] == found(node, inside)
    assert [("resource", "/data/*", holder)] == found(node, glob)
    assert [] == found(node, beside)


def test_what_waits_for_a_worker_holds_nothing(node: Node) -> None:
    declared(node, waiting, "first", "/data/a")

    assert [] == found(node, declared(node, waiting, "second", "/data/a"))


def test_a_pool_is_full_when_as_many_as_its_size_are_at_work(node: Node) -> None:
    pool(node, "gpu", 2)
    first = declared(node, owned, "first", pool="gpu")
    one_more = declared(node, waiting, "waits", pool="gpu")
    assert [] == found(node, one_more)
    second = declared(node, owned, "second", pool="gpu")

    with node.database.read() as reader:
        full = blockers(reader, one_more)
        since = node.clock.now()
    assert (
        Blocker(
            "pool",
            "gpu",
            first,
            since,
            f"pool 'gpu' is full, 2 of 2 (executions {first}, {second})",
        ),
    ) == full


def test_a_pool_of_size_zero_or_of_no_size_lets_nobody_in(node: Node) -> None:
    pool(node, "paused", 0)
    paused = declared(node, waiting, "a", pool="paused")
    unknown = declared(node, waiting, "b", pool="unknown")

    with node.database.read() as reader:
        facts = [blockers(reader, each)[0].detail for each in (paused, unknown)]
    assert ["pool 'paused' is paused, its size is 0", "pool 'unknown' has no size"] == facts


def test_an_execution_that_has_ended_holds_nothing(node: Node) -> None:
    pool(node, "gpu", 1)
    holder = declared(node, owned, "holder", "/data", pool="gpu")
    waiter = declared(node, waiting, "waiter", "/data/a", pool="gpu")
    assert [("pool", "gpu", holder), ("resource", "/data/a", holder)] == found(node, waiter)

    node.repository.recover(holder, Because("operator", "the test"), force=True)

    assert [] == found(node, waiter)
    assert BatchStatus.FAILED == node.repository.get_execution(holder).batch_status


def runnable(node: Node, *execution_ids: int) -> list[int]:
    with node.database.read() as reader:
        occupancy = read_occupancy(reader)
        declarations = list_declarations(reader, execution_ids)
        return [
            execution_id
            for execution_id in execution_ids
            if occupancy.let_in(execution_id, declarations.get(execution_id, Declared()))
        ]


def test_what_is_blocked_holds_nobody_else_back(node: Node) -> None:
    pool(node, "gpu", 1)
    declared(node, owned, "holder", "/data/a", pool="gpu")
    full = declared(node, waiting, "full", "/data/b", pool="gpu")
    held = declared(node, waiting, "held", "/data/a")
    same = declared(node, waiting, "same as full", "/data/b")
    plain = declared(node, waiting, "plain")

    assert [same, plain] == runnable(node, full, held, same, plain)


def test_those_that_may_run_may_do_so_beside_each_other(node: Node) -> None:
    pool(node, "gpu", 2)
    a, b, c = (declared(node, waiting, name, pool="gpu") for name in ("a", "b", "c"))
    d, e = (declared(node, waiting, name, f"/data/{path}") for name, path in ["dx", "e*"])

    assert [a, b, d] == runnable(node, a, b, c, d, e)


def test_a_folder_is_not_starved_by_the_files_in_it(node: Node) -> None:
    """Goal: fairness. Method: a free file waits behind its folder, which waits."""
    declared(node, owned, "holder", "/data/a")
    folder = declared(node, waiting, "folder", "/data")
    file = declared(node, waiting, "file", "/data/b")
    other = declared(node, waiting, "other", "/other")

    assert [] == found(node, file)
    assert [other] == runnable(node, folder, file, other)
    assert [file, other] == runnable(node, file, folder, other)


def test_a_successor_declares_what_its_predecessor_did(node: Node) -> None:
    first = declared(node, waiting, "first", "/data/a", "/data/b", pool="gpu")
    second = declared(node, waiting, "second")

    node.database.run(lambda t: copy_declared(t, first, second))

    with node.database.read() as reader:
        assert Declared(("/data/a", "/data/b"), ("gpu",)) == list_declared(reader, second)


def test_claims_take_turns_across_nodes(node: Node, other: Node) -> None:
    """Goal: check and claim are one. Method: the second claimer waits until the first has ended."""
    told: list[str] = []
    has_turn, may_go = threading.Event(), threading.Event()

    def first() -> None:
        with node.database.write() as transaction:
            take_claim_turn(transaction)
            has_turn.set()
            assert may_go.wait(20)
            told.append("first")

    def second() -> None:
        with other.database.write() as transaction:
            take_claim_turn(transaction)
            told.append("second")

    threads = [threading.Thread(target=first), threading.Thread(target=second)]
    threads[0].start()
    assert has_turn.wait(20)
    threads[1].start()
    threads[1].join(0.2)
    waited = threads[1].is_alive()
    may_go.set()
    for thread in threads:
        thread.join(20)

    assert (True, ["first", "second"]) == (waited, told)
