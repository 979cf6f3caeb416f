"""The triggers by which SQLite captures every change of a table, whoever makes it.

Facts that decide their form, each found by experiment:

- A trigger must never fail or slow the host's write: no JSON is built (``json_object`` raises on a
  BLOB); the columns of the raw table and of the stash have no type, so every storage class stays.
- The host's conflict clause leaks into a trigger's body: no constraint stands on what it writes.
- ``INSERT OR REPLACE`` and ``UPDATE OR REPLACE`` delete rows without firing DELETE triggers. BEFORE
  triggers put every row that the new one could displace, through its key or any unique index, into
  the *stash*; AFTER triggers write a D for each stashed row that is gone, and an R for one whose
  key the new row has, before they write the change itself.
- A stashed row whose statement was given up (``OR IGNORE``, an upsert) is still in its table, so it
  writes nothing. DELETE takes it off the stash.
- The trigger that was created last fires first, so these are created after the application's own.
  Where the application has triggers (or rows that point to their own table), one statement may run
  inside another: then the stash is not emptied but keeps its last few rows.
"""

from __future__ import annotations

from collections.abc import Sequence

from stepwell.database.application import CONTEXT, RAW
from stepwell.database.shape import TableShape, Unique, literal, qualified, quoted

STASHED_MAX = 8  # Rows that a nested statement leaves to the one around it; one a unique index.
TRIGGERS = ("before_insert", "before_update", "after_insert", "after_update", "after_delete")


def stash_of(table_id: int) -> str:
    """The name of a table's stash."""
    return f"change_stash_{table_id}"


def trigger_of(table_id: int, kind: str) -> str:
    """The name of one of its triggers."""
    return f"change_capture_{table_id}_{kind}"


def raw_columns(prefix: str, count: int) -> list[str]:
    """``n0, n1, …`` hold the new image, ``o0, o1, …`` the old one."""
    return [f"{prefix}{i}" for i in range(count)]


def triggers(shape: TableShape, table_id: int, *, nested: bool) -> dict[str, str]:
    """Name → CREATE TRIGGER, in the order in which they are made.

    ``nested``: statements on the table may run inside one another.
    """
    return {
        trigger_of(table_id, kind): sql
        for kind, sql in zip(TRIGGERS, _Triggers(shape, table_id, nested=nested).all(), strict=True)
    }


