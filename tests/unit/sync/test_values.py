"""T19 as far as one node goes: what was written is logged, and can be written back, bit for bit."""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from stepwell.clock import Clock
from stepwell.database.connect import Database, open_database
from stepwell.database.shape import Column, TableShape
from stepwell.sync import capture, rows
from stepwell.sync.change import InvalidText, Value, Values, decode_values
from stepwell.sync.log import changes_of, last_lsn, seal_all
from stepwell.sync.session import Sync

DOUBLES = st.integers(0, 2**64 - 1).map(lambda n: struct.unpack("d", struct.pack("Q", n))[0])
INTEGERS = st.integers(-(2**63), 2**63 - 1)


def bits(value: object) -> object:
    if isinstance(value, float):
        return "nan" if math.isnan(value) else struct.pack("d", value)
    return type(value).__name__, str(value) if isinstance(value, Decimal) else value


# --- SQLite: any value in a column without a type -------------------------------------------------

ANYTHING = st.one_of(
    st.none(),
    INTEGERS,
    # SQLite has no NaN: it is NULL there.
    DOUBLES.filter(lambda value: not math.isnan(value)),
    st.text(),
    st.binary(),
    st.binary(min_size=1, max_size=4).map(lambda tail: InvalidText(b"\xc3\x28" + tail)),
)


@pytest.fixture(scope="module")
def sqlite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    path = tmp_path_factory.mktemp("values") / "values.db"
    with open_database(f"sqlite:///{path}") as database:
        sync = Sync(database, Clock())
        sync.init("shop-1")
        with database.write() as transaction:
            transaction.connection.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, a, b BLOB)")
        sync.track("t")
        yield database


def shape_of(database: Database, table: str) -> TableShape:
    with database.read() as reader:
        shape = reader.ask(lambda connection: reader.application.table(connection, table))
    assert shape is not None
    return shape


def written_logged_and_read(database: Database, shape: TableShape, row: Values) -> list[Values]:
    """The image in the log, the row read back; then the same after it was written from the log."""
    with database.read() as reader:
        before = last_lsn(reader)
    with database.write() as transaction:
        rows.delete_row(transaction, shape, row)
        rows.insert_row(transaction, shape, row)
    seal_all(database)
    with database.read() as reader:
        change = list(changes_of(database, before, last_lsn(reader)))[-1]
        read = rows.read_row(reader, shape, row)
    logged = change.new_values()
    with database.write() as transaction:
        with capture.echo(transaction):
            rows.update_row(transaction, shape, row, dict.fromkeys(logged.keys() - shape.key))
            rows.update_row(transaction, shape, decode_values(change.pk_json), logged)
        again = rows.read_row(transaction, shape, row)
    assert read is not None
    assert again is not None
    return [logged, read, again]


def row_bits(row: Values) -> dict[str, object]:
    return {name: bits(value) for name, value in row.items()}


@settings(max_examples=150, suppress_health_check=list(HealthCheck))
@given(a=ANYTHING, b=ANYTHING)
@example(a=-0.0, b=5e-324)
@example(a=1.0, b=1)
@example(a=b"", b="")
@example(a=math.inf, b=-math.inf)
@example(a=1.7976931348623157e308, b=-(2**63))
@example(a="\0 nul", b="\ud7ff\U0010ffff")
def test_sqlite_keeps_every_value_in_every_column(sqlite: Database, a: Value, b: Value) -> None:
    row: Values = {"id": 1, "a": a, "b": b}
    shape = shape_of(sqlite, "t")

    for image in written_logged_and_read(sqlite, shape, row):
        assert row_bits(row) == row_bits(image)


# --- PostgreSQL: every type that tables have ------------------------------------------------------

TYPES: dict[str, list[Any]] = {
    "smallint": [None, -32768, 0, 32767],
    "integer": [-(2**31), 2**31 - 1],
    "bigint": [-(2**63), 2**63 - 1],
    "double precision": [0.1, -0.0, 5e-324, 1.7976931348623157e308, math.inf, -math.inf, math.nan],
    "real": [0.5, -0.0, 3.4028235e38, math.nan],
    "numeric": [Decimal("1.50"), Decimal("-0.000000001"), Decimal(10**130), Decimal("NaN")],
    "numeric(12, 2)": [Decimal("1.50"), Decimal("9999999999.99")],
    "boolean": [True, False, None],
    "text": ["", "ä\n\"'\\", "\U0010ffff", "null", "1"],
    "varchar(5)": ["12345", ""],
    "char(5)": ["12   "],
    "bytea": [b"", b"\x00\xff\\", bytes(range(256))],
    "date": ["2026-11-20", "0001-01-01", "infinity"],
    "time": ["23:59:59.999999"],
    "timestamp": ["2026-11-20 01:02:03.000004", "infinity"],
    "timestamptz": ["2026-11-20 01:02:03.12+00:00", "1900-01-01 00:00:00+00:00", "-infinity"],
    "uuid": ["01234567-89ab-cdef-0123-456789abcdef"],
    "json": ['{"b": 1,  "a": [1.0, null]}', "null", '"text"', "[]", None],
    "jsonb": ['{"a": 1.50}', "null", "12345678901234567890.123"],
    "integer[]": ["{1,NULL,3}", "{}"],
    "text[]": ['{"a \\"b\\"",NULL,"NULL"}'],
    "interval": ["1 year 2 mons 00:00:00.000001"],
    "inet": ["10.0.0.0/8"],
    "mood": ["sad"],
    "pair": ['(1,"a b")', "(,)"],
    "positive": [5],
}


