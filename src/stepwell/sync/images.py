"""What rows were when they were last captured or applied, as far as the log still tells.

It is asked when a table is tracked again whose triggers were gone for a time: what differs from it
was written by somebody unseen, and nothing else has to be announced.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import islice

from stepwell.database.transaction import Reader
from stepwell.sync.aliases import has_aliases
from stepwell.sync.change import Change, RowKey, Values, Version, decode_values
from stepwell.sync.log import read_group
from stepwell.sync.policy import stored_policy
from stepwell.sync.table import TrackedTable
from stepwell.sync.touched import row_key

_NONE = RowKey("", "")
CHANGES_OF_GROUP_MAX = 20_000  # Of one group are looked at, for each page of rows.


def last_images(
    reader: Reader, table: TrackedTable, versions: Mapping[RowKey, Version]
) -> dict[RowKey, Values]:
    """What the rows of these versions were; a column is missing that their writers did not have.

    A row is missing that nobody can tell: its change is pruned, or came with a snapshot; or it is a
    join of several (policy ``columns``), or what came was rewritten (keys that lead to others).
    """
    found: dict[RowKey, Values] = {}
    if stored_policy(table.policy).rows == "columns" or has_aliases(reader):
        return found
    wanted: dict[tuple[str, int, int], set[RowKey]] = {}
    for key, version in versions.items():
        group = version.origin, version.epoch, version.seq
        wanted.setdefault(group, set()).add(key)
    for group, keys in wanted.items():
        changes = read_group(reader, *group)
        for change in islice(changes, CHANGES_OF_GROUP_MAX):
            key, values = _written(table, change)
            if key in keys:
                found[key] = values
        if next(changes, None) is not None:  # It may write a row again further on.
            for key in keys:
                found.pop(key, None)
    return found


def _written(table: TrackedTable, change: Change) -> tuple[RowKey, Values]:
    """The row that a change leaves, under the key that it has then; nothing of another table."""
    if change.table_name != table.name or change.op == "D" or change.epoch == 0:
        return _NONE, {}  # Of version 1.0: a column that it leaves out was left as it was.
    values = {**decode_values(change.pk_json), **change.new_values()}
    return (
        (row_key(table.shape, values), values) if set(table.key) <= values.keys() else (_NONE, {})
    )
