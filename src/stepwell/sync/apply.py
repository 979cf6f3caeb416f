"""Applies groups of other nodes: each whole or not at all, exactly once.

A group's rows, versions, place in the log and receipt commit together. A group that cannot be
applied is undone alone and *parked*: it is logged and received, and only its effect waits, with
that of every group that touches the same rows, their children, or its unique values. It is tried
again whenever something that it waits for has moved.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from itertools import chain, islice

from stepwell.database.transaction import Transaction
from stepwell.sync import quarantine
from stepwell.sync.capture import echo
from stepwell.sync.change import Change, GroupHash, hash_of
from stepwell.sync.group import CHANGES_AT_ONCE, Applied, Group
from stepwell.sync.log import LogWriter, begin_apply, read_changes
from stepwell.sync.parking import Parking
from stepwell.sync.place import Outcome
from stepwell.sync.received import Receipts
from stepwell.sync.scene import CannotPlace, Scene

__all__ = ["Applied", "Applier", "applying"]

Line = tuple[int | None, Change]


@contextmanager
def applying(
    transaction: Transaction, *, source_node: str, at: datetime, actor: str = ""
) -> Iterator[Applier]:
    """Be alone with the tracked tables of this node, and apply groups to them.

    Everything local is sealed first. The caller owns the transaction and sets ``sync_state`` in it;
    an exception must leave it, so that all is rolled back.

    ``source_node`` is from whom the groups come; a stamp that is far ahead of ``at`` is parked;
    ``actor`` is named in what this node decides by itself.
    """
    writer = begin_apply(transaction)
    with echo(transaction):
        transaction.ask(transaction.application.enforce_foreign_keys)
        applier = Applier(transaction, writer, source_node=source_node, at=at, actor=actor)
        yield applier
        applier.receipts.flush()
    writer.finish()


class Applier:
    """Applies groups inside one transaction; :func:`applying` makes it."""

    def __init__(
        self,
        transaction: Transaction,
        writer: LogWriter,
        *,
        source_node: str,
        at: datetime,
        actor: str,
    ) -> None:
        self.transaction = transaction
        self.writer = writer
        self.at = at
        self.actor = actor
        self.scene = Scene(transaction, writer, at=at, actor=actor)
        self.receipts = Receipts(transaction, writer, received_from=source_node, at=at)
        self._parking = Parking(self.scene, self.receipts, source_node=source_node)
        self._source_node = source_node

    def apply(self, lines: Iterable[Line]) -> Applied:
        """Apply the changes of one group, each with its line in a file; they are read once.

        Raises:
            GroupMissing: groups of its origin are missing before it.
            HistoryForked: it is here already, with other changes.
            NodeRestored: it is this node's own, and this node does not know it.
        """
        lines = iter(lines)
        head = list(islice(lines, CHANGES_AT_ONCE + 1))
        first = head[0][1]
        if not self.receipts.is_new(first):
            self.receipts.require_same(first, (change for _, change in chain(head, lines)))
            return Applied(first.origin, first.epoch, first.seq, first.tx_id, "skipped")
        if len(head) > CHANGES_AT_ONCE:
            return self._take_long(first, chain(head, lines))
        return self._take(first, head)

    def apply_all(self, groups: Iterable[Iterable[Line]]) -> list[Applied]:
        """Apply groups in their order, each as :meth:`apply` does; what is plain is done at once.

        Raises:
            GroupMissing, HistoryForked, NodeRestored: as :meth:`apply`, of any of them.
        """
        found: list[Applied] = []
        short: list[list[Line]] = []
        count = 0
        for lines in map(iter, groups):
            head = list(islice(lines, CHANGES_AT_ONCE + 1))
            count += len(head)
            if count > CHANGES_AT_ONCE:
                found += self._apply_short(short)
                short, count = [], len(head)
            if len(head) > CHANGES_AT_ONCE:
                found.append(self.apply(chain(head, lines)))
                count = 0
            else:
                short.append(head)
        return found + self._apply_short(short)

    def retry(self, quarantine_id: int) -> Applied:
        """Try a parked group again; it stays parked when it still cannot be applied.

        Raises:
            NoSuchQuarantine: there is none of this id.
            CannotResolve: it waits no more, or its changes have been pruned.
        """
        parked = quarantine.require_open(self.transaction, quarantine_id)
        applied, waiting = self._parking.try_again(parked)
        return applied.having(self._parking.release(waiting))

    def retry_all(self) -> list[Applied]:
        """Try every parked group again, as they came; answers those that were applied.

        What this node's own programs have mended is found so: call it before an import.
        """
        found, after = [], 0
        while numbers := quarantine.open_after(self.transaction, after, 100):
            after = numbers[-1]
            for number in numbers:
                parked = quarantine.find_quarantined(self.transaction, number)
                if parked is not None and parked.closed_at is None:
                    applied, waiting = self._parking.try_again(parked)
                    if applied.result == "parked":
                        applied, waiting = self._parking.try_with_followers(applied)
                    if applied.result != "parked":
                        released = applied.released + self._parking.release(waiting)
                        found.append(replace(applied, released=released))
        return found

    def drop(self, quarantine_id: int) -> Applied:
        """Give a parked group up: its effect never comes here. What waited behind it is tried.

        Raises:
            NoSuchQuarantine: there is none of this id.
            CannotResolve: it waits no more.
        """
        parked = quarantine.require_open(self.transaction, quarantine_id)
        waiting = self._parking.close(parked, "dropped", "dropped")
        name = parked.origin, parked.epoch, parked.seq, parked.tx_id
        applied = Applied(*name, "dropped", quarantine_id=quarantine_id)
        return applied.having(self._parking.release(waiting))

    def keep_own(self, decided: Outcome) -> tuple[int, ...]:
        """A decision of this node was written: log it; answers which parked groups it released."""
        self._parking.keep(decided)
        return self._parking.release(self._parking.waiting_for_outcome(decided))

    # --- groups that come

    def _apply_short(self, groups: Sequence[Sequence[Line]]) -> list[Applied]:
        """Some at once, others each by itself; where few are plain, it is seldom tried again."""
        found: list[Applied] = []
        alone, alone_next = int(len(groups) == 1), 1
        while len(found) < len(groups):
            rest = groups[len(found) :]
            if alone:
                alone -= 1
                found.append(self.apply(rest[0]))
                continue
            together = self._apply_first(rest)
            found += together
            alone_next = 1 if together else 2 * alone_next
            alone = alone_next
        return found

    def _apply_first(self, groups: Sequence[Sequence[Line]]) -> list[Applied]:
        """The first of them at once, as many as can be; perhaps none."""
        known, new = self.receipts.known(), []
        for lines in groups:
            changes = [change for _, change in lines]
            if not self._may_come_now(changes):
                break
            self.receipts.expect(changes[0])
            new.append(changes)
        self.receipts.go_back(known)
        found = []
        for changes in new[: self._parking.place_first(new)]:
            first = changes[0]
            self.writer.append(changes, self._source_node, hlc_max=self._parking.hlc_max)
            self.receipts.add(first, hash_of(changes), "applied")
            name = first.origin, first.epoch, first.seq, first.tx_id
            found.append(Applied(*name, "applied", rows=len(changes)))
        return found

    def _may_come_now(self, changes: Sequence[Change]) -> bool:
        """Whether a group is the next one of its origin, and no clock was ahead."""
        return (
            changes[0].epoch > 0
            and self.receipts.is_new(changes[0])
            and all(change.hlc <= self._parking.hlc_max for change in changes)
        )

    def _take(self, first: Change, lines: Sequence[Line]) -> Applied:
        changes = [change for _, change in lines]
        numbers = {change.lsn: line for line, change in lines}
        group = Group(
            first,
            pages=lambda: [changes],
            is_long=False,
            hlc=max([change.hlc for change in changes]),
            line_of=numbers.get,
        )
        found = self._parking.place(group)
        self.writer.append(changes, self._source_node, hlc_max=self._parking.hlc_max)
        return self._received(group, hash_of(changes), found)

    def _take_long(self, first: Change, lines: Iterator[Line]) -> Applied:
        """It is logged first, and applied from the log, so that it is never held whole."""
        group_hash = GroupHash()
        hlc, first_line = 0, None

        def passing() -> Iterator[Change]:
            nonlocal hlc, first_line
            for line, change in lines:
                first_line = line if first_line is None else first_line
                hlc = max(hlc, change.hlc)
                group_hash.add(change)
                yield change

        hlc_max = self._parking.hlc_max
        begin, end = self.writer.append(passing(), self._source_node, hlc_max=hlc_max)
        self.writer.flush()

        def line_of(lsn: int) -> int | None:
            # What is applied from the log has its place there.
            return None if first_line is None else first_line + max(lsn - begin, 0)

        def pages() -> Iterator[Sequence[Change]]:
            return self._logged(begin, end)

        group = Group(first, pages, is_long=True, hlc=hlc, line_of=line_of)
        return self._received(group, group_hash.hex(), self._parking.place(group))

    def _logged(self, begin: int, end: int) -> Iterator[Sequence[Change]]:
        after = begin - 1
        while after < end:
            page = read_changes(self.transaction, after, until_lsn=end, limit=CHANGES_AT_ONCE)
            after = page[-1].lsn
            yield page

    def _received(self, group: Group, group_hash: str, found: Outcome | CannotPlace) -> Applied:
        """It is logged: its receipt, its effect or its quarantine, and who waited for it."""
        parking = self._parking
        if isinstance(found, CannotPlace):
            self.receipts.add(group.first, group_hash, "parked")
            applied = parking.park(group, found)
            waiting = parking.waiting_for(group) | parking.head_of(applied)
            return applied.having(parking.release(waiting))
        result = parking.keep(found)
        self.receipts.add(group.first, group_hash, result)
        applied = group.applied(result, rows=found.rows, conflicts=found.conflict_count)
        return applied.having(parking.release(parking.waiting_for(group, found)))
