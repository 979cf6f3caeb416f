"""Looks at a whole file of changes before anything is written: what would become of it here?

What refuses the file as a whole is an error that ``require`` raises; what a person should know
beforehand is a note. Memory does not grow with the file.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime

from stepwell.database.transaction import Reader
from stepwell.errors import GroupMissing, ImportRefused, SyncError
from stepwell.sync.bundle_reader import Bundle, BundleGroup, Checked
from stepwell.sync.change import (
    AHEAD_MAX_MS,
    COUNTER_BITS,
    Change,
    GroupHash,
    decode_values,
    hlc_of,
    moment_of,
)
from stepwell.sync.peers import find_peer, find_state, own_node
from stepwell.sync.policy import stored_policy
from stepwell.sync.received import find_received, forked, is_covered, last_seq, missing, restored
from stepwell.sync.table import TrackedTable, tracked_tables


@dataclass(frozen=True)
class Note:
    """What a person should read before an import. ``code`` is for programs."""

    code: str
    what: str


@dataclass
class Preflight:
    """What would become of a file here.

    Attributes:
        checked: What the whole file holds.
        new, skipped, will_park: Groups that would be applied; that are here already; that would
            wait, as far as it can be told (they are among the new ones).
        notes: What a person should read.
        refusals: What refuses the file; none when it may be imported.
    """

    checked: Checked
    new: int = 0
    skipped: int = 0
    will_park: int = 0
    notes: list[Note] = field(default_factory=list)
    refusals: list[SyncError] = field(default_factory=list)

    def require(self) -> None:
        """Refuse what cannot be imported.

        Raises:
            GroupMissing, HistoryForked, NodeRestored, ImportRefused: the first that was found.
        """
        if self.refusals:
            raise self.refusals[0]


def preflight(reader: Reader, bundle: Bundle, *, at: datetime) -> Preflight:
    """Read a whole file, write nothing.

    Raises:
        BundleTorn, BundleDamaged, …: the file is not whole.
    """
    return _Looking(reader, bundle, at).look()


class _Looking:
    def __init__(self, reader: Reader, bundle: Bundle, at: datetime) -> None:
        self._reader = reader
        self._bundle = bundle
        self._at = at
        self._tables = tracked_tables(reader)
        self._node = own_node(reader)
        self._last: dict[tuple[str, int], int] = {}
        self._covered: dict[tuple[str, int], bool] = {}
        self._found = Preflight(Checked(0, 0, 0, "", 0))
        # Facts of many groups, told once.
        self._unknown_tables: dict[str, int] = {}
        self._missing_columns: dict[tuple[str, str], int] = {}
        self._ahead = 0
        self._unreadable = 0

    def look(self) -> Preflight:
        found = self._found
        self._look_at_source()
        for group in self._bundle.groups():
            self._look_at_group(group)
        found.checked = self._bundle.last_checked
        self._tell()
        return found

    # --- the first line

    def _look_at_source(self) -> None:
        meta, node = self._bundle.meta, self._node
        source = meta.source_node
        if source == node.node_id:
            self._refuse(
                f"it is this node's own: {source!r} has written it",
                "give it to another node",
            )
        if meta.client_id and meta.client_id != node.node_id:
            self._note(
                "for_another_node",
                f"it was written for {meta.client_id!r}: what that one has is left out of it",
            )
        if meta.is_main and node.is_main:
            self._note("two_mains", f"{source!r} is a main, and so is this node: only one can be")
        told = meta.known.get(node.node_id)
        if told is not None and tuple(told) > (node.epoch, node.last_seq):
            self._found.refusals.append(restored(node, told[0], told[1], node.last_seq))
        peer = find_peer(self._reader, source)
        if peer is not None and 0 < meta.epoch < peer.epoch:
            self._refuse(
                f"it is of epoch {meta.epoch} of node {source!r}, which is in epoch {peer.epoch}:"
                " a copy of that node is still in use",
                f"stop the copy; on {source}, `stepwell sync rejoin`",
            )
        self._look_for_gap()

    def _look_for_gap(self) -> None:
        meta = self._bundle.meta
        state = find_state(self._reader, meta.source_node, "in")
        last = state.last_lsn if state is not None and state.peer_epoch == meta.epoch else 0
        if meta.from_lsn <= last + 1:
            return
        gap = f"{last + 1} to {meta.from_lsn - 1} are missing here"
        fact = f"it begins at change {meta.from_lsn} of node {meta.source_node!r}, {gap}"
        if self._bundle.is_classic:
            self._note("gap", fact)
            return
        self._found.refusals.append(
            GroupMissing(
                f"cannot import {self._bundle.path.name!r}: {fact}",
                hint=f"on {meta.source_node}, `stepwell sync export --to FILE --since {last}`",
                fields={"node": meta.source_node, "first_missing": last + 1},
            )
        )

    # --- the groups

    def _look_at_group(self, group: BundleGroup) -> None:
        state = self._state_of(group)
        if state == "skipped":
            self._found.skipped += 1
            self._require_same(group)
            return
        self._found.new += 1
        waits = False
        for change in group.changes():
            waits |= self._waits(change)
        self._found.will_park += waits

    def _state_of(self, group: BundleGroup) -> str:
        origin, epoch, seq = group.origin, group.epoch, group.seq
        if origin == self._node.node_id and epoch > 0:
            own = self._node
            if (epoch, seq) > (own.epoch, own.last_seq):
                self._found.refusals.append(restored(own, epoch, seq, own.last_seq))
            return "skipped"
        if epoch == 0:
            found = find_received(self._reader, origin, epoch, seq)
            return "new" if found is None else "skipped"
        name = origin, epoch
        if name not in self._last:
            self._last[name] = last_seq(self._reader, origin, epoch)
        if name not in self._covered:
            self._covered[name] = is_covered(self._reader, origin, epoch)
        if seq <= self._last[name] or self._covered[name]:
            return "skipped"
        if seq > self._last[name] + 1:
            source = self._bundle.meta.source_node
            self._found.refusals.append(missing(origin, epoch, self._last[name], seq, source))
        self._last[name] = seq
        return "new"

    def _require_same(self, group: BundleGroup) -> None:
        first, group_hash = None, GroupHash()
        for change in group.changes():
            first = change if first is None else first
            group_hash.add(change)
        found = find_received(self._reader, group.origin, group.epoch, group.seq)
        if first is not None and found is not None and found[0] != group_hash.hex():
            self._found.refusals.append(forked(first))

    def _waits(self, change: Change) -> bool:
        """Whether the group of a change will be parked for its sake, as far as one can tell now."""
        if change.hlc > hlc_of(self._at) + (AHEAD_MAX_MS << COUNTER_BITS):
            self._ahead = max(self._ahead, change.hlc)
            return True
        table = self._tables.get(change.table_name)
        if table is None:
            name = change.table_name
            self._unknown_tables[name] = self._unknown_tables.get(name, 0) + 1
            return True
        if change.schema == table.fingerprint:
            return False
        missed = [self._misses(change, table, name) for name in self._strange(change, table)]
        return True in missed

    def _strange(self, change: Change, table: TrackedTable) -> Iterator[str]:
        try:
            values = {**change.new_values(), **decode_values(change.pk_json)}
        except ValueError:
            self._unreadable += 1
            return
        for name, value in values.items():
            if name not in table.shape.names and value is not None:
                yield name

    def _misses(self, change: Change, table: TrackedTable, column: str) -> bool:
        name = change.table_name, column
        self._missing_columns[name] = self._missing_columns.get(name, 0) + 1
        return stored_policy(table.policy).missing_columns == "park"

    # --- the report

    def _tell(self) -> None:
        for table, count in self._unknown_tables.items():
            self._note(
                "unknown_table",
                f"{count} changes of table {table!r}, which is not tracked here: their groups will"
                f" wait for `stepwell sync track {table}`",
            )
        for (table, column), count in self._missing_columns.items():
            fact = f"{count} changes of table {table!r} have a value for column {column!r}"
            if stored_policy(self._tables[table].policy).missing_columns == "park":
                self._note("missing_column", f"{fact}, which is not here: their groups will wait")
            else:
                self._refuse(
                    f"{fact}, which is not here",
                    f"migrate this database, then `stepwell sync track {table}`",
                )
        if self._ahead:
            self._note(
                "clock_ahead",
                "stamps are ahead of this node's clock, up to"
                f" {moment_of(self._ahead):%Y-%m-%d %H:%M:%S} UTC: their groups will wait",
            )
        if self._unreadable:
            self._note(
                "unreadable_values", f"{self._unreadable} changes have values that cannot be read"
            )

    def _note(self, code: str, what: str) -> None:
        self._found.notes.append(Note(code, what))

    def _refuse(self, fact: str, hint: str) -> None:
        name = self._bundle.path.name
        self._found.refusals.append(
            ImportRefused(f"cannot import {name!r}: {fact}", hint=hint, fields={"file": name})
        )
