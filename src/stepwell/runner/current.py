"""The context of the code that runs now (S75).

It travels in a context variable, which every thread that the engine starts has a copy of, and so
has what is awaited: code that nobody hands a context finds the one that it runs in. There is no
global context; where no job runs, there is none.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from stepwell.execution.current import CURRENT

__all__ = ["CURRENT", "running_in"]


@contextmanager
def running_in(context: Any) -> Iterator[None]:
    """Code inside of this block runs in ``context``."""
    token = CURRENT.set(context)
    try:
        yield
    finally:
        CURRENT.reset(token)
