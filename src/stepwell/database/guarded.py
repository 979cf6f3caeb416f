"""The connection that user code receives: named parameters on both databases, no way out.

The engine's transaction holds the user's rows, the checkpoint and the counters together. So user
code may execute what it likes in it, but it can neither end the transaction nor change how the
connection works (S192). ``:name`` is a parameter on both databases; what the driver gets is its own
positional form, made once for each text.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain
from operator import itemgetter
from typing import Any

from stepwell.database.dialect import Dialect, KeptConnection, SqlStyle
from stepwell.database.prepared import Row
from stepwell.database.tokens import POSTGRESQL_TOKEN, SQLITE_TOKEN
from stepwell.errors import DatabaseError, StatementFailed, StatementRefused

Parameters = Mapping[str, Any] | Sequence[Any] | None

STATEMENTS_KEPT = 512
_SHOWN_CHARACTERS = 60

_SQLITE_TRIGGER = re.compile(r"CREATE (TEMP |TEMPORARY )?TRIGGER\b")

# First words that would end the transaction, or change the connection for whoever gets it next.
_REFUSED = {
    *("BEGIN", "START", "COMMIT", "END", "ROLLBACK", "ABORT", "PREPARE"),
    *("ATTACH", "DETACH", "PRAGMA", "VACUUM"),
    *("SET", "RESET", "DISCARD", "DEALLOCATE", "LISTEN", "UNLISTEN"),
}
_ALLOWED = (
    *("ROLLBACK TO", "ROLLBACK WORK TO", "ROLLBACK TRANSACTION TO"),
    *("SET LOCAL", "SET CONSTRAINTS"),
)


@dataclass(frozen=True, slots=True)
class _Statement:
    """A user's SQL in the driver's form.

    Attributes:
        text: With positional markers.
        names: The parameters, each once, in the order of their first marker.
        order: For each marker the place of its value in a tuple; None when they are the same.
        from_mapping: Makes the driver's tuple from a mapping.
        from_tuple: Makes it from a tuple in the order of ``names``; None when it is that tuple.
    """

    text: str
    names: tuple[str, ...]
    from_mapping: Callable[[Mapping[str, Any]], Sequence[Any]]
    from_tuple: Callable[[Sequence[Any]], Sequence[Any]] | None

    def bind(self, parameters: Parameters) -> Sequence[Any]:
        if parameters is None:
            return ()
        if isinstance(parameters, Mapping):
            return self.from_mapping(parameters)
        return parameters if self.from_tuple is None else self.from_tuple(parameters)

    def bind_rows(self, rows: Iterable[Any]) -> Iterable[Any]:
        """The rows for ``executemany``; the first one tells which kind they are."""
        rows = iter(rows)
        for first in rows:
            whole = chain((first,), rows)
            if isinstance(first, Mapping):
                return map(self.from_mapping, whole)
            return whole if self.from_tuple is None else map(self.from_tuple, whole)
        return ()


class Result:
    """The rows of one statement, readable until the end of the transaction."""

    __slots__ = ("_cursor", "_dialect", "_sql")

    def __init__(self, dialect: Dialect, cursor: Any, sql: str) -> None:
        self._dialect = dialect
        self._cursor = cursor
        self._sql = sql

    @property
    def rowcount(self) -> int:
        """How many rows the statement changed; for a query the driver's answer, perhaps -1."""
        return int(self._cursor.rowcount)

    @property
    def columns(self) -> list[str]:
        """The names of the columns; empty when the statement answers no rows."""
        return [column[0] for column in self._cursor.description or ()]

    def fetchone(self) -> Row | None:
        """The next row, or None."""
        row: Row | None = self._fetch(self._cursor.fetchone)
        return row

    def fetchmany(self, size: int) -> list[Row]:
        """At most ``size`` further rows."""
        rows: list[Row] = self._fetch(self._cursor.fetchmany, size)
        return rows

    def fetchall(self) -> list[Row]:
        """All rows that are left."""
        rows: list[Row] = self._fetch(self._cursor.fetchall)
        return rows

    def __iter__(self) -> Iterator[Row]:
        while (row := self.fetchone()) is not None:
            yield row

    def _fetch(self, fetch: Callable[..., Any], *arguments: int) -> Any:
        try:
            return fetch(*arguments)
        except self._dialect.driver_errors as error:
            raise self._dialect.translate(error, f"execute {_shown(self._sql)}") from error


