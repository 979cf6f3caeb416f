"""Reads files of changes, group by group, and refuses whatever is not as it was written.

A file is only known to be whole at its end, so whoever applies groups calls ``check`` first.
Nothing is written, and memory grows neither with the file nor with a group.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from stepwell.errors import BundleTooNew, StepwellError
from stepwell.sync.bundle import (
    CHANGE_BEGINS,
    LINE_BYTES_MAX,
    MAJOR_VERSION,
    MARK,
    End,
    LineOrder,
    LinesHash,
    Meta,
    decode_end,
    decode_line,
    decode_meta,
    part_path,
)
from stepwell.sync.bundle_files import Lines, fact_of
from stepwell.sync.change import NODE_ID, Change
from stepwell.sync.classic import classic_lines, classic_meta

# What a decoder raises for bytes that it does not understand.
_NO_LINE = (ValueError, RecursionError)


class ChangeLine(NamedTuple):
    """A change, and where it stands."""

    path: Path
    line: int
    change: Change


@dataclass(frozen=True)
class BundleGroup:
    """One group of a file; its lines are read while they are iterated, once.

    Going on to the next group passes over those that are left.
    """

    origin: str
    epoch: int
    seq: int
    lines: Iterator[ChangeLine]

    def changes(self) -> Iterator[Change]:
        """Without their places."""
        for line in self.lines:
            yield line.change


@dataclass(frozen=True)
class Checked:
    """What a whole file holds.

    Attributes:
        rows, groups: Over all parts.
        to_lsn: How far it goes in the log of its source.
        sha256: Of the last part; empty for a classic file, which has none.
        parts: How many.
    """

    rows: int
    groups: int
    to_lsn: int
    sha256: str
    parts: int


class Bundle:
    """One file of changes with its further parts; :func:`open_bundle` makes it.

    Attributes:
        path: Of the first part.
        meta: Its first line.
        is_classic: It is of version 1.0.
    """

    def __init__(self, path: Path, meta: Meta, *, is_classic: bool, line_bytes_max: int) -> None:
        self.path = path
        self.meta = meta
        self.is_classic = is_classic
        self._line_bytes_max = line_bytes_max
        self._last = Checked(0, 0, 0, "", 0)

    def groups(self) -> Iterator[BundleGroup]:
        """All groups in order, and at the end the proof that the file was whole.

        Raises:
            BundleTorn, BundleDamaged, BundleTooLarge, …: at the line where it is found.
        """
        for group, lines in groupby(self.lines(), _group_of):
            yield BundleGroup(*group, lines=lines)

    def lines(self) -> Iterator[ChangeLine]:
        """The same without groups."""
        if self.is_classic:
            return self._classic()
        return self._parts()

    def check(self) -> Checked:
        """Read everything once; answers what there is.

        Raises:
            BundleTorn, BundleDamaged, BundleTooLarge, …: it is not whole.
        """
        for _ in self.lines():
            pass
        return self._last

    @property
    def last_checked(self) -> Checked:
        """What there was, once everything has been read to the end."""
        return self._last

    def _classic(self) -> Iterator[ChangeLine]:
        rows = groups = to_lsn = 0
        last = None
        with Lines(self.path, line_bytes_max=self._line_bytes_max) as lines:
            for number, change in classic_lines(lines, self.meta):
                rows += 1
                groups += (change.origin, change.seq) != last
                last = change.origin, change.seq
                to_lsn = max(to_lsn, change.lsn)
                yield ChangeLine(self.path, number, change)
        self._last = Checked(rows, groups, to_lsn, "", 1)

    def _parts(self) -> Iterator[ChangeLine]:
        order = LineOrder()
        meta, part, end = self.meta, 1, None
        while end is None or end.more:
            path = part_path(self.path, part)
            if part > 1 and not path.exists():
                with Lines(part_path(self.path, part - 1)) as before:
                    raise before.torn(
                        f"it goes on in part {part}, and there is no {str(path)!r}",
                        hint="copy all parts into one folder",
                    )
            with Lines(path, line_bytes_max=self._line_bytes_max) as lines:
                hash_of_lines = LinesHash()
                meta = _read_first(lines, hash_of_lines)
                if part == 1:
                    self._require_the_same(lines, meta)
                elif end is not None:
                    _require_next(lines, self.meta, meta, part, end)
                try:
                    order.begin(meta)
                except ValueError as error:
                    raise lines.damaged(str(error)) from error
                end = yield from _part(path, lines, meta, order, hash_of_lines)
            part += 1
        self._last = Checked(order.rows, order.groups, end.to_lsn, end.sha256, part - 1)

    def _require_the_same(self, lines: Lines, meta: Meta) -> None:
        if meta != self.meta:
            raise lines.damaged("another file has been put in its place since it was opened")


def open_bundle(path: Path, *, line_bytes_max: int = LINE_BYTES_MAX) -> Bundle:
    """Look at the first line of a file; the rest is read by the methods of what is answered.

    It may be compressed, by gzip or zstd, whatever its name says.

    Raises:
        NoSuchBundle, ForeignFile, BundleTooNew, BundleTorn, BundleDamaged, BundleTooLarge,
        CompressionMissing, DatabaseError: nothing of it can be read.
    """
    with Lines(path, line_bytes_max=line_bytes_max) as lines:
        fields, _ = _first_fields(lines)
        if _is_classic(lines, fields):
            meta = classic_meta(lines, fields)
            return Bundle(path, meta, is_classic=True, line_bytes_max=line_bytes_max)
        meta = _meta(lines, fields)
        if meta.part != 1:
            raise lines.torn(
                f"it is part {meta.part} of several",
                hint="import the first part, the one without `.part` in its name",
            )
    return Bundle(path, meta, is_classic=False, line_bytes_max=line_bytes_max)


def _group_of(line: ChangeLine) -> tuple[str, int, int]:
    return line.change.origin, line.change.epoch, line.change.seq


# --- the first line ---------------------------------------------------------------------------


def _first_fields(lines: Lines) -> tuple[dict[str, Any], bytes]:
    line = next(iter(lines), None)
    if line is None:
        raise lines.torn("it is empty")
    if not line.lstrip().startswith(b"{"):
        raise lines.other("line 1 is no JSON object")
    try:
        return decode_meta(line), line
    except _NO_LINE as error:
        if lines.is_ended or isinstance(error, RecursionError) or b'"__meta__"' not in line:
            raise lines.other("line 1 has no `__meta__`") from error
        raise lines.no_json(error) from error


def _read_first(lines: Lines, hash_of_lines: LinesHash) -> Meta:
    fields, line = _first_fields(lines)
    hash_of_lines.add(line)
    if _is_classic(lines, fields):
        raise lines.damaged("it is of version 1, the part before is not")
    return _meta(lines, fields)


def _is_classic(lines: Lines, fields: dict[str, Any]) -> bool:
    version = fields.get("file_version")
    if version is None:
        return True
    major = str(version).partition(".")[0]
    if isinstance(version, bool) or not (major.isascii() and major.isdecimal()):
        raise lines.damaged(f"file_version must be a number such as 2.0, got {version!r}")
    if int(major[:9]) > MAJOR_VERSION:
        raise BundleTooNew(
            f"cannot import {lines.name!r}: its file_version is {version}, this release reads up"
            f" to {MAJOR_VERSION}",
            hint="upgrade Stepwell here",
            fields={"file": lines.name, "file_version": str(version)},
        )
    return int(major) < MAJOR_VERSION


def _meta(lines: Lines, fields: dict[str, Any]) -> Meta:
    fields = {**fields, "file_version": str(fields["file_version"])}
    try:
        meta = msgspec.convert(fields, Meta)
    except _NO_LINE as error:
        raise lines.damaged(fact_of(error)) from error
    if not (NODE_ID.fullmatch(meta.source_node) and meta.tx_id and meta.epoch >= 1):
        raise lines.damaged("tx_id, source_node and epoch must name a file and its node")
    if meta.part < 1 or meta.from_lsn < 1 or meta.to_lsn < meta.from_lsn - 1:
        raise lines.damaged(
            f"part {meta.part} from LSN {meta.from_lsn} to {meta.to_lsn} is no part of a log"
        )
    lines.again = (
        f"copy the file again; or, on {meta.source_node},"
        f" `stepwell sync export --to FILE --since {meta.from_lsn - 1}`"
    )
    return meta


def _require_next(lines: Lines, first: Meta, meta: Meta, part: int, before: End) -> None:
    if meta.tx_id != first.tx_id or meta.part != part:
        raise lines.torn(
            f"it is part {meta.part} of export {meta.tx_id!r}, part {part} of"
            f" {first.tx_id!r} must follow",
            hint="copy all parts of one export into one folder",
        )
    if meta.prev_hash != before.sha256 or meta.from_lsn != before.to_lsn + 1:
        raise lines.damaged("it does not follow the part before, which has another hash")


# --- the lines behind it ----------------------------------------------------------------------


def _part(
    path: Path, lines: Lines, meta: Meta, order: LineOrder, hash_of_lines: LinesHash
) -> Generator[ChangeLine, None, End]:
    """The changes of one part; returns its last line."""
    rows, groups = order.rows, order.groups
    for line in lines:
        if not line.startswith(CHANGE_BEGINS) and MARK.match(line):
            end = _end(lines, line)
            _require_end(lines, end, hash_of_lines, meta, order)
            if (end.rows, end.groups) != (order.rows - rows, order.groups - groups):
                raise lines.damaged(
                    f"it counts {end.rows} changes in {end.groups} groups, there are"
                    f" {order.rows - rows} in {order.groups - groups}"
                )
            _require_nothing_more(lines)
            return end
        try:
            change = decode_line(line)
        except _NO_LINE as error:
            raise _no_change(lines, line, error) from error
        if not lines.is_ended:
            raise lines.torn(f"it ends behind line {lines.number}, without its last line")
        try:
            order.add(change)
        except ValueError as error:
            raise lines.damaged(str(error)) from error
        hash_of_lines.add(line)
        yield ChangeLine(path, lines.number, change)
    raise lines.torn(f"it ends behind line {lines.number}, without its last line")


def _no_change(lines: Lines, line: bytes, error: Exception) -> StepwellError:
    if not line.strip():
        return lines.damaged("it is empty")
    return lines.no_json(error)


def _end(lines: Lines, line: bytes) -> End:
    if b"__meta__" in line[:40]:
        raise lines.damaged("a second `__meta__`: two files have been joined, import each alone")
    try:
        return decode_end(line)
    except _NO_LINE as error:
        raise lines.no_json(error) from error


def _require_end(
    lines: Lines, end: End, hash_of_lines: LinesHash, meta: Meta, order: LineOrder
) -> None:
    if end.sha256 != hash_of_lines.hex():
        raise lines.damaged(
            f"the hash of the lines before is {hash_of_lines.hex()[:12]}…, it says"
            f" {end.sha256[:12]}…"
        )
    last = max(order.last_lsn, meta.from_lsn - 1)
    if not last <= end.to_lsn <= meta.to_lsn or (not end.more and end.to_lsn != meta.to_lsn):
        raise lines.damaged(f"it goes up to LSN {end.to_lsn}, line 1 says {meta.to_lsn}")


def _require_nothing_more(lines: Lines) -> None:
    for line in lines:
        if line.strip():
            raise lines.damaged("it stands behind the last line of the file")
