"""Random histories by foreign writers on SQLite: any statement, any conflict clause, any trigger.

A history is made from a seed of choices (hypothesis, or ``random``), executed through a connection
that knows nothing of Stepwell.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from typing import Any

# What an application may have: name → its script. ``t`` is tracked, and ``log`` where there is one.
SCHEMAS = {
    "rowid": """
        CREATE TABLE t (id INTEGER PRIMARY KEY, u INTEGER UNIQUE, w INTEGER UNIQUE, v);
    """,
    "without rowid": """
        CREATE TABLE t (
            id INTEGER NOT NULL PRIMARY KEY, u INTEGER UNIQUE, w INTEGER, v, UNIQUE (w, u)
        ) WITHOUT ROWID;
    """,
    "composite key": """
        CREATE TABLE t (
            u INTEGER NOT NULL, v, w INTEGER UNIQUE, id INTEGER NOT NULL, PRIMARY KEY (id, u)
        );
    """,
    "collations": """
        CREATE TABLE t (id TEXT NOT NULL COLLATE NOCASE PRIMARY KEY, u TEXT, w INTEGER, v);
        CREATE UNIQUE INDEX t_u ON t (u COLLATE NOCASE);
    """,
    "partial and expression indexes": """
        CREATE TABLE t (id INTEGER PRIMARY KEY, u INTEGER, w INTEGER, v);
        CREATE UNIQUE INDEX t_u ON t (u) WHERE w > 2;
        CREATE UNIQUE INDEX t_w ON t (w % 3, u / 2) WHERE u IS NOT NULL;
    """,
    "triggers that stamp": """
        CREATE TABLE t (id INTEGER PRIMARY KEY, u INTEGER UNIQUE, w INTEGER, v);
        CREATE TRIGGER stamp AFTER INSERT ON t BEGIN
            UPDATE t SET v = 'new' WHERE id = NEW.id;
        END;
        CREATE TRIGGER touch AFTER UPDATE OF u ON t BEGIN
            UPDATE t SET v = 'touched ' || NEW.u WHERE id = NEW.id;
        END;
    """,
    "triggers that write others": """
        CREATE TABLE t (id INTEGER PRIMARY KEY, u INTEGER UNIQUE, w INTEGER UNIQUE, v);
        CREATE TABLE log (n INTEGER PRIMARY KEY, what TEXT);
        CREATE TRIGGER one_current BEFORE INSERT ON t BEGIN
            UPDATE t SET v = 'old' WHERE u = NEW.u OR v = NEW.v;
        END;
        CREATE TRIGGER moved BEFORE UPDATE OF w ON t BEGIN
            UPDATE t SET v = 'beside' WHERE w = NEW.w AND id <> OLD.id;
        END;
        CREATE TRIGGER gone AFTER DELETE ON t BEGIN
            INSERT INTO log (what) VALUES (OLD.id);
        END;
        CREATE TRIGGER come AFTER INSERT ON t BEGIN
            INSERT OR REPLACE INTO log VALUES (NEW.id % 3, NEW.v);
            DELETE FROM t WHERE w = NEW.id AND id <> NEW.id;
        END;
    """,
    "rows that point to rows": """
        CREATE TABLE t (
            id INTEGER PRIMARY KEY, u INTEGER UNIQUE,
            w INTEGER REFERENCES t (id) ON DELETE CASCADE ON UPDATE CASCADE, v
        );
    """,
    "rows that lose their parents": """
        CREATE TABLE t (
            id INTEGER PRIMARY KEY, u INTEGER UNIQUE,
            w INTEGER REFERENCES t (id) ON DELETE SET NULL ON UPDATE CASCADE, v
        );
        CREATE TRIGGER lost AFTER UPDATE OF w ON t WHEN NEW.w IS NULL BEGIN
            UPDATE t SET v = 'lost' WHERE id = NEW.id;
        END;
    """,
    "children": """
        CREATE TABLE t (id INTEGER PRIMARY KEY, u INTEGER UNIQUE, w INTEGER, v);
        CREATE TABLE log (
            n INTEGER PRIMARY KEY,
            what INTEGER REFERENCES t (id) ON DELETE SET NULL ON UPDATE CASCADE
        );
        CREATE TRIGGER child AFTER INSERT ON t BEGIN
            INSERT INTO log (what) VALUES (NEW.id);
        END;
    """,
}
KEYS = {"composite key": ("id", "u")}

REFUSALS = ("constraint failed", "datatype mismatch", "CONFLICT clause")
CLAUSES = ("", "", "OR REPLACE", "OR REPLACE", "OR IGNORE", "OR ABORT", "OR FAIL", "OR ROLLBACK")

# Draws one of a sequence; hypothesis and random.Random().choice both fit.
Choose = Callable[[Sequence[Any]], Any]


class ForeignWriter:
    """One connection and what it does next."""

    def __init__(self, connection: sqlite3.Connection, schema: str, choose: Choose) -> None:
        self.connection = connection
        self.is_text = schema == "collations"
        self.choose = choose

    def do_something(self) -> None:
        """One statement, perhaps within a transaction; a constraint may refuse it."""
        choose = self.choose
        what = choose(
            ("insert", "insert", "insert", "many", "upsert", "update", "update", "delete")
        )
        clause = choose(CLAUSES)
        try:
            match what:
                case "insert":
                    sql = f"INSERT {clause} INTO t (id, u, w, v) VALUES (?, ?, ?, ?)"
                    self.connection.execute(sql, (self._key(), self._n(), self._n(), self._v()))
                case "many":
                    row = "SELECT ?, ?, ?, ?"
                    sql = f"INSERT {clause} INTO t (id, u, w, v) {row} UNION ALL {row}"
                    values = [self._key(), self._n(), self._n(), 1]
                    self.connection.execute(sql, [*values, self._key(), self._n(), self._n(), 2])
                case "upsert":
                    sets = choose(
                        ("v = excluded.v", "w = excluded.w, v = 'up'", "u = u", "id = id")
                    )
                    action = choose((f"UPDATE SET {sets}", "NOTHING"))
                    sql = f"INSERT INTO t (id, u, w, v) VALUES (?, ?, ?, ?) ON CONFLICT DO {action}"
                    self.connection.execute(sql, (self._key(), self._n(), self._n(), self._v()))
                case "update":
                    columns = choose((("id",), ("u", "w"), ("v",), ("id", "u", "w", "v"), ("w",)))
                    values = [self._key() if c == "id" else self._n() for c in columns]
                    sets = ", ".join(f"{column} = ?" for column in columns)
                    where = choose(("id = ?", "id = ?", "u > ?", "w IS NOT ?"))
                    sql = f"UPDATE {clause} t SET {sets} WHERE {where}"
                    self.connection.execute(sql, (*values, self._key()))
                case "delete":
                    where = choose(("id = ?", "id = ?", "u > ?", "? IS NOT NULL AND w IS NULL"))
                    self.connection.execute(f"DELETE FROM t WHERE {where}", (self._key(),))
        except (sqlite3.IntegrityError, sqlite3.OperationalError) as error:
            # A nested trigger may be refused, too; nothing else may happen to a host's write.
            if not any(known in str(error) for known in REFUSALS):
                raise

    def begin_or_end(self) -> None:
        """Now and then a transaction or a savepoint begins, or ends this way or that."""
        execute, choose = self.connection.execute, self.choose
        if not self.connection.in_transaction:
            if choose((False, False, True)):
                execute("BEGIN")
            return
        match choose(("go on", "go on", "commit", "rollback", "savepoint", "rollback to")):
            case "commit":
                execute("COMMIT")
            case "rollback":
                execute("ROLLBACK")
            case "savepoint":
                execute("SAVEPOINT here")
            case "rollback to":
                try:
                    execute("ROLLBACK TO here")
                except sqlite3.OperationalError:
                    return  # There is none.

    def _n(self) -> int | str | None:
        n = self.choose((None, 0, 1, 2, 3, 4, 5))
        if self.is_text and n is not None:
            return str(self.choose("aAbB"))
        return None if n is None else int(n)

    def _key(self) -> int | str | None:
        if self.is_text:
            return str(self.choose("aAbBcC"))
        return self.choose((0, 1, 2, 3, 4, 5, 6, None)) if self.choose(range(12)) else 7

    def _v(self) -> object:
        return self.choose((None, 1, 1.0, "1", b"1", "text", 2.5))


def keys_of(schema: str) -> dict[str, tuple[str, ...]]:
    """The tables to be tracked, with their keys."""
    tables = {"t": KEYS.get(schema, ("id",))}
    if "TABLE log " in SCHEMAS[schema]:
        tables["log"] = ("n",)
    return tables
