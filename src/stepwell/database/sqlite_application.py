"""The application's tables in SQLite."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from decimal import Decimal
from typing import Any

from stepwell.database.application import (
    CONTEXT,
    RAW,
    ApplicationTables,
    InvalidText,
    RawGroup,
    RawRow,
    Value,
)
from stepwell.database.dialect import KeptConnection
from stepwell.database.shape import Column, TableShape, quoted
from stepwell.database.sqlite_capture import raw_columns, stash_of, trigger_of, triggers
from stepwell.database.sqlite_shape import default_sql, read_table, rows_of

# julianday() counts days from noon in 4714 BC.
_EPOCH_JULIAN_DAY = 2440587.5
_MS_A_DAY = 86_400_000

_AS_THEY_ARE = frozenset((int, str, float, bytes, type(None)))


class SqliteApplicationTables(ApplicationTables):
    """See :class:`ApplicationTables`; triggers stand in ``sqlite_capture.py``."""

    # --- looking

    def table(self, connection: KeptConnection, name: str) -> TableShape | None:
        """See ``sqlite_shape.py``."""
        return read_table(connection, name)

    def default(self, connection: KeptConnection, shape: TableShape, column: Column) -> Value:
        """By an expression that is converted as the column's affinity would."""
        sql = default_sql(connection, shape.name, column.name)
        if sql is None:
            return None
        is_number = column.kind in ("integer", "real", "decimal", "boolean")
        [(value,)] = rows_of(connection, f"SELECT ({sql})")
        if is_number and isinstance(value, str):
            [(value,)] = rows_of(connection, "SELECT CAST(? AS NUMERIC)", value)
        found: Value = value
        return found

    def defer_foreign_keys(self, connection: KeptConnection) -> None:
        """A switch that COMMIT turns off again."""
        connection.cursor.execute("PRAGMA defer_foreign_keys = ON")

    def enforce_foreign_keys(self, connection: KeptConnection) -> None:
        """The switch off; what was broken meanwhile is found by COMMIT, unless by the caller."""
        connection.cursor.execute("PRAGMA defer_foreign_keys = OFF")

    def broken_foreign_keys(
        self, connection: KeptConnection, shape: TableShape
    ) -> Sequence[tuple[Value, ...]]:
        """``foreign_key_check`` of the one table."""
        rowids = rows_of(
            connection,
            'SELECT DISTINCT parent, "rowid" FROM pragma_foreign_key_check(?)',
            shape.name,
        )
        key = ", ".join(self.selected(shape.column(name)) for name in shape.key)
        found: list[tuple[Value, ...]] = []
        for parent, rowid in rowids:
            if rowid is None:  # WITHOUT ROWID says no more than that.
                found.append((parent,))
                continue
            sql = f"SELECT {key} FROM {quoted(shape.name)} WHERE rowid = ?"
            found += [(parent, *row) for row in rows_of(connection, sql, rowid)]
        return found

    # --- exact values

    def selected(self, column: Column, prefix: str = "") -> str:
        """As it is: SQLite's values have their own types."""
        return f"{prefix}.{quoted(column.name)}" if prefix else quoted(column.name)

    def reading(self, columns: Sequence[Column]) -> Callable[[Sequence[Any]], tuple[Value, ...]]:
        """The driver's values are exact."""
        return tuple

    @contextmanager
    def exactly(self, connection: KeptConnection) -> Iterator[None]:
        """Text that is no UTF-8 stays its bytes; the driver would raise."""
        connection.raw.text_factory = _text
        try:
            yield
        finally:
            connection.raw.text_factory = str

    def written(self, column: Column, parameter: str, value: Value = None) -> str:
        """As it is; the column's affinity is the application's wish."""
        return f"CAST({parameter} AS TEXT)" if isinstance(value, InvalidText) else parameter

    def bound(self, column: Column, value: Value) -> Any:
        """What another kind of database calls true is 1 here, a decimal is its digits."""
        if isinstance(value, bool):
            return int(value)
        if isinstance(value, Decimal):
            return str(value)
        if isinstance(value, InvalidText):
            return bytes(value)
        return value

    def bound_row(self, columns: Sequence[Column], values: Sequence[Value]) -> Sequence[Any]:
        """Mostly as they are, which is told without a look at each."""
        if _AS_THEY_ARE.issuperset(map(type, values)):
            return values
        return super().bound_row(columns, values)

    # --- capture

    def make_raw_tables(self, connection: KeptConnection) -> None:
        """Columns without a type keep every value as it is."""
        execute = connection.cursor.execute
        execute(
            f"CREATE TABLE IF NOT EXISTS {RAW} (position INTEGER PRIMARY KEY, table_id, op,"
            " context, at, n0, o0)"
        )
        execute(f"CREATE TABLE IF NOT EXISTS {CONTEXT} (context, echo)")

    def install(self, connection: KeptConnection, shape: TableShape, table_id: int) -> None:
        """The raw table is as wide as the widest table."""
        execute = connection.cursor.execute
        width = len(shape.columns)
        there = {
            name for (name,) in rows_of(connection, "SELECT name FROM pragma_table_info(?)", RAW)
        }
        for name in (*raw_columns("n", width), *raw_columns("o", width)):
            if name not in there:
                execute(f"ALTER TABLE {RAW} ADD COLUMN {name}")
        self._drop_triggers(connection, table_id)
        execute(f"CREATE TABLE {stash_of(table_id)} ({', '.join(raw_columns('c', width))}, busy)")
        nested = _may_nest(connection, shape)
        for sql in triggers(shape, table_id, nested=nested).values():
            execute(sql)

    def remove(self, connection: KeptConnection, table_id: int, table_name: str) -> None:
        """The raw table stays, for the others."""
        self._drop_triggers(connection, table_id)
        connection.cursor.execute(f"DELETE FROM {RAW} WHERE table_id = ?", (table_id,))

    def _drop_triggers(self, connection: KeptConnection, table_id: int) -> None:
        for name in _own_triggers(connection, table_id):
            connection.cursor.execute(f"DROP TRIGGER {quoted(name)}")
        connection.cursor.execute(f"DROP TABLE IF EXISTS {stash_of(table_id)}")

    def fault(self, connection: KeptConnection, shape: TableShape, table_id: int) -> str:
        """Each trigger has the text that would be made now, and stands behind all others."""
        there = _own_triggers(connection, table_id)
        wanted = triggers(shape, table_id, nested=_may_nest(connection, shape))
        missing = [name for name in wanted if name not in there]
        if missing:
            return f"{len(missing)} of its {len(wanted)} triggers are missing"
        if any(there[name] != sql for name, sql in wanted.items()):
            return "its triggers are not those of its columns, its indexes and the other triggers"
        [(later,)] = rows_of(
            connection,
            "SELECT count(*) FROM sqlite_master WHERE type = 'trigger' AND tbl_name = ?"
            " COLLATE NOCASE AND rowid > (SELECT min(rowid) FROM sqlite_master"
            " WHERE type = 'trigger' AND name GLOB ?) AND NOT name GLOB ?",
            shape.name,
            trigger_of(table_id, "*"),
            trigger_of(table_id, "*"),
        )
        return f"{later} triggers were made after its own, and so fire before them" if later else ""

    def set_context(self, connection: KeptConnection, context: str) -> None:
        """A row that nobody else can see, because there is one writer at a time."""
        connection.cursor.execute(f"DELETE FROM {CONTEXT}")
        connection.cursor.execute(f"INSERT INTO {CONTEXT} (context) VALUES (?)", (context,))

    def set_echo(self, connection: KeptConnection) -> None:
        """The same row."""
        connection.cursor.execute(f"DELETE FROM {CONTEXT}")
        connection.cursor.execute(f"INSERT INTO {CONTEXT} (echo) VALUES (1)")

    def clear_context(self, connection: KeptConnection, table_ids: Sequence[int]) -> None:
        """A row that was stashed and then deleted by an echo would write a D later."""
        connection.cursor.execute(f"DELETE FROM {CONTEXT}")
        for table_id in table_ids:
            connection.cursor.execute(f"DELETE FROM {stash_of(table_id)}")

    # --- sealing

    def has_raw(self, connection: KeptConnection) -> bool:
        """In the order of its key."""
        return bool(rows_of(connection, f"SELECT 1 FROM {RAW} LIMIT 1"))

    def lock_sealing(self, connection: KeptConnection) -> None:
        """There is one writer at a time."""

    def lock_writers(self, connection: KeptConnection, tables: Sequence[str]) -> None:
        """There is one writer at a time."""

    def take_raw(
        self,
        connection: KeptConnection,
        shapes: Mapping[int, TableShape],
        *,
        limit: int,
        going_on: str,
    ) -> list[RawGroup]:
        """In the order of positions: what is visible is committed, and writers are serial."""
        widths = {table_id: len(shape.columns) for table_id, shape in shapes.items()}
        widest = max(widths.values(), default=0)
        names = [*raw_columns("o", widest), *raw_columns("n", widest)]
        columns = ", ".join(["position", "table_id", "op", "context", "at", *names])
        with self.exactly(connection):
            rows = rows_of(
                connection, f"SELECT {columns} FROM {RAW} ORDER BY position LIMIT ?", limit + 1
            )
        taken = rows[:limit]
        while taken and taken[-1][2] == "R" and len(taken) > 1:
            taken.pop()  # It belongs to the row behind it.
        following = rows[len(taken) :]
        if not taken:
            return []
        connection.cursor.execute(f"DELETE FROM {RAW} WHERE position <= ?", (taken[-1][0],))
        groups = []
        for context, together in itertools.groupby(taken, key=lambda row: row[3]):
            raw_rows = list(_raw_rows(together, widths, widest))
            groups.append(
                RawGroup(
                    key=context or "",
                    context=context or "",
                    is_transaction=context is not None,
                    rows=raw_rows,
                )
            )
        groups[-1].is_whole = not (following and following[0][3] == taken[-1][3])
        return groups


