"""A node with its doctor, on SQLite and on PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from stepwell import Node
from stepwell.settings import Settings
from stepwell.testing import FrozenClock

# Each finding is broken and mended by statements that are the same on both databases; the other
# modules show on a server, too, that the doctor looks and repairs there.
SQLITE_ALONE = ("test_executions.py", "test_surroundings.py")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What takes long on a server and tells little of it is for `make test-all`."""
    for item in items:
        is_here = item.path.parent.name == "doctor" and item.path.name in SQLITE_ALONE
        if is_here and "postgresql" in item.name:
            item.add_marker(pytest.mark.slow)


@pytest.fixture
def clock() -> FrozenClock:
    return FrozenClock()


@pytest.fixture
def settings(database_url: str) -> Settings:
    """With a SQLite that is free of the bug that would be found each time."""
    return Settings(database=database_url, sqlite_driver="pysqlite3")


@pytest.fixture
def sqlite_settings(tmp_path: Path) -> Settings:
    return Settings(database=f"sqlite:///{tmp_path}/stepwell.db", sqlite_driver="pysqlite3")


@pytest.fixture
def node(settings: Settings, clock: FrozenClock) -> Iterator[Node]:
    with Node.open(settings, clock=clock) as node:
        yield node
