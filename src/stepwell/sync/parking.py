"""Parks groups that cannot be applied, and applies them when what hinders them is gone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import chain, islice, takewhile
from typing import Any

from stepwell.errors import CannotResolve
from stepwell.sync import quarantine
from stepwell.sync.attempt import Attempts
from stepwell.sync.change import AHEAD_MAX_MS, COUNTER_BITS, Change, hlc_of, moment_of
from stepwell.sync.conflict import end_group, record_conflict
from stepwell.sync.fast_forward import FastForward
from stepwell.sync.group import CHANGES_AT_ONCE, Applied, Group
from stepwell.sync.log import read_group
from stepwell.sync.place import Outcome
from stepwell.sync.quarantine import Quarantined
from stepwell.sync.received import Receipts, Result
from stepwell.sync.scene import CannotPlace, Scene
from stepwell.sync.touched import Token, touched_by

TOGETHER_MAX = 100  # Groups that are tried at once, again with each that comes.
TRIES_MAX = 5  # Of groups together, each without one more that cannot be placed.


class Parking:
    """The quarantine of one node, inside one transaction."""

    def __init__(self, scene: Scene, receipts: Receipts, *, source_node: str) -> None:
        self.hlc_max = hlc_of(scene.at) + (AHEAD_MAX_MS << COUNTER_BITS)
        self._scene = scene
        self._transaction = scene.transaction
        self._writer = scene.writer
        self._receipts = receipts
        self._attempts = Attempts(scene, receipts)
        self._source_node = source_node
        self._open = quarantine.count_open(scene.transaction)
        scene.has_waiting = self._open > 0

    # --- trying

    def place(self, group: Group, *, number: int = 0) -> Outcome | CannotPlace:
        """Place a group, or say what hinders it; ``number`` is its own place in quarantine."""
        hindrance = self._hindrance(group, number)
        if hindrance is not None:
            return hindrance
        return self._attempts.place(group.pages, is_long=group.is_long, seen_hlc=group.hlc)

    def place_first(self, groups: Sequence[Sequence[Change]]) -> int:
        """Place the first of some groups at once, as many as plainly follow what is here.

        Answers how many; their rows' versions are remembered, too. None of them when fewer than
        two do, when a parked group has to do with any, or when the database refuses one: which,
        and why, is found when each is placed by itself.
        """
        changes = list(chain.from_iterable(groups))
        if len(groups) < 2 or (self._open and self._meets_parked(changes)):
            return 0
        run = FastForward(self._scene, changes)
        count = sum(1 for _ in takewhile(run.add, groups))
        if count < 2 or not self._attempts.write(run):
            return 0
        for key, version in run.versions.items():
            self._writer.put(key, version)
        return count

    def _meets_parked(self, changes: Sequence[Change]) -> bool:
        touched = touched_by(changes, self._scene.tables)
        bases = {base for change in changes for base in (change.base, change.new_base) if base}
        came = {Token("", change.version.id) for change in changes}
        return (
            quarantine.holder_of(self._transaction, touched.wanted(), bases=bases) is not None
            or len(quarantine.waiting_for(self._transaction, touched.moved() | came)) > 0
        )

    def keep(self, outcome: Outcome) -> Result:
        """A group is placed and stands in the log: write the rest of it."""
        self._attempts.keep(outcome)
        if outcome.own is not None:
            outcome.own.log_into(self._writer)
        return "conflict" if outcome.conflict_count else "applied"

    def _hindrance(self, group: Group, number: int) -> CannotPlace | None:
        if group.hlc > self.hlc_max:
            return CannotPlace(
                "clock",
                f"its stamp is {moment_of(group.hlc):%Y-%m-%d %H:%M:%S} UTC, this node's clock says"
                f" {self._scene.at:%Y-%m-%d %H:%M:%S}",
            )
        for changes in group.pages() if self._open else ():
            if any(change.resolves for change in changes):
                return None  # What was decided is not held back by what it decides.
            wanted = touched_by(changes, self._scene.tables).wanted()
            bases = {base for change in changes for base in (change.base, change.new_base) if base}
            holder = quarantine.holder_of(self._transaction, wanted, bases=bases, but=number)
            if holder is not None:
                return CannotPlace(
                    "behind",
                    f"it touches what quarantined group {holder} touches",
                    waits_for=holder,
                )
        return None

    # --- into quarantine, and out of it

    def head_of(self, applied: Applied) -> set[int]:
        """The parked group that one waits behind in the end: this one may be its remedy."""
        number = applied.quarantine_id
        parked = None if number is None else quarantine.find_quarantined(self._transaction, number)
        if parked is None or parked.reason != "behind":
            return set()
        return {quarantine.first_of(self._transaction, parked).quarantine_id}

    def park(self, group: Group, found: CannotPlace) -> Applied:
        """Remember why a group waits, and what it touches."""
        first = group.first
        number = quarantine.insert_quarantined(
            self._transaction,
            {
                "origin": first.origin,
                "epoch": first.epoch,
                "seq": first.seq,
                "tx_id": first.tx_id,
                "source_node": self._source_node,
                "parked_at": self._scene.at,
                **_facts(group.parked(found), found),
            },
        )
        self._open += 1
        self._scene.has_waiting = True
        seen: set[object] = set()
        for changes in group.pages():
            touched = touched_by(changes, self._scene.tables)
            quarantine.insert_keys(self._transaction, number, touched, seen)
        if found.version is not None:
            quarantine.insert_version_key(self._transaction, number, found.version)
        if found.conflict is not None:
            record_conflict(self._transaction, found.conflict, at=self._scene.at)
        return group.parked(found, number)

    def try_again(self, parked: Quarantined) -> tuple[Applied, set[int]]:
        """Try a parked group; answers also which others may be applied now.

        Raises:
            CannotResolve: its changes have been pruned.
        """
        group, number = self._group(parked), parked.quarantine_id
        found = self.place(group, number=number)
        if isinstance(found, CannotPlace):
            facts = _facts(group.parked(found), found)
            quarantine.update_quarantined(self._transaction, number, **facts)
            if found.version is not None:
                quarantine.insert_version_key(self._transaction, number, found.version)
            if found.conflict is not None:
                record_conflict(self._transaction, found.conflict, at=self._scene.at)
            return group.parked(found, number), set()
        result = self.keep(found)
        self._writer.see(group.hlc, self.hlc_max)
        waiting = self.close(parked, "applied", result) | self.waiting_for(group, found)
        first = group.first
        end_group(self._transaction, first.origin, first.epoch, first.seq, at=self._scene.at)
        applied = group.applied(
            result, rows=found.rows, conflicts=found.conflict_count, quarantine_id=number
        )
        return applied, waiting

    def try_with_followers(self, applied: Applied) -> tuple[Applied, set[int]]:
        """Try a group that is still parked together with those behind it; as ``try_again``."""
        number = applied.quarantine_id or 0
        together, waiting = self._try_together(
            quarantine.get_quarantined(self._transaction, number)
        )
        if not together:
            return applied, set()
        _, *others = together
        return replace(applied, result="applied", released=tuple(others)), waiting

    def _try_together(self, parked: Quarantined) -> tuple[tuple[int, ...], set[int]]:
        """Try a group at once with those that wait behind it: one of them may be its remedy.

        A row's parent is gone, and a later group deletes the row, or brings the parent back. When
        one behind it cannot be placed either, the others are tried that have to do with neither.
        Answers what could be applied, and which others may be now.
        """
        if parked.reason != "foreign_key":
            return (), set()
        chained = [parked, *quarantine.behind(self._transaction, parked)]
        groups = [(each, self._group(each)) for each in chained[: TOGETHER_MAX + 1]]
        for _ in range(TRIES_MAX):
            if not 1 < len(groups) <= TOGETHER_MAX:
                break
            found = self._place_together([group for _, group in groups])
            if not isinstance(found, CannotPlace):
                waiting = self.waiting_for_outcome(found)
                result = self.keep(found)
                for each, group in groups:
                    self._writer.see(group.hlc, self.hlc_max)
                    waiting |= self.close(each, "applied", result) | self.waiting_for(group, found)
                return tuple(each.quarantine_id for each, _ in groups), waiting
            if found.lsn is None:
                break
            groups = self._without(groups, found.lsn)
        return (), set()

    def _without(
        self, groups: Sequence[tuple[Quarantined, Group]], lsn: int
    ) -> list[tuple[Quarantined, Group]]:
        """Without the group that has the change of an LSN, and those that must wait behind it."""
        if any(group.is_long for _, group in groups):
            return []  # What it touches is not held in memory.
        kept: list[tuple[Quarantined, Group]] = []
        held: set[Token] = set()
        for parked, group in groups:
            pages = list(group.pages())
            touched = [touched_by(page, self._scene.tables) for page in pages]
            has_it = pages[0][0].lsn <= lsn <= pages[-1][-1].lsn
            if has_it or any(each.wanted() & held for each in touched):
                held.update(*(each.held() for each in touched))
            else:
                kept.append((parked, group))
        return kept if kept[:1] == list(groups[:1]) else []

    def _place_together(self, groups: Sequence[Group]) -> Outcome | CannotPlace:
        def pages() -> Iterator[Sequence[Change]]:
            return chain.from_iterable(group.pages() for group in groups)

        ahead = next((group for group in groups if group.hlc > self.hlc_max), None)
        if ahead is not None:
            return CannotPlace("clock", "its stamp is ahead", lsn=ahead.first.lsn)
        seen_hlc = max(group.hlc for group in groups)
        return self._attempts.place(pages, is_long=True, seen_hlc=seen_hlc)

    def close(self, parked: Quarantined, outcome: str, result: Result) -> set[int]:
        """It waits no more; answers who waited behind it."""
        number = parked.quarantine_id
        waiting = set(quarantine.waiting_behind(self._transaction, number))
        quarantine.close_quarantined(self._transaction, number, outcome=outcome, at=self._scene.at)
        self._receipts.set_result(parked.origin, parked.epoch, parked.seq, result)
        self._open -= 1
        return waiting

    def waiting_for(self, group: Group, outcome: Outcome | None = None) -> set[int]:
        """Parked groups that may be free now: this one came, or (with ``outcome``) moved rows."""
        if not self._open:
            return set()
        came = Token("", group.first.version.id)
        waiting = quarantine.waiting_for(self._transaction, (came,))
        if outcome is not None:
            waiting |= self.waiting_for_outcome(outcome)
            for changes in group.pages():
                tokens = touched_by(changes, self._scene.tables).moved()
                waiting |= quarantine.waiting_for(self._transaction, tokens)
        return waiting

    def waiting_for_outcome(self, outcome: Outcome) -> set[int]:
        """The same for what was replaced here, and for what this node decided."""
        own = outcome.own.changes if outcome.own is not None else []
        tokens = touched_by(own, self._scene.tables).moved() | outcome.freed
        return quarantine.waiting_for(self._transaction, tokens)

    def release(self, waiting: set[int]) -> tuple[int, ...]:
        """Try parked groups, and those that waited for them, as they came."""
        released: list[int] = []
        while waiting:
            number = min(waiting)
            waiting.remove(number)
            parked = quarantine.find_quarantined(self._transaction, number)
            if parked is None or parked.closed_at is not None:
                continue
            applied, more = self.try_again(parked)
            if applied.result != "parked":
                released.append(number)
                waiting |= more
                continue
            applied, more = self.try_with_followers(applied)
            if applied.result != "parked":
                released += [number, *applied.released]
                waiting |= more
        return tuple(released)

    def _group(self, parked: Quarantined) -> Group:
        self._writer.flush()
        name = parked.origin, parked.epoch, parked.seq

        def pages() -> Iterator[Sequence[Change]]:
            changes = read_group(self._transaction, *name)
            while page := list(islice(changes, CHANGES_AT_ONCE)):
                yield page

        first, hlc, count = None, 0, 0
        for page in pages():
            first = page[0] if first is None else first
            hlc = max(hlc, *(change.hlc for change in page))
            count += len(page)
        if first is None:
            raise CannotResolve(
                f"cannot apply quarantined group {parked.quarantine_id}: its changes are not in the"
                " log any more",
                hint=f"`stepwell sync quarantine drop {parked.quarantine_id}`",
                fields={"quarantine_id": parked.quarantine_id},
            )
        is_long = count > CHANGES_AT_ONCE
        return Group(first, pages, is_long, hlc, line_of=lambda _: parked.line)


def _facts(told: Applied, found: CannotPlace) -> dict[str, Any]:
    return {
        "reason": found.reason,
        "message": found.message,
        "line": told.line,
        "table_name": told.table_name,
        "pk_json": told.pk_json,
        "waits_for": found.waits_for,
    }
