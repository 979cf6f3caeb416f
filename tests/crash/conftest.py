"""Fixtures of the crash tests."""

from tests.support.databases import databases, warm_parent
from tests.support.filesystem import small_filesystem

__all__ = ["databases", "small_filesystem", "warm_parent"]
