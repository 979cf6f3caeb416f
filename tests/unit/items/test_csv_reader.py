"""CsvReader: every record once, typed, in order, whatever the restart and the quoting."""

from __future__ import annotations

import csv
import gzip
import io
from datetime import UTC, date, datetime, time
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepwell.errors import MalformedItem
from stepwell.items import CsvReader
from tests.unit.items.support import (
    all_items,
    items_and_faults,
    opened,
    position_after,
    rest,
    stored,
)

FLIGHTS = "day,flight,delay,carrier\n2013-01-01,1545,2,UA\n2013-01-02,1714,NA,AA\n"


def write(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


@pytest.fixture
def flights(tmp_path: Path) -> Path:
    return write(tmp_path / "flights.csv", FLIGHTS)


# --- what an item is


def test_a_record_is_a_dict_of_text(flights: Path) -> None:
    assert all_items(CsvReader(flights)) == [
        {"day": "2013-01-01", "flight": "1545", "delay": "2", "carrier": "UA"},
        {"day": "2013-01-02", "flight": "1714", "delay": "NA", "carrier": "AA"},
    ]


def test_types_and_nulls_are_converted_in_dicts(flights: Path) -> None:
    types = {"day": date, "flight": int, "delay": float}

    assert all_items(CsvReader(flights, types=types, null="NA")) == [
        {"day": date(2013, 1, 1), "flight": 1545, "delay": 2.0, "carrier": "UA"},
        {"day": date(2013, 1, 2), "flight": 1714, "delay": None, "carrier": "AA"},
    ]


def test_types_and_nulls_are_converted_in_tuples(flights: Path) -> None:
    reader = CsvReader(flights, types={"flight": int}, null={"NA", "AA"}, rows="tuple")

    assert all_items(reader) == [
        ("2013-01-01", 1545, "2", "UA"),
        ("2013-01-02", 1714, None, None),
    ]


def test_columns_choose_and_order(flights: Path) -> None:
    columns = ["carrier", "flight"]
    types = {"flight": int}

    assert all_items(CsvReader(flights, columns=columns, types=types, rows="tuple")) == [
        ("UA", 1545),
        ("AA", 1714),
    ]
    assert list(all_items(CsvReader(flights, columns=columns))[0]) == columns
    assert all_items(CsvReader(flights, columns=["carrier"], rows="tuple")) == [("UA",), ("AA",)]


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        (int, "-7", -7),
        (float, "1.5", 1.5),
        (Decimal, "1.10", Decimal("1.10")),
        (str, "x", "x"),
        (bool, "Yes", True),
        (bool, "0", False),
        (bool, "false", False),
        (date, "2026-11-20", date(2026, 11, 20)),
        (datetime, "2026-11-20T01:02:03Z", datetime(2026, 11, 20, 1, 2, 3, tzinfo=UTC)),
        (time, "01:02", time(1, 2)),
        (str.upper, "x", "X"),
        (lambda text: int(text, 16), "ff", 255),
    ],
)
def test_a_type_reads_its_text(tmp_path: Path, kind: Any, text: str, value: object) -> None:
    path = write(tmp_path / "a.csv", f"a\n{text}\n")

    assert all_items(CsvReader(path, types={"a": kind})) == [{"a": value}]


def test_names_of_columns_are_never_code(tmp_path: Path) -> None:
    """Goal: the compiled row function is made of positions. Method: names that would break it."""
    names = ['"]; raise SystemExit #', "import os", "v0", "ünï", "", "lambda"]
    path = tmp_path / "a.csv"
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([names, ["1", "2", "3", "4", "5", "6"]])

    assert all_items(CsvReader(path, types=dict.fromkeys(names, int))) == [
        dict(zip(names, range(1, 7), strict=True))
    ]


def test_a_file_without_a_header_line_has_its_names_given(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "1,x\n2,y\n")

    assert all_items(CsvReader(path, header=["id", "name"], types={"id": int})) == [
        {"id": 1, "name": "x"},
        {"id": 2, "name": "y"},
    ]


