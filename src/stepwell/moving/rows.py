"""Rows, some at a time: copied in one transaction each, and compared one by one.

Guarantees: whatever the tables hold, only a few megabytes of it are in memory. What is compared is
the rows' exact form as JSON: 1 is not true, a moment has its microseconds, no number is rounded.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import msgspec

from stepwell.database.connect import Database
from stepwell.database.moves import has_written, may_write
from stepwell.database.prepared import Row
from stepwell.database.table_rows import TableRows, Take
from stepwell.database.transaction import Reader, Transaction
from stepwell.errors import (
    ConstraintViolation,
    CopyDiffers,
    CopyRefused,
    DatabaseError,
    StatementFailed,
)

ROWS_AT_ONCE = 2_000
BYTES_AT_ONCE = 4_000_000
_TAKEN_AT_ONCE = 50  # Rows whose size nobody knows yet.

Told = Callable[[int], None]

_encode = msgspec.json.Encoder().encode_lines


@dataclass(frozen=True)
class Proven:
    """A table whose rows are the same on both sides.

    Attributes:
        sha256: Of its rows in the order of their keys.
    """

    name: str
    row_count: int
    sha256: str


@dataclass
class Arrival:
    """The rows that come to the target.

    Attributes:
        row_count: How many have come, as the target says; whoever writes more must know it.
    """

    target: Database
    move_id: str
    row_count: int

    def copy(self, table: TableRows, source: Reader, what: str, told: Told) -> None:
        """Copy the rows of a table that have not come yet.

        Raises:
            CopyRefused: another process copies to the same target.
            StatementFailed, ConstraintViolation: the target cannot hold a row.
        """
        with self.target.read(what=what) as reader:
            last = table.last_key(reader)
        with table.after(source, last) as take:
            for rows, _ in batches(take):
                try:
                    self.target.run(partial(self._write, table, rows, what), what=what)
                except (StatementFailed, ConstraintViolation) as error:
                    raise self._refused(table, rows, what, error) from error
                self.row_count += len(rows)
                told(len(rows))

    def _write(
        self, table: TableRows, rows: list[Row], what: str, transaction: Transaction
    ) -> None:
        if not may_write(transaction, self.move_id, expected=self.row_count):
            raise CopyRefused(
                f"cannot {what}: another process copies to the same target",
                hint="wait for its end; the same command tells how far it is",
                fields={"database": self.target.place},
            )
        table.load(transaction, rows)
        has_written(transaction, self.row_count + len(rows))

    def _refused(
        self, table: TableRows, rows: list[Row], what: str, error: DatabaseError
    ) -> CopyRefused:
        """Names the first row that cannot be written."""
        for row in rows:
            try:
                with self.target.write(what=what) as transaction:
                    may_write(transaction, self.move_id, expected=self.row_count)
                    table.load(transaction, [row])
                    raise _Undone
            except _Undone:
                continue
            except (StatementFailed, ConstraintViolation) as refusal:
                key, error = table.key_of(row), refusal
                break
        else:
            key = table.key_of(rows[0])
        fact = error.message.partition(": ")[2]
        return CopyRefused(
            f"cannot {what}: the target cannot hold row {', '.join(map(repr, key))} of table"
            f" {table.name!r}: {fact}",
            hint="`stepwell db copy SOURCE --abandon` opens the source: correct the value there,"
            " then copy to a new, empty database",
            fields={"table": table.name, "key": list(key)},
        )


class _Undone(Exception):
    """What was only tried is taken back."""


def prove_equal(table: TableRows, source: Reader, target: Reader, what: str, told: Told) -> Proven:
    """Compare every row of a table with its copy.

    Raises:
        CopyDiffers: names the first one that is not the same.
    """
    digest, row_count = hashlib.sha256(), 0
    with table.after(source) as take, table.after(target) as take_theirs:
        for rows, encoded in batches(take):
            theirs = take_exactly(take_theirs, len(rows))
            if _encode(theirs) != encoded:
                raise _difference(table, rows, theirs, what)
            digest.update(encoded)
            row_count += len(rows)
            told(len(rows))
        more = take_theirs(1)
    if more:
        raise _difference(table, [], more, what)
    return Proven(table.name, row_count, digest.hexdigest())


def batches(take: Take) -> Iterator[tuple[list[Row], bytes]]:
    """The rows that are left, some at a time, with what they are as JSON lines."""
    rows: list[Row] = []
    encoded = bytearray()
    while some := take(_TAKEN_AT_ONCE):
        rows += some
        encoded += _encode(some)
        if len(rows) >= ROWS_AT_ONCE or len(encoded) >= BYTES_AT_ONCE:
            yield rows, bytes(encoded)
            rows, encoded = [], bytearray()
    if rows:
        yield rows, bytes(encoded)


def take_exactly(take: Take, count: int) -> list[Row]:
    """So many, or all that are left."""
    rows: list[Row] = []
    while len(rows) < count and (some := take(count - len(rows))):
        rows += some
    return rows


def _difference(table: TableRows, ours: list[Row], theirs: list[Row], what: str) -> CopyDiffers:
    for own, their in zip(ours, theirs, strict=False):
        if _encode([own]) != _encode([their]):
            key, fact = table.key_of(own), "is not the same there"
            break
    else:
        is_short = len(theirs) < len(ours)
        first = ours[len(theirs)] if is_short else theirs[len(ours)]
        key, fact = table.key_of(first), "is missing there" if is_short else "is only there"
    return CopyDiffers(
        f"cannot {what}: row {', '.join(map(repr, key))} of table {table.name!r} {fact}",
        hint="somebody has changed one of them by hand: copy again, to a new, empty database",
        fields={"table": table.name, "key": list(key)},
    )
