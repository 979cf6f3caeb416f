"""Whether two nodes hold the same rows, found by a file: hashes by key range, and of each row.

Nodes order their keys differently, so lines are sorted by ``pk_json`` in the folder for temporary
files. A hash is that of what a value *is* (``rows.canonical``), whatever database holds it. Rows
that wait for a person are left out, on both sides: they may differ.
"""

from __future__ import annotations

import hashlib
from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import msgspec
from sqlalchemy import select

from stepwell.clock import Clock
from stepwell.database.connect import Database
from stepwell.database.prepared import Prepared
from stepwell.database.shape import TableShape
from stepwell.database.transaction import Reader
from stepwell.database.types import utc_text
from stepwell.errors import DatabaseFull
from stepwell.sync import log, peers
from stepwell.sync.change import Values, key_text
from stepwell.sync.record_file import RecordFile, write_records
from stepwell.sync.rows import canonical, read_rows_after
from stepwell.sync.table import TrackedTable, tracked_tables
from stepwell.sync.tables import sync_conflict, sync_quarantine_key

KIND = "digest"
HINT = "give a file that `stepwell sync verify PEER --to FILE` has written"
ROWS_AT_ONCE = 1_000
RANGE_ROWS = 500
HASH_CHARACTERS = 16

_q, _w = sync_quarantine_key.c, sync_conflict.c
_PARKED = Prepared(select(_q.table_name, _q.key).where(_q.kind == "holds"))
_WAITING = Prepared(select(_w.table_name, _w.pk_json).where(_w.status == "waiting"))

Parked = set[tuple[str, str]]


class Head(msgspec.Struct, frozen=True, kw_only=True):
    """The first line.

    Attributes:
        known: What the node had received when it made the digest.
        parked: Rows that are left out, as table and key.
        tables: The fingerprint of each table.
    """

    file_id: str
    source_node: str
    made_at: str
    known: dict[str, tuple[int, int]]
    parked: list[tuple[str, str]]
    tables: dict[str, str]


class Range(msgspec.Struct, frozen=True):
    """One line: the rows of a table between two keys, both included.

    Attributes:
        hash: Of all of them: when it is the same on the other side, so are they.
        rows: Each row's key and hash.
    """

    table_name: str
    first: str
    last: str
    hash: str
    rows: list[tuple[str, str]]


@dataclass(frozen=True)
class Difference:
    """A row that is not the same: ``here`` and ``there`` are its hashes, None without a row."""

    table_name: str
    pk_json: str
    here: str | None
    there: str | None

    @property
    def what(self) -> str:
        """In words."""
        if self.here is None:
            return "only there"
        return "only here" if self.there is None else "another one there"


@dataclass(frozen=True)
class Verified:
    """What comparing has found.

    Attributes:
        rows: How many were compared.
        ranges: How many key ranges, and how many of them differ.
        differences: The rows, the first ones only; ``different`` counts all.
        behind: Origins of which one of the two has received more: what differs may be under way.
    """

    head: Head
    rows: int
    ranges: int
    ranges_different: int
    different: int
    differences: tuple[Difference, ...]
    behind: tuple[str, ...]


def write_digest(database: Database, path: Path, clock: Clock, *, file_id: str) -> Head:
    """Write what this node holds; answers the first line.

    Raises:
        BundleExists, CompressionMissing, DatabaseError: it cannot be written.
    """
    log.seal_all(database)
    with database.read() as reader:
        tables = tracked_tables(reader)
        head = Head(
            file_id=file_id,
            source_node=peers.own_node(reader, database.location).node_id,
            made_at=utc_text(clock.now()),
            known=peers.known(reader),
            parked=sorted(parked_rows(reader)),
            tables={name: table.fingerprint for name, table in tables.items()},
        )
        write_records(path, KIND, file_id, head, _ranges(reader, tables))
    return head


def open_digest(path: Path) -> RecordFile[Head]:
    """A file that :func:`write_digest` has written.

    Raises:
        NoSuchBundle, ForeignFile, BundleTooNew, BundleTorn, BundleDamaged, DatabaseError: it is
            none, or cannot be read.
    """
    return RecordFile(path, KIND, Head, hint=HINT)


def compare(database: Database, digest: RecordFile[Head], *, shown_max: int = 1_000) -> Verified:
    """Compare the rows here with those of a digest; nothing is written.

    Raises:
        BundleTorn, BundleDamaged, …: the file is not whole.
    """
    digest.check()
    log.seal_all(database)
    with database.read() as reader:
        tables = tracked_tables(reader)
        parked = parked_rows(reader) | {(table, key) for table, key in digest.head.parked}
        behind = _behind(peers.known(reader), digest.head.known)
        with closing(_sorted_rows(reader, tables)) as here:
            return _Comparison(digest, here, parked, shown_max).run(behind)


