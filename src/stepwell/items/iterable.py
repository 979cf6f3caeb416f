"""IterableReader: the items of a Python iterable."""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Generic, TypeVar

from stepwell.errors import ItemError, MalformedItem, StepUsageError
from stepwell.items.reading import reading
from stepwell.job.function import with_arguments

Item = TypeVar("Item")


class IterableReader(Generic[Item]):
    """Reads the items of an iterable, in its order.

    The checkpoint is the number of items consumed (S95). A restart, and a retry with rollback,
    iterates anew and skips that many (S94), so the iterable **must yield the same items in the
    same order each time**: a list, a range, a tuple. Skipping costs what iterating costs. For
    anything that is used up by reading (a generator, a cursor, ``map``) give the function that
    makes it instead.

    >>> reader = IterableReader(["a", "b", "c"])
    >>> reader.open(1)
    >>> reader.read()
    'b'

    Args:
        iterable: An iterable, or a function that returns one at each ``open``; the function may
            take ``step``.

    Raises:
        StepUsageError: ``iterable`` yields its items only once, or is neither of the two.
        MalformedItem: an item is None, which would end the data (S96); the next ``read`` goes on.
        ItemError: on ``open``, there are fewer items than the checkpoint counts. On ``read``,
            a generator has raised: it is over, and the items behind the fault cannot be had, so
            every further ``read`` says so rather than end the data.
    """

    def __init__(
        self,
        iterable: Iterable[Item] | Callable[[], Iterable[Item]] | Callable[[Any], Iterable[Item]],
    ) -> None:
        self.iterable = iterable
        if isinstance(iterable, Iterator):
            raise StepUsageError(
                f"cannot read items from a {type(iterable).__name__}: it yields them only once,"
                " and a restart must read them again",
                hint="give a list, or the function that makes it: `lambda: …`",
            )
        if not isinstance(iterable, Iterable) and not callable(iterable):
            raise StepUsageError(
                f"cannot read items from a {type(iterable).__name__}: it is no iterable",
                hint="give an iterable, a function that returns one, or an ItemReader",
            )

    def open(self, checkpoint: Any = None, step: Any = None) -> None:
        """Begin behind the first ``checkpoint`` items; None is the beginning."""
        self._made = self._make(step)
        # Asks for an iterator once; a `for` would ask again after a fault, and some begin anew.
        self._iterator = itertools.chain(self._made)
        self._consumed = 0
        self._begun = self._ended = False
        if checkpoint is not None:
            self._skip(checkpoint)
        vars(self)["read"] = reading(self._advance)

    def read(self) -> Item | None:
        """The next item, or None at the end; ``open`` puts a faster callable in its place."""
        raise not_open("IterableReader")

    def checkpoint(self) -> int:
        """How many items were consumed, faulty ones included."""
        return self._consumed

    def close(self) -> None:
        """Close the generator, if it is one."""
        vars(self).pop("read", None)
        if inspect.isgenerator(self._made):
            self._made.close()

    def _make(self, step: Any) -> Iterable[Item]:
        if isinstance(self.iterable, Iterable):
            return self.iterable
        made = with_arguments(self.iterable, 1)(step)
        if not isinstance(made, Iterable):
            raise StepUsageError(
                f"cannot read items from {_name(self.iterable)}: it returned a"
                f" {type(made).__name__}, which is no iterable",
                hint="return a list, or make it a generator function",
            )
        return made

    def _skip(self, count: Any) -> None:
        if not isinstance(count, int) or count < 0:
            raise ItemError(
                f"cannot go on at checkpoint {count!r}: an IterableReader counts items",
                hint="was the step's reader changed since? start anew, or put it back",
            )
        while self._consumed < count:
            try:
                for _ in itertools.islice(self._iterator, count - self._consumed):
                    self._consumed += 1
                break
            except Exception:  # noqa: BLE001 - it raised before the restart, too, and was skipped
                self._consumed += 1
        if self._consumed < count:
            raise ItemError(
                f"cannot go on behind item {count}: the iterable has only {self._consumed} items",
                hint="it must yield the same items at each start",
                fields={"checkpoint": count, "items": self._consumed},
            )

    def _advance(self) -> Iterator[Item] | None:
        if self._ended:
            return None
        if self._begun and inspect.isgenerator(self._made) and not self._made.gi_frame:
            raise ItemError(
                f"cannot read behind item {self._consumed}: the generator raised there and is over",
                hint="catch the fault inside the generator, or read from a class whose"
                " `__next__` can go on",
                fields={"items": self._consumed},
            )
        self._begun = True
        return self._rest()

    def _rest(self) -> Iterator[Item]:
        try:
            for item in self._iterator:
                self._consumed += 1
                if item is None:
                    break
                yield item
            else:
                self._ended = True
                return
        except Exception:
            self._consumed += 1  # At once: a checkpoint may be asked for before the next read.
            raise
        raise MalformedItem(
            f"cannot read item {self._consumed}: it is None, which would be the end of the data",
            hint="leave None out of the iterable",
            fields={"item": self._consumed},
        )


def not_open(reader: str) -> StepUsageError:
    """What ``read`` raises before ``open`` and after ``close``."""
    return StepUsageError(
        f"cannot read from this {reader}: it is not open", hint="call `open(checkpoint)` first"
    )


def _name(function: object) -> str:
    return repr(getattr(function, "__qualname__", type(function).__name__))
