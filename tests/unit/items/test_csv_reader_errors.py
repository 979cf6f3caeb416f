"""What CsvReader says when a file is not as it should be; each text names file, line and column."""

from __future__ import annotations

import gzip
import re
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from stepwell.errors import ItemError, ItemSourceMissing, MalformedItem, StepUsageError
from stepwell.items import CsvReader
from tests.unit.items.support import all_items, items_and_faults, opened, position_after, rest


def write(folder: Path, content: str | bytes, name: str = "a.csv") -> str:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return str(path)


@pytest.mark.parametrize(
    ("content", "fact"),
    [
        (b"a,b\n1,2013-01-01\nx,2013-01-01\n", "line 3 of PATH: column 'a' must be int, got 'x'"),
        (b"a,b\n1,NA\n", "line 2 of PATH: column 'b' must be date, got 'NA'"),
        (b"a,b\n\n1\n", "line 3 of PATH: it has 1 fields, 2 were expected"),
        (b"a,b\n1,2013-01-01,3\n", "line 2 of PATH: it has 3 fields, 2 were expected"),
        (
            b'"a",b\n"1",2013-01-01\n"\n\n\n",2013-01-01\n1,2013-01-01\n',
            "line 3 of PATH: column 'a' must be int, got '\\n\\n\\n'",
        ),
        (b"a,b\n1,\xe9\n", "line 2 of PATH: byte 0xe9 in column 3 of the line is no utf-8"),
        (b'a,b\n1,"2013\n', "line 2 of PATH: a quote is opened and never closed"),
        (b'a,b\n1,"2013"x\n', "line 2 of PATH: ',' expected after '\"'"),
        (b"a,b\n1,x\ry\n", "line 2 of PATH: a carriage return stands where no line ends"),
        (b"a,b\n" + b"9" * 200 + b"z,1\n", "column 'a' must be int, got '" + "9" * 100 + "…'"),
    ],
)
def test_a_faulty_record_is_named_by_file_line_and_column(
    tmp_path: Path, content: bytes, fact: str
) -> None:
    path = write(tmp_path, content)

    _, faults = items_and_faults(CsvReader(path, types={"a": int, "b": date}, rows="tuple"))

    assert [type(fault) for fault in faults] == [MalformedItem]
    assert fact.replace("PATH", repr(path)) in str(faults[0])
    assert str(faults[0]).startswith("cannot read line ")


def test_the_fields_of_a_malformed_item_are_for_programs(tmp_path: Path) -> None:
    path = write(tmp_path, "a\n1\nx\n")

    _, (fault,) = items_and_faults(CsvReader(path, types={"a": int}))

    assert isinstance(fault, MalformedItem)
    assert fault.fields == {"file": path, "line": 3, "column": "a", "value": "x"}
    assert "skip=Skip(MalformedItem" in fault.hint
    assert isinstance(fault.__cause__, ValueError)


def test_a_converter_may_raise_anything(tmp_path: Path) -> None:
    def refuse(text: str) -> str:
        raise LookupError(text)

    path = write(tmp_path, "a,b\n1,2\n")

    _, (fault,) = items_and_faults(CsvReader(path, types={"b": refuse}))

    assert "column 'b' must be refuse, got '2'" in str(fault)


def test_lines_are_counted_in_the_right_file_however_many_faults_there_are(tmp_path: Path) -> None:
    for name in ("a.csv", "b.csv.gz"):
        content = "n\n" + "".join(f"{n if n % 2 else 'x'}\n\n" for n in range(1, 9))
        raw = content.encode()
        write(tmp_path, gzip.compress(raw) if name.endswith(".gz") else raw, name)

    items, faults = items_and_faults(CsvReader(str(tmp_path / "*.csv*"), types={"n": int}))

    assert [item["n"] for item in items] == [1, 3, 5, 7] * 2
    found = [re.findall(r"line (\d+) of .*/([ab])\.", str(fault))[0] for fault in faults]
    assert found == [(line, name) for name in "ab" for line in ("4", "8", "12", "16")]


