"""Where a database is, for a process that may be on another machine.

A server is the same for everybody. A SQLite file is only for the processes of its machine: the same
path elsewhere leads to another file, or to none, and one would be made there without a word.
"""

from __future__ import annotations

import platform
from pathlib import Path

from stepwell.database.connect import sqlite_path
from stepwell.errors import CannotOpenDatabase

_BOOT = Path("/proc/sys/kernel/random/boot_id")


def place_of(url: str) -> str | None:
    """The machine and the file that a SQLite URL leads to from here; None for a server's URL."""
    path = sqlite_path(url)
    if path is None:
        return None
    try:
        found = Path(path).stat()
    except OSError:
        return f"{_machine()}:nothing"
    return f"{_machine()}:{found.st_dev}:{found.st_ino}"


def refuse_another_place(url: str, place: str | None) -> None:
    """Refuse a URL that leads to another file here than at ``place``.

    Raises:
        CannotOpenDatabase: it names both machines' way out.
    """
    if place_of(url) == place:
        return
    raise CannotOpenDatabase(
        f"cannot open database {sqlite_path(url)!r} in a worker on {platform.node()!r}: it is a"
        " SQLite file of another machine",
        hint="run the workers on the machine of the file, or use a PostgreSQL database",
        fields={"database": sqlite_path(url), "host": platform.node()},
    )


def _machine() -> str:
    """What no other running machine has, nor a container with files of its own."""
    try:
        return _BOOT.read_text(encoding="ascii").strip()
    except OSError:
        return platform.node()
