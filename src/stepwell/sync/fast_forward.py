"""The import's fast way: a group of which every change follows what is here, written in batches.

Nothing is decided here. Whatever is not plainly the next version of its row, or meets a constraint,
is left to ``place.py``, after the savepoint has undone what was written.
"""

from __future__ import annotations

from collections.abc import Sequence

from stepwell.sync.change import Change, RowKey, Values, Version, decode_values
from stepwell.sync.row_batches import delete_rows, insert_rows, update_rows
from stepwell.sync.rows import CannotHold
from stepwell.sync.scene import Scene
from stepwell.sync.table import TrackedTable
from stepwell.sync.touched import row_key


def fast_forward(scene: Scene, changes: Sequence[Change]) -> dict[RowKey, Version] | None:
    """Write all changes; answers the versions of their rows, or None when it is not that simple.

    The caller has a savepoint around it and rolls it back for None.

    Raises:
        ConstraintViolation, StatementFailed: the database's own answer.
    """
    if scene.has_aliases or not all(scene.is_plain(change) for change in changes):
        return None
    keys = [change.key for change in changes]
    versions = scene.writer.find(keys)
    run = _Run(scene)
    for change, key in zip(changes, keys, strict=True):
        table = scene.tables[change.table_name]
        now = versions.get(key)
        if now is None:
            if change.op != "I" or change.base is not None:
                return None
        elif now.id != change.base:
            return None
        version = change.version
        if now is not None and (
            now.is_alive == (change.op == "I")
            or (now.id != version.id and not scene.rises(table.name, now, version))
        ):
            return None
        try:
            values = decode_values(change.pk_json if change.op == "D" else change.payload)
            if not values.keys() <= scene.columns[table.name]:
                return None
            if change.op != "D" and row_key(table.shape, values) != key:
                return None
            run.add(table, change.op, values)
        except (ValueError, KeyError):  # A value that cannot be read, or not be held.
            return None
        versions[key] = version
    try:
        run.write()
    except CannotHold:
        return None
    return versions if run.is_written else None


class _Run:
    """Changes of one kind in one table, one behind the other; the next kind writes them."""

    def __init__(self, scene: Scene) -> None:
        self.is_written = True
        self._transaction = scene.transaction
        self._table: TrackedTable | None = None
        self._op = ""
        self._names: tuple[str, ...] = ()
        self._rows: list[Values] = []

    def add(self, table: TrackedTable, op: str, values: Values) -> None:
        """One more change."""
        names = tuple(values)
        if (table, op, names) != (self._table, self._op, self._names):
            self.write()
            self._table, self._op, self._names = table, op, names
        self._rows.append(values)

    def write(self) -> None:
        """Write what has been added; each change must have hit its row."""
        rows, self._rows = self._rows, []
        if not rows or self._table is None:
            return
        shape = self._table.shape
        if self._op == "I":
            insert_rows(self._transaction, shape, rows)
        elif self._op == "U":
            self.is_written &= update_rows(self._transaction, shape, rows) == len(rows)
        else:
            self.is_written &= delete_rows(self._transaction, shape, rows) == len(rows)