@pytest.fixture
def postgresql(postgresql_database_url: str) -> Iterator[Database]:
    with open_database(postgresql_database_url) as database:
        sync = Sync(database, Clock())
        sync.init("main", is_main=True)
        with database.write() as transaction:
            execute = transaction.connection.execute
            execute("CREATE TYPE mood AS ENUM ('sad', 'ok')")
            execute("CREATE TYPE pair AS (a integer, b text)")
            execute("CREATE DOMAIN positive AS integer CHECK (VALUE > 0)")
            for number, name in enumerate(TYPES):
                execute(f"CREATE TABLE t{number} (id integer PRIMARY KEY, a {name})")
        for number in range(len(TYPES)):
            sync.track(f"t{number}")
        yield database


def test_postgresql_keeps_every_value_of_every_type(postgresql: Database) -> None:
    for number, (name, values) in enumerate(TYPES.items()):
        shape = shape_of(postgresql, f"t{number}")
        for value in values:
            row: Values = {"id": 1, "a": value}

            for image in written_logged_and_read(postgresql, shape, row):
                assert row_bits(row) == row_bits(image), name


def test_the_settings_of_a_session_change_nothing(postgresql: Database) -> None:
    """Goal: a host that rounds its reals and writes dates its own way is captured exactly."""
    with postgresql.write() as transaction:
        execute = transaction.connection.execute
        execute("SET LOCAL extra_float_digits = -15")
        execute("SET LOCAL DateStyle = 'SQL, DMY'")
        execute("SET LOCAL TimeZone = 'Asia/Tokyo'")
        execute("SET LOCAL bytea_output = 'escape'")
        names = list(TYPES)
        for name, value in (
            ("double precision", "0.1"),
            ("timestamptz", "'2026-11-20 01:02:03+00'"),
            ("date", "'20/11/2026'"),
            ("bytea", "'\\x00ff'"),
        ):
            execute(f"INSERT INTO t{names.index(name)} VALUES (1, {value})")
    seal_all(postgresql)
    with postgresql.read() as reader:
        changes = list(changes_of(postgresql, 0, last_lsn(reader)))

    assert [0.1, "2026-11-20 01:02:03+00:00", "2026-11-20", b"\x00\xff"] == [
        change.new_values()["a"] for change in changes
    ]


def test_what_a_column_cannot_hold_is_refused_with_the_reason(postgresql: Database) -> None:
    names = list(TYPES)
    for name, value, reason in (
        ("text", InvalidText(b"\xff"), "PostgreSQL holds only text that is UTF-8"),
        ("text", "a\0b", "PostgreSQL holds no text with a NUL character"),
        ("text", 1, "a column of type text holds text, got 1"),
        ("text", b"1", "a column of type text holds no bytes"),
        ("bytea", "1", "a column of type bytea holds bytes alone"),
    ):
        shape = shape_of(postgresql, f"t{names.index(name)}")
        with postgresql.write() as transaction, pytest.raises(rows.CannotHold, match=reason):
            rows.insert_row(transaction, shape, {"id": 1, "a": value})


# --- the same on both -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "one", "other", "is_same"),
    [
        ("decimal", Decimal("2.00"), 2, True),
        ("decimal", Decimal("1.50"), 1.5, True),
        ("decimal", "1.50", Decimal("1.5"), True),
        ("decimal", Decimal("0.1"), 0.1, True),
        ("decimal", Decimal(100), 1e2, True),
        ("decimal", Decimal(100), Decimal(10), False),
        ("real", -0.0, 0, True),
        ("real", math.nan, math.nan, True),
        ("real", math.inf, 1e308, False),
        ("integer", 2**63 - 1, float(2**63), False),
        ("boolean", True, 1, True),
        ("text", "1", 1, False),
        ("text", "a", b"a", False),
        ("text", InvalidText(b"a"), b"a", False),
        ("timestamp", "2026-11-20 01:02:03.12+00:00", "2026-11-20T02:02:03.120000+01:00", True),
        ("timestamp", "2026-11-20 01:02:03", "2026-11-20T01:02:03Z", False),
        ("timestamp", "infinity", "infinity", True),
        ("uuid", "ABCD", "abcd", True),
        ("text", None, "", False),
        ("text", None, None, True),
    ],
)
def test_two_nodes_hold_the_same(kind: Any, one: Value, other: Value, is_same: bool) -> None:
    column = Column("a", kind, kind, nullable=True)

    assert is_same == rows.same_value(column, one, other) == rows.same_value(column, other, one)


@given(st.one_of(INTEGERS, DOUBLES, st.decimals(allow_infinity=False)))
def test_the_canonical_form_of_a_number_tells_numbers_apart(value: Any) -> None:
    form = rows.canonical("decimal", value)

    assert form == rows.canonical("decimal", value)
    if isinstance(value, int):
        assert form != rows.canonical("decimal", value + 1)
        assert form == rows.canonical("decimal", Decimal(value))
