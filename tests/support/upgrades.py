"""Databases with a past, of this release and of the next one; what child processes run."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any
from unittest.mock import patch

from alembic.script import ScriptDirectory

from stepwell import Node
from stepwell.clock import Clock
from stepwell.database import migrations
from stepwell.database.connect import Database, open_database
from stepwell.database.tables import metadata
from stepwell.repository.invariants import examine
from stepwell.testing import FrozenClock

NEXT = "0002"
_NEXT_REVISIONS = Path(__file__).parents[1] / "migrations" / "next"
_MODULES_THAT_KNOW = ("database.migrations", "database.invariants", "backup.copy")


@contextmanager
def next_release() -> Iterator[None]:
    """This program, as if it were the next release: it has one revision more."""
    versions = [str(Path(migrations.__file__).parent / "versions"), str(_NEXT_REVISIONS)]
    script = ScriptDirectory(str(_NEXT_REVISIONS.parent), version_locations=versions)
    with patch.object(migrations, "_script", lambda: script):
        patches = [patch(f"stepwell.{module}.HEAD", NEXT) for module in _MODULES_THAT_KNOW]
        for each in patches:
            each.start()
        try:
            yield
        finally:
            for each in patches:
                each.stop()


def tell(url: str) -> None:
    """A past: what completed, what failed, what was at work when its process ended."""
    from tests.conformance.test_invariants import tell_a_story

    clock = FrozenClock(Clock().now() - timedelta(hours=1))
    with Node.open(url, clock=clock) as node:
        tell_a_story(node, clock)


def upgrade(url: str) -> list[str]:
    """What the next release does first of all."""
    with next_release(), open_database(url) as database:
        return migrations.migrate(database)


def told(url: str) -> dict[str, Any]:
    """What a database tells, whichever release has upgraded it."""
    with open_database(url) as database:
        version = database.schema_version()
        with database.read() as reader:
            found = [finding.what for finding in examine(reader)]
        return {"version": version, "rows": rows_sha256(database), "findings": found}


def rows_sha256(database: Database) -> dict[str, str]:
    """A hash of the rows of each table of this release, in the order of their keys."""
    hashes = {}
    with database.read() as reader:
        for table in metadata.sorted_tables:
            names = ", ".join(column.name for column in table.columns)
            keys = ", ".join(column.name for column in table.primary_key)
            rows = reader.connection.execute(f"SELECT {names} FROM {table.name} ORDER BY {keys}")
            text = repr([tuple(row) for row in rows.fetchall()])
            hashes[table.name] = hashlib.sha256(text.encode()).hexdigest()
    return hashes
