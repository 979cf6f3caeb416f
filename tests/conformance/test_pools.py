"""Pools: the size is the only thing stored; who is in one is read from the executions at work."""

from __future__ import annotations

from dataclasses import replace

import pytest

from stepwell import Node
from stepwell.errors import InvalidSetting
from stepwell.job.resource import Declared
from stepwell.repository.blockers import insert_declared
from stepwell.repository.history import Because
from stepwell.repository.pools import SIZE_MAX, Pool
from stepwell.settings import Settings
from stepwell.testing import FrozenClock
from tests.conformance.stories import owned, waiting


def test_a_pool_shows_who_is_in_it_and_how_many_wait(node: Node) -> None:
    node.pools.set("gpu", 2)
    node.pools.set("clerk", 0)
    record = owned(node, "a")
    for execution_id in [record.execution_id, *(waiting(node, n).execution_id for n in "bc")]:
        node.database.run(lambda t, e=execution_id: insert_declared(t, e, Declared((), ("gpu",))))
    before = node.pools.list()
    node.repository.recover(record.execution_id, Because("operator", "test"), force=True)

    assert [
        Pool("clerk", 0, None, (), 0),
        Pool("gpu", 2, None, (record.execution_id,), 2),
    ] == before
    assert Pool("gpu", 2, None, (), 2) == node.pools.list()[1]


def test_a_size_holds_until_somebody_changes_it(node: Node) -> None:
    node.pools.set("gpu", 2)
    node.pools.set("gpu", 5)

    assert [("gpu", 5)] == [(pool.name, pool.size) for pool in node.pools.list()]


def test_the_settings_are_heard_when_they_change_and_leave_what_people_set(
    settings: Settings, clock: FrozenClock
) -> None:
    """Goal: whoever spoke last. Method: open again with the same settings, then with others."""

    def opened_with(sizes: dict[str, int], then_set: int | None = None) -> tuple[int, int | None]:
        with Node.open(replace(settings, pools=sizes), clock=clock) as node:
            if then_set is not None:
                node.pools.set("gpu", then_set)
            [pool] = node.pools.list()
            return pool.size, pool.configured_size

    assert (2, 2) == opened_with({"gpu": 2})
    assert (1, 2) == opened_with({"gpu": 2}, then_set=1)
    assert (1, 2) == opened_with({"gpu": 2})
    assert (3, 3) == opened_with({"gpu": 3})
    assert (3, 3) == opened_with({})


def test_settings_that_say_nothing_new_write_nothing(
    settings: Settings, clock: FrozenClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Node.open(replace(settings, pools={"gpu": 2}), clock=clock) as node:
        monkeypatch.setattr(node.database, "run", None)
        node.pools.configure({"gpu": 2})


@pytest.mark.parametrize(("name", "size"), [("", 1), ("a b", 1), ("gpu", -1), ("g", SIZE_MAX + 1)])
def test_what_is_no_pool_is_refused(node: Node, name: str, size: int) -> None:
    with pytest.raises(InvalidSetting, match=r"a pool's (name|size) must be"):
        node.pools.set(name, size)
    with pytest.raises(InvalidSetting, match=r"a pool's name must be|pools must be at most"):
        node.pools.configure({name: size if size > 0 else SIZE_MAX + 1})

    assert [] == node.pools.list()
