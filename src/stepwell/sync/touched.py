"""What a change touches, as names that can be compared: rows, unique values, parents.

A parked group holds back whoever touches a row or a unique value of it, or has one of its rows as
parent. It is tried again when somebody has touched what it waits for.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from stepwell.database.shape import TableShape
from stepwell.sync.change import Change, RowKey, Value, Values, decode_values, key_text
from stepwell.sync.rows import canonical
from stepwell.sync.table import TrackedTable

# A row or a unique value has the same form: a table, and the JSON of some of its columns.
Token = RowKey


class Touched(NamedTuple):
    """What changes touch.

    Attributes:
        rows: The keys of their rows, old and new.
        taken: The unique values of the new rows.
        freed: Those of the old ones.
        parents: Who must be there for the new rows.
    """

    rows: set[Token]
    taken: set[Token]
    freed: set[Token]
    parents: set[Token]

    def held(self) -> set[Token]:
        """What is nobody else's while these changes wait."""
        return self.rows | self.taken | self.freed

    def wanted(self) -> set[Token]:
        """What must be nobody else's before these changes are applied."""
        return self.rows | self.taken | self.parents

    def moved(self) -> set[Token]:
        """What may be the end of somebody's waiting."""
        return self.rows | self.taken | self.freed


def touched_by(changes: Iterable[Change], tables: Mapping[str, TrackedTable]) -> Touched:
    """What some changes touch, as far as their values can be read."""
    found = Touched(set(), set(), set(), set())
    for change in changes:
        found.rows.add(change.key)
        table = tables.get(change.table_name)
        if table is None:
            continue
        try:
            new, old = change.new_values(), change.old_values()
        except ValueError:
            continue
        shape = table.shape
        if new:
            found.rows.add(row_key(shape, {**decode_values(change.pk_json), **new}))
            found.taken.update(_unique_values(shape, new))
            found.parents.update(parents_of(shape, new, tables))
        if old:
            found.freed.update(_unique_values(shape, old))
    return found


def row_key(shape: TableShape, values: Mapping[str, Value]) -> RowKey:
    """The row that has these values."""
    return RowKey(shape.name, key_text({name: values[name] for name in shape.key}))


def names_of(shape: TableShape, values: Values) -> list[Token]:
    """A row and its unique values."""
    return [row_key(shape, values), *_unique_values(shape, values)]


def parents_of(
    shape: TableShape, values: Mapping[str, Value], tables: Mapping[str, TrackedTable]
) -> list[Token]:
    """The rows that these values name by foreign keys."""
    found = []
    for foreign in shape.foreign_keys:
        named = {
            there: values.get(here)
            for here, there in zip(foreign.columns, foreign.parent_columns, strict=True)
        }
        if None in named.values():
            continue
        parent = tables.get(foreign.parent)
        if parent is not None and set(foreign.parent_columns) == set(parent.key):
            found.append(RowKey(foreign.parent, key_text(named)))
        elif parent is not None:
            found.append(_value_token(parent.shape, named))
    return found


def _unique_values(shape: TableShape, values: Values) -> list[Token]:
    found = []
    for unique in shape.uniques:
        held = {name: values.get(name) for name in unique.columns}
        if not unique.is_key and held and (unique.nulls_equal or None not in held.values()):
            found.append(_value_token(shape, held))
    return found


def _value_token(shape: TableShape, held: Mapping[str, Value]) -> Token:
    """Equal for what two nodes call the same. A collation is not looked at: the index is."""
    canonicals: dict[str, Value] = {}
    for name, value in held.items():
        if value is None:
            canonicals[name] = None
        else:
            kind, form = canonical(shape.column(name).kind, value)
            canonicals[name] = f"{kind}:{form!s}"
    return RowKey(shape.name, "=" + key_text(canonicals))
