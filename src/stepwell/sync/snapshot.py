"""All rows of a node with their versions, as of one LSN, in a file for a node that begins anew.

The file holds what the log would, had it never been pruned: every row and every tombstone with its
version, and of each origin the last group that is in it (``known``). So the receiver goes on with
the next change behind ``lsn`` as if it had received all of them.

Writing keeps nobody waiting: the state is pinned under the write lock, and read afterwards.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

import msgspec
from sqlalchemy import bindparam, select

from stepwell.clock import Clock
from stepwell.database.connect import Database
from stepwell.database.prepared import Prepared, Row
from stepwell.database.shape import TableShape
from stepwell.database.transaction import Reader
from stepwell.database.types import utc_text
from stepwell.errors import CannotBootstrap
from stepwell.sync import baseline, capture, log, peers
from stepwell.sync.change import NULL, decode_values, encode_values, hash_of
from stepwell.sync.quarantine import count_open
from stepwell.sync.received import find_received
from stepwell.sync.record_file import RecordFile, write_records
from stepwell.sync.rows import read_row
from stepwell.sync.table import TrackedTable, tracked_tables
from stepwell.sync.tables import sync_row

KIND = "snapshot"
HINT = "give a file that `stepwell sync bootstrap --to FILE` has written"
ROWS_AT_ONCE = 1_000

_r = sync_row.c
_PAGE = Prepared(
    select(
        _r.pk_json,
        _r.origin,
        _r.epoch,
        _r.seq,
        _r.hlc,
        _r.causal_length,
        _r.authority,
        _r.column_versions,
    )
    .where(_r.table_name == bindparam("table_name"), _r.pk_json > bindparam("after"))
    .order_by(_r.pk_json)
    .limit(ROWS_AT_ONCE)
)


class Head(msgspec.Struct, frozen=True, kw_only=True):
    """The first line.

    Attributes:
        lsn: Where the log of ``source_node`` stood.
        known: Of each origin, the epoch and the last seq that is in the rows.
        heard: Of each peer the epoch in which it was heard last, also when it wrote nothing in it.
        last_hlc: The greatest stamp in it.
        hashes: Of the last group of each origin; left out where its changes are pruned.
        schemas: The fingerprint of each table.
    """

    file_id: str
    source_node: str
    epoch: int
    is_main: bool
    made_at: str
    lsn: int
    last_hlc: int
    known: dict[str, tuple[int, int]]
    hashes: dict[str, str]
    schemas: dict[str, str]
    heard: dict[str, int] = {}


class SnapshotRow(msgspec.Struct, frozen=True, omit_defaults=True):
    """One line: a row, or a tombstone, with its version.

    Attributes:
        version: Origin, epoch, seq, hlc, causal length, authority.
        row: Its image; NULL for a tombstone.
        column_versions: As ``sync_row`` has them.
    """

    table_name: str
    pk_json: msgspec.Raw
    version: tuple[str, int, int, int, int, int]
    row: msgspec.Raw = NULL
    column_versions: str | None = None


def parents_first(tables: Iterable[TrackedTable]) -> list[TrackedTable]:
    """In an order in which their rows can be inserted; circles stay in the order of names."""
    waiting = {table.name: table for table in sorted(tables, key=lambda table: table.name)}
    names = {name.lower(): name for name in waiting}
    ordered: list[TrackedTable] = []
    while waiting:
        free = [t for t in waiting.values() if not _parents(t.shape, names) & waiting.keys()]
        ordered += free or [next(iter(waiting.values()))]
        waiting = {name: t for name, t in waiting.items() if t not in ordered}
    return ordered


def _parents(shape: TableShape, names: dict[str, str]) -> set[str]:
    found = {names.get(foreign.parent.lower(), "") for foreign in shape.foreign_keys}
    return found - {shape.name, ""}


def write_snapshot(database: Database, path: Path, clock: Clock, *, file_id: str) -> Head:
    """Write the file; answers its first line.

    Raises:
        CaptureBroken: a change may have been missed.
        CannotBootstrap: groups are in quarantine: they are received, and in no row.
        BundleExists, CompressionMissing, DatabaseError: it cannot be written.
    """
    with database.read() as reader:
        capture.require_capture(reader)
    baseline.log_baselines(database, at=clock.now())
    with _sealed(database) as reader:
        node = peers.own_node(reader, database.location)
        _require_nothing_parked(reader, path)
        tables = parents_first(tracked_tables(reader).values())
        head = Head(
            file_id=file_id,
            source_node=node.node_id,
            epoch=node.epoch,
            is_main=node.is_main,
            made_at=utc_text(clock.now()),
            lsn=node.last_lsn,
            last_hlc=node.last_hlc,
            known=peers.known(reader),
            heard={state.client_id: state.peer_epoch for state in peers.list_states(reader, "in")},
            hashes=_hashes(reader),
            schemas={table.name: table.fingerprint for table in tables},
        )
        write_records(path, KIND, file_id, head, _lines(reader, tables))
    return head


def open_snapshot(path: Path) -> RecordFile[Head]:
    """A file that :func:`write_snapshot` has written.

    Raises:
        NoSuchBundle, ForeignFile, BundleTooNew, BundleTorn, BundleDamaged, DatabaseError: it is
            none, or cannot be read.
    """
    return RecordFile(path, KIND, Head, hint=HINT)


def _hashes(reader: Reader) -> dict[str, str]:
    """By which a last group that is delivered again is known to be the same."""
    found = {}
    for origin, (epoch, seq) in peers.known(reader).items():
        received = find_received(reader, origin, epoch, seq)
        if received is not None:
            found[origin] = received[0]
        elif any(True for _ in log.read_group(reader, origin, epoch, seq)):
            found[origin] = hash_of(log.read_group(reader, origin, epoch, seq))
    return found


def _require_nothing_parked(reader: Reader, path: Path) -> None:
    waiting = count_open(reader)
    if waiting:
        raise CannotBootstrap(
            f"cannot write all rows to {str(path)!r}: {waiting} groups are in quarantine, and so"
            " in no row",
            hint="`stepwell sync quarantine list`: settle them first",
            fields={"file": str(path), "waiting": waiting},
        )


@contextmanager
def _sealed(database: Database) -> Iterator[Reader]:
    """A reader that sees rows and log in step: nothing waits to be sealed."""
    while True:
        log.seal_all(database)
        with ExitStack() as stack:
            with database.write(what="pin a snapshot") as transaction:
                names = list(tracked_tables(transaction))
                application = transaction.application
                transaction.ask(application.lock_sealing)
                transaction.ask(partial(application.lock_writers, tables=names))
                if transaction.ask(application.has_raw):
                    continue
                reader = stack.enter_context(database.read())
                peers.own_node(reader, database.location)  # Its first look pins its state.
            yield reader
            return


def _lines(reader: Reader, tables: Iterable[TrackedTable]) -> Iterator[bytes]:
    for table in tables:
        after = ""
        while page := reader.fetch_all(_PAGE, {"table_name": table.name, "after": after}):
            for found in page:
                yield _line(reader, table, found)
            after = page[-1][0]


def _line(reader: Reader, table: TrackedTable, found: Row) -> bytes:
    pk_json, *version, column_versions = found
    values = None
    if version[4] % 2:
        values = read_row(reader, table.shape, decode_values(pk_json))
    return msgspec.json.encode(
        SnapshotRow(
            table_name=table.name,
            pk_json=msgspec.Raw(pk_json.encode("utf-8")),
            version=tuple(version),
            row=NULL if values is None else msgspec.Raw(encode_values(values)),
            column_versions=column_versions,
        )
    )