def _raw_rows(
    rows: Iterable[Sequence[Any]], widths: Mapping[int, int], widest: int
) -> Iterator[RawRow]:
    for row in rows:
        _, table_id, op, _, at = row[:5]
        width = widths.get(table_id)
        if width is None:
            continue
        old = None if op == "I" else tuple(row[5 : 5 + width])
        new = tuple(row[5 + widest : 5 + widest + width]) if op in ("I", "U") else None
        yield RawRow(table_id, op, round((at - _EPOCH_JULIAN_DAY) * _MS_A_DAY), old, new)


def _text(data: bytes) -> str | InvalidText:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return InvalidText(data)


def _own_triggers(connection: KeptConnection, table_id: int) -> dict[str, str]:
    return dict(
        rows_of(
            connection,
            "SELECT name, sql FROM sqlite_master WHERE type = 'trigger' AND name GLOB ?",
            trigger_of(table_id, "*"),
        )
    )


def _may_nest(connection: KeptConnection, shape: TableShape) -> bool:
    """Whether one statement on the table may run inside another one."""
    if any(foreign.parent.lower() == shape.name.lower() for foreign in shape.foreign_keys):
        return True
    others = (
        "SELECT 1 FROM sqlite_master WHERE type = 'trigger' AND NOT name GLOB 'change_capture_*'"
        " AND NOT name GLOB 'batch_status_history_*' LIMIT 1"
    )
    return bool(rows_of(connection, others))
