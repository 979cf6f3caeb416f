"""JsonLinesReader and LinesReader: a line an item, and what they say of a faulty one."""

from __future__ import annotations

import gzip
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict

import msgspec
import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepwell.errors import ItemError, MalformedItem
from stepwell.items import JsonLinesReader, JsonLinesWriter, LinesReader, LinesWriter
from tests.unit.items.support import (
    Step,
    all_items,
    items_and_faults,
    opened,
    position_after,
    rest,
    stored,
)


@dataclass
class Order:
    id: int
    name: str = ""


class Struct(msgspec.Struct):
    id: int
    name: str = ""


class Model(pydantic.BaseModel):
    id: int
    name: str = ""


class Typed(TypedDict):
    id: int


json_items = st.recursive(
    st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=2), inner),
    max_leaves=4,
)


@given(
    items=st.lists(json_items, max_size=6),
    compressed=st.booleans(),
    data=st.data(),
)
def test_what_was_written_is_read_back_also_after_a_restart_at_any_item(
    tmp_path_factory: pytest.TempPathFactory,
    items: list[Any],
    compressed: bool,
    data: st.DataObject,
) -> None:
    path = tmp_path_factory.mktemp("json") / ("a.jsonl.gz" if compressed else "a.jsonl")
    with opened(JsonLinesWriter(path)) as writer:
        if items:
            writer.write(items, Step())
    reader: JsonLinesReader[Any] = JsonLinesReader(path)
    first, checkpoint = position_after(reader, data.draw(st.integers(0, len(items) + 1)))

    assert [*first, *all_items(reader, checkpoint)] == items


@pytest.mark.parametrize(
    ("kind", "items"),
    [
        (None, [{"id": 1, "name": "x"}, {"id": 2}]),
        (Order, [Order(1, "x"), Order(2)]),
        (Struct, [Struct(1, "x"), Struct(2)]),
        (Model, [Model(id=1, name="x"), Model(id=2)]),
        (Typed, [{"id": 1}, {"id": 2}]),
    ],
)
def test_a_type_is_decoded_and_checked(tmp_path: Path, kind: Any, items: list[Any]) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'\xef\xbb\xbf{"id": 1, "name": "x"}\r\n\n  \n{"id": 2}')
    reader: JsonLinesReader[Any] = JsonLinesReader(path, type=kind)

    assert all_items(reader) == items


def test_a_pydantic_model_is_written_and_read_back(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    items = [Model(id=1, name="x"), Model(id=2)]
    with opened(JsonLinesWriter(path)) as writer:
        writer.write(items, Step())

    assert all_items(JsonLinesReader(path, type=Model)) == items


@pytest.mark.parametrize(
    ("line", "kind", "fact"),
    [
        (b"{'id': 1}", None, "JSON is malformed: object keys must be strings in column 2"),
        (b'{"id": 1', None, "Input data was truncated"),
        (b'{"id": "x"}', Order, "Expected `int`, got `str` - at `$.id`"),
        (b'{"id": "x"}', Model, "1 validation error for Model id Input should be a valid integer"),
        (b'{"name": "x"}', Struct, "Object missing required field `id`"),
        (b"null", None, "it is null, which would be the end of the data"),
        (b'"\xff"', None, "can't decode byte 0xff"),
    ],
)
def test_a_faulty_line_is_named_and_passed(
    tmp_path: Path, line: bytes, kind: Any, fact: str
) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"id": 1}\n\n' + line + b'\n{"id": 2}\n')
    reader: JsonLinesReader[Any] = JsonLinesReader(path, type=kind)

    items, faults = items_and_faults(reader)

    assert len(items) == 2
    assert [type(fault) for fault in faults] == [MalformedItem]
    assert str(faults[0]).startswith(f"cannot read line 3 of {str(path)!r}: ")
    assert fact in str(faults[0])


def test_the_fields_of_a_malformed_line_are_for_programs(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"id" 1}\n')

    _, (fault,) = items_and_faults(JsonLinesReader(path))

    assert isinstance(fault, MalformedItem)
    assert fault.fields == {"file": str(path), "line": 1, "column": 7}


@pytest.mark.parametrize("reads", range(6))
def test_faulty_lines_are_passed_once_also_by_a_restart(tmp_path: Path, reads: int) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text("1\n{\n2\n\nnull\n3")
    reader: JsonLinesReader[int] = JsonLinesReader(path)
    got: list[int | str | None] = []
    with opened(reader):
        for _ in range(reads):
            try:
                got.append(reader.read())
            except MalformedItem:
                got.append("fault")
        checkpoint = stored(reader.checkpoint())
    items, faults = items_and_faults(reader, checkpoint)

    assert got == [1, "fault", 2, "fault", 3][:reads]
    assert items == [n for n in [1, "fault", 2, "fault", 3][reads:] if n != "fault"]
    assert got.count("fault") + len(faults) == 2


# --- lines


@given(
    lines=st.lists(st.text(st.characters(exclude_characters="\r\n", codec="utf-8")), max_size=6),
    line_end=st.sampled_from(["\n", "\r\n"]),
    data=st.data(),
)
def test_lines_come_without_their_ends_also_after_a_restart_at_any_line(
    tmp_path_factory: pytest.TempPathFactory, lines: list[str], line_end: str, data: st.DataObject
) -> None:
    path = tmp_path_factory.mktemp("lines") / "a.txt"
    lines = [line.removeprefix("\ufeff") for line in lines]
    path.write_bytes("".join(line + line_end for line in lines).encode())
    reader = LinesReader(path)
    first, checkpoint = position_after(reader, data.draw(st.integers(0, len(lines) + 1)))

    assert [*first, *all_items(reader, checkpoint)] == lines


def test_a_line_of_another_encoding_is_named_and_passed(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes("a\né\nb".encode("latin-1"))

    items, (fault,) = items_and_faults(LinesReader(path))

    assert items == ["a", "b"]
    assert str(fault) == (f"cannot read line 2 of {str(path)!r}: byte 0xe9 in column 1 is no utf-8")
    assert all_items(LinesReader(path, encoding="latin-1")) == ["a", "é", "b"]


def test_several_files_and_compressed_ones_follow_each_other(tmp_path: Path) -> None:
    (tmp_path / "1.log").write_text("a\nb\n")
    (tmp_path / "2.log.gz").write_bytes(gzip.compress(b"c\n"))
    with opened(LinesWriter(tmp_path / "3.log.gz")) as writer:
        writer.write(["d"], Step())
        writer.write(["e"], Step())

    with opened(LinesReader(tmp_path / "*.log*")) as reader:
        assert rest(reader) == ["a", "b", "c", "d", "e"]
        assert reader.checkpoint() == {
            "file": str(tmp_path / "3.log.gz"),
            "number": 3,
            "offset": 4,
        }


def test_an_encoding_whose_line_ends_cannot_be_found_is_refused() -> None:
    with pytest.raises(ItemError, match="encoding must be one in which a line end is the byte"):
        LinesReader("a.txt", encoding="utf-32")
