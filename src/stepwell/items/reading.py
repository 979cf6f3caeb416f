"""How a reader reads at the speed of C and still goes on behind a faulty record.

``read`` is called once an item, so a ready-made reader replaces it in ``open`` by a callable that
runs no Python frame of its own. An exception must not end the data: a generator that has raised is
over, and its next ``next`` would say "no more items" where the rest of a file is still to come.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterator
from typing import TypeVar

Item = TypeVar("Item")


def reading(advance: Callable[[], Iterator[Item] | None]) -> Callable[[], Item | None]:
    """A ``read`` over the segments that ``advance`` returns, one behind the other.

    ``advance`` is asked for the next segment at the beginning, at the end of a segment, and after
    an exception; it returns None at the end of the data. What it or a segment raises is raised by
    ``read``, and the ``read`` after that asks ``advance`` again. Behind the end ``read`` keeps
    returning None (S96).
    """
    return functools.partial(next, itertools.chain.from_iterable(_segments(advance)), None)


def _segments(advance: Callable[[], Iterator[Item] | None]) -> Iterator[Iterator[Item]]:
    while True:
        segment: Iterator[Item] | None
        try:
            segment = advance()
        except Exception as error:  # noqa: BLE001
            # Raised here it would end the chain for good, and read() would then answer None.
            segment = _raising(error)
        if segment is None:
            return
        yield segment


def _raising(error: Exception) -> Iterator[Item]:
    raise error
    yield  # Makes this a generator: the error is raised when it is read, not when it is made.
