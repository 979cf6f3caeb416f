"""One node of a simulation: a real database, written by Stepwell and by strangers."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from stepwell.database.connect import Database, open_database
from stepwell.database.dialect import DatabaseOptions
from stepwell.errors import DatabaseError, GroupMissing
from stepwell.sync import log, peers, receipt
from stepwell.sync.apply import Applied, applying
from stepwell.sync.bundle import Meta, decode_line, encode_line
from stepwell.sync.bundle_reader import Checked
from stepwell.sync.change import Change
from stepwell.sync.session import Sync
from stepwell.testing.dice import Dice
from stepwell.testing.frozen_clock import FrozenClock
from stepwell.testing.sim_tables import SimTable, some_statement

GROUPS_A_BATCH = 4

_LAST = "SELECT coalesce(max(position), 0) FROM change_raw"
_EPOCH_JULIAN_DAY = 2440587.5


class Crash(Exception):
    """The process of a node ends in the middle of an import."""


@dataclass(frozen=True)
class Packet:
    """What one node has written for another: the lines of a file.

    Attributes:
        sender, receiver: Names of nodes.
    """

    sender: str
    receiver: str
    meta: Meta
    lines: tuple[bytes, ...]

    def groups(self) -> Iterator[list[Change]]:
        """The groups, each time decoded anew, as from a file."""
        changes = map(decode_line, self.lines)
        for _, group in groupby(changes, lambda c: (c.origin, c.epoch, c.seq)):
            yield list(group)

    @property
    def checked(self) -> Checked:
        """As if it were a file that was read to its end."""
        groups = sum(1 for _ in self.groups())
        return Checked(len(self.lines), groups, self.meta.to_lsn, "", 1)


def known_of(node: SimNode) -> dict[str, tuple[int, int]]:
    """Of each origin the last group that a node has."""
    log.seal_all(node.database)
    with node.database.read() as reader:
        return peers.known(reader)


def _lines(group: Iterable[Change]) -> Iterator[tuple[None, Change]]:
    return ((None, change) for change in group)


class SimNode:
    """A node; everything it does is what a real one would, in this process.

    Attributes:
        path: Of a SQLite file; None for another kind of database.
    """

    def __init__(
        self, name: str, url: str, tables: tuple[SimTable, ...], *, is_main: bool = False
    ) -> None:
        self.name = name
        self.url = url
        self.tables = tables
        self.is_main = is_main
        self.clock = FrozenClock()
        self.grown: set[str] = set()  # Tables that have one more column here.
        self.rebuilt: set[str] = set()  # Tables that lost their triggers, until they are tracked.
        self.path = Path(url.removeprefix("sqlite:///")) if url.startswith("sqlite") else None
        self._open()
        with self.database.write() as transaction:
            for table in tables:
                for sql in table.sql:
                    transaction.connection.execute(sql)
        self.sync.init(name, is_main=is_main)
        for table in tables:
            self.sync.track(table.name, policy=table.policy)

    def _open(self) -> None:
        options = DatabaseOptions(durability="normal", create=True)
        self.database: Database = open_database(self.url, clock=self.clock, options=options)
        self.sync = Sync(self.database, self.clock, actor=self.name)

    def close(self) -> None:
        """Nothing more is done here."""
        self.database.close()

    # --- writing

    def write(self, dice: Dice) -> None:
        """Some statements in one transaction; one that a constraint refuses undoes all of it."""
        is_sqlite = self.path is not None
        count = 1 + dice.below(3)
        statements = [
            some_statement(dice, dice.choose(self.tables), is_sqlite=is_sqlite, grown=self.grown)
            for _ in range(count)
        ]
        if is_sqlite and dice.one_in(2):
            self.write_as_a_stranger(statements)
            return
        # The application's own constraints may refuse it.
        with suppress(DatabaseError), self.sync.transaction(actor="sim") as connection:
            [(last,)] = connection.execute(_LAST).fetchall()
            for sql in statements:
                connection.execute(sql)
            connection.execute(
                "UPDATE change_raw SET at = :at WHERE position > :last",
                {"at": self._stamp(), "last": last},
            )

    def write_as_a_stranger(self, statements: list[str]) -> None:
        """In a transaction of the driver's own."""
        with closing(sqlite3.connect(self.path or "", isolation_level=None)) as connection:
            connection.execute("PRAGMA foreign_keys = ON")
            connection.execute("BEGIN IMMEDIATE")
            try:
                [(last,)] = connection.execute(_LAST).fetchall()
                for sql in statements:
                    connection.execute(sql)
            except sqlite3.IntegrityError:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
            else:
                stamp = "UPDATE change_raw SET at = ? WHERE position > ?"
                connection.execute(stamp, (self._stamp(), last))
                connection.execute("COMMIT")

    def _stamp(self) -> object:
        """The time by this node's clock, as its triggers would write it by the machine's."""
        if self.path is None:
            return self.clock.now()
        return _EPOCH_JULIAN_DAY + self.clock.now().timestamp() / 86_400

    # --- exchanging

    def packet_for(self, receiver: str) -> Packet:
        """What the receiver has not acknowledged."""
        meta = self.sync.prepare_export(client=receiver)
        changes = log.changes_of(self.database, meta.from_lsn - 1, meta.to_lsn, not_for=receiver)
        return Packet(self.name, receiver, meta, tuple(map(encode_line, changes)))

    def receive(self, packet: Packet, *, crash_after: int | None = None) -> list[Applied]:
        """Import a packet in batches, as the job does.

        Raises:
            Crash: behind ``crash_after`` groups, before the commit of their batch.
            GroupMissing, HistoryForked, NodeRestored: it cannot be applied.
        """
        groups = list(packet.groups())
        applied: list[Applied] = []
        for start in range(0, len(groups), GROUPS_A_BATCH):
            batch = groups[start : start + GROUPS_A_BATCH]
            with self.database.write(what="apply a batch") as transaction:
                at = self.clock.now()
                with applying(transaction, source_node=packet.sender, at=at) as applier:
                    if start == 0:
                        applier.retry_all()
                    whole = batch
                    if crash_after is not None:
                        whole = batch[: max(0, crash_after + 1 - len(applied))]
                    applied += applier.apply_all(map(_lines, whole))
                    if crash_after is not None and len(applied) > crash_after:
                        raise Crash
                receipt.reach(transaction, packet.meta, batch[-1][-1].lsn, at=at)
        self.database.run(
            lambda t: receipt.finish(t, packet.meta, packet.checked, result="", at=self.clock.now())
        )
        return applied

    def receive_what_fits(self, packet: Packet) -> bool:
        """Import a packet; False when something before it is missing, as after a loss."""
        try:
            self.receive(packet)
        except GroupMissing:
            return False
        return True

    # --- accidents

    def save(self, to: Path) -> None:
        """A copy of the database, as of now."""
        to.unlink(missing_ok=True)
        with (
            closing(sqlite3.connect(self.path or "")) as source,
            closing(sqlite3.connect(to)) as target,
        ):
            source.backup(target)

    def clone(self, at: Path) -> SimNode:
        """A copy that was put to work: another database of the same name."""
        twin: SimNode = object.__new__(SimNode)
        twin.name, twin.tables, twin.is_main = self.name, self.tables, self.is_main
        twin.url, twin.path = f"sqlite:///{at}", at
        twin.grown, twin.rebuilt = set(self.grown), set(self.rebuilt)
        twin.clock = FrozenClock(self.clock.now())
        twin._open()
        return twin

    def restore(self, copy: Path) -> None:
        """Put a copy in the place of the database."""
        assert self.path is not None
        self.database.close()
        for ending in ("", "-wal", "-shm"):
            Path(f"{self.path}{ending}").unlink(missing_ok=True)
        self.path.write_bytes(copy.read_bytes())
        self._open()
