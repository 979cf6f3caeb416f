"""The stores, and what a test of the suite takes: a node on each of them in turn."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from stepwell import Node
from stepwell.settings import Settings
from stepwell.testing import FrozenClock

STORES = ("sqlite3", "pysqlite3", "postgresql")
# What the records of an execution rest on runs on the second copy of SQLite in every run, the other
# modules in `make test-all`: they say nothing in SQL that these do not.
ON_EVERY_STORE = {
    "test_history.py",
    "test_tracking.py",
    "test_values.py",
    "test_versions.py",
}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The second copy of SQLite is slow where it tells little."""
    for item in items:
        is_here = item.path.parent.name == "conformance" and item.path.name not in ON_EVERY_STORE
        if is_here and "pysqlite3" in item.name:
            item.add_marker(pytest.mark.slow)
        if item.path.name == "test_executors.py" and "postgresql" in item.name:
            item.add_marker(pytest.mark.slow)  # Executors say nothing in SQL.


@pytest.fixture(params=STORES)
def settings(request: pytest.FixtureRequest, tmp_path: Path) -> Settings:
    """How to open a database of this test's own; two copies of SQLite never open the same one."""
    if request.param == "postgresql":
        return Settings(database=request.getfixturevalue("postgresql_database_url"))
    return Settings(database=f"sqlite:///{tmp_path}/stepwell.db", sqlite_driver=request.param)


@pytest.fixture
def clock() -> FrozenClock:
    return FrozenClock()


@pytest.fixture
def node(settings: Settings, clock: FrozenClock) -> Iterator[Node]:
    """The one that runs jobs."""
    with Node.open(settings, clock=clock) as node:
        yield node


@pytest.fixture
def other(settings: Settings, clock: FrozenClock, node: Node) -> Iterator[Node]:
    """Somebody else on the same database: another operator, another owner."""
    with Node.open(settings, clock=clock) as other:
        yield other
