"""CsvReader: the records of CSV files as typed dicts or tuples."""

from __future__ import annotations

import codecs
import csv
import difflib
import operator
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Generic, Literal, TypeVar, cast, overload

from stepwell.errors import ItemError, MalformedItem
from stepwell.items.csv_rows import RowPlan
from stepwell.items.file_reader import FileReader
from stepwell.items.file_source import READ_FAULTS, FileSource, Paths
from stepwell.items.rows import checked_names

Row = TypeVar("Row", bound="dict[str, Any] | tuple[Any, ...]")

VALUE_CHARACTERS_MAX = 100  # Of a faulty value in a message; the file has the rest.


class CsvReader(FileReader[Row], Generic[Row]):
    """Reads CSV files; each record is a dict, or, faster, a tuple.

    The checkpoint is a file and a byte offset (S94, S95): a restart seeks and reads nothing again.
    A ``.gz`` file is decompressed again up to there. Line ends may be LF or CR LF, fields
    may be quoted and hold line ends, a byte order mark and empty lines are left out, and an empty
    file has no records. Memory does not grow with the file.

    >>> reader = CsvReader("flights.csv", types={"day": date, "delay": int}, null="NA")
    >>> CsvReader("2026/*.csv.gz", columns=["id", "price"], types={"price": Decimal}, rows="tuple")
    >>> CsvReader(lambda step: step.parameters.path)

    Args:
        path: A file, a glob, or a list of them, read one behind the other: a list in its order,
            a glob sorted by name. Or a function of ``step`` (or of nothing) that returns these.
        types: For some columns int, float, bool, Decimal, date, datetime, time (ISO text), or any
            function of the text; the other columns stay text. A number is read as Python reads it.
        null: The text, or the texts, that mean None, in every column; compared before conversion.
        rows: ``"dict"``, or ``"tuple"`` in the order of the columns: about a fifth faster to read
            and what a database driver likes best.
        columns: The columns of an item, in its order; by default all of the file. With it, the
            headers of several files may differ in the columns that are not named.
        header: The names of the fields of files that have no header line.
        delimiter: One character.
        quotechar: One character; None when quotes mean nothing.
        encoding: Any in which the line end is one byte: not UTF-16 or UTF-32.

    Raises:
        ItemSourceMissing: on ``open``, a file is not there, or nothing matches the glob.
        MalformedItem: on ``read``, a record has too few or too many fields, a value that its type
            refuses, wrong quotes, or bytes of another encoding. The message names file, line,
            column and value; the next ``read`` goes on behind it, so it may be skipped. A quote
            that is never closed takes what follows with it, up to ``csv.field_size_limit()``.
        ItemError: a column is not in the header; the headers of several files differ; on a
            restart, the file is shorter than the checkpoint or has another header.
    """

    @overload
    def __init__(
        self: CsvReader[dict[str, Any]],
        path: Paths | Callable[..., Paths],
        *,
        types: Mapping[str, type | Callable[[str], Any]] | None = ...,
        null: str | Iterable[str] | None = ...,
        rows: Literal["dict"] = ...,
        columns: Sequence[str] | None = ...,
        header: Sequence[str] | None = ...,
        delimiter: str = ...,
        quotechar: str | None = ...,
        encoding: str = ...,
    ) -> None: ...

    @overload
    def __init__(
        self: CsvReader[tuple[Any, ...]],
        path: Paths | Callable[..., Paths],
        *,
        types: Mapping[str, type | Callable[[str], Any]] | None = ...,
        null: str | Iterable[str] | None = ...,
        rows: Literal["tuple"],
        columns: Sequence[str] | None = ...,
        header: Sequence[str] | None = ...,
        delimiter: str = ...,
        quotechar: str | None = ...,
        encoding: str = ...,
    ) -> None: ...

    def __init__(
        self,
        path: Paths | Callable[..., Paths],
        *,
        types: Mapping[str, type | Callable[[str], Any]] | None = None,
        null: str | Iterable[str] | None = None,
        rows: Literal["dict", "tuple"] = "dict",
        columns: Sequence[str] | None = None,
        header: Sequence[str] | None = None,
        delimiter: str = ",",
        quotechar: str | None = '"',
        encoding: str = "utf-8",
    ) -> None:
        super().__init__(path)
        if rows not in ("dict", "tuple"):
            raise ItemError(f"rows must be 'dict' or 'tuple', got {rows!r}")
        self.types = dict(types or {})
        self.nulls = frozenset([null] if isinstance(null, str) else null or ())
        self.rows = rows
        self.columns = None if columns is None else checked_names("columns", columns)
        self.header = None if header is None else tuple(header)
        self.encoding = line_encoding(encoding)
        self.dialect: dict[str, Any] = {"delimiter": delimiter, "strict": True}
        if quotechar is None:
            self.dialect |= {"quoting": csv.QUOTE_NONE, "quotechar": None}
        else:
            self.dialect |= {"quotechar": quotechar}
        try:
            csv.reader([], **self.dialect)
        except (TypeError, ValueError) as error:
            raise ItemError(
                f"delimiter and quotechar must be one character each, got {delimiter!r} and"
                f" {quotechar!r}"
            ) from error

    def open(self, checkpoint: Any = None, step: Any = None) -> None:
        """Look at the header of each file and go behind the checkpoint's record."""
        self._plan: RowPlan | None = None
        super().open(checkpoint, step)

    def _begin(self, source: FileSource) -> None:
        if self.encoding == "utf-8":
            source.skip_byte_order_mark()
        header = self.header
        if header is None:
            header = self._header_line(source)
            if header is None:
                return
            # Enough to tell another header; the whole one would be stored with each chunk.
            source.header = f"{zlib.crc32(repr(header).encode()):08x}"
        self._plan_for(header, source)

    def _header_line(self, source: FileSource) -> tuple[str, ...] | None:
        try:
            return next((tuple(row) for row in self._fields(source) if row), None)
        except (csv.Error, UnicodeError) as error:
            raise ItemError(
                f"cannot read the header of {source.name!r}: {self._fault(error)}",
                hint="give `encoding=` or `delimiter=` as the file has them",
                fields={"file": source.name},
            ) from error
        except READ_FAULTS as error:
            raise source.unreadable(error) from error

    def _plan_for(self, header: tuple[str, ...], source: FileSource) -> RowPlan:
        """Set and return the plan for a file with this header; one plan serves equal headers."""
        plan = self._plan
        if plan is not None and plan.header == header:
            return plan
        if plan is not None and self.columns is None:
            raise ItemError(
                f"cannot read {source.name!r} with the other files: its header is"
                f" {_listed(header)}, theirs is {_listed(plan.header)}",
                hint="name the columns that all have: `columns=[…]`",
                fields={"file": source.name},
            )
        columns = header if self.columns is None else self.columns
        for name in (*columns, *self.types):
            if name not in header:
                raise self._no_column(name, header, source)
            if header.count(name) > 1:
                raise ItemError(
                    f"cannot read {source.name!r}: {header.count(name)} columns are called"
                    f" {name!r}",
                    hint="choose others with `columns=[…]`",
                    fields={"file": source.name, "column": name},
                )
        self._plan = RowPlan(header, columns, self.types, self.nulls, self.rows)
        return self._plan

    def _no_column(self, name: str, header: Sequence[str], source: FileSource) -> ItemError:
        close = difflib.get_close_matches(name, header, n=1)
        return ItemError(
            f"cannot read column {name!r} of {source.name!r}: its columns are {_listed(header)}",
            hint=f"did you mean {close[0]!r}?" if close else "",
            fields={"file": source.name, "column": name},
        )

    def _records(self, source: FileSource) -> Iterator[Row]:
        plan = self._plan
        if plan is None:  # Only an empty file has no header, and it has no records either.
            return iter(())

        def explain(row: list[str] | None, error: Exception) -> Exception:
            return self._explain(plan, source, row, error)

        return plan.function(self._fields(source), explain)

    def _fields(self, source: FileSource) -> Iterator[list[str]]:
        """The fields of each record; the file is never read beyond the record asked for."""
        if self.encoding == "utf-8":
            return csv.reader(map(bytes.decode, source.file), **self.dialect)
        decode = cast(Callable[[bytes], str], operator.methodcaller("decode", self.encoding))
        return csv.reader(map(decode, source.file), **self.dialect)

    def _explain(
        self, plan: RowPlan, source: FileSource, row: list[str] | None, error: Exception
    ) -> Exception:
        if isinstance(error, READ_FAULTS) and row is None:
            return source.unreadable(error)
        line = source.line()
        if row is None:
            return _malformed(source, line, self._fault(error))
        line -= sum(field.count("\n") for field in row)
        if len(row) != len(plan.header):
            return _malformed(
                source, line, f"it has {len(row)} fields, {len(plan.header)} were expected"
            )
        wrong = plan.wrong_column(row)
        if wrong is None:
            return _malformed(source, line, f"{type(error).__name__}: {error}")
        column, value, wanted = wrong
        return _malformed(
            source,
            line,
            f"column {column!r} must be {wanted}, got {_cut(value)!r}",
            column=column,
            value=_cut(value),
        )

    def _fault(self, error: Exception) -> str:
        if isinstance(error, UnicodeDecodeError):
            byte = error.object[error.start]
            place = f"in column {error.start + 1} of the line"
            return f"byte 0x{byte:02x} {place} is no {self.encoding}"
        text = str(error)
        if text.startswith("new-line character"):
            return "a carriage return stands where no line ends"
        if text.startswith("unexpected end of data"):
            return "a quote is opened and never closed"
        return text


def line_encoding(encoding: str) -> str:
    """The encoding's own name, made sure that lines can be told apart before they are decoded."""
    try:
        name = codecs.lookup(encoding).name
        # A mark at the beginning of the file is left out, one at each line is not looked for.
        name = "utf-8" if name == "utf-8-sig" else name
        if "\n".encode(name) == b"\n":
            return name
        rule = "one in which a line end is the byte 0x0a"
    except LookupError:
        rule = "one that Python knows"
    raise ItemError(
        f"encoding must be {rule}, got {encoding!r}",
        hint="convert the file first, for example with `iconv -t utf-8`",
    )


def _malformed(source: FileSource, line: int, fact: str, **fields: object) -> MalformedItem:
    return MalformedItem(
        f"cannot read line {line} of {source.name!r}: {fact}",
        hint="mend the line, or leave such records out: `skip=Skip(MalformedItem, limit=…)`",
        fields={"file": source.name, "line": line, **fields},
    )


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(map(repr, names[:20]))
    return shown if len(names) <= 20 else f"{shown} and {len(names) - 20} more"


def _cut(value: str) -> str:
    return value if len(value) <= VALUE_CHARACTERS_MAX else value[:VALUE_CHARACTERS_MAX] + "…"
