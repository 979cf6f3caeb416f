"""Places a change column by column, for the policy ``columns``; see ``columns.py``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from stepwell.sync.change import Change, RowKey, Values, Version, decode_values
from stepwell.sync.columns import Merged, Row, Write, encode_stamps, merge, stamps_of, written
from stepwell.sync.policy import Side
from stepwell.sync.rows import holds
from stepwell.sync.table import TrackedTable

if TYPE_CHECKING:
    from stepwell.sync.place import Placement


def place_columns(
    placement: Placement,
    table: TrackedTable,
    change: Change,
    key: RowKey,
    incoming: Version,
    row: Values | None,
    values: Values | None,
    now: Version | None,
    base: str | None,
) -> None:
    """Join a change with the row that is there; ``now`` is its version, ``base`` what it knew."""
    policy = placement.scene.policy(table.name)
    if now is not None and now.id == incoming.id != base:
        return
    state = None
    if now is not None:
        text = placement.columns_of(key)
        state = Row(now, row, stamps_of(text, now, row, policy))
    # A row that gets another key is born under it, whatever it was before.
    is_birth = values is not None and (change.op == "I" or change.new_causal_length > 0)
    before = None
    if values is not None and not is_birth and change.old_values() is not None:
        before = decode_values(change.before)
    image = None if values is None else {**(row or {}), **values}
    names = table.shape.names if values is not None and change.epoch > 0 else ()
    unspoken = {name for name in names if name not in (values or {})}
    merged = merge(policy, state, Write(incoming, image, before, is_birth, unspoken))
    if now is not None and now.id != base:
        _record_merged(placement, change, key, Side(now, row), Side(incoming, image), merged)
    result = merged.row
    if holds(table.shape, row, result.values):
        placement.versions[key] = result.version
    else:
        placement.write(table, change, key, row, result.values, result.version)
    now = placement.versions[key]
    stamps = result.stamps
    if now != result.version and result.values is not None:
        # This node had to change it, to let another row have its unique value.
        own = placement.own_group.changes[-1]
        stamps = written(policy, stamps, decode_values(own.before), now)
    placement.stamps[key] = encode_stamps(stamps)


def _record_merged(
    placement: Placement, change: Change, key: RowKey, ours: Side, theirs: Side, merged: Merged
) -> None:
    """Both have changed one column, or one of them was deleted."""
    is_gone = (ours.values is None) != (theirs.values is None)
    if merged.lost or is_gone:
        winner = "merged"
        if is_gone:
            winner = "ours" if merged.row.values == ours.values else "theirs"
        placement.record(change, key, ours, theirs, winner)
