"""SqlWriter and SqlReader on SQLite and on PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import pytest

from stepwell.database.connect import open_database
from stepwell.errors import (
    ConstraintViolation,
    ItemError,
    MalformedItem,
    StatementRefused,
    StepUsageError,
)
from stepwell.items import SqlReader, SqlWriter
from tests.unit.items.support import Step, opened, position_after, rest


@pytest.fixture
def step(database_url: str) -> Iterator[Step]:
    with open_database(database_url) as database:
        step = Step(database)
        step.run(
            'CREATE TABLE "Item" (id INTEGER PRIMARY KEY, name VARCHAR(20), "a ""b" INTEGER)',
            "CREATE TABLE sale (day DATE NOT NULL, shop VARCHAR(5) NOT NULL, n INTEGER,"
            " PRIMARY KEY (day, shop))",
        )
        yield step


def write(step: Step, writer: SqlWriter, *chunks: list[Any]) -> None:
    writer.open(None)
    with closing(writer):
        for items in chunks:
            with step.chunk():
                writer.write(items, step)
            assert writer.checkpoint() is None


def rows(step: Step, table: str = "Item") -> list[tuple[Any, ...]]:
    return sorted(step.query(f'SELECT * FROM "{table}"'), key=repr)


@dataclass
class Item:
    id: int
    name: str


# --- writing


@pytest.mark.parametrize(
    ("columns", "items"),
    [
        (None, [{"id": 1, "name": "x"}, {"name": None, "id": 2}]),
        (None, [Item(1, "x"), Item(2, None)]),  # type: ignore[arg-type]
        (["id", "name"], [(1, "x"), [2, None]]),
        (["name", "id"], [("x", 1), (None, 2)]),
        (["id", "name"], [{"id": 1, "name": "x", "more": 0}, {"id": 2, "name": None}]),
    ],
)
def test_items_become_rows(step: Step, columns: list[str] | None, items: list[Any]) -> None:
    write(step, SqlWriter("Item", columns=columns), items)

    assert rows(step) == [(1, "x", None), (2, None, None)]


def test_any_name_of_a_column_is_only_a_name(step: Step) -> None:
    write(step, SqlWriter("Item", key="id"), [{"id": 1, 'a "b': 5}], [{"id": 1, 'a "b': 6}])

    assert rows(step) == [(1, None, 6)]


def test_with_a_key_a_row_that_is_there_is_updated(step: Step) -> None:
    first = [{"id": 1, "name": "x"}, {"id": 2, "name": "y"}]
    write(
        step, SqlWriter("Item", key=["id"]), first, [{"id": 2, "name": "z"}, {"id": 3, "name": ""}]
    )

    assert rows(step) == [(1, "x", None), (2, "z", None), (3, "", None)]


def test_a_key_may_come_twice_in_one_chunk(step: Step) -> None:
    write(step, SqlWriter("Item", columns=["id", "name"], key=["id"]), [(1, "x"), (1, "y")])

    assert rows(step) == [(1, "y", None)]


def test_columns_that_are_not_written_keep_their_value(step: Step) -> None:
    write(step, SqlWriter("Item", columns=["id", "name"]), [(1, "x")])
    write(step, SqlWriter("Item", columns=["id", 'a "b'], key=["id"]), [(1, 5)])

    assert rows(step) == [(1, "x", 5)]


def test_a_row_that_is_there_may_be_left_as_it_is(step: Step) -> None:
    columns = ["day", "shop", "n"]
    writer = SqlWriter("sale", columns=columns, key=["day", "shop"], on_conflict="ignore")
    write(step, writer, [("2026-01-01", "a", 1)], [("2026-01-01", "a", 2), ("2026-01-01", "b", 3)])

    assert [(shop, n) for _, shop, n in rows(step, "sale")] == [("a", 1), ("b", 3)]


def test_a_row_of_nothing_but_its_key_is_left_as_it_is(step: Step) -> None:
    write(step, SqlWriter("Item", key=["id"]), [{"id": 1}], [{"id": 1}, {"id": 2}])

    assert rows(step) == [(1, None, None), (2, None, None)]


def test_a_key_of_several_columns(step: Step) -> None:
    writer = SqlWriter("sale", columns=["day", "shop", "n"], key=["day", "shop"])
    write(step, writer, [("2026-01-01", "a", 1), ("2026-01-01", "b", 2)], [("2026-01-01", "a", 3)])

    assert [(shop, n) for _, shop, n in rows(step, "sale")] == [("a", 3), ("b", 2)]


def test_without_a_key_a_row_that_is_there_is_a_violation_and_nothing_stays(step: Step) -> None:
    writer = SqlWriter("Item", columns=["id", "name"])
    with pytest.raises(ConstraintViolation):
        write(step, writer, [(1, "x"), (1, "y")])

    assert rows(step) == []


def test_a_table_may_have_a_schema(step: Step, database_url: str) -> None:
    schema = "public" if database_url.startswith("postgresql") else "main"
    write(step, SqlWriter(f"{schema}.Item"), [{"id": 1}])

    assert rows(step) == [(1, None, None)]


@pytest.mark.parametrize(
    ("items", "text"),
    [
        (
            [{"id": 1}, {"id": 2, "name": "x"}],
            "item 2 of the chunk to table 'Item': it has a column",
        ),
        (
            [{"id": 1, "name": ""}, {"id": 2}],
            "item 2 of the chunk to table 'Item': it has no column",
        ),
        ([Item(1, "x"), object()], "item 2 of the chunk to table 'Item': it has no column 'id'"),
    ],
)
def test_an_item_with_other_columns_is_named(items: list[Any], text: str) -> None:
    writer = SqlWriter("Item")
    writer.open(None)
    with pytest.raises(MalformedItem, match=text):
        writer.write(items, Step())


def test_a_later_chunk_has_the_columns_of_the_first(step: Step) -> None:
    with pytest.raises(MalformedItem, match="item 1 of the chunk to table 'Item': it has a column"):
        write(step, SqlWriter("Item"), [{"id": 1}], [{"id": 2, "name": "x"}])


def test_a_writer_that_cannot_work_is_refused_when_it_is_made() -> None:
    with pytest.raises(ItemError, match="cannot write table 't' by its key: column 'id' is not"):
        SqlWriter("t", columns=["a"], key=["id"])
    with pytest.raises(ItemError, match="on_conflict must be 'update' or 'ignore', got 'skip'"):
        SqlWriter("t", on_conflict="skip")  # type: ignore[arg-type]
    with pytest.raises(ItemError, match="on_conflict='ignore' must have a key"):
        SqlWriter("t", on_conflict="ignore")
    with pytest.raises(ItemError, match="columns must name at least one"):
        SqlWriter("t", columns=[])
    with pytest.raises(ItemError, match="key must name each column once, got 'a' twice"):
        SqlWriter("t", key=["a", "a"])
    with pytest.raises(ItemError, match="the name of a table or column must be text, got ''"):
        SqlWriter("", columns=["a"])


# --- reading


@pytest.fixture
def filled(step: Step) -> Step:
    days = [f"2026-01-{day:02}" for day in range(1, 5)]
    sales = [(day, shop, n) for n, day in enumerate(days) for shop in ("a", "b")]
    write(step, SqlWriter("sale", columns=["day", "shop", "n"]), sales)
    write(step, SqlWriter("Item", columns=["id", "name"]), [(n, f"n{n}") for n in (5, 1, 4, 2, 3)])
    return step


@pytest.mark.parametrize("page_size", [1, 2, 5, 100])
def test_rows_come_in_the_order_of_the_key(filled: Step, page_size: int) -> None:
    reader = SqlReader("Item", columns=["name", "id"], key=["id"], page_size=page_size)
    with opened(reader, None, filled):
        assert rest(reader) == [{"name": f"n{n}", "id": n} for n in range(1, 6)]
        assert reader.read() is None


@pytest.mark.parametrize("page_size", [1, 3, 8])
@pytest.mark.parametrize("reads", range(10))
def test_after_a_restart_at_any_row_the_remainder_follows(
    filled: Step, page_size: int, reads: int
) -> None:
    """Goal: S94. Method: a key of a date and a text, stored as JSON between the two starts."""
    reader = SqlReader(
        "sale", columns=["n", "shop"], key=["day", "shop"], page_size=page_size, rows="tuple"
    )
    expected = [(n, shop) for n in range(4) for shop in ("a", "b")]
    first, checkpoint = position_after(reader, reads, filled)
    with opened(reader, checkpoint, filled):
        remainder = rest(reader)

    assert first == expected[:reads]
    assert [*first, *remainder] == expected
    assert checkpoint == (
        None if reads == 0 else [f"2026-01-{(min(reads, 8) + 1) // 2:02}", "ba"[min(reads, 8) % 2]]
    )


def test_where_and_parameters_choose(filled: Step) -> None:
    filled.parameters = {"from": 2}
    reader = SqlReader(
        "Item",
        columns=["id"],
        key="id",
        where="id >= :low AND name <> :not -- or else\n OR id = 5",
        parameters=lambda step: {"low": step.parameters["from"], "not": "n3"},
        page_size=2,
        rows="tuple",
    )
    with opened(reader, None, filled):
        assert rest(reader) == [(2,), (4,), (5,)]


def test_a_query_is_read_like_a_table(filled: Step) -> None:
    reader = SqlReader(
        query="SELECT shop, sum(n) AS total FROM sale WHERE n > :n GROUP BY shop; -- all of it",
        columns=["total"],
        key=["shop"],
        parameters={"n": 1},
        page_size=1,
    )
    with opened(reader, None, filled), pytest.raises(StatementRefused):
        rest(reader)  # Only a semicolon at the very end is cut off.
    reader.query = "SELECT shop, sum(n) AS total FROM sale WHERE n > :n GROUP BY shop ; "
    with opened(reader, None, filled):
        assert rest(reader) == [{"total": 5}, {"total": 5}]
        assert reader.checkpoint() == ["b"]


def test_each_page_is_one_query_and_none_is_read_in_vain(filled: Step) -> None:
    reader = SqlReader("Item", columns=["id"], key=["id"], page_size=2, rows="tuple")
    with opened(reader, None, filled):
        before = filled.queries
        assert before == 0
        reader.read()
        reader.read()
        assert filled.queries == 1
        rest(reader)

        assert filled.queries == 4  # 2, 2, 1 rows, and the empty one


def test_rows_that_appear_behind_the_key_are_read_too(filled: Step) -> None:
    reader = SqlReader("Item", columns=["id"], key=["id"], page_size=2, rows="tuple")
    with opened(reader, None, filled):
        reader.read()
        filled.run('INSERT INTO "Item" (id) VALUES (9)', 'DELETE FROM "Item" WHERE id = 4')

        assert rest(reader) == [(2,), (3,), (5,), (9,)]


def test_a_query_that_fails_leaves_the_position(filled: Step) -> None:
    """Goal: a retry in place asks for the same page, and a fault never looks like the end."""
    reader = SqlReader("Item", columns=["id"], key=["id"], page_size=2, rows="tuple")
    with opened(reader, None, filled):
        assert [reader.read(), reader.read()] == [(1,), (2,)]
        real, reader._query = reader._query, lambda sql, parameters: 1 / 0
        for _ in range(2):
            with pytest.raises(ZeroDivisionError):
                reader.read()
            assert reader.checkpoint() == [2]
        reader._query = real

        assert rest(reader) == [(3,), (4,), (5,)]


def test_a_key_that_is_not_unique_is_refused(filled: Step) -> None:
    reader = SqlReader("sale", columns=["n"], key=["shop"])
    with opened(reader, None, filled), pytest.raises(ItemError) as refused:
        reader.read()

    assert str(refused.value) == (
        "cannot read table 'sale' by key shop: two rows have 'a', and a page's end would lose one"
    )


def test_a_key_that_is_null_is_refused(filled: Step) -> None:
    filled.run('INSERT INTO "Item" (id) VALUES (9)')
    reader = SqlReader("Item", columns=["id"], key=["name"])

    with opened(reader, None, filled), pytest.raises(ItemError, match="it is NULL in a row"):
        rest(reader)


@pytest.mark.parametrize("checkpoint", [7, {"offset": 7}, [], [1, 2]])
def test_the_checkpoint_of_another_reader_is_refused(checkpoint: Any) -> None:
    reader = SqlReader("Item", columns=["id"], key=["id"])

    with pytest.raises(ItemError, match="table 'Item' is read by key id"):
        reader.open(checkpoint, Step())


def test_a_reader_that_cannot_work_is_refused_when_it_is_made() -> None:
    with pytest.raises(ItemError, match="must have a table or a query, got both or none"):
        SqlReader(columns=["a"], key=["a"])
    with pytest.raises(ItemError, match="must have a table or a query, got both or none"):
        SqlReader("t", query="SELECT 1 AS a", columns=["a"], key=["a"])
    with pytest.raises(ItemError, match="key must name at least one column, got none"):
        SqlReader("t", columns=["a"], key=[])
    with pytest.raises(ItemError, match="page_size must be at least 1, got 0"):
        SqlReader("t", columns=["a"], key=["a"], page_size=0)
    with pytest.raises(ItemError, match="rows must be 'dict' or 'tuple', got 'list'"):
        SqlReader("t", columns=["a"], key=["a"], rows="list")  # type: ignore[call-overload]
    with pytest.raises(StepUsageError, match="was opened without a step"):
        SqlReader("t", columns=["a"], key=["a"]).open(None)