class _Comparison:
    """Two sorted streams of rows, side by side."""

    def __init__(
        self,
        digest: RecordFile[Head],
        here: Iterator[tuple[str, str, str]],
        parked: Parked,
        shown_max: int,
    ) -> None:
        self._digest = digest
        self._here = here
        self._parked = parked
        self._shown_max = shown_max
        self._next = next(here, None)
        self._rows = self._different = 0
        self._shown: list[Difference] = []

    def run(self, behind: tuple[str, ...]) -> Verified:
        ranges = ranges_different = 0
        for lines, line in self._digest.lines():
            try:
                there = msgspec.json.decode(line, type=Range)
            except (ValueError, RecursionError) as error:
                raise lines.damaged(str(error)) from error
            before = self._different
            for key, row_hash in there.rows:
                self._compare(there.table_name, key, row_hash)
            ranges += 1
            ranges_different += self._different > before
        while self._next is not None:
            self._only_here()
        return Verified(
            head=self._digest.head,
            rows=self._rows,
            ranges=ranges,
            ranges_different=ranges_different,
            different=self._different,
            differences=tuple(self._shown),
            behind=behind,
        )

    def _compare(self, table_name: str, key: str, there: str) -> None:
        place = (table_name, key)
        while self._next is not None and self._next[:2] < place:
            self._only_here()
        here = None
        if self._next is not None and self._next[:2] == place:
            here = self._next[2]
            self._next = next(self._here, None)
        self._count(table_name, key, here, there)

    def _only_here(self) -> None:
        assert self._next is not None
        table_name, key, here = self._next
        self._next = next(self._here, None)
        self._count(table_name, key, here, None)

    def _count(self, table_name: str, key: str, here: str | None, there: str | None) -> None:
        if (table_name, key) in self._parked:
            return
        self._rows += 1
        if here != there:
            self._different += 1
            if len(self._shown) < self._shown_max:
                self._shown.append(Difference(table_name, key, here, there))


def parked_rows(reader: Reader) -> Parked:
    """Table and key of rows that wait, in quarantine or for a person."""
    rows = [*reader.fetch_all(_PARKED), *reader.fetch_all(_WAITING)]
    return {(str(table), str(key)) for table, key in rows}


def _behind(here: dict[str, tuple[int, int]], there: dict[str, tuple[int, int]]) -> tuple[str, ...]:
    """The origins of which the two have not received the same."""
    ours, theirs = ({o: last for o, last in side.items() if last[1]} for side in (here, there))
    every = sorted(ours.keys() | theirs.keys())
    return tuple(origin for origin in every if ours.get(origin) != theirs.get(origin))


def _ranges(reader: Reader, tables: dict[str, TrackedTable]) -> Iterator[bytes]:
    page: list[tuple[str, str]] = []
    name = ""
    with closing(_sorted_rows(reader, tables)) as rows:
        for table_name, key, row_hash in rows:
            if page and (table_name != name or len(page) == RANGE_ROWS):
                yield _range(name, page)
                page = []
            name = table_name
            page.append((key, row_hash))
    if page:
        yield _range(name, page)


def _range(name: str, page: list[tuple[str, str]]) -> bytes:
    whole = hashlib.sha256("\n".join(f"{key} {h}" for key, h in page).encode("utf-8"))
    return msgspec.json.encode(
        Range(name, page[0][0], page[-1][0], whole.hexdigest()[:HASH_CHARACTERS], page)
    )


def _sorted_rows(
    reader: Reader, tables: dict[str, TrackedTable]
) -> Generator[tuple[str, str, str]]:
    """Table, key and hash of each row, by table and key as Python sorts text."""
    import sqlite3  # Not before the command line has chosen which one.

    try:
        with closing(sqlite3.connect("", isolation_level=None)) as sorting:
            sorting.execute(
                "CREATE TABLE r (t BLOB, k BLOB, h TEXT, PRIMARY KEY (t, k)) WITHOUT ROWID"
            )
            sorting.execute("BEGIN")
            for table in tables.values():
                sorting.executemany("INSERT INTO r VALUES (?, ?, ?)", _hashed(reader, table))
            for table_name, key, row_hash in sorting.execute("SELECT t, k, h FROM r ORDER BY t, k"):
                yield table_name.decode("utf-8"), key.decode("utf-8"), row_hash
    except sqlite3.Error as error:
        raise DatabaseFull(
            f"cannot compare rows: they cannot be sorted, {error}",
            hint="make room in the folder for temporary files, or name another in TMPDIR",
        ) from error


def _hashed(reader: Reader, table: TrackedTable) -> Iterator[tuple[bytes, bytes, str]]:
    shape, after = table.shape, None
    name = table.name.encode("utf-8")
    while rows := read_rows_after(reader, shape, after, ROWS_AT_ONCE):
        for row in rows:
            after = {column: row[column] for column in shape.key}
            yield name, key_text(after).encode("utf-8"), hash_of_row(shape, row)


def hash_of_row(shape: TableShape, row: Values) -> str:
    """16 hexadecimal digits that are the same for what is the same on any node."""
    facts = [(name, _fact(shape, name, row)) for name in sorted(shape.names)]
    return hashlib.sha256(repr(facts).encode("utf-8", "surrogatepass")).hexdigest()[
        :HASH_CHARACTERS
    ]


def _fact(shape: TableShape, name: str, row: Values) -> object:
    value = row[name]
    return None if value is None else canonical(shape.column(name).kind, value)
