"""Columns that a change does not speak of, because the table of its writer does not have them.

A node that is migrated late cannot have seen a value of a new column: a change with one is refused
there, or waits. So whatever stands in such a column was written by somebody whom the change has not
seen, and it says nothing about it: neither does it beat it.
"""

from __future__ import annotations

from stepwell.database.shape import TableShape
from stepwell.database.transaction import Reader
from stepwell.sync.change import Change, Value, Values
from stepwell.sync.rows import same_value
from stepwell.sync.scene import Scene
from stepwell.sync.table import TrackedTable


def default_of(reader: Reader, shape: TableShape, name: str) -> Value:
    """What a row has in a column that nobody has written."""
    column = shape.column(name)
    if not column.has_default:
        return None
    return reader.ask(lambda connection: reader.application.default(connection, shape, column))


def is_apart(
    scene: Scene, table: TrackedTable, change: Change, row: Values | None, values: Values | None
) -> bool:
    """Whether a row holds something that a change does not speak of, so that it may be kept.

    Version 1.0 leaves out of an update what it did not change: that is how it speaks of it.
    """
    shape = table.shape
    if row is None or values is None or change.epoch == 0 or len(values) >= len(shape.columns):
        return False
    return scene.policy(table.name).decides and any(
        row[name] is not None
        and not same_value(
            shape.column(name), row[name], default_of(scene.transaction, shape, name)
        )
        for name in shape.names
        if name not in values
    )
