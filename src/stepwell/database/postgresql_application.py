"""The application's tables in PostgreSQL."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from decimal import Decimal
from typing import Any

import msgspec

from stepwell.database.application import (
    RAW,
    ApplicationTables,
    InvalidText,
    RawGroup,
    RawRow,
    Value,
)
from stepwell.database.dialect import KeptConnection
from stepwell.database.postgresql_capture import (
    MAKE_RAW,
    make_function,
    make_triggers,
    trigger_arguments,
    trigger_names,
)
from stepwell.database.postgresql_owners import LOCK_CLASS
from stepwell.database.postgresql_shape import default_sql, read_table, rows_of
from stepwell.database.shape import Column, TableShape, listed, quoted

# The second key of the owners' locks; owners begin at 1, 0 migrates.
_SEALING = -1


class PostgresqlApplicationTables(ApplicationTables):
    """See :class:`ApplicationTables`."""

    overriding = "OVERRIDING SYSTEM VALUE "

    # --- looking

    def table(self, connection: KeptConnection, name: str) -> TableShape | None:
        """See ``postgresql_shape.py``."""
        return read_table(connection, name)

    def default(self, connection: KeptConnection, shape: TableShape, column: Column) -> Value:
        """Read as the column is; one that is made anew for each row is no one value."""
        sql = default_sql(connection, shape.name, column.name)
        if sql is None:
            return None
        there = f"SELECT CAST(({sql}) AS {column.type_name}) AS {quoted(column.name)}"
        there = there.replace("%", "%%")
        row = rows_of(connection, f"SELECT {self.selected(column, 'd')} FROM ({there}) d")[0]
        return self.reading((column,))(row)[0]

    def defer_foreign_keys(self, connection: KeptConnection) -> None:
        """Those that were declared DEFERRABLE."""
        connection.cursor.execute("SET CONSTRAINTS ALL DEFERRED")

    def enforce_foreign_keys(self, connection: KeptConnection) -> None:
        """Also those that were declared to be checked at the commit."""
        connection.cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")

    def broken_foreign_keys(
        self, connection: KeptConnection, shape: TableShape
    ) -> Sequence[tuple[Value, ...]]:
        """PostgreSQL checks them itself, the deferred ones now."""
        connection.cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
        return []

    # --- exact values

    def selected(self, column: Column, prefix: str = "") -> str:
        """Types that Python has no exact value for are read as text."""
        name = f"{prefix}.{quoted(column.name)}" if prefix else quoted(column.name)
        return name if column.kind in _NATIVE else f"{name}::text"

    def reading(self, columns: Sequence[Column]) -> Callable[[Sequence[Any]], tuple[Value, ...]]:
        """Numbers, truth, text and bytes come as they are; times with the zone as Python has it."""
        zoned = [i for i, column in enumerate(columns) if _has_zone(column)]
        if not zoned:
            return tuple

        def read(row: Sequence[Any]) -> tuple[Value, ...]:
            values = list(row)
            for i in zoned:
                values[i] = _with_minutes(values[i])
            return tuple(values)

        return read

    @contextmanager
    def exactly(self, connection: KeptConnection) -> Iterator[None]:
        """The session's settings are exact."""
        yield

    def written(self, column: Column, parameter: str, value: Value = None) -> str:
        """Every value but bytes is sent as the text that its type reads."""
        return f"CAST({parameter} AS {column.type_name})"

    def bound(self, column: Column, value: Value) -> Any:
        """As text; a column of text takes no number, so that nothing changes its type unseen."""
        if value is None:
            return None
        if isinstance(value, InvalidText):
            raise ValueError("PostgreSQL holds only text that is UTF-8")  # noqa: TRY004
        if isinstance(value, bytes):
            if column.kind != "blob":
                raise ValueError(f"a column of type {column.type_name} holds no bytes")
            return value
        if column.kind == "blob":
            raise ValueError(f"a column of type {column.type_name} holds bytes alone")
        if isinstance(value, str):
            if "\0" in value:
                raise ValueError("PostgreSQL holds no text with a NUL character")
            return value
        if column.kind in ("text", "json", "uuid", "date", "time", "timestamp"):
            raise ValueError(f"a column of type {column.type_name} holds text, got {value!r}")
        if column.kind == "integer" and isinstance(value, float) and value.is_integer():
            return str(int(value))
        if isinstance(value, float) and math.isinf(value):
            return "Infinity" if value > 0 else "-Infinity"
        return repr(value) if isinstance(value, float) else str(value).lower()

    # --- capture

    def make_raw_tables(self, connection: KeptConnection) -> None:
        """The raw table and the function that writes it."""
        for statement in (*MAKE_RAW, make_function(_schema(connection))):
            connection.cursor.execute(statement)

    def install(self, connection: KeptConnection, shape: TableShape, table_id: int) -> None:
        """One trigger for rows, one for TRUNCATE."""
        self._drop_triggers(connection, table_id, shape.name)
        for statement in make_triggers(shape, table_id, _schema(connection)):
            connection.cursor.execute(statement)

    def remove(self, connection: KeptConnection, table_id: int, table_name: str) -> None:
        """The function stays, for the others."""
        self._drop_triggers(connection, table_id, table_name)
        connection.cursor.execute(f"DELETE FROM {RAW} WHERE table_id = %s", (table_id,))

    def _drop_triggers(self, connection: KeptConnection, table_id: int, table_name: str) -> None:
        if self.table(connection, table_name) is not None:
            for name in trigger_names(table_id):
                connection.cursor.execute(
                    f"DROP TRIGGER IF EXISTS {quoted(name)} ON {quoted(table_name)}"
                )

    def fault(self, connection: KeptConnection, shape: TableShape, table_id: int) -> str:
        """Both triggers are there, enabled, with their arguments."""
        there = {
            name: (enabled, bytes(arguments))
            for name, enabled, arguments in rows_of(
                connection,
                "SELECT tgname, tgenabled::text, tgargs FROM pg_trigger WHERE NOT tgisinternal"
                " AND tgrelid = to_regclass(quote_ident(%s))",
                shape.name,
            )
        }
        arguments = b"".join(
            argument.encode() + b"\0" for argument in trigger_arguments(shape, table_id)
        )
        names = trigger_names(table_id)
        missing = [name for name in names if name not in there]
        if missing:
            return f"{len(missing)} of its {len(names)} triggers are missing"
        if any(there[name][0] not in "OA" for name in names):
            return "its triggers are disabled"
        if any(there[name][1] != arguments for name in names):
            return "its triggers are not those of its columns"
        return ""

    def set_context(self, connection: KeptConnection, context: str) -> None:
        """A setting of the transaction."""
        _set(connection, "stepwell.context", context)

    def set_echo(self, connection: KeptConnection) -> None:
        """A setting of the transaction."""
        _set(connection, "stepwell.echo", "on")

    def clear_context(self, connection: KeptConnection, table_ids: Sequence[int]) -> None:
        """COMMIT would do it, too."""
        _set(connection, "stepwell.context", "")
        _set(connection, "stepwell.echo", "")

    # --- sealing

    def has_raw(self, connection: KeptConnection) -> bool:
        """As far as it is committed."""
        return bool(rows_of(connection, f"SELECT 1 FROM {RAW} LIMIT 1"))

    def lock_sealing(self, connection: KeptConnection) -> None:
        """An advisory lock of the transaction."""
        connection.cursor.execute(f"SELECT pg_advisory_xact_lock({LOCK_CLASS}, {_SEALING})")

    def lock_writers(self, connection: KeptConnection, tables: Sequence[str]) -> None:
        """Readers go on."""
        there = rows_of(
            connection,
            "SELECT name FROM unnest(%s::text[]) name"
            " WHERE to_regclass(quote_ident(name)) IS NOT NULL ORDER BY name",
            list(tables),
        )
        if there:
            names = listed(name for (name,) in there)
            connection.cursor.execute(f"LOCK TABLE {names} IN SHARE ROW EXCLUSIVE MODE")

    def take_raw(
        self,
        connection: KeptConnection,
        shapes: Mapping[int, TableShape],
        *,
        limit: int,
        going_on: str,
    ) -> list[RawGroup]:
        """Transactions in the order of their last rows.

        Taking is deleting: what is visible now and was not taken before is new. A transaction that
        has seen another one's rows is visible only when the other is, and wrote its last row later
        or is taken later, so this is an order in which they could have happened.
        """
        sizes = rows_of(
            connection,
            f"SELECT xid::text, count(*) FROM {RAW} GROUP BY xid ORDER BY max(position)",
        )
        sizes.sort(key=lambda size: size[0] != going_on)
        readers = {table_id: _row_reader(shape) for table_id, shape in shapes.items()}
        groups = []
        for xid, count in sizes:
            if limit <= 0:
                break
            rows = rows_of(
                connection,
                f"DELETE FROM {RAW} WHERE position IN (SELECT position FROM {RAW}"
                " WHERE xid = %s::xid8 ORDER BY position LIMIT %s) RETURNING position, table_id,"
                " op, context, floor(extract(epoch FROM at) * 1000)::bigint, old::text, new::text,"
                " old_text::text, new_text::text",
                xid,
                limit,
            )
            rows.sort()
            context = rows[0][3] or ""
            raw_rows = [
                RawRow(
                    table_id,
                    op,
                    at_ms,
                    readers[table_id](old, old_text),
                    readers[table_id](new, new_text),
                )
                for _, table_id, op, _, at_ms, old, new, old_text, new_text in rows
                if table_id in readers
            ]
            groups.append(
                RawGroup(
                    key=xid,
                    context=context,
                    is_transaction=True,
                    rows=raw_rows,
                    is_whole=len(rows) == count,
                )
            )
            limit -= len(rows)
        return groups


