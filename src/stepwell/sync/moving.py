"""A row that gets another key: one change, two keys."""

from __future__ import annotations

from typing import TYPE_CHECKING

from stepwell.sync.change import Change, RowKey, Values, decode_values
from stepwell.sync.rows import update_row
from stepwell.sync.table import TrackedTable
from stepwell.sync.uniques import settle

if TYPE_CHECKING:
    from stepwell.sync.place import Placement


def move(
    placement: Placement,
    table: TrackedTable,
    change: Change,
    key: RowKey,
    new_key: RowKey,
    values: Values,
) -> None:
    """In one statement when it follows what is here; else the old row and the new one apart."""
    policy = placement.scene.policy(table.name)
    now, there = placement.version(key), placement.version(new_key)
    is_free = there is None or (not there.is_alive and there.id == change.new_base)
    is_next = now is not None and placement.follows(
        now, change, change.base, change.version, policy
    )
    if is_next and is_free and policy.rows != "columns":
        row = placement.read(table, key)
        if row is not None and placement.read(table, new_key) is None:
            placement.versions[key] = change.version
            _update_key(placement, table, change, key, new_key, row, values)
            return
    placement.place_row(table, change, key, placement.incoming(change, change.key), None)
    incoming = placement.incoming(change, new_key)
    placement.place_row(table, change, new_key, incoming, values, base=change.new_base or "")


def _update_key(
    placement: Placement,
    table: TrackedTable,
    change: Change,
    key: RowKey,
    new_key: RowKey,
    row: Values,
    values: Values,
) -> None:
    """In one statement, so that the rows that name it follow as the database has it."""
    settled = settle(
        placement, table, change, new_key, row, values, placement.incoming(change, new_key), was=key
    )
    if settled.values is None:
        placement.family.delete(table, change, key, row)
    else:
        placement.family.wrote(table, settled.values, change.lsn)
        placement.family.moved(table, row)
        placement.replaced(table, row)
        update_row(
            placement.scene.transaction, table.shape, decode_values(key.pk_json), settled.values
        )
        placement.rows += 1
    placement.versions[new_key] = settled.version
