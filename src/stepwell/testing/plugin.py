"""The pytest plugin: fixtures for the tests of jobs. pytest finds it when Stepwell is installed."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from stepwell.node import Node
from stepwell.testing.frozen_clock import FrozenClock
from stepwell.testing.jobs import temporary_node


@pytest.fixture
def frozen_clock() -> FrozenClock:
    """A clock that stands still until the test advances it."""
    return FrozenClock()


@pytest.fixture
def stepwell_node() -> Iterator[Node]:
    """A node on a temporary database of this test's own."""
    with temporary_node() as node:
        yield node