_NATIVE = ("integer", "real", "decimal", "boolean", "text", "blob")
_Image = tuple[Value, ...] | None
_images = msgspec.json.Decoder(dict[str, msgspec.Raw])
_texts = msgspec.json.Decoder(dict[str, str | None])
_text = msgspec.json.Decoder(str)


def _row_reader(shape: TableShape) -> Callable[[str | None, str | None], _Image]:
    """A function from what the trigger stored of a row to its values."""

    def read(image: str | None, texts: str | None) -> _Image:
        if image is None:
            return None
        raw = _images.decode(image)
        as_text = _texts.decode(texts) if texts is not None else {}
        return tuple(
            as_text[column.name]
            if column.name in as_text
            else _value(column, bytes(raw.get(column.name, b"null")))
            for column in shape.columns
        )

    return read


def _value(column: Column, form: bytes) -> Value:
    """A value from its JSON."""
    if form == b"null":
        return None
    if column.kind == "integer":
        return int(form)
    if column.kind == "boolean":
        return form == b"true"
    if form[:1] != b'"':
        text = form.decode("utf-8")
    else:
        text = _text.decode(form)
    if column.kind == "real":
        return float(text)
    if column.kind == "decimal":
        return Decimal(text)
    if column.kind == "blob":
        return bytes.fromhex(text[2:])
    if column.kind == "timestamp":
        return text[:10] + text[10:].replace("T", " ", 1)
    return text


def _has_zone(column: Column) -> bool:
    return column.kind in ("time", "timestamp") and "with time zone" in column.type_name


def _with_minutes(text: str | None) -> str | None:
    """``…+00`` as Python and JSON write it, ``…+00:00``."""
    if text is not None and text[-3:-2] in ("+", "-"):
        return f"{text}:00"
    return text


def _schema(connection: KeptConnection) -> str:
    [(schema,)] = rows_of(connection, "SELECT current_schema()")
    return str(schema)


def _set(connection: KeptConnection, name: str, value: str) -> None:
    connection.cursor.execute("SELECT set_config(%s, %s, true)", (name, value))
