"""Which copy of SQLite this process uses, and whether it is free of the WAL-reset bug.

One copy a process: two of them that open one file drop each other's POSIX locks
(sqlite.org/howtocorrupt.html). Only the standard library is imported here, so that a program can
ask for a newer SQLite before anything else is loaded.
"""

from __future__ import annotations

import importlib
import logging
import sys
from datetime import date, datetime, time
from decimal import Decimal
from functools import cache
from importlib.util import find_spec
from typing import Any
from uuid import UUID

from stepwell.errors import CannotOpenDatabase

logger = logging.getLogger(__name__)


def load_driver(name: str) -> Any:
    """The driver's module; ``auto`` is what the process calls ``sqlite3``."""
    if name == "pysqlite3" and find_spec("pysqlite3") is None:
        raise CannotOpenDatabase(
            "cannot open a database with driver 'pysqlite3': it is not installed",
            hint="`pip install 'stepwell[sqlite]'`, or set sqlite_driver to 'auto'",
        )
    driver = importlib.import_module("pysqlite3" if name == "pysqlite3" else "sqlite3")
    _register_adapters(driver)
    return driver


def _register_adapters(driver: Any) -> None:
    """Let users bind the types that PostgreSQL takes too, as texts that sort and can be read.

    Python's own adapters for dates are deprecated, and it has none for the others. They are the
    module's, so the whole process has them: dates and datetimes as Python has written them so far.
    """
    for kind in (date, time):
        driver.register_adapter(kind, kind.isoformat)
    driver.register_adapter(datetime, lambda value: value.isoformat(" "))
    driver.register_adapter(Decimal, str)
    driver.register_adapter(UUID, str)


def prefer_newer_sqlite() -> bool:
    """Put pysqlite3 in place of ``sqlite3``, for a program that has not imported either yet.

    Two copies of SQLite in one process that open one file drop each other's locks, so this is for
    the first lines of a program of Stepwell's own, before anybody's code is imported. Says whether
    ``sqlite3`` is pysqlite3 from now on; False when it is not installed or it is too late.
    """
    if "sqlite3" in sys.modules or find_spec("pysqlite3") is None:
        return False
    driver = importlib.import_module("pysqlite3")
    sys.modules["sqlite3"] = driver
    sys.modules["sqlite3.dbapi2"] = importlib.import_module("pysqlite3.dbapi2")
    return True


def wal_reset_fixed(version: tuple[int, ...]) -> bool:
    """Whether this SQLite is free of the WAL-reset bug (sqlite.org/wal.html#walresetbug)."""
    return (
        version >= (3, 51, 3)
        or (3, 50, 7) <= version < (3, 51, 0)
        or (3, 44, 6) <= version < (3, 45, 0)
    )


@cache
def warn_of_wal_reset(version: tuple[int, ...]) -> None:
    """Log one warning a process when this SQLite has the bug."""
    if not wal_reset_fixed(version):
        logger.warning(
            "SQLite %s can damage a database in WAL mode in a rare race; Stepwell's own"
            " checkpoints stay out of its way, other programs' may not"
            " (`pip install 'stepwell[sqlite]'` brings a newer one)",
            ".".join(map(str, version)),
        )
