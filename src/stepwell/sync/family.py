"""Rows that name rows: a delete never takes children with it that its origin did not know.

The children that it did know are deleted, or changed, by the same group, perhaps later: so the
delete of a row that still has children waits for the group's end. Foreign keys are the database's
own; where it cannot check them before the commit, they are checked here, by name.
"""

from __future__ import annotations

from typing import NamedTuple

from stepwell.database.shape import ForeignKey, TableShape, quoted
from stepwell.sync.change import Change, RowKey, Values, decode_values
from stepwell.sync.conflict import NewConflict
from stepwell.sync.rows import children_of, delete_row, read_row, update_row
from stepwell.sync.scene import CannotPlace, Scene
from stepwell.sync.table import TrackedTable
from stepwell.sync.touched import row_key


class _Waiting(NamedTuple):
    """A row that shall be deleted when its children are gone."""

    table: TrackedTable
    change: Change
    row: Values


class Family:
    """Parents and children of the rows of one group.

    ``is_deferred``: the database does not check foreign keys until the commit, so ``end`` does.
    """

    def __init__(self, scene: Scene, *, is_deferred: bool = False) -> None:
        self._scene = scene
        self._is_deferred = is_deferred
        self._waiting: dict[RowKey, _Waiting] = {}
        self._written: list[tuple[TrackedTable, Values, int]] = []
        self._moved: list[tuple[TrackedTable, Values]] = []

    # --- deleting

    def delete(self, table: TrackedTable, change: Change, key: RowKey, row: Values) -> None:
        """Delete a row, now or when the group's last change has taken its children away."""
        if self._children(table, key, row):
            self._waiting[key] = _Waiting(table, change, row)
        else:
            self.delete_row(table, key)
            self.moved(table, row)

    def delete_row(self, table: TrackedTable, key: RowKey) -> None:
        """Delete a row whatever names it: the database has the last word."""
        delete_row(self._scene.transaction, table.shape, decode_values(key.pk_json))

    def delete_if_waiting(self, key: RowKey) -> bool:
        """A later change needs the place of a row that waits to be deleted."""
        waiting = self._waiting.pop(key, None)
        if waiting is None:
            return False
        if self._children(waiting.table, key, waiting.row):
            raise self._strangers(key, waiting)
        self.delete_row(waiting.table, key)
        return True

    def end(self) -> None:
        """Delete what waits, children first, then check what the database has not.

        Raises:
            CannotPlace: rows that the group does not know are left, or a parent is missing.
        """
        while self._waiting:
            free = [
                key for key, w in self._waiting.items() if not self._children(w.table, key, w.row)
            ]
            if not free:  # Perhaps they name each other.
                for key, waiting in self._waiting.items():
                    for child in self._children(waiting.table, key, waiting.row):
                        if child not in self._waiting:
                            raise self._strangers(key, waiting)
                free = list(self._waiting)
            for key in free:
                waiting = self._waiting.pop(key)
                self.delete_row(waiting.table, key)
                self.moved(waiting.table, waiting.row)
        if self._is_deferred:
            self._check()

    def _children(self, table: TrackedTable, key: RowKey, row: Values) -> list[RowKey]:
        found = []
        for child, foreign in self._scene.children(table.name):
            rows = children_of(self._scene.transaction, child.shape, foreign, row)
            found += [row_key(child.shape, each) for each in rows]
        return [child for child in found if child != key]

    def _strangers(self, key: RowKey, waiting: _Waiting) -> CannotPlace:
        children = self._children(waiting.table, key, waiting.row)
        child = children[0]
        ours = self._scene.writer.find((key,)).get(key)
        change = waiting.change
        return CannotPlace(
            "children",
            f"row {key.pk_json} of table {key.table_name!r} was deleted at {change.origin!r},"
            f" row {child.pk_json} of table {child.table_name!r} names it here",
            change=change,
            conflict=NewConflict(
                kind="children",
                key=key,
                policy="park",
                status="waiting",
                winner=None,
                base=None,
                ours=waiting.row,
                theirs=None,
                our_version=ours,
                their_version=change.version,
                change=change,
            ),
        )

    # --- what must be checked

    def wrote(self, table: TrackedTable, values: Values, lsn: int) -> None:
        """A row is so now, by a change: its parents must be there at the end."""
        if self._is_deferred and table.shape.foreign_keys:
            self._written.append((table, {k: values[k] for k in table.shape.key}, lsn))

    def moved(self, table: TrackedTable, row: Values) -> None:
        """A row is not so any more: nobody may name it at the end."""
        if self._is_deferred and self._scene.children(table.name):
            self._moved.append((table, row))

    def _check(self) -> None:
        for table, key, lsn in self._written:
            now = read_row(self._scene.transaction, table.shape, key)
            for foreign in table.shape.foreign_keys if now is not None else ():
                if now is not None and not self._has_parent(table.shape, foreign, now):
                    raise missing_parent(table.shape, foreign, now, lsn)
        for table, row in self._moved:
            for child, foreign in self._scene.children(table.name):
                for named in children_of(self._scene.transaction, child.shape, foreign, row):
                    if not self._has_parent(child.shape, foreign, named):
                        raise missing_parent(child.shape, foreign, named, None)

    def _has_parent(self, shape: TableShape, foreign: ForeignKey, row: Values) -> bool:
        values = {name: row.get(name) for name in foreign.columns}
        if None in values.values():
            return True
        reader = self._scene.transaction
        application = reader.application
        tests, parameters = [], {}
        pairs = zip(foreign.columns, foreign.parent_columns, strict=True)
        for number, (here, there) in enumerate(pairs):
            column = shape.column(here)
            tests.append(f"{quoted(there)} = {application.written(column, f':p{number}')}")
            parameters[f"p{number}"] = application.bound(column, values[here])
        sql = f"SELECT 1 FROM {quoted(foreign.parent)} WHERE {' AND '.join(tests)} LIMIT 1"
        return bool(reader.connection.execute(sql, parameters).fetchall())

    # --- two rows are one

    def follow(self, table: TrackedTable, lost: Values, kept: Values) -> None:
        """The children of a row that is lost name the one that is kept; everybody does so."""
        transaction = self._scene.transaction
        for child, foreign in self._scene.children(table.name):
            sets = {
                here: kept[there]
                for here, there in zip(foreign.columns, foreign.parent_columns, strict=True)
            }
            while rows := children_of(transaction, child.shape, foreign, lost):
                for row in rows:
                    key = {name: row[name] for name in child.shape.key}
                    update_row(transaction, child.shape, key, sets)
                if all(lost[there] == kept[there] for there in foreign.parent_columns):
                    break


def missing_parent(
    shape: TableShape, foreign: ForeignKey, row: Values, lsn: int | None
) -> CannotPlace:
    """Row, parent and what is named: all that one needs to know."""
    named = ", ".join(f"{name} = {row.get(name)!r}" for name in foreign.columns)
    key = row_key(shape, row)
    return CannotPlace(
        "foreign_key",
        f"row {key.pk_json} of table {shape.name!r} names a row of table {foreign.parent!r} that is"
        f" not here ({named})",
        key=key,
        lsn=lsn,
    )
