"""CsvWriter: items as the records of a CSV file."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

from stepwell.errors import ItemError, MalformedItem
from stepwell.items.csv_reader import line_encoding
from stepwell.items.file_source import FilePath
from stepwell.items.file_writer import FileWriter
from stepwell.items.rows import Row, Rows, checked_names


class CsvWriter(FileWriter[Any]):
    """Writes a CSV file with a header line, a chunk at a time.

    A first start makes the file anew under its final name; a restart cuts it to the last committed
    chunk (S94), so no record is lost or doubled. Until the step is COMPLETED the file may end in
    records of a chunk that is not committed. Each chunk costs one fsync, within its transaction.
    What CsvReader reads back is the text that was written: lines end in LF, a field is quoted
    when it must be. None and the empty text are both written as nothing, unless ``null`` says else.

    >>> ChunkStep("export", rows, None, CsvWriter("delays.csv", columns=["day", "delay"]))

    Args:
        path: The file; a name that ends in ``.gz`` is compressed. Or a function of ``step`` (or of
            nothing) that returns it.
        columns: What of an item is written, in this order. By default all of the first item, and
            then every item must have the same. Tuples without names need it.
        header: False leaves the header line out.
        null: The text for None.
        delimiter: One character.
        encoding: Any in which the line end is one byte.

    Items are mappings, tuples or lists in the order of the columns, or objects that have the
    columns as attributes. Numbers, dates and booleans are written as ``str`` writes them.

    Raises:
        MalformedItem: an item lacks a column or cannot be encoded; nothing of its chunk is in the
            file.
        ItemError: the file was changed since the checkpoint, or cannot be written.
        ItemSourceMissing: the folder, or the file of the checkpoint, is not there.
    """

    def __init__(
        self,
        path: FilePath | Callable[..., FilePath],
        *,
        columns: Sequence[str] | None = None,
        header: bool = True,
        null: str = "",
        delimiter: str = ",",
        encoding: str = "utf-8",
    ) -> None:
        super().__init__(path)
        self.columns = None if columns is None else checked_names("columns", columns)
        self.header = header
        self.null = null
        self.delimiter = delimiter
        self.encoding = line_encoding(encoding)
        try:
            csv.writer(io.StringIO(), delimiter=delimiter)
        except (TypeError, ValueError) as error:
            raise ItemError(f"delimiter must be one character, got {delimiter!r}") from error

    def checkpoint(self) -> dict[str, Any]:
        """The length of the file, and the columns when the first item decided them."""
        position = super().checkpoint()
        if self.columns is None and self._rows.columns is not None:
            position["columns"] = list(self._rows.columns)
        return position

    def _restore(self, checkpoint: Mapping[str, Any]) -> None:
        self._rows = Rows(self.columns, repr(self._name), found=checkpoint.get("columns"))

    def _beginning(self) -> bytes:
        return self._text([self.columns]) if self.columns is not None and self.header else b""

    def _encode(self, items: Sequence[Any]) -> bytes:
        rows = self._rows.of(items)
        if self.columns is None and self.header and self._start == 0:
            return self._text([self._rows.columns or (), *rows])
        return self._text(rows)

    def _text(self, rows: Sequence[Row]) -> bytes:
        if self.null:
            rows = [[self.null if value is None else value for value in row] for row in rows]
        text = self._rendered(rows, csv.QUOTE_MINIMAL)
        if "\r" in text:
            # Python before 3.13 quotes a carriage return only when it is part of the line end, and
            # no reader could tell it from one.
            text = "".join(
                self._rendered([row], csv.QUOTE_ALL if has_return(row) else csv.QUOTE_MINIMAL)
                for row in rows
            )
        try:
            return text.encode(self.encoding)
        except UnicodeEncodeError as error:
            raise MalformedItem(
                f"cannot write {error.object[error.start]!r} to {self._name!r}: {self.encoding}"
                " has no such character",
                hint="`encoding='utf-8'` has them all",
                fields={"file": self._name},
            ) from error

    def _rendered(self, rows: Sequence[Row], quoting: Literal[0, 1]) -> str:
        buffer = io.StringIO(newline="")
        csv.writer(
            buffer, delimiter=self.delimiter, lineterminator="\n", quoting=quoting
        ).writerows(rows)
        return buffer.getvalue()


def has_return(row: Row) -> bool:
    """Whether a value's text holds a carriage return."""
    return any("\r" in str(value) for value in row)
