"""A file of JSON lines that is no file of changes: a snapshot, a digest.

The first line names its kind and says of what it is, the last one counts and has the hash of all
lines before. Written whole or not at all; read a line at a time; nothing is taken from it before
``check`` has read it to its end.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Generic, TypeVar

import msgspec

from stepwell.database.durable import disk_refusal, sync_folder
from stepwell.errors import BundleExists, BundleTooNew, ForeignFile
from stepwell.sync.bundle import LinesHash
from stepwell.sync.bundle_files import Lines, NewFile, fact_of
from stepwell.sync.bundle_writer import require_free

Head = TypeVar("Head", bound=msgspec.Struct)

VERSION = 1
_NO_LINE = (ValueError, RecursionError)


class _End(msgspec.Struct, frozen=True):
    rows: int
    sha256: str


class _EndLine(msgspec.Struct):
    end: _End = msgspec.field(name="__end__")


_encoder = msgspec.json.Encoder()
_end_decoder = msgspec.json.Decoder(_EndLine)
_END = b'{"__end__":'


def write_records(
    path: Path, kind: str, file_id: str, head: msgspec.Struct, lines: Iterable[bytes]
) -> int:
    """Write a file of ``kind``; answers how many lines stand between its first and its last.

    Raises:
        BundleExists: there is a file of that name.
        CompressionMissing, DatabaseError: it cannot be written.
    """
    require_free(path)
    rows, lines_hash = 0, LinesHash()
    try:
        file = NewFile(path, file_id)
    except OSError as error:
        raise disk_refusal(error, f"write {str(path)!r}") from error
    try:
        first = {f"__{kind}__": {"version": VERSION, **msgspec.to_builtins(head)}}
        for number, line in enumerate(_behind(_encoder.encode(first), lines)):
            lines_hash.add(line)
            file.stream.write(line + b"\n")
            rows = number
        end = {"__end__": _End(rows, lines_hash.hex())}
        file.stream.write(_encoder.encode(end) + b"\n")
        file.close()
        file.name(replace=False)
        sync_folder(path.absolute().parent)
    except FileExistsError as error:
        raise BundleExists(
            f"cannot export to {str(path)!r}: there is a file of that name",
            hint="choose another name, or move it away",
            fields={"file": str(path)},
        ) from error
    except OSError as error:
        raise disk_refusal(error, f"write {str(path)!r}") from error
    finally:
        file.drop()
    return rows


def _behind(first: bytes, lines: Iterable[bytes]) -> Iterator[bytes]:
    yield first
    yield from lines


class RecordFile(Generic[Head]):
    """A file of one kind, opened by its first line.

    Attributes:
        head: What the first line says.
        hint: Which command writes such a file.
    """

    def __init__(self, path: Path, kind: str, head_type: type[Head], *, hint: str) -> None:
        self.path = path
        self.kind = kind
        self.hint = hint
        self._head_type = head_type
        with Lines(path) as lines:
            self.head, _ = self._first(lines)

    def check(self) -> int:
        """Read everything once; answers how many lines there are.

        Raises:
            BundleTorn, BundleDamaged, …: it is not whole.
        """
        return sum(1 for _ in self.lines())

    def lines(self) -> Iterator[tuple[Lines, bytes]]:
        """Each line between the first and the last, with what tells of faults in it.

        Raises:
            BundleTorn, BundleDamaged, …: at the line where it is found.
        """
        rows, lines_hash = 0, LinesHash()
        with Lines(self.path) as lines:
            _, first = self._first(lines)
            lines_hash.add(first)
            for line in lines:
                if line.startswith(_END):
                    self._require_end(lines, line, rows, lines_hash)
                    return
                if not lines.is_ended:
                    break
                rows += 1
                lines_hash.add(line)
                yield lines, line
            raise lines.torn(f"it ends behind line {lines.number}, without its last line")

    def _first(self, lines: Lines) -> tuple[Head, bytes]:
        line = next(iter(lines), None)
        if line is None:
            raise lines.torn("it is empty", hint=self.hint)
        mark = f"__{self.kind}__"
        try:
            fields = msgspec.json.decode(line, type=dict[str, dict[str, msgspec.Raw]])[mark]
            version = msgspec.json.decode(fields.pop("version"), type=int)
            if version > VERSION:
                raise BundleTooNew(
                    f"cannot read {lines.name!r}: its version is {version}, this release reads"
                    f" up to {VERSION}",
                    hint="upgrade Stepwell here",
                    fields={"file": lines.name, "version": version},
                )
            return msgspec.json.decode(_encoder.encode(fields), type=self._head_type), line
        except (*_NO_LINE, KeyError) as error:
            raise ForeignFile(
                f"cannot read {lines.name!r}: line 1 has no `{mark}`",
                hint=self.hint,
                fields={"file": lines.name},
            ) from error

    def _require_end(self, lines: Lines, line: bytes, rows: int, lines_hash: LinesHash) -> None:
        try:
            end = _end_decoder.decode(line).end
        except _NO_LINE as error:
            raise lines.damaged(fact_of(error)) from error
        if (end.rows, end.sha256) != (rows, lines_hash.hex()):
            raise lines.damaged(
                f"it counts {end.rows} lines with hash {end.sha256[:12]}…, there are {rows} with"
                f" {lines_hash.hex()[:12]}…"
            )
