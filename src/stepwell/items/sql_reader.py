"""SqlReader: the rows of a table or query in the order of a key, a page at a time."""

from __future__ import annotations

import itertools
import operator
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any, Generic, Literal, TypeVar, overload
from uuid import UUID

from stepwell.errors import ItemError, StepUsageError
from stepwell.items.iterable import not_open
from stepwell.items.reading import reading
from stepwell.items.rows import checked_names
from stepwell.items.sql_text import listed, quoted_table
from stepwell.job.function import with_arguments

Row = TypeVar("Row", bound="dict[str, Any] | tuple[Any, ...]")

OWN_PREFIX = "stepwell_"  # Of the reader's parameters, beside the user's.


class SqlReader(Generic[Row]):
    """Reads rows in the order of a unique key; each row is a dict, or, faster, a tuple.

    Each page is one short query for the rows behind the last key (``WHERE (key) > (…) ORDER BY
    key LIMIT …``), so no cursor stays open and no snapshot is pinned while the step works (S93).
    The checkpoint is the key of the last row read (S94, S95): a restart reads nothing again, and
    with an index on the key each page costs the same.

    Pages are read at different times: rows that others change are seen as they are when their page
    is read, and a row that appears behind the present key is read as well. A step that writes to
    the table it reads bounds itself with ``where``.

    >>> SqlReader("flight", columns=["id", "delay"], key=["id"])
    >>> SqlReader("flight", columns=["id", "delay"], key=["id"], where="day >= :day",
    ...           parameters=lambda step: {"day": step.parameters.start_date})
    >>> SqlReader(query="SELECT day, sum(delay) AS total FROM flight GROUP BY day",
    ...           columns=["day", "total"], key=["day"])

    Args:
        table: ``table`` or ``schema.table``; or leave it out and give ``query``.
        columns: The columns of an item, in its order. Always given, so that a column that the
            table gains does not change the items.
        key: One or more columns that are unique together and never NULL, of numbers, text, dates
            or UUIDs; an index should have them in this order.
        query: A SELECT whose result has ``columns`` and ``key``. It is run for each page.
        where: A condition in SQL, with ``:name`` for parameters.
        parameters: The values of these names; or a function of ``step`` (or of nothing) that
            returns them.
        page_size: Rows a query; so many are held in memory.
        rows: ``"dict"``, or ``"tuple"`` in the order of the columns.

    Raises:
        ItemError: the key is not unique or is NULL in some row, as far as a page shows it; two
            rows of equal key on both sides of a page's end cannot be noticed.
        DatabaseError: what the database answers; ``read`` then asks for the same page again.
    """

    @overload
    def __init__(
        self: SqlReader[dict[str, Any]],
        table: str | None = ...,
        *,
        columns: Sequence[str],
        key: Sequence[str],
        query: str | None = ...,
        where: str | None = ...,
        parameters: Mapping[str, Any] | Callable[..., Mapping[str, Any]] | None = ...,
        page_size: int = ...,
        rows: Literal["dict"] = ...,
    ) -> None: ...

    @overload
    def __init__(
        self: SqlReader[tuple[Any, ...]],
        table: str | None = ...,
        *,
        columns: Sequence[str],
        key: Sequence[str],
        query: str | None = ...,
        where: str | None = ...,
        parameters: Mapping[str, Any] | Callable[..., Mapping[str, Any]] | None = ...,
        page_size: int = ...,
        rows: Literal["tuple"],
    ) -> None: ...

    def __init__(
        self,
        table: str | None = None,
        *,
        columns: Sequence[str],
        key: Sequence[str],
        query: str | None = None,
        where: str | None = None,
        parameters: Mapping[str, Any] | Callable[..., Mapping[str, Any]] | None = None,
        page_size: int = 1_000,
        rows: Literal["dict", "tuple"] = "dict",
    ) -> None:
        if (table is None) == (query is None):
            raise ItemError("a SqlReader must have a table or a query, got both or none")
        if page_size < 1:
            raise ItemError(f"page_size must be at least 1, got {page_size}")
        if rows not in ("dict", "tuple"):
            raise ItemError(f"rows must be 'dict' or 'tuple', got {rows!r}")
        self.table = table
        self.query = query
        self.columns = checked_names("columns", columns)
        self.key = checked_names("key", key)
        self.where = where
        self.parameters = parameters
        self.page_size = page_size
        self.rows = rows
        self._statement(behind_a_key=True)  # A name that cannot be one is refused here and now.

    def open(self, checkpoint: Any = None, step: Any = None) -> None:
        """Begin behind the row whose key is the checkpoint; None is the beginning."""
        if not hasattr(step, "query"):
            raise StepUsageError(
                f"cannot read {self._source()}: a SqlReader reads through `step.query`, and was"
                " opened without a step",
                hint="use it in a ChunkStep, or call `open(checkpoint, step)`",
            )
        self._query = step.query
        given = self.parameters
        if given is not None and not isinstance(given, Mapping):
            given = with_arguments(given, 1)(step)
        self._parameters = dict(given or {}, **{f"{OWN_PREFIX}limit": self.page_size})
        self._statements = (
            self._statement(behind_a_key=False),
            self._statement(behind_a_key=True),
        )
        self._behind = None if checkpoint is None else self._key_of_checkpoint(checkpoint)
        self._keys: Sequence[tuple[Any, ...]] = ()  # Of the page that is being read.
        self._items: Iterator[Row] = iter(())
        vars(self)["read"] = reading(self._advance)

    def read(self) -> Row | None:
        """The next row, or None at the end; ``open`` puts a faster callable in its place."""
        raise not_open("SqlReader")

    def checkpoint(self) -> list[Any] | None:
        """The key of the last row read, dates and the like as text; None before the first."""
        key = self._last_key()
        return None if key is None else [self._as_json(value) for value in key]

    def close(self) -> None:
        """Forget the page."""
        vars(self).pop("read", None)
        self._keys, self._items = (), iter(())

    def _last_key(self) -> tuple[Any, ...] | None:
        # The iterator of a list knows how many are left, so that nothing is counted while reading.
        consumed = len(self._keys) - operator.length_hint(self._items)
        return self._keys[consumed - 1] if consumed else self._behind

    def _advance(self) -> Iterator[Row] | None:
        """The next page, or None; whatever it raises, the position stays where it was."""
        behind = self._last_key()
        values = dict(self._parameters)
        if behind is not None:
            values.update((f"{OWN_PREFIX}k{n}", value) for n, value in enumerate(behind))
        page = self._query(self._statements[behind is not None], values)
        if not page:
            return None
        keys = self._keys_of(page)
        self._check(keys)
        self._behind, self._keys, self._items = behind, keys, iter(self._items_of(page))
        return self._items

    def _selected(self) -> tuple[str, ...]:
        """The item's columns first, behind them those of the key that it has not."""
        return (*self.columns, *(name for name in self.key if name not in self.columns))

    def _keys_of(self, page: Sequence[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
        positions = [self._selected().index(name) for name in self.key]
        if len(positions) == 1:  # A getter of one position gives the value itself.
            return [(row[positions[0]],) for row in page]
        return list(map(operator.itemgetter(*positions), page))

    def _items_of(self, page: Sequence[tuple[Any, ...]]) -> list[Any]:
        columns = self.columns
        if self.rows == "dict":
            return [dict(zip(columns, row, strict=False)) for row in page]
        if len(columns) == len(self._selected()):
            return list(page)
        return [row[: len(columns)] for row in page]

    def _check(self, keys: Sequence[tuple[Any, ...]]) -> None:
        if None in itertools.chain.from_iterable(keys):
            # NULL compares with nothing: the page behind it would be empty, and look like the end.
            raise ItemError(
                f"cannot read {self._source()} by key {', '.join(self.key)}: it is NULL in a row",
                hint="take a key that is never NULL, or leave such rows out with `where=`",
            )
        if any(map(operator.eq, keys, itertools.islice(keys, 1, None))):
            twice = next(one for one, other in itertools.pairwise(keys) if one == other)
            raise ItemError(
                f"cannot read {self._source()} by key {', '.join(self.key)}: two rows have"
                f" {', '.join(map(repr, twice))}, and a page's end would lose one",
                hint="add columns to the key until it is unique",
            )

    def _statement(self, *, behind_a_key: bool) -> str:
        conditions = [] if self.where is None else [f"({self.where}\n)"]
        if behind_a_key:
            markers = ", ".join(f":{OWN_PREFIX}k{n}" for n in range(len(self.key)))
            conditions.append(f"({listed(self.key)}) > ({markers})")
        # The line ends keep a comment at the end of the user's text from taking what follows.
        source = (
            quoted_table(self.table)
            if self.table is not None
            else f'({(self.query or "").rstrip().rstrip(";")}\n) AS "{OWN_PREFIX}rows"'
        )
        where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
        return (
            f"SELECT {listed(self._selected())} FROM {source}{where}"
            f" ORDER BY {listed(self.key)} LIMIT :{OWN_PREFIX}limit"
        )

    def _source(self) -> str:
        return "the query" if self.table is None else f"table {self.table!r}"

    def _as_json(self, value: Any) -> Any:
        if value is None or isinstance(value, (str, int, float)):
            return value
        if isinstance(value, (date, datetime, time)):
            return value.isoformat()
        if isinstance(value, (Decimal, UUID)):
            return str(value)
        raise ItemError(
            f"cannot store the position in {self._source()}: its key holds a"
            f" {type(value).__name__}",
            hint="take a key of numbers, text, dates or UUIDs",
        )

    def _key_of_checkpoint(self, checkpoint: Any) -> tuple[Any, ...]:
        if not isinstance(checkpoint, list) or len(checkpoint) != len(self.key):
            raise ItemError(
                f"cannot go on at checkpoint {checkpoint!r}: {self._source()} is read by key"
                f" {', '.join(self.key)}",
                hint="was the step's reader changed since? start anew, or put it back",
            )
        return tuple(checkpoint)