class _Triggers:
    def __init__(self, shape: TableShape, table_id: int, *, nested: bool) -> None:
        self.shape = shape
        self.table_id = table_id
        self.table = quoted(shape.name)
        self.stash = stash_of(table_id)
        self.nested = nested
        self.width = len(shape.columns)
        self.places = {column.name: i for i, column in enumerate(shape.columns)}
        self.not_echo = f"(SELECT echo FROM {CONTEXT}) IS NULL"

    def all(self) -> list[str]:
        return [
            self._trigger("before_insert", self._conflict_of_insert(), self._stash_for_insert()),
            self._trigger("before_update", self._conflict_of_update(), self._stash_for_update()),
            self._trigger(
                "after_insert",
                self.not_echo,
                [*self._displaced_by_insert(), self._raw("I", new=True)],
            ),
            self._trigger(
                "after_update",
                f"{self.not_echo} AND NOT ({self._nothing_changed()})",
                [*self._displaced_by_update(), self._raw("U", new=True, old=True)],
            ),
            self._trigger(
                "after_delete",
                self.not_echo,
                [f"DELETE FROM {self.stash} WHERE {self._same('OLD')}", self._raw("D", old=True)],
            ),
        ]

    def _trigger(self, kind: str, when: str, body: Sequence[str]) -> str:
        moment, _, event = kind.upper().partition("_")
        lines = "".join(f"  {statement};\n" for statement in body)
        return (
            f"CREATE TRIGGER {trigger_of(self.table_id, kind)} {moment} {event} ON {self.table}\n"
            f"WHEN {when}\nBEGIN\n{lines}END"
        )

    # --- before: who could be displaced

    def _conflict(self, unique: Unique) -> str:
        """The rows of the table that have the new row's value of a unique index."""
        terms = []
        for term, collation in zip(unique.terms, unique.collations, strict=True):
            collate = f" COLLATE {quoted(collation)}" if collation else ""
            terms.append(f"({term}){collate} = {qualified(term, self.shape.names, 'NEW')}")
        if unique.where:
            terms.append(f"({unique.where})")  # So that the partial index can be used.
        return " AND ".join(terms)

    def _exists(self, unique: Unique) -> str:
        return f"EXISTS (SELECT 1 FROM {self.table} WHERE {self._conflict(unique)})"

    def _conflict_of_insert(self) -> str:
        return "\n  OR ".join(map(self._exists, self.shape.uniques))

    def _conflict_of_update(self) -> str:
        found = []
        for unique in self.shape.uniques:
            names = dict.fromkeys((*unique.columns, *self._columns_of_condition(unique)))
            changed = " OR ".join(
                f"NEW.{quoted(name)} IS NOT OLD.{quoted(name)} COLLATE BINARY" for name in names
            )
            found.append(f"(({changed}) AND {self._exists(unique)})")
        return "\n  OR ".join(found)

    def _columns_of_condition(self, unique: Unique) -> tuple[str, ...]:
        # A condition may make a row enter the index although none of its terms has changed.
        return self.shape.names if unique.where else ()

    def _stash_for_insert(self) -> list[str]:
        return [self._before_stashing(), *self._stashing()]

    def _stash_for_update(self) -> list[str]:
        not_itself = f"NOT ({self._key_equals('OLD')})"
        return [
            self._before_stashing(),
            *(f"{each} AND {not_itself}" for each in self._stashing()),
        ]

    def _before_stashing(self) -> str:
        if not self.nested:
            return f"DELETE FROM {self.stash}"
        kept = max(STASHED_MAX, 2 * len(self.shape.uniques))
        return (
            f"DELETE FROM {self.stash} WHERE rowid <="
            f" (SELECT max(rowid) FROM {self.stash}) - {kept}"
        )

    def _stashing(self) -> list[str]:
        """Put the rows of each unique index into the stash, each row once."""
        columns = ", ".join(quoted(name) for name in self.shape.names)
        statements = []
        for i, unique in enumerate(self.shape.uniques):
            already = "".join(
                f" AND ({self._conflict(earlier)}) IS NOT TRUE"
                for earlier in self.shape.uniques[:i]
            )
            statements.append(
                f"INSERT INTO {self.stash} SELECT {columns} FROM {self.table}"
                f" WHERE {self._conflict(unique)}{already}"
            )
        return statements

    # --- after: who was displaced

    def _key_equals(self, row: str) -> str:
        """The table's row has the key of OLD or NEW, by the table's own collation."""
        return " AND ".join(f"{quoted(k)} = {row}.{quoted(k)}" for k in self.shape.key)

    def _same(self, row: str, stash: str = "") -> str:
        """OLD or NEW has the key of the stashed row."""
        return " AND ".join(f"{row}.{quoted(k)} = {stash}c{self.places[k]}" for k in self.shape.key)

    def _gone(self, stash: str) -> str:
        same = " AND ".join(f"t.{quoted(k)} = {stash}.c{self.places[k]}" for k in self.shape.key)
        return f"NOT EXISTS (SELECT 1 FROM {self.table} t WHERE {same})"

    def _displaced_by_insert(self) -> list[str]:
        replaced = f"({self._same('NEW', 's.')})"
        op = f"CASE WHEN {replaced} THEN 'R' ELSE 'D' END"
        kept = f"({self._same('NEW')}) OR " if self.nested else ""
        return [
            self._displaced(op, f"{replaced} OR {self._gone('s')}"),
            self._empty_stash(kept),
        ]

    def _displaced_by_update(self) -> list[str]:
        itself, replaced = f"({self._same('OLD', 's.')})", f"({self._same('NEW', 's.')})"
        where = f"NOT {itself} AND ({replaced} OR {self._gone('s')})"
        kept = f"({self._same('NEW')} AND NOT ({self._same('OLD')})) OR " if self.nested else ""
        return [self._displaced("'D'", where), self._empty_stash(kept)]

    def _displaced(self, op: str, where: str) -> str:
        columns = ", ".join(raw_columns("o", self.width))
        values = ", ".join(f"s.c{i}" for i in range(self.width))
        if self.nested:
            # Of a row that was stashed twice the later image counts.
            same = " AND ".join(f"x.c{i} = s.c{i}" for i in map(self.places.get, self.shape.key))
            where = (
                f"({where}) AND NOT EXISTS (SELECT 1 FROM {self.stash} x"
                f" WHERE x.rowid > s.rowid AND {same})"
            )
        return (
            f"INSERT INTO {RAW} (table_id, op, context, at, {columns})"
            f" SELECT {self.table_id}, {op}, {self._context()}, {_NOW}, {values}"
            f" FROM {self.stash} s WHERE {where}"
        )

    def _empty_stash(self, kept: str) -> str:
        if not self.nested:
            return f"DELETE FROM {self.stash}"
        return f"DELETE FROM {self.stash} WHERE {kept}{self._gone(self.stash)}"

    # --- the change itself

    def _nothing_changed(self) -> str:
        """Binary, so that a letter's case counts; 1 and 1.0 differ where a column has no type."""
        tests = []
        for column in self.shape.columns:
            new, old = f"NEW.{quoted(column.name)}", f"OLD.{quoted(column.name)}"
            tests.append(f"{new} IS {old} COLLATE BINARY")
            if column.kind in ("any", "blob"):
                tests.append(f"typeof({new}) = typeof({old})")
        return " AND ".join(tests)

    def _raw(self, op: str, *, new: bool = False, old: bool = False) -> str:
        columns, values = ["table_id", "op", "context", "at"], [str(self.table_id), literal(op)]
        values += [self._context(), _NOW]
        for is_there, prefix, row in ((new, "n", "NEW"), (old, "o", "OLD")):
            if is_there:
                columns += raw_columns(prefix, self.width)
                values += [f"{row}.{quoted(name)}" for name in self.shape.names]
        return f"INSERT INTO {RAW} ({', '.join(columns)}) VALUES ({', '.join(values)})"

    def _context(self) -> str:
        return f"(SELECT context FROM {CONTEXT})"


_NOW = "julianday('now')"