class GuardedConnection:
    """Executes user code's statements inside the engine's transaction.

    >>> connection.execute("UPDATE item SET n = :n WHERE id = :id", {"n": 1, "id": 7}).rowcount
    1
    >>> connection.executemany("INSERT INTO item (id, n) VALUES (:id, :n)", [(8, 1), (9, 2)])
    2

    Tuples and lists are bound in the order in which the names first stand in the text; that is
    the fast way for many rows. BEGIN, COMMIT, ROLLBACK, PRAGMA, ATTACH, VACUUM and their like are
    refused; SAVEPOINT, ROLLBACK TO and RELEASE pass.

    On PostgreSQL a statement that fails makes the whole transaction fail, unless it was executed
    after a savepoint that is rolled back to; on SQLite only the statement is undone.
    """

    __slots__ = ("_connection", "_dialect", "_driver_errors", "_open_cursors")

    def __init__(self, dialect: Dialect, connection: KeptConnection) -> None:
        self._dialect = dialect
        self._driver_errors = dialect.driver_errors
        self._connection: KeptConnection | None = connection
        self._open_cursors: list[Any] = []

    def execute(self, sql: str, parameters: Parameters = None) -> Result:
        """Execute one statement, with a mapping, or a tuple in the order of its names.

        Raises:
            ConstraintViolation: a key, a CHECK, a NOT NULL or a foreign key forbids it.
            StatementFailed: the database refuses it for another reason.
            StatementRefused: it would end or bend the transaction, or the transaction has ended.
        """
        cursor, statement = self._ready(sql)
        try:
            cursor.execute(statement.text, statement.bind(parameters))
        except self._driver_errors as error:
            raise self._translate(error, sql) from error
        except (KeyError, IndexError) as error:
            raise self._value_missing(error, sql) from error
        if cursor.description is not None:
            self._open_cursors.append(cursor)
        return Result(self._dialect, cursor, sql)

    def executemany(self, sql: str, rows: Iterable[Parameters]) -> int:
        """Execute one statement for each row; answers how many rows it changed in all.

        The rows are all mappings or all tuples (or lists); the errors are those of ``execute``.
        """
        cursor, statement = self._ready(sql)
        try:
            cursor.executemany(statement.text, statement.bind_rows(rows))
        except self._driver_errors as error:
            raise self._translate(error, sql) from error
        return max(int(cursor.rowcount), 0)

    def end(self) -> None:
        """The transaction ends: close open results and refuse everything from now on."""
        self._connection = None
        for cursor in self._open_cursors:
            cursor.close()
        self._open_cursors.clear()

    def _ready(self, sql: str) -> tuple[Any, _Statement]:
        connection = self._connection
        if connection is None or not self._dialect.has_begun(connection):
            raise StatementRefused(
                f"cannot execute {_shown(sql)}: its transaction has ended",
                hint="use the connection of the transaction that is open now",
            )
        return connection.raw.cursor(), _parse(sql, self._dialect.sql_style)

    def _translate(self, error: Exception, sql: str) -> DatabaseError:
        return self._dialect.translate(error, f"execute {_shown(sql)}")

    def _value_missing(self, error: LookupError, sql: str) -> StatementFailed:
        return StatementFailed(
            f"cannot execute {_shown(sql)}: no value for parameter {error.args[0]!r}",
            hint="give each `:name` of the statement a value",
        )


def _shown(sql: str) -> str:
    """A statement's beginning on one line, quoted for a message."""
    line = " ".join(sql.split())
    if len(line) > _SHOWN_CHARACTERS:
        line = line[: _SHOWN_CHARACTERS - 1] + "…"
    return repr(line)


@lru_cache(maxsize=STATEMENTS_KEPT)
def _parse(sql: str, style: SqlStyle) -> _Statement:
    """Turn ``:name`` into the driver's markers; refuse what may not run in a transaction."""
    pieces: list[str] = []
    words: list[str] = []
    markers: list[str] = []
    ended = False
    for token in (SQLITE_TOKEN if style.is_sqlite else POSTGRESQL_TOKEN).finditer(sql):
        kind, piece = token.lastgroup, token[0]
        if ended and kind not in ("space", "comment", "end") and not _is_trigger(words, style):
            raise _refusal(sql, "it holds more than one statement", "execute each by itself")
        if kind == "name":
            markers.append(token["name"])
            piece = style.marker
        elif kind == "word":
            words.append(piece.upper())
        elif kind == "end":
            ended = True
        elif kind == "other" and piece == style.marker:
            raise _refusal(sql, "it has a positional marker", "write `:name`, also for tuples")
        if kind != "name" and style.marker == "%s":
            piece = piece.replace("%", "%%")
        pieces.append(piece)
    _refuse_by_first_words(sql, words)
    return _statement("".join(pieces), markers)


def _is_trigger(words: list[str], style: SqlStyle) -> bool:
    """On SQLite its statements stand in the text; the driver refuses anything behind their END."""
    return style.is_sqlite and _SQLITE_TRIGGER.match(" ".join(words)) is not None


def _refuse_by_first_words(sql: str, words: list[str]) -> None:
    first = words[0] if words else ""
    if first in _REFUSED and not " ".join(words[:3]).startswith(_ALLOWED):
        raise _refusal(
            sql,
            f"{first} would end or change the transaction that Stepwell commits",
            "leave transactions to the engine; SAVEPOINT, ROLLBACK TO and RELEASE are allowed",
        )


def _refusal(sql: str, fact: str, hint: str) -> StatementRefused:
    return StatementRefused(f"cannot execute {_shown(sql)}: {fact}", hint=hint)


def _statement(text: str, markers: list[str]) -> _Statement:
    names = tuple(dict.fromkeys(markers))
    from_tuple: Callable[[Sequence[Any]], Sequence[Any]] | None = None
    if len(names) < len(markers):
        from_tuple = itemgetter(*(names.index(name) for name in markers))
    return _Statement(text, names, _from_mapping(markers), from_tuple)


def _from_mapping(markers: list[str]) -> Callable[[Mapping[str, Any]], Sequence[Any]]:
    if len(markers) > 1:
        return itemgetter(*markers)
    return lambda values: tuple(values[name] for name in markers)