# --- at open


def test_a_missing_file_is_missing_at_open(tmp_path: Path) -> None:
    with pytest.raises(ItemSourceMissing, match=r"no-such.csv': there is no such file") as missing:
        CsvReader("no-such.csv").open(None)
    assert missing.value.hint == f"the path is relative to {str(Path.cwd())!r}"

    with pytest.raises(ItemSourceMissing, match=r"\*\.csv': no file matches"):
        CsvReader(tmp_path / "*.csv").open(None)
    with pytest.raises(ItemSourceMissing, match="it is a folder"):
        CsvReader(tmp_path).open(None)
    with pytest.raises(ItemSourceMissing, match="the list of paths is empty"):
        CsvReader([]).open(None)


def test_an_unknown_column_is_refused_with_the_nearest(tmp_path: Path) -> None:
    path = write(tmp_path, "flight,delay\n1,2\n")
    for reader in (CsvReader(path, types={"deley": int}), CsvReader(path, columns=["deley"])):
        with pytest.raises(ItemError, match=r"cannot read column 'deley' of") as unknown:
            reader.open(None)
        assert "its columns are 'flight', 'delay'" in str(unknown.value)
        assert unknown.value.hint == "did you mean 'delay'?"


def test_two_columns_of_one_name_are_refused_unless_they_are_not_read(tmp_path: Path) -> None:
    path = write(tmp_path, "a,a,b\n1,2,3\n")

    with pytest.raises(ItemError, match="2 columns are called 'a'"):
        CsvReader(path).open(None)
    assert all_items(CsvReader(path, columns=["b"])) == [{"b": "3"}]


def test_a_fault_in_the_header_of_the_last_file_is_found_before_the_first_item(
    tmp_path: Path,
) -> None:
    write(tmp_path, "a,b\n1,2\n", "1.csv")
    write(tmp_path, "b,a\n1,2\n", "2.csv")

    with pytest.raises(ItemError, match="with the other files: its header is") as refused:
        CsvReader(tmp_path / "*.csv").open(None)
    assert "columns=" in refused.value.hint


def test_a_header_that_cannot_be_decoded_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path, b"\xe9,b\n1,2\n")

    with pytest.raises(ItemError, match=r"the header of .* byte 0xe9 in column 1") as refused:
        CsvReader(path).open(None)
    assert "encoding=" in refused.value.hint
    with pytest.raises(ItemError, match="a carriage return stands where no line ends"):
        CsvReader(write(tmp_path, b"a,b\r1,2\r", "mac.csv")).open(None)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"rows": "list"}, "rows must be 'dict' or 'tuple', got 'list'"),
        ({"encoding": "utf-16"}, "encoding must be one in which a line end is the byte 0x0a"),
        ({"encoding": "utf-99"}, "encoding must be one that Python knows, got 'utf-99'"),
        ({"delimiter": ",,"}, "delimiter and quotechar must be one character each, got ',,'"),
        ({"quotechar": ""}, "delimiter and quotechar must be one character each, got ',' and ''"),
    ],
)
def test_an_option_out_of_its_range_is_refused_when_the_reader_is_made(
    options: dict[str, Any], text: str
) -> None:
    with pytest.raises(ItemError, match=re.escape(text)):
        CsvReader("a.csv", **options)


def test_reading_and_checkpoints_need_an_open_reader(tmp_path: Path) -> None:
    reader = CsvReader(write(tmp_path, "a\n1\n"))
    for _ in range(2):
        with pytest.raises(
            StepUsageError, match=r"cannot read from this CsvReader: it is not open"
        ):
            reader.read()
        reader.open(None)
        reader.close()
        with pytest.raises(StepUsageError, match="it is not open"):
            reader.checkpoint()


# --- at a restart


def checkpoint_after(path: str, reads: int) -> Any:
    return position_after(CsvReader(path), reads)[1]


