"""``db copy``: the order in which a database becomes another one that goes on in its place.

1. The source is closed: nobody works on it, nobody can write it any more.
2. The target gets the tables, is closed too, and remembers whose copy it is.
3. The rows come, some at a time, each time in one transaction; the last key tells where to go on.
4. Every row is compared.
5. The source records that its copy is proven: from now on it cannot be given up.
6. The target begins a new epoch and opens.

Guarantees: killed anywhere, the same command goes on and doubles nothing; at no moment can both be
written. Before 5 the source can be opened again, because the target never was.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from stepwell.clock import Clock
from stepwell.database.connect import Database
from stepwell.database.copies import copies_of
from stepwell.database.epoch import begin_epoch, current_epoch
from stepwell.database.migrations import migrate
from stepwell.database.moves import (
    Move,
    Side,
    close_side,
    complete_side,
    find_move,
    forget_move,
    may_write,
    open_side,
)
from stepwell.database.transaction import Transaction
from stepwell.errors import CopyRefused
from stepwell.moving.look import GIVE_UP, Sides, look_at, refuse_owners
from stepwell.moving.rows import Arrival, Proven, prove_equal
from stepwell.moving.tables import names_of, tables_of
from stepwell.sync.log import seal_all
from stepwell.sync.peers import find_node, lies_at
from stepwell.sync.schema import make_tables

COPIED, COMPARED = "copied", "compared"


@dataclass(frozen=True)
class Step:
    """How far a copy is.

    Attributes:
        doing: ``copied`` or ``compared``.
        done, total: Rows, of all tables.
    """

    doing: str
    table: str
    done: int
    total: int


@dataclass(frozen=True)
class Copied:
    """A copy that is complete.

    Attributes:
        tables: What was compared; empty when the copy was complete before.
        epoch: That the target has begun.
        was_complete: Nothing was left to do.
    """

    source: str
    target: str
    tables: tuple[Proven, ...]
    epoch: int
    was_complete: bool


def copy_database(
    source: Database,
    target: Database,
    *,
    clock: Clock,
    tell: Callable[[Step], None] = lambda _step: None,
) -> Copied:
    """Copy everything that Stepwell has recorded; a copy that was begun goes on.

    Raises:
        what :func:`.look_at` raises, and
        CopyDiffers: the target was changed by others; it stays closed.
        DatabaseError: one of them could not be reached, read or written; the same call goes on.
    """
    return _Copying(source, target, look_at(source, target), clock, tell).copy()


def give_up_copy(source: Database, *, force: bool = False) -> Move:
    """Open a source again whose copy is not complete; the target stays closed for ever.

    ``force`` does it although the target may have opened: for a target that is lost.

    Raises:
        CopyRefused: no copy was begun; or it is proven, so that the target may be at work.
    """
    what = f"open database {source.place!r} again"

    def fact(transaction: Transaction) -> Move:
        move = find_move(source, transaction)
        if move is None or move.side != "source":
            raise CopyRefused(
                f"cannot {what}: no copy of it was begun",
                hint="`stepwell db info` tells what it is",
                fields={"database": source.place},
            )
        if move.completed_at is not None and not force:
            raise CopyRefused(
                f"cannot {what}: {move.other!r} goes on in its place since"
                f" {move.completed_at:%Y-%m-%d %H:%M} UTC, and both would be true",
                hint="only if that one is lost: add `--force`",
                fields={"database": source.place, "target": move.other},
            )
        with_log = transaction.ask(lambda c: source.dialect.has_table(c, "sync_schema"))
        open_side(source, transaction, names_of(has_log=with_log))
        forget_move(transaction)
        return move

    return source.run(fact, what=what)


class _Copying:
    """One call: what is there is left alone, what is missing is done."""

    def __init__(
        self,
        source: Database,
        target: Database,
        sides: Sides,
        clock: Clock,
        tell: Callable[[Step], None],
    ) -> None:
        self.source, self.target, self.sides = source, target, sides
        self.clock, self.tell = clock, tell
        self.what = f"copy database {source.place!r} to {target.place!r}"
        self.tables = tables_of(has_log=sides.has_log)
        self.closed = names_of(has_log=sides.has_log)
        self.total = sum(sides.rows.values())

    def copy(self) -> Copied:
        source, target, sides = self.source, self.target, self.sides
        if sides.state == "complete":
            assert sides.target is not None
            self._record_proof(sides.target.move_id)
            with target.read() as reader:
                epoch = current_epoch(reader)
            return Copied(source.place, target.place, (), epoch, was_complete=True)
        here = sides.source or self._close_source()
        there = sides.target or self._close_target(here)
        self._copy_rows(there)
        proven = self._prove()
        self._record_proof(here.move_id)
        epoch = self._open_target(here.move_id, sum(table.row_count for table in proven))
        return Copied(source.place, target.place, proven, epoch, was_complete=False)

    def _close_source(self) -> Move:
        """From here on the source is a state that nobody changes."""
        source = self.source
        if self.sides.has_log:
            with source.read() as reader:
                is_node = find_node(reader) is not None
            if is_node:
                seal_all(source)
        move_id = self.clock.new_id()

        def fact(transaction: Transaction) -> Move:
            if find_move(source, transaction) is not None:
                forget_move(transaction)  # It was a target once.
            # Whoever has become an owner meanwhile is seen then, and nobody can become one after.
            move = self._close(transaction, source, move_id, "source")
            refuse_owners(self.what, source, transaction)
            if self.sides.has_log and transaction.ask(transaction.application.has_raw):
                raise CopyRefused(
                    f"cannot {self.what}: a tracked table was changed this very moment",
                    hint="stop the programs that write tracked tables, then copy",
                    fields={"database": source.place},
                )
            return move

        return source.run(fact, what=self.what)

    def _close_target(self, here: Move) -> Move:
        target = self.target
        migrate(target)
        if self.sides.has_log:
            make_tables(target)

        def fact(transaction: Transaction) -> Move:
            move = self._close(transaction, target, here.move_id, "target")
            for table in self.tables:
                if not table.is_empty(transaction):
                    raise CopyRefused(
                        f"cannot {self.what}: somebody works on the target, table {table.name!r}"
                        " has rows now",
                        hint=f"name a new, empty database as target; before that {GIVE_UP}",
                        fields={"table": table.name},
                    )
            return move

        return target.run(fact, what=self.what)

    def _close(
        self, transaction: Transaction, database: Database, move_id: str, side: Side
    ) -> Move:
        other = self.target if side == "source" else self.source
        close_side(
            database,
            transaction,
            self.closed,
            move_id=move_id,
            side=side,
            other=other.place,
            at=self.clock.now(),
        )
        move = find_move(database, transaction)
        assert move is not None
        return move

    def _copy_rows(self, there: Move) -> None:
        arrival = Arrival(self.target, there.move_id, there.row_count)
        with self.source.read(what=self.what) as reader:
            # Of the closed source: until then somebody may have registered something.
            self.total = sum(table.count(reader) for table in self.tables)
            for table in self.tables:

                def told(_count: int, table: str = table.name) -> None:
                    self.tell(Step(COPIED, table, arrival.row_count, self.total))

                arrival.copy(table, reader, self.what, told)

    def _prove(self) -> tuple[Proven, ...]:
        done, proven = 0, []
        with self.source.read(what=self.what) as ours, self.target.read(what=self.what) as theirs:
            there = find_move(self.target, theirs)
            if there is None or there.completed_at is not None:
                raise self._overtaken()
            for table in self.tables:

                def told(count: int, table: str = table.name) -> None:
                    nonlocal done
                    done += count
                    self.tell(Step(COMPARED, table, done, self.total))

                proven.append(prove_equal(table, ours, theirs, self.what, told))
        return tuple(proven)

    def _record_proof(self, move_id: str) -> None:
        """From here on the source cannot be given up: nobody could know whether the target is."""
        source = self.source

        def fact(transaction: Transaction) -> None:
            move = find_move(source, transaction)
            if move is None or move.move_id != move_id:
                raise CopyRefused(
                    f"cannot {self.what}: it was given up meanwhile",
                    hint="copy again, to a new, empty database",
                    fields={"database": source.place},
                )
            if move.completed_at is None:
                complete_side(transaction, move_id, at=self.clock.now())

        source.run(fact, what=self.what)

    def _open_target(self, move_id: str, row_count: int) -> int:
        """One transaction: nobody who worked on the source can write what this one opens."""
        source, target, clock = self.source, self.target, self.clock
        copies = copies_of(target.url, clock=clock, options=target.options)
        with source.read(what=self.what) as reader:
            fence = copies_of(source.url, clock=clock, options=source.options).fence(reader)

        def fact(transaction: Transaction) -> int:
            if not may_write(transaction, move_id, expected=row_count):
                raise self._overtaken()
            epoch = begin_epoch(
                transaction,
                epoch_before=fence.epoch,
                raise_identities=lambda t: copies.raise_identities(t, fence.identities),
                purpose=f"copy of {source.place}",
                at=clock.now(),
            )
            if self.sides.has_log:
                lies_at(transaction, str(target.path or ""))
            complete_side(transaction, move_id, at=clock.now())
            open_side(target, transaction, self.closed)
            return epoch

        return target.run(fact, what=self.what)

    def _overtaken(self) -> CopyRefused:
        return CopyRefused(
            f"cannot {self.what}: another process copies to the same target",
            hint="wait for its end; the same command tells how far it is",
            fields={"database": self.target.place},
        )
