"""The tables that travel: all of Stepwell's own, parents first, and whatever stands in them.

What belongs to a living process does not, because a copy is refused while one lives. What dead ones
have left (their rows, their locks, the executions that they were at) travels as it is, and is
recovered at the other side like anywhere.
"""

from __future__ import annotations

from functools import cache

from stepwell.database.application import RAW
from stepwell.database.table_rows import TableRows
from stepwell.database.tables import metadata as batch
from stepwell.sync.tables import metadata as log
from stepwell.sync.tables import sync_schema


@cache
def tables_of(*, has_log: bool) -> tuple[TableRows, ...]:
    """In an order in which no row comes before the one that it names."""
    tables = list(batch.sorted_tables)
    if has_log:
        tables += [table for table in log.sorted_tables if table is not sync_schema]
    return tuple(TableRows(table) for table in tables)


def names_of(*, has_log: bool) -> list[str]:
    """What is closed meanwhile: these, and where triggers of tracked tables write to."""
    return [table.name for table in tables_of(has_log=has_log)] + ([RAW] if has_log else [])
