"""The items of a chunk as rows: tuples in the order of the columns."""

from __future__ import annotations

import dataclasses
import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

from stepwell.errors import ItemError, MalformedItem

Row: TypeAlias = Sequence[Any]


class Rows:
    """Turns items into rows, at the speed of C and without copying what is a row already.

    An item is a mapping, a tuple or list in the order of the columns, or an object that has the
    columns as attributes (a dataclass, a named tuple, a msgspec or pydantic model). ``columns``
    may be left open; the first item then decides, and from there on every item must have exactly
    these. Given columns are a choice: what else an item has is left out.
    """

    def __init__(
        self, columns: Sequence[str] | None, target: str, *, found: Sequence[str] | None = None
    ) -> None:
        """``found`` are the columns that a first item decided before a restart."""
        known = found if columns is None else columns
        self.columns = None if known is None else tuple(known)
        self._exact = columns is None
        self._target = target  # Where the rows go, for messages: "table 'flight'".

    def of(self, items: Sequence[Any]) -> Sequence[Row]:
        """One row an item; ``items`` is not empty.

        Raises:
            MalformedItem: an item has other columns; the message names item and column.
            ItemError: the columns are open, and the first item does not name them.
        """
        if self.columns is None:
            self.columns = self._columns_of(items[0])
        kinds = set(map(type, items))
        if all(issubclass(kind, Mapping) for kind in kinds):
            return self._of_mappings(items, self.columns)
        if all(issubclass(kind, (tuple, list)) for kind in kinds):
            if set(map(len, items)) != {len(self.columns)}:
                raise self._wrong_length(items, len(self.columns))
            return items
        if any(issubclass(kind, (Mapping, tuple, list)) for kind in kinds):
            names = ", ".join(sorted(kind.__name__ for kind in kinds))
            raise ItemError(
                f"cannot write items to {self._target}: they are of different kinds, {names}",
                hint="let the processor return items of one kind",
            )
        try:
            return _picked(operator.attrgetter, items, self.columns)
        except AttributeError as error:
            raise self._lacks(items, hasattr) from error

    def _of_mappings(self, items: Sequence[Any], columns: tuple[str, ...]) -> Sequence[Row]:
        if self._exact and set(map(len, items)) != {len(columns)}:
            for number, item in enumerate(items, 1):
                for name in item:
                    if name not in columns:
                        raise self._malformed(
                            number, f"it has a column {name!r}, which the first item had not"
                        )
        try:
            return _picked(operator.itemgetter, items, columns)
        except KeyError as error:
            raise self._lacks(items, lambda item, name: name in item) from error

    def _columns_of(self, item: Any) -> tuple[str, ...]:
        names: Any = None
        if isinstance(item, Mapping):
            names = item
        elif dataclasses.is_dataclass(item):
            names = [field.name for field in dataclasses.fields(item)]
        else:
            kind = type(item)
            for attribute in ("_fields", "__struct_fields__", "model_fields"):
                names = names or getattr(kind, attribute, None)
        if not names:
            raise ItemError(
                f"cannot write a {type(item).__name__} to {self._target}: it does not say what its"
                " columns are called",
                hint="give `columns=[…]`",
            )
        return tuple(map(str, names))

    def _lacks(self, items: Sequence[Any], has: Callable[[Any, str], bool]) -> MalformedItem:
        for number, item in enumerate(items, 1):
            for name in self.columns or ():
                if not has(item, name):
                    return self._malformed(number, f"it has no column {name!r}", column=name)
        raise AssertionError("an item that lacked a column has it now")

    def _wrong_length(self, items: Sequence[Any], width: int) -> MalformedItem:
        number, item = next((n, i) for n, i in enumerate(items, 1) if len(i) != width)
        return self._malformed(number, f"it has {len(item)} values for {width} columns")

    def _malformed(self, number: int, fact: str, **fields: object) -> MalformedItem:
        return MalformedItem(
            f"cannot write item {number} of the chunk to {self._target}: {fact}",
            hint="give `columns=[…]`, or let the processor return items that all have the same",
            fields={"item": number, **fields},
        )


def checked_names(what: str, names: Sequence[str]) -> tuple[str, ...]:
    """The names as a tuple; at least one, and none twice. One text alone is one name."""
    found = (names,) if isinstance(names, str) else tuple(names)
    if not found:
        raise ItemError(f"{what} must name at least one column, got none")
    twice = [name for name in found if found.count(name) > 1]
    if twice:
        raise ItemError(f"{what} must name each column once, got {twice[0]!r} twice")
    return found


def _picked(
    getter: Callable[..., Callable[[Any], Any]], items: Sequence[Any], columns: tuple[str, ...]
) -> Sequence[Row]:
    pick = getter(*columns)
    if len(columns) == 1:  # A getter of one name gives the value itself.
        return [(pick(item),) for item in items]
    return list(map(pick, items))
