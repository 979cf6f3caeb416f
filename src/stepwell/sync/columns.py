"""Merges rows column by column, for the policy of that name; pure, no I/O.

A row's *life* is its causal length while it is alive: 1, 3, 5, … A change of a later life replaces
whatever an earlier one left, and a delete ends its life for good. Within one life each column is a
join by itself: the later write, the greater or smaller value, the union of arrays; a counter is
the latest birth's value and the sum of all differences. So any order of delivery ends alike.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import msgspec

from stepwell.sync.change import Value, Values, Version
from stepwell.sync.policy import ColumnRule, Policy

Stamp = tuple[int, bool, str, int, int]  # Version.by_time
_NEVER: Stamp = (-1, False, "", 0, 0)


class Stamps(msgspec.Struct, frozen=True, omit_defaults=True):
    """When each column of a row was written; ``sync_row.column_versions``.

    Attributes:
        born: The write that gave the row its life; columns that are not listed are from then.
        columns: The later ones.
        births: What the counters were born with.
    """

    born: Stamp
    columns: dict[str, Stamp] = {}
    births: dict[str, int] = {}

    def of(self, column: str) -> Stamp:
        """When a column was written last."""
        return self.columns.get(column, self.born)


_decoder = msgspec.json.Decoder(Stamps)


def encode_stamps(stamps: Stamps) -> str:
    """As ``sync_row`` holds them."""
    return msgspec.json.encode(stamps).decode("utf-8")


def stamps_of(text: str | None, version: Version, values: Values | None, policy: Policy) -> Stamps:
    """The other way round; a row without any has not been written since its birth."""
    return _decoder.decode(text) if text is not None else born(version, values, policy)


def born(version: Version, values: Values | None, policy: Policy) -> Stamps:
    """The stamps of a row that has its life from this version."""
    counters = [name for name, rule in policy.columns.items() if rule == "delta"]
    births = {name: _count(values.get(name)) for name in counters} if values else {}
    return Stamps(version.by_time, births=births)


def written(policy: Policy, stamps: Stamps, names: Iterable[str], version: Version) -> Stamps:
    """The stamps of a row of which some columns have been written, in the same life."""
    own = {n: version.by_time for n in names if policy.columns.get(n, "lww") == "lww"}
    return Stamps(stamps.born, {**stamps.columns, **own}, stamps.births)


def unwritten(stamps: Stamps, names: Iterable[str]) -> Stamps:
    """The stamps of a row with some more columns, in which nobody has written yet."""
    new = {name: _NEVER for name in names if name not in stamps.columns}
    return Stamps(stamps.born, {**stamps.columns, **new}, stamps.births) if new else stamps


@dataclass(frozen=True)
class Row:
    """The state of a row: what a join takes and answers. ``values`` None: deleted."""

    version: Version
    values: Values | None
    stamps: Stamps


@dataclass(frozen=True)
class Write:
    """A change of a row.

    Attributes:
        values: The new image, None for a delete.
        before: The old values of the columns that it changed; None for a birth, or where they are
            not known: then it is as if all were changed.
        is_birth: The row was not there before.
        unspoken: Columns of the row that its writer's table does not have.
    """

    version: Version
    values: Values | None
    before: Values | None
    is_birth: bool
    unspoken: Collection[str] = ()


@dataclass(frozen=True)
class Merged:
    """The row after a join, and the columns in which the write, or the row, lost."""

    row: Row
    lost: tuple[str, ...]


def merge(policy: Policy, row: Row | None, write: Write) -> Merged:
    """The row after a write that has not been joined before."""
    version = write.version
    if row is None or row.version.causal_length < version.causal_length:
        stamps = unwritten(born(version, write.values, policy), write.unspoken)
        return Merged(Row(version, write.values, stamps), ())
    if row.version.causal_length > version.causal_length:
        return Merged(row, tuple(write.values or ()))
    greater = max(row.version, version, key=lambda v: v.by_time)
    if row.values is None or write.values is None:
        return Merged(Row(greater, row.values, row.stamps), ())
    joined = _Join(policy, row, write)
    for name in write.values if write.before is None else write.before:
        if name in write.unspoken:
            joined.leave(name)
        elif name in write.values:
            joined.column(name)
    return Merged(Row(greater, joined.values, joined.stamps()), tuple(joined.lost))


class _Join:
    """One write into one row, both alive in the same life."""

    def __init__(self, policy: Policy, row: Row, write: Write) -> None:
        assert row.values is not None
        assert write.values is not None
        self._policy = policy
        self._row = row
        self._new = write.values
        self._before = write.before
        self._stamp: Stamp = write.version.by_time
        self._is_birth = write.is_birth
        self._columns = dict(row.stamps.columns)
        self._births = dict(row.stamps.births)
        self.values = dict(row.values)
        self.lost: list[str] = []

    def stamps(self) -> Stamps:
        """Of the joined row: columns that the later birth has written are no later than it."""
        new_born = max(self._row.stamps.born, self._stamp if self._is_birth else _NEVER)
        return Stamps(new_born, self._columns, self._births)

    def leave(self, name: str) -> None:
        """The write does not speak of it: a later birth leaves it when it was written, too."""
        self._columns.setdefault(name, self._row.stamps.of(name))

    def column(self, name: str) -> None:
        """Join one column."""
        rule: ColumnRule = self._policy.columns.get(name, "lww")
        ours, theirs = self.values.get(name), self._new[name]
        if rule == "delta":
            self._add(name, ours, theirs)
        elif rule == "union":
            self.values[name] = union(ours, theirs)
        elif rule in ("max", "min"):
            self.values[name] = greatest(ours, theirs, is_max=rule == "max")
        elif self._stamp >= self._row.stamps.of(name):  # A transaction has one stamp.
            if self._before is None or self._before.get(name) != ours:
                self.lost += [name] if ours != theirs else []
            self.values[name] = theirs
            self._columns[name] = self._stamp
        else:
            self.lost += [name] if ours != theirs else []
            # A column that an earlier birth has left is not that of the later one.
            self._columns.setdefault(name, self._row.stamps.of(name))

    def _add(self, name: str, ours: Value, theirs: Value) -> None:
        count = _count(ours)
        if not self._is_birth:
            old = (self._before or {}).get(name)
            self.values[name] = count + (_count(theirs) - _count(old) if old is not None else 0)
        elif self._stamp > self._row.stamps.born:
            self.values[name] = count - self._births.get(name, 0) + _count(theirs)
            self._births[name] = _count(theirs)


def _count(value: Value) -> int:
    return int(value) if isinstance(value, bool | int | float | Decimal) else 0


def greatest(one: Value, other: Value, *, is_max: bool) -> Value:
    """The greater (smaller) of two values; anything is before NULL, numbers come before text."""
    if one is None or other is None:
        return other if one is None else one
    pick = max if is_max else min
    return pick(one, other, key=_rank)


def _rank(value: Value) -> tuple[int, Any, str]:
    shown = repr(value)
    if isinstance(value, bool | int | float | Decimal):
        if isinstance(value, float) and math.isnan(value):
            return 0, 0, shown
        return 1, value, shown
    if isinstance(value, str):
        return 2, value, shown
    assert value is not None
    return 3, bytes(value), shown


def union(one: Value, other: Value) -> Value:
    """The union of two JSON arrays; a text that already has everything stays as it is."""
    if one is None or other is None or one == other:
        return other if one is None else one
    ours, theirs = _members(one), _members(other)
    if ours.keys() == theirs.keys():
        canonical = _array(ours)
        written = [text for text in (one, other) if text != canonical]
        return max(written, key=_rank, default=one)
    if ours.keys() >= theirs.keys():
        return one
    return other if theirs.keys() >= ours.keys() else _array({**ours, **theirs})


def _members(value: Value) -> Mapping[bytes, Any]:
    """The elements by their canonical form; what is no array is its own only element."""
    held: Any = value
    if isinstance(value, str):
        try:
            held = msgspec.json.decode(value)
        except (ValueError, RecursionError):
            held = value
    members = held if isinstance(held, list) else [held]
    return {msgspec.json.encode(member, order="sorted"): member for member in members}


def _array(members: Mapping[bytes, Any]) -> str:
    return f"[{','.join(key.decode('utf-8') for key in sorted(members))}]"
