"""What a table of the application looks like: columns, key, unique indexes, foreign keys.

Read from the database by ``Dialect.tables``; plain values, so that they can be stored as JSON and
compared with what the table looks like later.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

from stepwell.database.tokens import SQLITE_TOKEN

Kind = Literal[
    "integer",
    "real",
    "decimal",
    "boolean",
    "text",
    "blob",
    "date",
    "time",
    "timestamp",
    "json",
    "uuid",
    "any",
]


@dataclass(frozen=True)
class Column:
    """A column that can be written; generated ones are not listed.

    Attributes:
        type_name: As the database names it; empty where SQLite has none.
        kind: What its values are, in words that both databases share.
        has_default: A row may leave it out.
    """

    name: str
    type_name: str
    kind: Kind
    nullable: bool
    has_default: bool = False


@dataclass(frozen=True)
class Unique:
    """The primary key, a UNIQUE constraint or a unique index.

    Attributes:
        terms: SQL over the table's columns, one each; mostly a quoted column.
        collations: The collation of each term, empty where the database needs none said.
        columns: The columns that the terms name.
        where: The condition of a partial index, empty without.
        is_key: It is the primary key.
        nulls_equal: NULL is equal to NULL here (PostgreSQL, NULLS NOT DISTINCT).
    """

    name: str
    terms: tuple[str, ...]
    collations: tuple[str, ...]
    columns: tuple[str, ...]
    where: str = ""
    is_key: bool = False
    nulls_equal: bool = False


@dataclass(frozen=True)
class ForeignKey:
    """``columns`` of this table name a row of ``parent``.

    Attributes:
        on_delete: NO ACTION, RESTRICT, CASCADE, SET NULL or SET DEFAULT.
        on_update: The same.
        is_deferred: It may be checked at the commit alone, on a database that cannot be told
            otherwise.
    """

    columns: tuple[str, ...]
    parent: str
    parent_columns: tuple[str, ...]
    on_delete: str = "NO ACTION"
    on_update: str = "NO ACTION"
    is_deferred: bool = False


@dataclass(frozen=True)
class TableShape:
    """A table of the application.

    Attributes:
        kind: ``table``, or what else has this name: ``view``, ``virtual table``, …
        key: The columns of the declared primary key, in its order; empty without one.
        sql: Whatever else of its definition matters to its triggers; compared, never executed.
    """

    name: str
    kind: str
    columns: tuple[Column, ...]
    key: tuple[str, ...]
    uniques: tuple[Unique, ...] = ()
    foreign_keys: tuple[ForeignKey, ...] = ()

    def column(self, name: str) -> Column:
        """The column of this name; KeyError without."""
        for column in self.columns:
            if column.name == name:
                return column
        raise KeyError(name)

    @property
    def names(self) -> tuple[str, ...]:
        """The names of its columns."""
        return tuple(column.name for column in self.columns)


def quoted(name: str) -> str:
    """One identifier, so that any name is only a name."""
    return '"' + name.replace('"', '""') + '"'


def listed(names: Iterable[str]) -> str:
    """Quoted identifiers with commas between."""
    return ", ".join(map(quoted, names))


def literal(text: str) -> str:
    """A string constant of SQL."""
    return "'" + text.replace("'", "''") + "'"


def qualified(sql: str, columns: Iterable[str], prefix: str) -> str:
    """``sql`` over the columns of a table, as one over ``prefix``: ``lower(NEW."email")``.

    A word is a column when it has the name of one, no dot before it and no parenthesis behind it.
    """

    def put(_text: str, name: str) -> str:
        return f"{prefix}.{quoted(name)}"

    return _with_columns(sql, columns, put)


def columns_in(sql: str, columns: Iterable[str]) -> tuple[str, ...]:
    """The columns that an expression names, each once, in its order."""
    found: dict[str, None] = {}

    def note(text: str, name: str) -> str:
        found[name] = None
        return text

    _with_columns(sql, columns, note)
    return tuple(found)


def _with_columns(sql: str, columns: Iterable[str], use: Callable[[str, str], str]) -> str:
    known = {name.lower(): name for name in columns}
    tokens = [(token.lastgroup or "", token[0]) for token in SQLITE_TOKEN.finditer(sql)]
    pieces = []
    for i, (kind, text) in enumerate(tokens):
        name = _identifier(kind, text)
        column = known.get(name.lower()) if name is not None else None
        before = next((t for k, t in reversed(tokens[:i]) if k != "space"), "")
        behind = next((t for k, t in tokens[i + 1 :] if k != "space"), "")
        if column is None or before == "." or behind in ("(", "."):
            pieces.append(text)
        else:
            pieces.append(use(text, column))
    return "".join(pieces)


def _identifier(kind: str, text: str) -> str | None:
    if kind == "word":
        return text
    if kind == "quoted" and text[0] in '"`':
        return text[1:-1].replace(text[0] * 2, text[0])
    if kind == "quoted" and text[0] == "[":
        return text[1:-1]
    return None


_ORDER = re.compile(r"\s+(ASC|DESC)\s*$", re.IGNORECASE)
_COLLATE = re.compile(r"\s+COLLATE\s+(\"[^\"]+\"|\w+)\s*$", re.IGNORECASE)


def index_terms(create_index: str) -> tuple[list[str], str]:
    """The terms of a CREATE INDEX statement, without order and collation, and its condition."""
    depth = 0
    terms: list[str] = []
    term = ""
    where = ""
    seen_on = False
    for token in SQLITE_TOKEN.finditer(create_index):
        kind, text = token.lastgroup, token[0]
        if kind == "comment":
            text = " "
        seen_on = seen_on or (kind == "word" and text.upper() == "ON")
        if terms and depth == 0:
            where += text
            continue
        if text == ")" and kind == "other":
            depth -= 1
            if depth == 0 and seen_on:
                terms.append(term)
                continue
        if text == "," and depth == 1:
            terms.append(term)
            term = ""
        elif depth >= 1:
            term += text
        if text == "(" and kind == "other":
            depth += 1
    plain = [_COLLATE.sub("", _ORDER.sub("", each)).strip() for each in terms]
    condition = where.strip().removeprefix(";").strip()
    return plain, condition[5:].strip() if condition[:5].upper() == "WHERE" else ""