def test_other_delimiters_and_quotes(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tsv", "a\tb\n'1\t2'\t\"\n")
    assert all_items(CsvReader(path, delimiter="\t", quotechar="'", rows="tuple")) == [
        ("1\t2", '"')
    ]
    path = write(tmp_path / "b.tsv", 'a\tb\n"1\t2"\n')
    assert all_items(CsvReader(path, delimiter="\t", quotechar=None, rows="tuple")) == [
        ('"1', '2"')
    ]


# --- what files look like


@pytest.mark.parametrize(
    "content",
    [
        b"a,b\n1,2\n3,4\n",
        b"a,b\r\n1,2\r\n3,4\r\n",
        b"a,b\n1,2\n3,4",  # no line end behind the last record
        b"\xef\xbb\xbfa,b\n1,2\n3,4\n",  # byte order mark
        b"\n\na,b\n\n1,2\r\n\r\n3,4\n\n\n",  # empty lines
        b'"a","b"\n"1","2"\n3,"4"\n',
    ],
)
def test_line_ends_marks_and_empty_lines_do_not_matter(tmp_path: Path, content: bytes) -> None:
    path = write(tmp_path / "a.csv", content)

    assert all_items(CsvReader(path, rows="tuple")) == [("1", "2"), ("3", "4")]


