"""Fixtures of the crash tests."""

import pytest

from tests.support.databases import databases, warm_parent
from tests.support.filesystem import small_filesystem

ONE_SHARE = "test_every_statement.py"  # On a server each point takes several times as long.
# Seconds each; what they show of PostgreSQL the every statement of a job shows as well.
SQLITE_ALONE = (
    "test_copy_kills.py",
    "test_purge_kills.py",
    "test_repair_kills.py",
    "test_state_import.py",
    "test_winding_job.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A share of the points in every run, all of them in `make test-all`."""
    for item in items:
        name = item.path.name
        if name == ONE_SHARE:
            called = getattr(item, "callspec", None)
            share = called.params.get("share", 0) if called is not None else 0
            is_whole = "sqlite3" in item.name and "first_opening" not in item.name
            if share and (share % 4 or not is_whole):
                item.add_marker(pytest.mark.slow)
        if name in SQLITE_ALONE and "postgresql" in item.name:
            item.add_marker(pytest.mark.slow)


__all__ = ["databases", "small_filesystem", "warm_parent"]
