"""Text files, a line an item."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from stepwell.errors import MalformedItem
from stepwell.items.csv_reader import line_encoding
from stepwell.items.file_reader import FileReader
from stepwell.items.file_source import READ_FAULTS, FilePath, FileSource, Paths
from stepwell.items.file_writer import FileWriter


class LinesReader(FileReader[str]):
    """Reads the lines of text files, without their line ends (LF or CR LF).

    The checkpoint is a file and a byte offset (S94, S95): a restart seeks and reads nothing again.
    A ``.gz`` file is decompressed again up to there. An empty line is an item too; a byte order
    mark is left out. Memory does not grow with the file.

    >>> LinesReader("access.log*")

    Args:
        path: A file, a glob, or a list of them, read one behind the other: a list in its order,
            a glob sorted by name. Or a function of ``step`` (or of nothing) that returns these.
        encoding: Any in which the line end is one byte: not UTF-16 or UTF-32.

    Raises:
        ItemSourceMissing: on ``open``, a file is not there, or nothing matches the glob.
        MalformedItem: on ``read``, a line has bytes of another encoding; the next ``read`` goes on
            behind it, so it may be skipped.
        ItemError: on a restart, the file is shorter than the checkpoint.
    """

    def __init__(self, path: Paths | Callable[..., Paths], *, encoding: str = "utf-8") -> None:
        super().__init__(path)
        self.encoding = line_encoding(encoding)

    def _begin(self, source: FileSource) -> None:
        if self.encoding == "utf-8":
            source.skip_byte_order_mark()

    def _records(self, source: FileSource) -> Iterator[str]:
        encoding = self.encoding
        try:
            for line in source.file:
                yield line.decode(encoding).removesuffix("\n").removesuffix("\r")
        except UnicodeDecodeError as error:
            number = source.line()
            byte = error.object[error.start]
            raise MalformedItem(
                f"cannot read line {number} of {source.name!r}: byte 0x{byte:02x} in column"
                f" {error.start + 1} is no {encoding}",
                hint="give `encoding=` as the file has it",
                fields={"file": source.name, "line": number, "column": error.start + 1},
            ) from error
        except READ_FAULTS as error:
            raise source.unreadable(error) from error


class LinesWriter(FileWriter[str]):
    """Writes a text file, an item a line, a chunk at a time.

    A first start makes the file anew under its final name; a restart cuts it to the last committed
    chunk (S94), so no line is lost or doubled. Until the step is COMPLETED the file may end in
    lines of a chunk that is not committed. Each chunk costs one fsync, within its transaction.

    >>> ChunkStep("report", names, str.upper, LinesWriter("names.txt"))

    Args:
        path: The file; a name that ends in ``.gz`` is compressed. Or a function of ``step`` (or of
            nothing) that returns it.
        encoding: Any in which the line end is one byte.

    Raises:
        MalformedItem: an item is no text, holds a line end, or has a character that the encoding
            has not; nothing of its chunk is in the file.
        ItemError: the file was changed since the checkpoint, or cannot be written.
        ItemSourceMissing: the folder, or the file of the checkpoint, is not there.
    """

    def __init__(
        self, path: FilePath | Callable[..., FilePath], *, encoding: str = "utf-8"
    ) -> None:
        super().__init__(path)
        self.encoding = line_encoding(encoding)

    def _encode(self, items: Sequence[str]) -> bytes:
        try:
            text = "\n".join(items) + "\n"
            if text.count("\n") == len(items) and "\r\n" not in text:
                return text.encode(self.encoding)
        except (TypeError, UnicodeEncodeError):
            pass  # The search below says which item it was.
        for number, item in enumerate(items, 1):
            fact = self._fault(item)
            if fact is not None:
                raise MalformedItem(
                    f"cannot write item {number} of the chunk to {self._name!r}: {fact}",
                    hint="let the processor return the text of one line",
                    fields={"file": self._name, "item": number},
                )
        raise AssertionError("a line that could not be written can be written now")

    def _fault(self, item: object) -> str | None:
        if not isinstance(item, str):
            return f"it is a {type(item).__name__}, not text"
        if "\n" in item or item.endswith("\r"):
            return "it holds a line end"
        try:
            item.encode(self.encoding)
        except UnicodeEncodeError as error:
            return f"{self.encoding} has no character {item[error.start]!r}"
        return None