@pytest.mark.parametrize("name", ["a.csv", "a.csv.gz"])
def test_a_file_that_was_cut_since_the_checkpoint_is_refused(tmp_path: Path, name: str) -> None:
    def content(text: str) -> bytes:
        return gzip.compress(text.encode()) if name.endswith(".gz") else text.encode()

    path = write(tmp_path, content("a,b\n1,2\n3,4\n"), name)
    checkpoint = checkpoint_after(path, 2)
    write(tmp_path, content("a,b\n1,2\n"), name)

    with pytest.raises(ItemError) as refused:
        CsvReader(path).open(checkpoint)
    assert str(refused.value) == (
        f"cannot go on at byte 12 of {path!r}: it has only 8 bytes, so the file was changed"
        " since the checkpoint"
    )


def test_a_file_whose_lines_have_moved_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path, "a,b\n1,2\n3,4\n")
    checkpoint = checkpoint_after(path, 1)
    write(tmp_path, "a,b\n1,222\n3,4\n")

    with pytest.raises(ItemError, match=r"at byte 8 of .*: no line ends there any more"):
        CsvReader(path).open(checkpoint)


def test_another_header_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path, "a,b\n1,2\n3,4\n")
    checkpoint = checkpoint_after(path, 1)
    write(tmp_path, "b,a\n1,2\n3,4\n")

    with pytest.raises(ItemError, match="its header is not the one it had at the checkpoint"):
        CsvReader(path).open(checkpoint)


def test_a_file_of_the_checkpoint_that_is_gone_is_missing(tmp_path: Path) -> None:
    path = write(tmp_path, "a\n1\n", "b.csv")
    checkpoint = checkpoint_after(path, 1)
    Path(path).rename(tmp_path / "c.csv")

    with pytest.raises(ItemSourceMissing, match="the file of the checkpoint is not among the 1"):
        CsvReader(tmp_path / "*.csv").open(checkpoint)


def test_files_that_came_in_front_of_the_checkpoint_are_not_passed_over(tmp_path: Path) -> None:
    path = write(tmp_path, "a\n1\n", "b.csv")
    checkpoint = checkpoint_after(path, 1)
    write(tmp_path, "a\n0\n", "a.csv")

    with pytest.raises(ItemError, match="it was file 1 at the checkpoint and is file 2 now"):
        CsvReader(tmp_path / "*.csv").open(checkpoint)


@pytest.mark.parametrize("checkpoint", [7, "x", {"offset": 3}, {"file": "a", "number": "x"}, []])
def test_the_checkpoint_of_another_reader_is_refused(tmp_path: Path, checkpoint: Any) -> None:
    with pytest.raises(ItemError, match="CsvReader wrote no such checkpoint"):
        CsvReader(write(tmp_path, "a\n1\n")).open(checkpoint)


# --- the file itself


def test_a_damaged_compressed_file_never_looks_like_the_end(tmp_path: Path) -> None:
    """Goal: whoever skips the fault does not lose the rest of the file in silence."""
    whole = gzip.compress("".join(f"{n}\n" for n in range(50_000)).encode())
    path = write(tmp_path, whole[: len(whole) // 2], "a.csv.gz")
    reader = CsvReader(path, header=["n"])
    with opened(reader):
        with pytest.raises(ItemError, match="compressed file ended before the end-of-stream"):
            rest(reader)
        with pytest.raises(ItemError, match="compressed file ended before"):
            reader.read()


def test_a_later_file_that_vanishes_never_looks_like_the_end(tmp_path: Path) -> None:
    write(tmp_path, "a\n1\n", "1.csv")
    second = Path(write(tmp_path, "a\n2\n", "2.csv"))
    reader = CsvReader(tmp_path / "*.csv", rows="tuple")
    reader.open(None)
    assert reader.read() == ("1",)
    content = second.read_bytes()
    second.unlink()
    with pytest.raises(ItemSourceMissing):
        reader.read()
    second.write_bytes(content)

    assert reader.read() == ("2",)
    assert reader.read() is None
    reader.close()
