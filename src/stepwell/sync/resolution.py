"""A person's word on a conflict: a transaction of this node, which travels like any other.

It names the version that lost in ``resolves``, so that every node, whatever it holds, takes it for
the next version of the row; what waited for it is applied behind it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from stepwell.database.transaction import Transaction
from stepwell.errors import CannotResolve, ConstraintViolation, StatementFailed
from stepwell.sync.apply import Applier
from stepwell.sync.audit import record_audit
from stepwell.sync.change import Change, RowKey, Values, Version, parse_version_id
from stepwell.sync.conflict import Conflict, end_conflict, get_conflict
from stepwell.sync.log import read_group
from stepwell.sync.place import Placement
from stepwell.sync.policy import Side
from stepwell.sync.rows import CannotHold, children_of
from stepwell.sync.scene import CannotPlace
from stepwell.sync.table import TrackedTable, get_table
from stepwell.sync.touched import row_key

Take = Literal["ours", "theirs", "values"]

GENERATIONS_MAX = 50  # Children of children of a row that is deleted.


@dataclass(frozen=True)
class Resolved:
    """What a resolution did.

    Attributes:
        version: Its own version, by which every node will know it.
        released: The parked groups that could be applied behind it.
    """

    conflict_id: int
    version: str
    released: tuple[int, ...]


def resolve(
    applier: Applier,
    conflict_id: int,
    take: Take,
    *,
    values: Values | None = None,
    expected_state: str | None = None,
) -> Resolved:
    """Decide a conflict that waits, or that a policy has decided.

    ``ours`` keeps what is here, ``theirs`` takes what came. ``values`` are columns of the row; with
    two rows that claim one unique value, columns of the row that is here, which gives way by them.
    What a person has decided is decided otherwise only by who has read it: ``expected_state`` is
    the conflict's ``state`` at that moment, and nothing is done when it is another one by now.

    Raises:
        NoSuchConflict: there is none of this id.
        TableNotTracked: its table is not tracked any more.
        CannotResolve: the rows cannot be so; nothing may be committed then.
    """
    conflict = get_conflict(applier.transaction, conflict_id)
    _refuse_a_second_word(conflict, expected_state)
    table = get_table(applier.transaction, conflict.table_name)
    if (take == "values") != bool(values):
        raise _refused(conflict, "values must be given to take them, and only then")
    if take == "values" and conflict.kind == "children":
        raise _refused(conflict, "it can only be kept or deleted, not changed")
    theirs = _their_change(applier, conflict)
    placement = Placement(applier.scene, seen_hlc=theirs.hlc)
    decision = _Decision(applier, placement, applier.scene.tables[table.name], conflict, theirs)
    try:
        decision.write(take, values or {})
        placement.end()
    except (CannotPlace, CannotHold, ConstraintViolation, StatementFailed) as error:
        raise _refused(conflict, f"{error}") from error
    version = placement.own_group.changes[0].version.id
    end_conflict(
        applier.transaction,
        conflict_id,
        status="resolved",
        by=applier.actor,
        at=applier.at,
        how=f"{take}: {version}",
    )
    record_audit(
        applier.transaction,
        at=applier.at,
        actor=applier.actor,
        action="resolve",
        subject=f"conflict {conflict_id}",
        detail={"take": take, "version": version},
    )
    return Resolved(conflict_id, version, applier.keep_own(placement))


def reopen(transaction: Transaction, conflict_id: int, *, at: datetime, actor: str) -> None:
    """Have a conflict wait for a person again; its rows stay as they are until then.

    Raises:
        NoSuchConflict: there is none of this id.
        CannotResolve: it waits already.
    """
    conflict = get_conflict(transaction, conflict_id)
    if conflict.status == "waiting":
        raise _refused(conflict, "it waits already", verb="reopen")
    end_conflict(transaction, conflict_id, status="waiting", by=None, at=None, how=None)
    record_audit(
        transaction, at=at, actor=actor, action="reopen", subject=f"conflict {conflict_id}"
    )


def _refuse_a_second_word(conflict: Conflict, expected_state: str | None) -> None:
    """Of two people who decide at once, the second is told what the first has decided."""
    by = f" by {conflict.resolved_by}" if conflict.resolved_by else ""
    how = f", {conflict.resolution}" if conflict.resolution else ""
    if expected_state is None and conflict.status == "resolved":
        hint = f"`stepwell sync conflicts reopen {conflict.conflict_id}`, then decide it otherwise"
        raise _refused(conflict, f"it is resolved{by}{how}", hint=hint)
    if expected_state not in (None, conflict.state):
        raise _refused(conflict, f"it is {conflict.status}{by} since it was read{how}")


class _Decision:
    """One resolution, being written."""

    def __init__(
        self,
        applier: Applier,
        placement: Placement,
        table: TrackedTable,
        conflict: Conflict,
        theirs: Change,
    ) -> None:
        self._transaction = applier.transaction
        self._placement = placement
        self._table = table
        self._conflict = conflict
        self._change = theirs
        is_old_key = theirs.key == conflict.key
        self._their_version = theirs.version if is_old_key else theirs.new_version

    def write(self, take: Take, values: Values) -> None:
        """Write what was decided."""
        if self._conflict.kind == "unique":
            self._unique(take, values)
        elif self._conflict.kind == "children" and take == "theirs":
            self._delete_children(self._table, self._conflict.ours or {}, GENERATIONS_MAX)
        else:
            self._row(take, values)

    def _row(self, take: Take, values: Values) -> None:
        conflict, now = self._conflict, self._side(self._table, self._conflict.key)
        # What waits is decided on what is here now, which may have gone on since.
        ours = now.values if conflict.status == "waiting" else conflict.ours
        image = ours if take == "ours" else conflict.theirs
        if take == "values":
            image = {**(now.values or conflict.theirs or {}), **values}
        self._decide(self._table, conflict.key, now, image, self._their_version)

    def _unique(self, take: Take, values: Values) -> None:
        conflict = self._conflict
        if take == "ours":
            now = self._side(self._table, conflict.key)
            self._decide(self._table, conflict.key, now, now.values, self._their_version)
            return
        other = row_key(self._table.shape, conflict.ours or {})
        now = self._side(self._table, other)
        image = None if take == "theirs" else {**(now.values or {}), **values}
        self._decide(self._table, other, now, image, now.version)

    def _delete_children(self, table: TrackedTable, row: Values, generations: int) -> None:
        for child, foreign in self._placement.scene.children(table.name):
            while found := children_of(self._transaction, child.shape, foreign, row):
                if generations == 0:
                    raise _refused(self._conflict, f"{GENERATIONS_MAX} generations name each other")
                for each in found:
                    self._delete_children(child, each, generations - 1)
                    key = row_key(child.shape, each)
                    now = self._side(child, key)
                    self._decide(child, key, now, None, now.version)
        if not self._placement.own_group.changes:
            # They have gone meanwhile: the parent's own delete is all there is to say.
            now = self._side(self._table, self._conflict.key)
            self._decide(self._table, self._conflict.key, now, None, self._their_version)

    def _side(self, table: TrackedTable, key: RowKey) -> Side:
        version = self._placement.version(key) or self._placement.unversioned()
        return Side(version, self._placement.read(table, key))

    def _decide(
        self, table: TrackedTable, key: RowKey, now: Side, image: Values | None, lost: Version
    ) -> None:
        self._placement.decide_row(
            table, self._change, key, now, image, lost=(lost,) if lost.seq else ()
        )
        self._placement.settled.append((key, lost.id))


def _their_change(applier: Applier, conflict: Conflict) -> Change:
    """The change that came, from the log."""
    applier.writer.flush()
    version = parse_version_id(conflict.their_version or "")
    found: Change | None = None
    for change in read_group(applier.transaction, *version):
        found = change if found is None else found
        if conflict.key in (change.key, _new_key(applier, change)):
            found = change
    if found is None:
        raise _refused(conflict, f"group {conflict.their_version} is not in the log any more")
    return found


def _new_key(applier: Applier, change: Change) -> RowKey | None:
    table = applier.scene.tables.get(change.table_name)
    if table is None or not change.new_causal_length:
        return None
    return row_key(table.shape, change.new_values())


def _refused(
    conflict: Conflict, fact: str, *, verb: str = "resolve", hint: str = ""
) -> CannotResolve:
    return CannotResolve(
        f"cannot {verb} conflict {conflict.conflict_id} of table {conflict.table_name!r}: {fact}",
        hint=hint or f"`stepwell sync conflicts show {conflict.conflict_id}`",
        fields={"conflict_id": conflict.conflict_id, "state": conflict.state},
    )
