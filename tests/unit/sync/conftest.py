"""A database that is a node, on each kind in turn, and what tests ask of its log."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from stepwell.database.connect import Database, open_database
from stepwell.sync.session import Sync
from stepwell.testing import FrozenClock


@pytest.fixture
def clock() -> FrozenClock:
    return FrozenClock()


@pytest.fixture
def database(database_url: str, clock: FrozenClock) -> Iterator[Database]:
    with open_database(database_url, clock=clock) as database:
        yield database


@pytest.fixture
def sync(database: Database, clock: FrozenClock) -> Sync:
    """The client node ``shop-1``, with nothing tracked."""
    sync = Sync(database, clock, actor="test")
    sync.init("shop-1")
    return sync
