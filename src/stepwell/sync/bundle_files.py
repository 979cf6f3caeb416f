"""Bundles on the disk: opened by what they are, read a line at a time, written whole or not at all.

At most one line is held, however long the file or its lines are; what a compressed file may expand
to is limited, too. Every fault is one of the errors of the change log, with file and line.
"""

from __future__ import annotations

import gzip
import importlib
import io
import os
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import IO, Any, cast

from stepwell.database.durable import disk_refusal, move_into_place
from stepwell.errors import (
    BundleDamaged,
    BundleTooLarge,
    BundleTorn,
    CompressionMissing,
    ForeignFile,
    NoSuchBundle,
    StepwellError,
)
from stepwell.sync.bundle import LINE_BYTES_MAX

GZIP_HEADER = b"\x1f\x8b"
ZSTD_HEADER = b"\x28\xb5\x2f\xfd"
BYTE_ORDER_MARK = b"\xef\xbb\xbf"

# Changes become some 5 to 50 times smaller. More is looked at only behind EXPANDED_FREE_BYTES.
EXPANSION_MAX = 200
EXPANDED_FREE_BYTES = 256 * 1024 * 1024

# The standard library's since Python 3.14, its copy for older ones, and the one of old.
_ZSTD_MODULES = ("compression.zstd", "backports.zstd", "zstandard")


class Lines:
    """The lines of one file, without their ends (LF or CR LF); use it in a ``with``.

    Attributes:
        name: The path, as errors show it.
        number: Of the line read last, counted from 1.
        again: What a person can do when the file is damaged.
    """

    def __init__(self, path: Path, *, line_bytes_max: int = LINE_BYTES_MAX) -> None:
        self.path = path
        self.name = str(path)
        self.number = 0
        self.again = "copy the file again, or have it exported again"
        self.is_ended = True  # The line read last has a line end.
        self._line_bytes_max = line_bytes_max
        self._expanded = 0
        self._open: ExitStack = ExitStack()
        self._plain: IO[bytes]
        self._is_compressed = False

    def __enter__(self) -> Lines:
        try:
            with ExitStack() as stack:
                self._file = self._opened(stack)
                self._open = stack.pop_all()
        except OSError as error:
            raise self._refusal(error) from error
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._open.close()

    def __iter__(self) -> Iterator[bytes]:
        while line := self._read():
            self.number += 1
            if self.number == 1:
                line = line.removeprefix(BYTE_ORDER_MARK)
            self.is_ended = line.endswith(b"\n")
            line = line.removesuffix(b"\n").removesuffix(b"\r")
            if not line.isascii():
                self._require_utf8(line)
            yield line

    # --- what may be wrong with it

    def torn(self, fact: str, hint: str = "") -> BundleTorn:
        """Something is missing."""
        return BundleTorn(self._cannot(fact), hint=hint or self.again, fields=self._fields())

    def damaged(self, fact: str) -> BundleDamaged:
        """The line read last is not what was written."""
        fact = f"line {self.number}: {fact}"
        return BundleDamaged(self._cannot(fact), hint=self.again, fields=self._fields())

    def other(self, fact: str) -> ForeignFile:
        """It is no file of changes at all."""
        return ForeignFile(
            self._cannot(fact),
            hint="give a file that `stepwell sync export` has written",
            fields=self._fields(),
        )

    def no_json(self, error: Exception) -> StepwellError:
        """The line read last cannot be decoded; a line that just stops is a torn file."""
        if isinstance(error, RecursionError):
            return self.damaged("its JSON is nested too deep")
        if not self.is_ended:
            return self.torn(f"it ends in the middle of line {self.number}")
        return self.damaged(fact_of(error))

    def _cannot(self, fact: str) -> str:
        return f"cannot import {self.name!r}: {fact}"

    def _fields(self) -> dict[str, object]:
        return {"file": self.name, "line": self.number}

    # --- reading

    def _opened(self, stack: ExitStack) -> IO[bytes]:
        if self.path.is_dir():
            raise NoSuchBundle(
                self._cannot("it is a folder"), hint="give a file", fields=self._fields()
            )
        plain = stack.enter_context(self.path.open("rb"))
        self._plain = plain
        header = plain.read(4)
        plain.seek(0)
        if header.startswith(GZIP_HEADER):
            opened: Any = stack.enter_context(gzip.GzipFile(fileobj=plain, mode="rb"))
        elif header == ZSTD_HEADER:
            opened = stack.enter_context(open_zstd(self.name, plain, "rb"))
        else:
            return plain
        self._is_compressed = True
        return stack.enter_context(io.BufferedReader(cast(io.RawIOBase, opened), 1 << 16))

    def _read(self) -> bytes:
        limit = self._line_bytes_max
        try:
            line = self._file.readline(limit + 2)
        except OSError as error:
            if isinstance(error, gzip.BadGzipFile):
                raise self._broken_compression(error) from error
            raise self._refusal(error) from error
        except EOFError as error:
            raise self.torn(f"its compressed data ends behind line {self.number}") from error
        except Exception as error:
            if isinstance(error, zlib.error) or type(error).__name__ == "ZstdError":
                raise self._broken_compression(error) from error
            raise
        if len(line) > limit and len(line.rstrip(b"\r\n")) > limit:
            raise BundleTooLarge(
                self._cannot(f"line {self.number + 1} has more than {limit:,} bytes"),
                hint="no export writes such a line; it is damaged, or some other file",
                fields={"file": self.name, "line": self.number + 1},
            )
        if self._is_compressed:
            self._expand(len(line))
        return line

    def _expand(self, size: int) -> None:
        self._expanded += size
        if self._expanded <= EXPANDED_FREE_BYTES:
            return
        compressed = max(1, self._plain.tell())
        if self._expanded > compressed * EXPANSION_MAX:
            raise BundleTooLarge(
                self._cannot(
                    f"its first {compressed:,} bytes expand to more than {self._expanded:,},"
                    f" {EXPANSION_MAX} times as many"
                ),
                hint="if you trust it, decompress it by hand and import the plain file",
                fields=self._fields(),
            )

    def _require_utf8(self, line: bytes) -> None:
        try:
            line.decode("utf-8")
        except UnicodeDecodeError as error:
            what = f"byte 0x{line[error.start]:02x} in column {error.start + 1} is no UTF-8"
            if self.number == 1:
                raise self.other(f"line 1: {what}") from error
            if not self.is_ended and error.reason == "unexpected end of data":
                raise self.torn(f"it ends in the middle of line {self.number}") from error
            raise self.damaged(what) from error

    def _broken_compression(self, error: Exception) -> BundleDamaged:
        fact = f"its compressed data is damaged behind line {self.number} ({fact_of(error)})"
        return BundleDamaged(self._cannot(fact), hint=self.again, fields=self._fields())

    def _refusal(self, error: OSError) -> StepwellError:
        if isinstance(error, FileNotFoundError):
            return NoSuchBundle(
                self._cannot("there is no such file"),
                hint="" if self.path.is_absolute() else f"the path is relative to {Path.cwd()}",
                fields=self._fields(),
            )
        return disk_refusal(error, f"import {self.name!r}")


