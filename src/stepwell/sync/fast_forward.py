"""The import's fast way: groups of which every change follows what is here, written in batches.

Nothing is decided here. Whatever is not plainly the next version of its row, or meets a constraint,
is left to ``place.py``, after the savepoint has undone what was written.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache

from stepwell.sync.change import Change, RowKey, Value, Version, decode_values, key_text
from stepwell.sync.row_batches import Names, delete_rows, insert_rows, update_rows
from stepwell.sync.rows import CannotHold
from stepwell.sync.scene import Scene
from stepwell.sync.table import TrackedTable
from stepwell.sync.touched import row_key

# What a change writes: kind, columns, values.
_Step = tuple[TrackedTable, str, Names, tuple[Value, ...]]


class FastForward:
    """Groups that follow plainly what is here, one behind the other.

    Each is added whole or not at all; ``write`` writes them in their order.

    Attributes:
        versions: What their rows are behind them.
    """

    def __init__(self, scene: Scene, changes: Iterable[Change]) -> None:
        """``changes`` are all that will be added: what is here is looked up at once."""
        self.versions: dict[RowKey, Version] = {}
        self._scene = scene
        self._known = scene.writer.find([change.key for change in changes])
        self._steps: list[_Step] = []
        self._fitting: set[tuple[str, Names]] = set()

    def add(self, changes: Sequence[Change]) -> bool:
        """One more group; False, and nothing of it, when it is not that simple."""
        if self._scene.has_aliases:
            return False
        found: dict[RowKey, Version] = {}
        steps: list[_Step] = []
        for change in changes:
            key, version = change.key, change.version
            now = found.get(key) or self._known.get(key)
            if not self._scene.is_plain(change) or not self._follows(change, now, version):
                return False
            step = self._step(change, key)
            if step is None:
                return False
            steps.append(step)
            found[key] = version
        self._known.update(found)
        self.versions.update(found)
        self._steps += steps
        return True

    def write(self) -> bool:
        """Write all rows; False when a change has not hit its row.

        The caller has a savepoint around it and rolls it back for False.

        Raises:
            ConstraintViolation, StatementFailed: the database's own answer.
        """
        batch: list[tuple[Value, ...]] = []
        kind: tuple[TrackedTable, str, Names] | None = None
        try:
            for table, op, names, row in self._steps:
                if kind is None or table is not kind[0] or op != kind[1] or names != kind[2]:
                    if kind is not None and not self._write(*kind, batch):
                        return False
                    kind, batch = (table, op, names), []
                batch.append(row)
            return kind is None or self._write(*kind, batch)
        except CannotHold:
            return False

    def _follows(self, change: Change, now: Version | None, version: Version) -> bool:
        if now is None:
            return change.op == "I" and change.base is None
        if now.id != change.base or now.is_alive == (change.op == "I"):
            return False
        return now.id == version.id or self._scene.rises(change.table_name, now, version)

    def _step(self, change: Change, key: RowKey) -> _Step | None:
        """What it writes; None when its values cannot be read, or are not of this table."""
        table = self._scene.tables[change.table_name]
        try:
            values = decode_values(change.pk_json if change.op == "D" else change.payload)
        except ValueError:
            return None
        names = tuple(values)
        if (table.name, names) not in self._fitting:
            if not self._scene.columns[table.name].issuperset(names):
                return None
            if not set(table.key).issubset(names):
                return None
            self._fitting.add((table.name, names))
        if change.op != "D" and not _is_of(values, table, key):
            return None
        return table, change.op, names, tuple(values.values())

    def _write(
        self, table: TrackedTable, op: str, names: Names, rows: list[tuple[Value, ...]]
    ) -> bool:
        transaction, shape = self._scene.transaction, table.shape
        if op == "I":
            insert_rows(transaction, shape, names, rows)
            return True
        write = update_rows if op == "U" else delete_rows
        return write(transaction, shape, names, rows) == len(rows)


def _is_of(values: Mapping[str, Value], table: TrackedTable, key: RowKey) -> bool:
    """Whether a row has this key."""
    if len(table.key) == 1:
        value = values[table.key[0]]
        if type(value) is int and key.pk_json == f"{_key_begins(table.key[0])}{value}}}":
            return True
    return row_key(table.shape, values) == key


@lru_cache(maxsize=256)
def _key_begins(column: str) -> str:
    return key_text({column: 0}).removesuffix("0}")
