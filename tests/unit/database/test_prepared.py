"""Prepared: one definition, the driver's text; the private names of SQLAlchemy that it needs."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Float,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    bindparam,
    case,
    delete,
    func,
    insert,
    literal,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.exc import CompileError

from stepwell.database.connect import Database
from stepwell.database.postgresql import PostgresqlDialect
from stepwell.database.prepared import Prepared
from stepwell.database.sqlite import SqliteDialect
from stepwell.database.types import UtcTimestamp

SQLITE, POSTGRESQL = SqliteDialect.core, PostgresqlDialect.core

thing = Table(
    "thing",
    MetaData(),
    Column("id", BigInteger().with_variant(Integer(), "sqlite"), primary_key=True),
    Column("name", Text),
    Column("good", Boolean),
    Column("size", Float),
    Column("data", LargeBinary),
    Column("at", UtcTimestamp()),
)
MOMENT = datetime(2026, 11, 20, tzinfo=UTC)


def text(prepared: Prepared, dialect: Any) -> str:
    return " ".join(prepared.plan(dialect).sql.split())


def test_parameters_stand_in_the_order_of_the_markers_and_may_stand_twice() -> None:
    prepared = Prepared(
        update(thing)
        .where(thing.c.id == bindparam("thing_id"), thing.c.name != bindparam("name"))
        .values(name=bindparam("name"))
    )
    plan = prepared.plan(SQLITE)

    assert (
        text(prepared, SQLITE) == "UPDATE thing SET name=? WHERE thing.id = ? AND thing.name != ?"
    )
    assert text(prepared, POSTGRESQL) == (
        "UPDATE thing SET name=%s::VARCHAR WHERE thing.id = %s::BIGINT"
        " AND thing.name != %s::VARCHAR"
    )
    assert plan.names == ("name", "thing_id", "name")
    assert plan.bind({"thing_id": 1, "name": "a", "of_no_use": 0}) == ("a", 1, "a")


def test_a_value_of_the_statement_itself_is_a_literal() -> None:
    """A partial index matches only a literal."""
    prepared = Prepared(
        select(thing.c.id).where(
            thing.c.name.in_(["it's", "100%"]), thing.c.good == literal(True), thing.c.size < 1.5
        )
    )

    assert text(prepared, SQLITE) == (
        "SELECT thing.id FROM thing WHERE thing.name IN ('it''s', '100%')"
        " AND thing.good = 1 AND thing.size < 1.5"
    )
    assert text(prepared, POSTGRESQL) == (
        "SELECT thing.id FROM thing WHERE thing.name IN ('it''s', '100%%')"
        " AND thing.good = true AND thing.size < 1.5"
    )
    assert prepared.plan(SQLITE).bind({}) == ()


def test_bytes_and_times_of_the_statement_itself_stay_bound() -> None:
    prepared = Prepared(
        insert(thing).values(id=bindparam("id"), data=b"\x00\xff", at=MOMENT, name=None, good=False)
    )

    assert text(prepared, SQLITE) == (
        "INSERT INTO thing (id, name, good, data, at) VALUES (?, ?, 0, ?, ?)"
    )
    bound = prepared.plan(SQLITE).bind({"id": 7})
    assert bound == (7, None, b"\x00\xff", "2026-11-20T00:00:00.000000Z")


def test_an_insert_without_values_takes_every_column() -> None:
    prepared = Prepared(insert(thing))

    assert text(prepared, SQLITE) == (
        "INSERT INTO thing (id, name, good, size, data, at) VALUES (?, ?, ?, ?, ?, ?)"
    )
    assert prepared.plan(SQLITE).names == ("id", "name", "good", "size", "data", "at")


@pytest.mark.parametrize("dialect", [SQLITE, POSTGRESQL])
def test_nothing_is_returned_that_was_not_asked_for(dialect: Any) -> None:
    one_column = insert(thing).values(name=bindparam("name"))

    assert "RETURNING" not in text(Prepared(one_column), dialect)
    assert "RETURNING" not in text(Prepared(upsert(thing).on_conflict_do_nothing()), dialect)
    assert text(Prepared(one_column.returning(thing.c.id)), dialect).endswith("id")


@pytest.mark.parametrize("dialect", [SQLITE, POSTGRESQL])
def test_on_conflict_is_written_once_for_both(dialect: Any) -> None:
    statement = upsert(thing).values(id=bindparam("id"), name=bindparam("name"))
    statement = statement.on_conflict_do_update(
        index_elements=["id"], set_={"name": statement.excluded.name}
    )

    assert text(Prepared(statement), dialect).endswith(
        "ON CONFLICT (id) DO UPDATE SET name = excluded.name"
    )


def test_a_row_lock_is_said_where_it_means_something() -> None:
    prepared = Prepared(select(thing.c.id).with_for_update(skip_locked=True))

    assert text(prepared, SQLITE) == "SELECT thing.id FROM thing"
    assert text(prepared, POSTGRESQL) == "SELECT thing.id FROM thing FOR UPDATE SKIP LOCKED"


@pytest.mark.parametrize("dialect", [SQLITE, POSTGRESQL])
def test_an_in_list_of_unknown_length_is_refused(dialect: Any) -> None:
    prepared = Prepared(delete(thing).where(thing.c.id.in_(bindparam("ids", expanding=True))))

    with pytest.raises(CompileError, match="with the expanding parameter 'ids'"):
        prepared.plan(dialect)


def test_a_missing_value_is_named() -> None:
    prepared = Prepared(select(thing.c.id).where(thing.c.at == bindparam("at"), thing.c.id == 1))

    with pytest.raises(KeyError, match="at"):
        prepared.plan(SQLITE).bind({})


def test_values_go_in_and_come_out_as_python_has_them(database: Database) -> None:
    """Goal: the conversions of each dialect are found, whatever the statement is."""
    with database.write() as transaction:
        transaction.connection.execute(
            "CREATE TABLE thing (id bigint PRIMARY KEY, name text, good boolean,"
            f" size double precision, data {'blob' if database.path else 'bytea'},"
            f" at {'text' if database.path else 'timestamptz'})"
        )
    values = {
        "id": 2**62,
        "name": "it's 100%",
        "good": True,
        "size": 0.1,
        "data": b"\0",
        "at": MOMENT,
    }
    row = tuple(values.values())
    every = Prepared(select(thing))
    some = Prepared(
        select(
            thing.c.at,
            func.count(),
            case((thing.c.good, "yes"), else_="no"),
            func.coalesce(thing.c.size, 0.0),
        ).group_by(thing.c.id)
    )
    add = Prepared(insert(thing).returning(thing.c.at, thing.c.good))

    answered = database.run(lambda t: t.fetch_one(add, values))
    with database.read() as reader:
        found = reader.fetch_all(every), reader.fetch_one(some)

    assert answered == (MOMENT, True)
    assert found == ([row], (MOMENT, 1, "yes", 0.1))


def test_one_compilation_serves_all_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    compiled: list[object] = []
    prepared = Prepared(select(thing).where(thing.c.id == bindparam("thing_id")))
    from stepwell.database import prepared as module

    compile_plan = module.compile_plan
    monkeypatch.setattr(
        module,
        "compile_plan",
        lambda statement, dialect: compiled.append(statement) or compile_plan(statement, dialect),
    )
    with ThreadPoolExecutor(8) as pool:
        plans = set(pool.map(lambda _: id(prepared.plan(SQLITE)), range(200)))

    assert (len(plans), len(compiled)) == (1, 1)
