"""Two rows that claim one unique value."""

from __future__ import annotations

from typing import NamedTuple

from stepwell.database.shape import Unique
from stepwell.sync.change import Change, RowKey, Values, Version
from stepwell.sync.conflict import NewConflict, Status
from stepwell.sync.scene import CannotPlace
from stepwell.sync.table import TrackedTable


class Settled(NamedTuple):
    """What can be written without a collision; ``values`` None: the row is gone."""

    values: Values | None
    version: Version


class Claim(NamedTuple):
    """A row that comes, and the one that has its unique value."""

    table: TrackedTable
    change: Change
    unique: Unique
    key: RowKey
    row: Values
    version: Version
    other_key: RowKey
    other: Values
    other_version: Version

    def parked(self) -> CannotPlace:
        """A person, or a main, must decide."""
        values = ", ".join(f"{name} = {self.row.get(name)!r}" for name in self.unique.columns)
        return CannotPlace(
            "unique",
            f"row {self.key.pk_json} of table {self.table.name!r} has the unique value of row"
            f" {self.other_key.pk_json} here ({self.unique.name}: {values})",
            change=self.change,
            conflict=self.conflict("park", status="waiting", winner=None),
        )

    def conflict(self, policy: str, *, status: Status, winner: str | None) -> NewConflict:
        """As it is recorded."""
        return NewConflict(
            kind="unique",
            key=self.key,
            policy=policy,
            status=status,
            winner=winner,
            base=None,
            ours=self.other,
            theirs=self.row,
            our_version=self.other_version if self.other_version.seq else None,
            their_version=self.version,
            change=self.change,
            index_name=self.unique.name,
        )
