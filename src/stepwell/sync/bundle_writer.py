"""Writes changes to a stream, or to files that are whole or not there.

LSNs are those of the log, so the same export, run again after a crash, writes the same lines.
Memory does not grow with the changes.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import msgspec

from stepwell.database.durable import disk_refusal, sync_folder
from stepwell.errors import BundleExists, BundleTooLarge
from stepwell.sync.bundle import (
    LINE_BYTES_MAX,
    End,
    LineOrder,
    LinesHash,
    Meta,
    encode_end,
    encode_line,
    encode_meta,
    part_path,
)
from stepwell.sync.bundle_files import NewFile
from stepwell.sync.change import Change

BLOCK_BYTES = 64 * 1024


class Stream(Protocol):
    """Where lines go."""

    def write(self, data: bytes, /) -> object:
        """Take some bytes."""


@dataclass(frozen=True)
class Written:
    """What an export has written.

    Attributes:
        paths: The file and its further parts.
        rows, groups: Over all of them.
        to_lsn: How far they go.
        sha256: Of the last part; the next export to the same client names it (``prev_hash``).
    """

    paths: tuple[Path, ...]
    rows: int
    groups: int
    to_lsn: int
    sha256: str


def write_bundle(stream: Stream, meta: Meta, changes: Iterable[Change]) -> End:
    """Write one whole file; answers its last line. The caller owns the stream.

    Raises:
        ValueError: the changes stand in no order that a file may have: a mistake of the caller's.
        BundleTooLarge: a row is too long for a line.
    """
    part = _Part(stream, meta, LineOrder())
    for change in changes:
        part.write(_line(change), change)
    return part.end(meta.to_lsn)


def stream_bundle(meta: Meta, changes: Iterable[Change]) -> Generator[bytes, None, End]:
    """One whole file in blocks of about ``BLOCK_BYTES``; returns its last line.

    Raises:
        ValueError, BundleTooLarge: as for :func:`write_bundle`.
    """
    block = _Block()
    part = _Part(block, meta, LineOrder())
    for change in changes:
        part.write(_line(change), change)
        if block.size >= BLOCK_BYTES:
            yield block.take()
    end = part.end(meta.to_lsn)
    yield block.take()
    return end


class _Block:
    """Collects lines."""

    def __init__(self) -> None:
        self._lines: list[bytes] = []
        self.size = 0

    def write(self, data: bytes, /) -> object:
        self._lines.append(data)
        self.size += len(data)
        return None

    def take(self) -> bytes:
        taken = b"".join(self._lines)
        self._lines, self.size = [], 0
        return taken


def write_bundle_files(
    path: Path,
    meta: Meta,
    changes: Iterable[Change],
    *,
    part_bytes_max: int | None = None,
    replace: bool = False,
) -> Written:
    """Write a file, and further parts where it would grow beyond ``part_bytes_max``.

    The bytes are those before compression; a part is longer only by its last lines, or when one
    change alone is. A name that ends in ``.gz`` or ``.zst`` says that it is compressed. The
    parts get their names when all of them are on the disk, the first one last: where it is,
    the others are. With ``replace`` a file of that name is written over.

    Raises:
        BundleExists: there is one, and ``replace`` is False.
        CompressionMissing: no module for zstd is installed.
        DatabaseError, DatabaseFull, DatabaseReadOnly: the disk refuses.
        ValueError, BundleTooLarge: as for :func:`write_bundle`.
    """
    require_free(path, replace=replace)
    files: list[NewFile] = []
    try:
        ends = list(_parts(files, path, meta, changes, part_bytes_max))
        for file in files:
            require_free(file.path, replace=replace)
        for file in reversed(files):
            file.name(replace=replace)
        sync_folder(path.absolute().parent)
    except FileExistsError as error:  # Somebody was faster.
        raise _exists(path) from error
    except OSError as error:
        raise disk_refusal(error, f"export to {str(path)!r}") from error
    finally:
        for file in files:
            file.drop()
    return Written(
        paths=tuple(file.path for file in files),
        rows=sum(end.rows for end in ends),
        groups=sum(end.groups for end in ends),
        to_lsn=meta.to_lsn,
        sha256=ends[-1].sha256,
    )


def require_free(path: Path, *, replace: bool = False) -> None:
    """Refuse a name that is taken.

    Raises:
        BundleExists: by a folder, or by a file that may not be replaced.
    """
    if path.is_dir() or (path.exists() and not replace):
        raise _exists(path)


def _exists(path: Path) -> BundleExists:
    return BundleExists(
        f"cannot export to {str(path)!r}: "
        + ("it is a folder" if path.is_dir() else "there is a file of that name"),
        hint="choose another name, or move it away",
        fields={"file": str(path)},
    )


def _parts(
    files: list[NewFile],
    path: Path,
    meta: Meta,
    changes: Iterable[Change],
    part_bytes_max: int | None,
) -> Iterator[End]:
    order = LineOrder()
    part = _next_part(files, path, meta, order)
    for change in changes:
        line = _line(change)
        if part_bytes_max is not None and part.rows and part.size + len(line) > part_bytes_max:
            # The part speaks for all LSNs before this change, also for those that are left out.
            end = part.end(change.lsn - 1, more=True)
            files[-1].close()
            yield end
            following = msgspec.structs.replace(
                meta,
                part=len(files) + 1,
                from_lsn=change.lsn,
                prev_hash=end.sha256,
                continues=order.last_tx_id if order.is_same_group(change) else "",
            )
            part = _next_part(files, path, following, order)
        part.write(line, change)
    end = part.end(meta.to_lsn)
    files[-1].close()
    yield end


def _next_part(files: list[NewFile], path: Path, meta: Meta, order: LineOrder) -> _Part:
    files.append(NewFile(part_path(path, meta.part), meta.tx_id))
    return _Part(files[-1].stream, meta, order)


class _Part:
    """One file that is being written."""

    def __init__(self, stream: Stream, meta: Meta, order: LineOrder) -> None:
        order.begin(meta)
        self.rows = 0
        self.size = 0
        self._stream = stream
        self._order = order
        self._groups_before = order.groups
        self._hash = LinesHash()
        self._put(encode_meta(meta))

    def write(self, line: bytes, change: Change) -> None:
        self._order.add(change)
        self.rows += 1
        self._put(line)

    def end(self, to_lsn: int, *, more: bool = False) -> End:
        end = End(
            rows=self.rows,
            groups=self._order.groups - self._groups_before,
            to_lsn=to_lsn,
            more=more,
            sha256=self._hash.hex(),
        )
        self._stream.write(encode_end(end) + b"\n")
        return end

    def _put(self, line: bytes) -> None:
        self._hash.add(line)
        self._stream.write(line + b"\n")
        self.size += len(line) + 1


def _line(change: Change) -> bytes:
    line = encode_line(change)
    if len(line) > LINE_BYTES_MAX:
        raise BundleTooLarge(
            f"cannot export change {change.lsn} of table {change.table_name!r}: its line has"
            f" {len(line):,} bytes, at most {LINE_BYTES_MAX:,} are allowed",
            hint=f"the row is {change.key.pk_json}; keep such values in files, and their names"
            " in the table",
            fields={"lsn": change.lsn, "table": change.table_name, "pk_json": change.key.pk_json},
        )
    return line
