"""CsvWriter: CsvReader reads back what it wrote."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepwell.errors import ItemError, MalformedItem
from stepwell.items import CsvReader, CsvWriter
from tests.unit.items.support import Step, all_items, opened, stored


@dataclass
class Line:
    id: int
    price: Decimal


class Struct(msgspec.Struct):
    id: int
    price: Decimal


class Model(pydantic.BaseModel):
    id: int
    price: Decimal


class Named(NamedTuple):
    id: int
    price: Decimal


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "out.csv"


@given(
    rows=st.lists(
        st.lists(st.text(st.sampled_from('a,"\n\r é\x00'), max_size=5), min_size=2, max_size=2),
        min_size=1,
        max_size=6,
    ),
    delimiter=st.sampled_from(",;\t"),
)
def test_any_text_is_read_back_as_it_was(
    tmp_path_factory: pytest.TempPathFactory, rows: list[list[str]], delimiter: str
) -> None:
    path = tmp_path_factory.mktemp("csv") / "a.csv"
    with opened(CsvWriter(path, columns=["x,", 'y"'], delimiter=delimiter)) as writer:
        writer.write(rows, Step())

    reader = CsvReader(path, rows="tuple", delimiter=delimiter)
    assert [list(row) for row in all_items(reader)] == rows
    assert list(all_items(CsvReader(path, delimiter=delimiter))[0]) == ["x,", 'y"']


def test_one_empty_column_is_no_empty_line(path: Path) -> None:
    with opened(CsvWriter(path)) as writer:
        writer.write([{"a": ""}, {"a": None}], Step())

    assert all_items(CsvReader(path)) == [{"a": ""}, {"a": ""}]


@pytest.mark.parametrize(
    "item",
    [
        {"id": 7, "price": Decimal("1.10")},
        Named(7, Decimal("1.10")),
        Line(7, Decimal("1.10")),
        Struct(7, Decimal("1.10")),
        Model(id=7, price=Decimal("1.10")),
    ],
)
def test_the_first_item_names_the_columns(path: Path, item: Any) -> None:
    with opened(CsvWriter(path)) as writer:
        writer.write([item], Step())
    assert path.read_text() == "id,price\n7,1.10\n"

    with opened(CsvWriter(path, columns=["price"])) as writer:
        writer.write([item] if not isinstance(item, tuple) else [item[1:]], Step())
    assert path.read_text() == "price\n1.10\n"


def test_none_and_dates(path: Path) -> None:
    with opened(CsvWriter(path, columns=["a", "b"], null="NA")) as writer:
        writer.write([(None, date(2026, 11, 20)), ["", True]], Step())

    assert path.read_text() == "a,b\nNA,2026-11-20\n,True\n"


def test_a_file_without_items_has_its_header_when_the_columns_are_given(path: Path) -> None:
    with opened(CsvWriter(path, columns=["a", "b"])) as writer:
        writer.checkpoint()
    assert path.read_text() == "a,b\n"

    with opened(CsvWriter(path)) as writer:
        writer.checkpoint()
    assert path.read_text() == ""


@pytest.mark.parametrize("columns", [None, ["a", "b"]])
def test_a_restart_keeps_header_and_columns(path: Path, columns: list[str] | None) -> None:
    writer = CsvWriter(path, columns=columns)
    with opened(writer):
        writer.write([{"a": 1, "b": 2}], Step(idempotency_key="1"))
        checkpoint = stored(writer.checkpoint())
        writer.write([{"a": 0, "b": 0}], Step(idempotency_key="2"))
    with opened(writer, checkpoint):
        writer.write([{"b": 4, "a": 3}], Step(idempotency_key="2"))
        writer.checkpoint()
    assert path.read_text() == "a,b\n1,2\n3,4\n"


def test_a_first_chunk_that_is_written_again_has_one_header(path: Path) -> None:
    step = Step(idempotency_key="1")
    with opened(CsvWriter(path)) as writer:
        for _ in range(2):
            writer.write([{"a": 1}], step)
            writer.checkpoint()
        assert path.read_text() == "a\n1\n"
        assert writer.checkpoint()["offset"] == 0  # Dropped after all.
        step.idempotency_key = "2"
        writer.write([{"a": 2}], step)
    assert path.read_text() == "a\n2\n"


@pytest.mark.parametrize(
    ("columns", "items", "text"),
    [
        (None, [{"a": 1}, {"b": 1}], "item 2 of the chunk to {}: it has no column 'a'"),
        (None, [{"a": 1}, {"a": 1, "b": 1}], "item 2 of the chunk to {}: it has a column 'b'"),
        (["a", "b"], [(1, 2), (1,)], "item 2 of the chunk to {}: it has 1 values for 2 columns"),
        (["a", "id"], [Line(1, Decimal(1))], "item 1 of the chunk to {}: it has no column 'a'"),
    ],
)
def test_an_item_with_other_columns_is_named(
    path: Path, columns: list[str] | None, items: list[Any], text: str
) -> None:
    with (
        opened(CsvWriter(path, columns=columns)) as writer,
        pytest.raises(MalformedItem) as refused,
    ):
        writer.write(items, Step())
    assert text.format(repr(str(path))) in str(refused.value)


def test_items_that_name_no_columns_are_refused(path: Path) -> None:
    with opened(CsvWriter(path)) as writer:
        with pytest.raises(ItemError, match=r"cannot write a tuple to .*: it does not say what"):
            writer.write([(1, 2)], Step())
        with pytest.raises(ItemError, match="of different kinds, dict, tuple"):
            writer.write([{"a": 1}, (2,)], Step())


def test_a_character_that_the_encoding_has_not_is_named(path: Path) -> None:
    match = r"cannot write '€' to .*: iso8859-1 has no such"
    writer = CsvWriter(path, encoding="latin-1")
    with opened(writer), pytest.raises(MalformedItem, match=match):
        writer.write([{"a": "€"}], Step())


def test_an_option_out_of_its_range_is_refused_when_the_writer_is_made(path: Path) -> None:
    with pytest.raises(ItemError, match="delimiter must be one character, got ',,'"):
        CsvWriter(path, delimiter=",,")
    with pytest.raises(ItemError, match="encoding must be one in which"):
        CsvWriter(path, encoding="utf-16")
