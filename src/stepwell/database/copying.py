"""A copy of a SQLite database, made while it is used: what a repair leaves behind it."""

from __future__ import annotations

import os
from pathlib import Path

from stepwell.database.connect import Database
from stepwell.errors import DatabaseError


def vacuum_into(database: Database, target: Path) -> None:
    """Write the whole database to ``target``; the file is there whole, or not at all.

    Raises:
        DatabaseError: such as DatabaseFull; nothing is left behind.
    """
    partial = target.with_name(target.name + ".partial")
    what = f"copy database {database.location!r} to {str(target)!r}"
    target.parent.mkdir(parents=True, exist_ok=True)
    partial.unlink(missing_ok=True)
    connection = database.dialect.connect(writes=False)
    try:
        connection.cursor.execute("PRAGMA query_only = OFF")
        connection.cursor.execute("VACUUM INTO ?", (str(partial),))
    except database.dialect.driver_errors as error:
        partial.unlink(missing_ok=True)
        raise database.dialect.translate(error, what) from error
    finally:
        database.dialect.disconnect(connection)
    try:
        with partial.open("rb+") as file:
            os.fsync(file.fileno())
        partial.replace(target)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise DatabaseError(f"cannot {what}: {error.strerror or error}") from error
