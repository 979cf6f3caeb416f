"""Fixtures of the crash tests."""

import pytest

from tests.support.databases import databases, warm_parent
from tests.support.filesystem import small_filesystem

ONE_SHARE = "test_every_statement.py"  # On a server each point takes several times as long.


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A share of the points on PostgreSQL in every run, all of them in `make test-all`."""
    for item in items:
        if item.path.name == ONE_SHARE and "postgresql" in item.name:
            share = getattr(item, "callspec").params.get("share", 0)  # noqa: B009
            if share:
                item.add_marker(pytest.mark.slow)


__all__ = ["databases", "small_filesystem", "warm_parent"]
