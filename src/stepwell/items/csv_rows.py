"""The row function of a CsvReader: text in, typed item out, converted once.

Turning text into numbers costs as much as inserting them, so the conversion of all columns is one
expression, compiled for the columns at hand. The source text is made of positions only (``v3``,
``c3``, ``k3``); names, converters and null texts reach it as values, never as text.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time
from functools import cached_property
from typing import Any, Literal, TypeAlias

from stepwell.items.file_source import READ_FAULTS

Converter: TypeAlias = Callable[[str], Any]
# rows(csv_reader, explain): the items. explain(row or None, error) makes the error to raise.
RowFunction: TypeAlias = Callable[
    ["Iterator[list[str]]", Callable[[list[str] | None, Exception], Exception]], Iterator[Any]
]

TRUE_TEXTS = frozenset(("true", "t", "yes", "y", "1"))
FALSE_TEXTS = frozenset(("false", "f", "no", "n", "0"))


def to_bool(text: str) -> bool:
    """True or false as people and programs write them; ``bool("false")`` would be true."""
    folded = text.strip().lower()
    if folded in TRUE_TEXTS:
        return True
    if folded in FALSE_TEXTS:
        return False
    raise ValueError(f"{text!r} is neither true nor false")


# Types that do not read their own text when they are called.
READ_TEXT: Mapping[Any, Converter] = {
    bool: to_bool,
    date: date.fromisoformat,
    datetime: datetime.fromisoformat,
    time: time.fromisoformat,
}


@dataclass(frozen=True)
class RowPlan:
    """How the fields of a record become an item.

    Attributes:
        header: The name of each field of the file.
        columns: The names of an item's values, all in ``header``, in the item's order.
        types: A type or a function of the text for some columns; the others stay text.
        nulls: The texts that mean None, in every column.
        rows: What an item is.
    """

    header: tuple[str, ...]
    columns: tuple[str, ...]
    types: Mapping[str, Any]
    nulls: frozenset[str]
    rows: Literal["dict", "tuple"]

    @cached_property
    def function(self) -> RowFunction:
        """The compiled generator of items."""
        return _bind(self)

    def wrong_column(self, row: Sequence[str]) -> tuple[str, str, str] | None:
        """Column, text and wanted type of the first value that cannot be converted."""
        for column in self.columns:
            text = row[self.header.index(column)]
            converter = self.converter(column)
            if converter is None or text in self.nulls:
                continue
            try:
                converter(text)
            except Exception:  # noqa: BLE001 - a converter may raise anything
                wanted = self.types[column]
                return column, text, getattr(wanted, "__name__", repr(wanted))
        return None

    def converter(self, column: str) -> Converter | None:
        """The function that reads the column's text, or None when it stays text."""
        wanted = self.types.get(column, str)
        return None if wanted is str else READ_TEXT.get(wanted, wanted)


def _bind(plan: RowPlan) -> RowFunction:
    converters = [plan.converter(column) for column in plan.columns]
    positions = [plan.header.index(column) for column in plan.columns]
    text = _source(
        width=len(plan.header),
        places=[
            (position, converter is not None)
            for position, converter in zip(positions, converters, strict=True)
        ],
        null_count=len(plan.nulls),
        as_dict=plan.rows == "dict",
    )
    namespace: dict[str, Any] = {}
    exec(compile(text, "<the row function of a CsvReader>", "exec"), namespace)  # noqa: S102
    records = namespace["records"]
    nulls: Any = next(iter(plan.nulls)) if len(plan.nulls) == 1 else plan.nulls
    faults = (csv.Error, UnicodeError, *READ_FAULTS)

    def rows(
        reader: Iterator[list[str]],
        explain: Callable[[list[str] | None, Exception], Exception],
    ) -> Iterator[Any]:
        made: Iterator[Any] = records(reader, explain, nulls, converters, plan.columns, faults)
        return made

    return rows


def _source(
    *, width: int, places: Sequence[tuple[int, bool]], null_count: int, as_dict: bool
) -> str:
    """The text of the generator: ``places`` are (field, has a converter) for each column.

    Locals are the fastest names there are, hence the unpacking into them. A record without
    fields is an empty line: left out, found only when the unpacking fails, so that it costs
    nothing elsewhere.
    """
    is_null = {0: "", 1: "None if v{0} == nulls else "}.get(
        null_count, "None if v{0} in nulls else "
    )
    values = [
        is_null.format(field) + (f"c{n}(v{field})" if converted else f"v{field}")
        for n, (field, converted) in enumerate(places)
    ]
    if as_dict:
        item = "{" + ", ".join(f"k{n}: {value}" for n, value in enumerate(values)) + "}"
    else:
        item = f"({', '.join(values)},)"
    return f"""
def records(reader, explain, nulls, converters, keys, faults):
    {_names("c", len(places))} = converters
    {_names("k", len(places))} = keys
    try:
        for row in reader:
            try:
                {_names("v", width)} = row
                item = {item}
            except Exception as error:
                if not row:
                    continue
                raise explain(row, error) from error
            yield item
    except faults as error:
        raise explain(None, error) from error
"""


def _names(letter: str, count: int) -> str:
    return "".join(f"{letter}{n}, " for n in range(count))
