"""Look at, or end the process at, every SQL statement: BEGIN, COMMIT, PRAGMA and DDL too.

One place serves both databases and whatever opens a connection: ``connect`` of the driver's module,
whose connections then make cursors that report. It is put there by a test, in the test's own child
process; Stepwell itself knows nothing of it.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from threading import Lock, get_ident
from typing import Any, Literal, NamedTuple
from unittest.mock import patch

When = Literal["before", "after"]
Hook = Callable[[When, str, Any], None]

KILLED = 77  # The exit code of a process that ended at its kill point.


class KillPoint(NamedTuple):
    """The process ends, as if killed, before or after its ``number``-th statement, from 1.

    With ``word`` only statements that begin with it are counted, e.g. ``COMMIT``. Those of the main
    thread count; with ``on_any_thread`` all do, and then a number is not the same one in each run.
    """

    number: int
    when: When
    word: str = ""
    on_any_thread: bool = False


def kill_at(word: str, n: int, when: When = "before") -> KillPoint:
    """The end before (or after) the ``n``-th statement that begins with ``word``.

    >>> kill_at("commit", n=3)
    KillPoint(number=3, when='before', word='COMMIT', on_any_thread=False)
    """
    return KillPoint(n, when, word.upper())


def kill_points(statement_count: int) -> list[KillPoint]:
    """Both points of every statement."""
    return [
        KillPoint(number, when)
        for number in range(1, statement_count + 1)
        for when in ("before", "after")
    ]


class Countdown:
    """A hook that counts this thread's statements, and ends the process at ``point``."""

    def __init__(self, point: KillPoint | None = None) -> None:
        self.count = 0
        self._matching = 0
        self._point = point
        self._thread = get_ident()
        self._lock = Lock()

    def __call__(self, when: When, sql: str, connection: Any) -> None:
        """Called by a cursor."""
        point = self._point
        is_own = get_ident() == self._thread
        with self._lock:
            self.count += is_own and when == "before"
            if point is None or not (is_own or point.on_any_thread):
                return
            if not sql.lstrip().upper().startswith(point.word):
                return
            self._matching += when == "before"
            if (self._matching, when) == (point.number, point.when):
                # No `finally`, no `atexit`, no buffer is written: what a SIGKILL leaves behind.
                os._exit(KILLED)


@contextmanager
def each_statement(hook: Hook) -> Iterator[None]:
    """Call ``hook("before" or "after", sql, connection)`` around every statement.

    It sees the connections that are opened inside the block, on every thread. ``executemany`` is
    one statement. What the hook raises is raised by the statement.
    """
    with (
        _hooked("sqlite3", _sqlite_connect, hook),
        _hooked("pysqlite3", _sqlite_connect, hook),
        _hooked("psycopg", _psycopg_connect, hook),
    ):
        yield


@contextmanager
def _hooked(module: str, connect: Callable[[Any, Hook], Any], hook: Hook) -> Iterator[None]:
    if find_spec(module) is None:
        yield
        return
    driver = importlib.import_module(module)
    with patch.object(driver, "connect", connect(driver, hook)):
        yield


def _sqlite_connect(driver: Any, hook: Hook) -> Callable[..., Any]:
    connect = driver.connect
    cursor_class = _reporting_cursor(
        driver.Cursor, ("execute", "executemany", "executescript"), hook
    )
    connection_class = _reporting_connection(driver.Connection, hook)

    class Connection(connection_class):  # type: ignore[misc, valid-type]
        def cursor(self, factory: Any = None) -> Any:
            return super().cursor(factory or cursor_class)

        # The driver's own shortcuts make a cursor that nobody could replace.

        def execute(self, *arguments: Any) -> Any:
            return self.cursor().execute(*arguments)

        def executemany(self, *arguments: Any) -> Any:
            return self.cursor().executemany(*arguments)

        def executescript(self, *arguments: Any) -> Any:
            return self.cursor().executescript(*arguments)

    def hooked_connect(*arguments: Any, **options: Any) -> Any:
        return connect(*arguments, **{"factory": Connection, **options})

    return hooked_connect


def _psycopg_connect(driver: Any, hook: Hook) -> Callable[..., Any]:
    cursor_class = _reporting_cursor(driver.Cursor, ("execute", "executemany"), hook)
    connection_class = _reporting_connection(driver.Connection, hook)

    def hooked_connect(*arguments: Any, **options: Any) -> Any:
        return connection_class.connect(*arguments, **{"cursor_factory": cursor_class, **options})

    return hooked_connect


def _reporting_cursor(parent: Any, names: tuple[str, ...], hook: Hook) -> Any:
    """A subclass of the driver's cursor whose named methods report."""

    def reporting(name: str) -> Callable[..., Any]:
        method = getattr(parent, name)

        def call(self: Any, query: Any, *arguments: Any, **options: Any) -> Any:
            hook("before", str(query), self.connection)
            try:
                return method(self, query, *arguments, **options)
            finally:  # Also behind one that the database refuses.
                hook("after", str(query), self.connection)

        return call

    return type("ReportingCursor", (parent,), {name: reporting(name) for name in names})


def _reporting_connection(parent: Any, hook: Hook) -> Any:
    """A subclass of the driver's connection whose own ``commit`` and ``rollback`` report."""

    def reporting(name: str) -> Callable[..., Any]:
        method = getattr(parent, name)

        def call(self: Any) -> None:
            hook("before", name.upper(), self)
            method(self)
            hook("after", name.upper(), self)

        return call

    return type(
        "ReportingConnection", (parent,), {name: reporting(name) for name in ("commit", "rollback")}
    )