class NewFile:
    """A file that gets its name when it is whole and on the disk.

    Until then it lies beside as ``.NAME.ID.tmp``; after a kill it may stay there, and the next
    export under the same id writes over it.
    """

    def __init__(self, path: Path, file_id: str) -> None:
        self.path = path
        self._temporary = path.with_name(f".{path.name}.{file_id}.tmp")
        self._plain = self._temporary.open("wb")
        self.stream: IO[bytes] = self._plain
        try:
            self.stream = self._compressed()
        except BaseException:
            self.drop()
            raise

    def close(self) -> None:
        """Nothing is written any more; it is on the disk, without its name."""
        if self.stream is not self._plain:
            self.stream.close()
        self._plain.flush()
        os.fsync(self._plain.fileno())
        self._plain.close()

    def name(self, *, replace: bool) -> None:
        """Give it its name; the caller syncs the folder.

        Raises:
            FileExistsError: a file has it already, and may not be replaced.
        """
        if replace:
            self._temporary.replace(self.path)
        else:
            move_into_place(self._temporary, self.path.absolute())

    def drop(self) -> None:
        """It will not be; also when it has its name already."""
        for stream in (self.stream, self._plain):
            with suppress(OSError, ValueError):
                stream.close()
        self._temporary.unlink(missing_ok=True)

    def _compressed(self) -> IO[bytes]:
        name = self.path.name.lower()
        if name.endswith(".gz"):
            # Without a time or a name, so that the same changes make the same file.
            compressed = gzip.GzipFile(filename="", fileobj=self._plain, mode="wb", mtime=0)
            return cast(IO[bytes], compressed)
        if name.endswith(".zst"):
            return open_zstd(str(self.path), self._plain, "wb")
        return self._plain


def open_zstd(name: str, plain: IO[bytes], mode: str) -> IO[bytes]:
    """What reads or writes zstd over a file, with whatever module there is.

    Raises:
        CompressionMissing: there is none.
    """
    for module_name in _ZSTD_MODULES:
        try:
            module: Any = importlib.import_module(module_name)
        except ImportError:
            continue
        if module_name != "zstandard":
            return cast(IO[bytes], module.ZstdFile(plain, mode))
        open_: Callable[..., Any]
        if mode == "rb":
            open_ = module.ZstdDecompressor().stream_reader
            return cast(IO[bytes], open_(plain, read_across_frames=True, closefd=False))
        open_ = module.ZstdCompressor(write_checksum=True).stream_writer
        return cast(IO[bytes], open_(plain, closefd=False))
    verb = "import" if mode == "rb" else "export to"
    raise CompressionMissing(
        f"cannot {verb} {name!r}: it is zstd, and no module for that is installed",
        hint="`pip install zstandard`, or use a file that ends in .gz",
        fields={"file": name},
    )


def fact_of(error: Exception) -> str:
    """What a decoder says, as it reads behind a colon."""
    text = (str(error) or type(error).__name__).rstrip(".")
    return text if text[:2].isupper() else text[:1].lower() + text[1:]
