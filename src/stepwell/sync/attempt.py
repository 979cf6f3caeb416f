"""Places a whole group or nothing of it: the fast way, the careful one, foreign keys last.

A group is given in pages. One of a single page stays in memory until its savepoint is released;
of a longer one, each page is written out before the next is read.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from stepwell.database.transaction import Transaction
from stepwell.errors import ConstraintViolation, StatementFailed
from stepwell.sync.change import Change
from stepwell.sync.conflict import end_waiting, record_conflict
from stepwell.sync.fast_forward import FastForward
from stepwell.sync.group import Pages
from stepwell.sync.log import LogWriter
from stepwell.sync.place import Outcome, Placement
from stepwell.sync.quarantine import Reason
from stepwell.sync.received import Receipts
from stepwell.sync.scene import CannotPlace, Scene
from stepwell.sync.versions import put_versions


class _NotPlain(Exception):
    """The fast way does not lead there."""


class Attempts:
    """Tries groups inside one transaction."""

    def __init__(self, scene: Scene, receipts: Receipts) -> None:
        self._scene = scene
        self._receipts = receipts
        self._transaction: Transaction = scene.transaction
        self._writer: LogWriter = scene.writer
        self._at: datetime = scene.at

    def place(self, pages: Pages, *, is_long: bool, seen_hlc: int) -> Outcome | CannotPlace:
        """Place all changes of a group, or none; what is left to be written is answered.

        ``seen_hlc`` is its greatest stamp.
        """
        if not is_long:
            [changes] = pages()
            run = FastForward(self._scene, changes)
            if run.add(changes) and self.write(run):
                return Outcome(versions=run.versions, rows=len(changes))
        # What is buffered must not be written, and undone, inside the savepoint.
        self._writer.flush()
        found: Outcome | CannotPlace | None = None
        if not self._scene.has_deferred:
            found = self._careful(pages, is_deferred=False, is_long=is_long, seen_hlc=seen_hlc)
        if found is None or (isinstance(found, CannotPlace) and found.reason == "foreign_key"):
            found = self._careful(pages, is_deferred=True, is_long=is_long, seen_hlc=seen_hlc)
        return found

    def keep(self, outcome: Outcome) -> None:
        """A group is placed: its rows are what it says, its conflicts are recorded."""
        for key, version in outcome.versions.items():
            self._writer.put(key, version, outcome.stamps.get(key))
        if outcome.conflicts or outcome.settled:
            self._record(outcome)

    def write(self, run: FastForward) -> bool:
        """Write groups that follow what is here; False, and nothing of them, when one cannot be."""
        try:
            with self._transaction.savepoint():
                if not run.write():
                    raise _NotPlain
        except (_NotPlain, ConstraintViolation, StatementFailed):
            return False
        return True

    def _careful(
        self, pages: Pages, *, is_deferred: bool, is_long: bool, seen_hlc: int
    ) -> Outcome | CannotPlace:
        transaction, application = self._transaction, self._transaction.application
        placement = Placement(self._scene, seen_hlc=seen_hlc, is_deferred=is_deferred)
        at_work: list[Change] = []
        try:
            with transaction.savepoint():
                if is_deferred:
                    transaction.ask(application.defer_foreign_keys)
                for page in pages():
                    self._require_bases(page)
                    for change in page:
                        at_work[:] = [change]
                        placement.place(change)
                    if is_long:
                        self._spill(placement)
                at_work.clear()
                placement.end()
                if is_long:
                    self._spill(placement)
                if is_deferred:
                    transaction.ask(application.enforce_foreign_keys)
        except CannotPlace as found:
            return found
        except (ConstraintViolation, StatementFailed) as error:
            return _refused(error, at_work[0] if at_work else None)
        finally:
            if is_deferred:
                transaction.ask(application.enforce_foreign_keys)
        return placement

    def _require_bases(self, changes: Sequence[Change]) -> None:
        for change in changes:
            for base in (change.base, change.new_base):
                if base is not None and not self._receipts.has_come(base, change):
                    raise CannotPlace(
                        "early",
                        f"it changes what group {base} wrote, which has not come yet",
                        change=change,
                        version=base,
                    )

    def _spill(self, outcome: Outcome) -> None:
        """Write what a long group has collected so far."""
        put_versions(self._transaction, outcome.versions, outcome.stamps)
        self._record(outcome)
        outcome.versions.clear()
        outcome.stamps.clear()

    def _record(self, outcome: Outcome) -> None:
        for conflict in outcome.conflicts:
            record_conflict(self._transaction, conflict, at=self._at)
        for key, version_id in outcome.settled:
            end_waiting(
                self._transaction, key, version_id, by="sync", at=self._at, how="a resolution came"
            )
        outcome.conflict_count += len(outcome.conflicts)
        outcome.conflicts.clear()
        outcome.settled.clear()


def _refused(error: ConstraintViolation | StatementFailed, change: Change | None) -> CannotPlace:
    reason: Reason = "constraint"
    fact = error.message.partition(": ")[2]
    if error.fields.get("constraint") == "foreign key" or "FOREIGN KEY" in error.message:
        reason = "foreign_key"
    elif isinstance(error, StatementFailed):
        reason = "values"
    return CannotPlace(reason, f"the database refuses it: {fact}", change=change)
