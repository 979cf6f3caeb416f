"""What the tests of the rulebook take: a node on SQLite, or on each kind of database in turn.

When a test has ended, every promise about its rows is examined: a rule that is kept at the price of
another one is no success.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from stepwell import Node
from stepwell.testing import FrozenClock
from tests.conformance.stories import findings


@pytest.fixture
def clock() -> FrozenClock:
    return FrozenClock()


@pytest.fixture
def node(tmp_path: Path, clock: FrozenClock) -> Iterator[Node]:
    """On SQLite: enough for a rule that no storage could break."""
    with Node.open(f"sqlite:///{tmp_path}/rules.db", clock=clock) as node:
        yield node
        assert [] == findings(node)


@pytest.fixture
def any_node(database_url: str, clock: FrozenClock) -> Iterator[Node]:
    """On each kind of database in turn."""
    with Node.open(database_url, clock=clock) as node:
        yield node
        assert [] == findings(node)


@pytest.fixture
def any_other(any_node: Node, database_url: str, clock: FrozenClock) -> Iterator[Node]:
    """Somebody else on the same database: another operator, another owner."""
    with Node.open(database_url, clock=clock) as other:
        yield other


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The rules of partitions on a server are for `make test-all`; of ownership on both."""
    for item in items:
        if item.path.name == "test_partition_rules.py" and "postgresql" in item.name:
            item.add_marker(pytest.mark.slow)