def test_the_byte_order_mark_is_left_out_under_either_name_of_the_encoding(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", b"\xef\xbb\xbfa\n1\n")

    assert all_items(CsvReader(path, encoding="utf-8-sig")) == [{"a": "1"}]


@pytest.mark.parametrize("encoding", ["latin-1", "cp1252", "shift_jis", "gb18030"])
def test_other_encodings(tmp_path: Path, encoding: str) -> None:
    text = "名,b\nあ,2\n" if encoding in ("shift_jis", "gb18030") else "é,b\nü,2\n"
    path = write(tmp_path / "a.csv", text.encode(encoding))

    assert all_items(CsvReader(path, encoding=encoding, rows="tuple")) == [(text[4], "2")]


def test_an_empty_file_has_no_records(tmp_path: Path) -> None:
    reader = CsvReader(write(tmp_path / "a.csv", ""))
    assert all_items(reader) == []

    _, checkpoint = position_after(reader, 1)
    assert all_items(reader, checkpoint) == []


def test_a_header_without_records_has_none(tmp_path: Path) -> None:
    assert all_items(CsvReader(write(tmp_path / "a.csv", "a,b"))) == []


def test_a_compressed_file_is_read_and_rewound_like_any_other(tmp_path: Path) -> None:
    path = write(tmp_path / "flights.csv.gz", gzip.compress(FLIGHTS.encode()))
    reader = CsvReader(path)
    first, checkpoint = position_after(reader, 1)

    assert [*first, *all_items(reader, checkpoint)] == [
        {"day": "2013-01-01", "flight": "1545", "delay": "2", "carrier": "UA"},
        {"day": "2013-01-02", "flight": "1714", "delay": "NA", "carrier": "AA"},
    ]


# --- several files


def test_files_of_a_glob_follow_in_the_order_of_their_names(tmp_path: Path) -> None:
    for name in ("b", "c", "a"):
        write(tmp_path / f"{name}.csv", f"x\n{name}1\n{name}2\n")
    write(tmp_path / "d.csv", "")
    (tmp_path / "folder.csv").mkdir()

    got = all_items(CsvReader(tmp_path / "*.csv", rows="tuple"))

    assert [text for (text,) in got] == ["a1", "a2", "b1", "b2", "c1", "c2"]


def test_a_list_keeps_its_order_and_names_no_file_twice(tmp_path: Path) -> None:
    for name in "ab":
        write(tmp_path / f"{name}.csv", f"x\n{name}\n")

    reader = CsvReader([tmp_path / "b.csv", str(tmp_path / "*.csv")], rows="tuple")

    assert all_items(reader) == [("b",), ("a",)]


def test_a_file_may_be_called_like_a_glob(tmp_path: Path) -> None:
    path = write(tmp_path / "data[1].csv", "a\n1\n")

    assert all_items(CsvReader(path)) == [{"a": "1"}]


def test_the_path_may_come_from_the_parameters(flights: Path) -> None:
    reader = CsvReader(lambda step: step.parameters["path"], columns=["flight"], rows="tuple")
    with opened(reader, None, SimpleNamespace(parameters={"path": flights})):
        assert rest(reader) == [("1545",), ("1714",)]


def test_headers_of_several_files_may_differ_in_columns_that_are_not_read(tmp_path: Path) -> None:
    write(tmp_path / "1.csv", "id,old\n1,x\n")
    write(tmp_path / "2.csv", "new,id\ny,2\n")
    reader = CsvReader(tmp_path / "*.csv", columns=["id"], types={"id": int}, rows="tuple")

    assert all_items(reader) == [(1,), (2,)]


# --- restart

texts = st.text(st.sampled_from('ab,"\n\r é\u2028\x00'), max_size=6)
tables = st.integers(1, 3).flatmap(
    lambda width: st.lists(st.lists(texts, min_size=width, max_size=width), min_size=1, max_size=8)
)


def as_csv(rows: list[list[str]], **dialect: Any) -> str:
    buffer = io.StringIO(newline="")
    csv.writer(buffer, **dialect).writerows(rows)
    return buffer.getvalue()


@given(
    tables=st.lists(tables, min_size=1, max_size=3),
    line_end=st.sampled_from(["\n", "\r\n"]),
    last_line_end=st.booleans(),
    data=st.data(),
)
def test_after_a_restart_at_any_record_of_any_content_the_remainder_follows(
    tmp_path_factory: pytest.TempPathFactory,
    tables: list[list[list[str]]],
    line_end: str,
    last_line_end: bool,
    data: st.DataObject,
) -> None:
    """Goal: S94. Method: random fields with quotes, line ends and delimiters, in several files."""
    folder = tmp_path_factory.mktemp("csv")
    expected: list[tuple[str, ...]] = []
    width = len(tables[0][0])
    header = [f"h{n}" for n in range(width)]
    for number, table in enumerate(tables):
        rows = [(row + [""] * width)[:width] for row in table]
        content = as_csv([header, *rows], quoting=csv.QUOTE_ALL, lineterminator=line_end)
        content = content if last_line_end else content.removesuffix(line_end)
        write(folder / f"{number}.csv", content)
        expected += map(tuple, rows)
    reader = CsvReader(folder / "*.csv", rows="tuple")
    k = data.draw(st.integers(0, len(expected) + 1))

    first, checkpoint = position_after(reader, k)

    assert [*first, *all_items(reader, checkpoint)] == expected
    assert first == expected[:k]


@pytest.mark.parametrize("reads", range(8))
def test_faulty_records_are_passed_once_also_by_a_restart(tmp_path: Path, reads: int) -> None:
    """Goal: S117 with S94. Method: restart after each read attempt, faulty ones included."""
    content = 'a,b\n1,x\nno,x\n"2","x\n\ny"\n3\n4,x\n"5"z,x\n6,x\n'
    path = write(tmp_path / "a.csv", content)
    reader = CsvReader(path, types={"a": int}, rows="tuple")
    got: list[int | str] = []
    reader.open(None)
    for _ in range(reads):
        try:
            item = reader.read()
        except MalformedItem:
            got.append("fault")
        else:
            got += [] if item is None else [item[0]]
    checkpoint = stored(reader.checkpoint())
    reader.close()
    items, faults = items_and_faults(reader, checkpoint)

    assert got == [1, "fault", 2, "fault", 4, "fault", 6][:reads]
    assert [n for n in got if n != "fault"] + [n for n, _ in items] == [1, 2, 4, 6]
    assert got.count("fault") + len(faults) == 3


def test_files_that_were_read_may_be_moved_away_before_a_restart(tmp_path: Path) -> None:
    for name in "abc":
        write(tmp_path / f"{name}.csv", f"x\n{name}1\n{name}2\n")
    reader = CsvReader(tmp_path / "*.csv", rows="tuple")
    _, checkpoint = position_after(reader, 3)
    (tmp_path / "a.csv").unlink()
    write(tmp_path / "d.csv", "x\nd1\n")

    assert all_items(reader, checkpoint) == [("b2",), ("c1",), ("c2",), ("d1",)]


def test_a_file_that_has_grown_is_read_on(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "a\n1\n2")
    reader = CsvReader(path, rows="tuple")
    _, checkpoint = position_after(reader, 3)
    write(path, "a\n1\n2\n3\n")

    assert all_items(reader, checkpoint) == [("3",)]
