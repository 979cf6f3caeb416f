"""What placing changes needs to know of this node; read once a transaction."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from stepwell.database.shape import ForeignKey, TableShape
from stepwell.database.transaction import Transaction
from stepwell.sync.aliases import has_aliases
from stepwell.sync.change import Change, RowKey, Version
from stepwell.sync.conflict import NewConflict
from stepwell.sync.log import LogWriter
from stepwell.sync.policy import Policy, stored_policy
from stepwell.sync.quarantine import Reason
from stepwell.sync.table import TrackedTable, tracked_tables


class CannotPlace(Exception):
    """A change cannot be placed, so its whole group waits; never leaves this package.

    Attributes:
        key, lsn: The change that cannot be placed, as far as it is one.
        conflict: What a person must decide.
        version: Of the group that must come first.
    """

    def __init__(
        self,
        reason: Reason,
        message: str,
        *,
        change: Change | None = None,
        key: RowKey | None = None,
        lsn: int | None = None,
        conflict: NewConflict | None = None,
        version: str | None = None,
        waits_for: int | None = None,
    ) -> None:
        super().__init__(message)
        self.reason: Reason = reason
        self.message = message
        self.key = change.key if change is not None else key
        self.lsn = change.lsn if change is not None else lsn
        self.conflict = conflict
        self.version = version
        self.waits_for = waits_for


class Scene:
    """The tracked tables, their policies, who points to whom, and the open transaction."""

    def __init__(
        self, transaction: Transaction, writer: LogWriter, *, at: datetime, actor: str
    ) -> None:
        self.transaction = transaction
        self.writer = writer
        self.at = at
        self.actor = actor
        found = tracked_tables(transaction)
        by_lower_name = {name.lower(): name for name in found}
        self.tables = {
            name: replace(table, shape=_with_names(table.shape, by_lower_name))
            for name, table in found.items()
        }
        self.keys = {name: table.key for name, table in self.tables.items()}
        self.columns = {name: set(table.shape.names) for name, table in found.items()}
        self._policies = {name: stored_policy(table.policy) for name, table in found.items()}
        self._children: dict[str, list[tuple[TrackedTable, ForeignKey]]] = {}
        for table in self.tables.values():
            for foreign in table.shape.foreign_keys:
                self._children.setdefault(foreign.parent, []).append((table, foreign))
        self.has_aliases = has_aliases(transaction)
        self.has_waiting = False  # Parked groups: what is written may be the end of their waiting.
        self._plain = {
            name: table.fingerprint
            for name, table in self.tables.items()
            if self._policies[name].rows != "columns"
            and not any(foreign.is_deferred for foreign in table.shape.foreign_keys)
        }

    def table(self, change: Change) -> TrackedTable:
        """The table of a change."""
        found = self.tables.get(change.table_name)
        if found is None:
            raise CannotPlace(
                "unknown_table",
                f"table {change.table_name!r} is not tracked here",
                change=change,
            )
        return found

    def is_plain(self, change: Change) -> bool:
        """Whether nothing but its row's version decides what becomes of it."""
        return (
            self._plain.get(change.table_name) == change.schema
            and not change.new_causal_length
            and not change.resolves
            and change.epoch > 0
            and not (change.op == "D" and change.table_name in self._children)
        )

    def rises(self, table_name: str, now: Version, version: Version) -> bool:
        """Whether a version sorts behind the one that is there."""
        order = self._policies[table_name].order
        return order(version) > order(now)

    def policy(self, table_name: str) -> Policy:
        """How its conflicts are decided."""
        return self._policies[table_name]

    def children(self, table_name: str) -> list[tuple[TrackedTable, ForeignKey]]:
        """The tracked tables that point to it, by which foreign key."""
        return self._children.get(table_name, [])

    @property
    def has_deferred(self) -> bool:
        """Whether a foreign key of any table is checked at the commit alone."""
        shapes = (table.shape for table in self.tables.values())
        return any(foreign.is_deferred for shape in shapes for foreign in shape.foreign_keys)


def _with_names(shape: TableShape, by_lower_name: dict[str, str]) -> TableShape:
    """Foreign keys name their parents as these are named."""
    return replace(
        shape,
        foreign_keys=tuple(
            replace(f, parent=by_lower_name.get(f.parent.lower(), f.parent))
            for f in shape.foreign_keys
        ),
    )
