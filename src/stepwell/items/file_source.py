"""The files that a reader reads: which ones, opened how, and on which line an offset lies."""

from __future__ import annotations

import glob
import gzip
import io
import os
import pathlib
import zlib
from collections.abc import Callable, Sequence
from typing import Any, BinaryIO, TypeAlias, cast

from stepwell.errors import ItemError, ItemSourceMissing
from stepwell.job.function import with_arguments

FilePath: TypeAlias = str | os.PathLike[str]
Paths: TypeAlias = FilePath | Sequence[FilePath]

# What reading a file may raise besides a fault of one record. EOFError and zlib.error come from a
# damaged .gz file.
READ_FAULTS = (OSError, EOFError, zlib.error)
COUNT_BLOCK_BYTES = 1 << 20  # Line ends are counted in blocks of it.
UTF_8_MARK = b"\xef\xbb\xbf"


def resolve_paths(paths: Paths | Callable[..., Paths], step: Any) -> list[str]:
    """The names of the files, each once: a list in its order, a glob sorted.

    Raises:
        ItemSourceMissing: a name or a glob that nothing has.
    """
    if callable(paths):
        paths = cast(Paths, with_arguments(paths, 1)(step))
    several = [paths] if isinstance(paths, (str, os.PathLike)) else list(paths)
    if not several:
        raise ItemSourceMissing("cannot read files: the list of paths is empty")
    names: dict[str, None] = {}
    for path in [os.fspath(path) for path in several]:
        # A name that exists wins over its reading as a glob: `data[1].csv` may be a file.
        found = [path] if pathlib.Path(path).exists() else _matches(path)
        if not found:
            raise _missing(path)
        names.update(dict.fromkeys(found))
    return list(names)


class FileSource:
    """One file open for reading, as bytes; a name that ends in ``.gz`` is decompressed.

    ``file`` may be iterated line by line at the speed of C, and its position is exact after each
    line, which is what makes a byte offset a checkpoint.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.header: str | None = None
        self.file = _open(name)
        self._counting: BinaryIO | None = None
        self._counted_to = self._lines = 0
        self._ends_with_newline = True

    def close(self) -> None:
        """Close the file; a second call does nothing."""
        self.file.close()
        if self._counting is not None:
            self._counting.close()
            self._counting = None

    def offset(self) -> int:
        """The bytes before the next record; in a ``.gz`` file, of what it decompresses to."""
        return self.file.tell()

    def skip_byte_order_mark(self) -> None:
        """Leave out the mark that some programs put before UTF-8."""
        if self.file.peek(3)[:3] == UTF_8_MARK:
            self.file.seek(3)

    def is_at_end(self) -> bool:
        """Whether nothing is left to read.

        Raises:
            ItemError: the file is damaged or cannot be read.
        """
        try:
            return not self.file.peek(1)
        except READ_FAULTS as error:
            raise self.unreadable(error) from error

    def seek(self, offset: int) -> None:
        """Go to an offset that was the end of a record.

        Raises:
            ItemError: the file is shorter, or no line ends there: it was changed meanwhile.
        """
        beginning = self.offset()
        if offset <= beginning:
            if offset < beginning:
                raise self._changed(offset, f"its first record begins at byte {beginning}")
            return
        try:
            self.file.seek(offset - 1)
            before = self.file.read(1)
            behind = self.file.peek(1)[:1]
        except READ_FAULTS as error:
            raise self.unreadable(error) from error
        if not before:
            self.file.seek(0, io.SEEK_END)
            raise self._changed(offset, f"it has only {self.offset()} bytes")
        if before != b"\n" and behind not in (b"", b"\n", b"\r"):
            raise self._changed(offset, "no line ends there any more")

    def line(self) -> int:
        """The number of the line that ends at the present offset; lines count from 1.

        Called for faults only: it reads the file up to there, each byte once however many faults
        there are, so that nothing need be counted while all is well.
        """
        target = self.offset()
        if self._counting is None:
            self._counting = _open(self.name)
        while self._counted_to < target:
            block = self._counting.read(min(COUNT_BLOCK_BYTES, target - self._counted_to))
            if not block:
                break
            self._counted_to += len(block)
            self._lines += block.count(b"\n")
            self._ends_with_newline = block.endswith(b"\n")
        return self._lines if self._ends_with_newline else self._lines + 1

    def unreadable(self, error: Exception) -> ItemError:
        """The error for a fault of the file itself, behind which nothing can be read."""
        return ItemError(
            f"cannot read {self.name!r}: {_fact(error)}",
            hint="copy the file again and restart: the step goes on behind its last chunk",
            fields={"file": self.name},
        )

    def _changed(self, offset: int, fact: str) -> ItemError:
        return ItemError(
            f"cannot go on at byte {offset} of {self.name!r}: {fact}, so the file was changed"
            " since the checkpoint",
            hint="put the file back as it was, or abandon the execution and start anew",
            fields={"file": self.name, "offset": offset},
        )


def _matches(pattern: str) -> list[str]:
    # pathlib's own glob knows no absolute patterns.
    names = glob.glob(pattern, recursive=True)  # noqa: PTH207
    return sorted(name for name in names if not pathlib.Path(name).is_dir())


def _open(name: str) -> io.BufferedReader:
    try:
        if name.endswith(".gz"):
            # Around GzipFile, whose own lines are made in Python.
            return io.BufferedReader(cast(io.RawIOBase, gzip.open(name, "rb")))
        return pathlib.Path(name).open("rb")
    except FileNotFoundError:
        raise _missing(name) from None
    except IsADirectoryError:
        raise ItemSourceMissing(
            f"cannot read {name!r}: it is a folder",
            hint=f"{str(pathlib.Path(name, '*'))!r} reads the files in it",
            fields={"file": name},
        ) from None
    except OSError as error:
        raise ItemError(f"cannot read {name!r}: {_fact(error)}", fields={"file": name}) from error


def _missing(name: str) -> ItemSourceMissing:
    path = pathlib.Path(name)
    return ItemSourceMissing(
        f"cannot read {name!r}: "
        + ("no file matches" if glob.has_magic(name) else "there is no such file"),
        hint="" if path.is_absolute() else f"the path is relative to {str(path.cwd())!r}",
        fields={"file": name},
    )


def _fact(error: Exception) -> str:
    strerror = getattr(error, "strerror", None)
    text = (strerror or str(error) or type(error).__name__).rstrip(".")
    return text[:1].lower() + text[1:]
