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
- Where the application has triggers, or rows that point to their own table, one statement may run
  inside another, between the BEFORE and the AFTER of the outer one (:class:`NestedTriggers`). A
  foreign key's action even runs after the outer row has changed and before its AFTER trigger.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from stepwell.database.application import CONTEXT, RAW
from stepwell.database.shape import TableShape, Unique, literal, qualified, quoted

STASHED_MAX = 8  # Rows that a nested statement leaves to the one around it.

_NOW = "julianday('now')"
_CONTEXT = f"(SELECT context FROM {CONTEXT})"
_NOT_ECHO = f"(SELECT echo FROM {CONTEXT}) IS NULL"


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
    return dict(_texts(NestedTriggers if nested else Triggers, shape, table_id))


@lru_cache(maxsize=256)
def _texts(kind: type[Triggers], shape: TableShape, table_id: int) -> tuple[tuple[str, str], ...]:
    # Before every export they are compared with those that are there.
    return tuple(kind(shape, table_id).all().items())


class Triggers:
    """The triggers of a table whose statements run one after the other.

    The stash holds what the statement at hand could displace, nothing else.
    """

    def __init__(self, shape: TableShape, table_id: int) -> None:
        self.shape = shape
        self.table_id = table_id
        self.table = quoted(shape.name)
        self.stash = stash_of(table_id)
        self.width = len(shape.columns)
        self.places = {column.name: i for i, column in enumerate(shape.columns)}

    def all(self) -> dict[str, str]:
        """Name → CREATE TRIGGER."""
        changed = f"{_NOT_ECHO} AND NOT ({self.nothing_changed()})"
        return dict(
            (
                self.trigger("before_insert", self.conflict_of_insert(), self.stash_for_insert()),
                self.trigger("before_update", self.conflict_of_update(), self.stash_for_update()),
                self.trigger("after_insert", _NOT_ECHO, self.inserted()),
                self.trigger("after_update", changed, self.updated()),
                self.trigger("after_delete", _NOT_ECHO, self.deleted()),
            )
        )

    def trigger(self, kind: str, when: str, body: Sequence[str]) -> tuple[str, str]:
        """Its name and its text."""
        name = trigger_of(self.table_id, kind)
        moment, _, event = kind.upper().partition("_")
        lines = "".join(f"  {statement};\n" for statement in body)
        return name, (
            f"CREATE TRIGGER {name} {moment} {event} ON {self.table}\n"
            f"WHEN {when}\nBEGIN\n{lines}END"
        )

    # --- before: who could be displaced

    def conflict(self, unique: Unique) -> str:
        """The rows of the table that have the new row's value of a unique index."""
        terms = []
        for term, collation in zip(unique.terms, unique.collations, strict=True):
            collate = f" COLLATE {quoted(collation)}" if collation else ""
            terms.append(f"({term}){collate} = {qualified(term, self.shape.names, 'NEW')}")
        if unique.where:
            terms.append(f"({unique.where})")  # So that the partial index can be used.
        return " AND ".join(terms)

    def conflict_exists(self, unique: Unique) -> str:
        """Whether there is one."""
        return f"EXISTS (SELECT 1 FROM {self.table} WHERE {self.conflict(unique)})"

    def conflict_of_insert(self) -> str:
        """Whether the new row could displace any."""
        return "\n  OR ".join(map(self.conflict_exists, self.shape.uniques))

    def conflict_of_update(self) -> str:
        """The same; an index whose columns stay as they are needs no look."""
        found = []
        for unique in self.shape.uniques:
            # A condition may make a row enter the index although none of its terms has changed.
            names = self.shape.names if unique.where else unique.columns
            changed = " OR ".join(
                f"NEW.{quoted(name)} IS NOT OLD.{quoted(name)} COLLATE BINARY" for name in names
            )
            found.append(f"(({changed}) AND {self.conflict_exists(unique)})")
        return "\n  OR ".join(found)

    def stash_for_insert(self) -> list[str]:
        """Every row that the new one could displace."""
        return [self.make_room(), *self.stashing()]

    def stash_for_update(self) -> list[str]:
        """The same, without the row itself."""
        itself = " AND ".join(f"{quoted(k)} = OLD.{quoted(k)}" for k in self.shape.key)
        return [self.make_room(), *(f"{each} AND NOT ({itself})" for each in self.stashing())]

    def make_room(self) -> str:
        """What statements before this one have left."""
        return f"DELETE FROM {self.stash}"

    def stashing(self) -> list[str]:
        """Put the rows of each unique index into the stash, each row once."""
        names = ", ".join(quoted(name) for name in self.shape.names)
        columns = ", ".join(raw_columns("c", self.width))
        statements = []
        for i, unique in enumerate(self.shape.uniques):
            already = "".join(
                f" AND ({self.conflict(earlier)}) IS NOT TRUE" for earlier in self.shape.uniques[:i]
            )
            statements.append(
                f"INSERT INTO {self.stash} ({columns}) SELECT {names} FROM {self.table}"
                f" WHERE {self.conflict(unique)}{already}"
            )
        return statements

    # --- after: who was displaced, then the change itself

    def inserted(self) -> list[str]:
        """D and R of the displaced, then I."""
        replaced = f"({self.has_key('NEW', 's.')})"
        op = f"CASE WHEN {replaced} THEN 'R' ELSE 'D' END"
        return [
            self.displaced(op, f"{replaced} OR {self.gone('s')}"),
            self.empty_stash(self.has_key("NEW")),
            self.raw("I", new=True),
        ]

    def updated(self) -> list[str]:
        """D of the displaced, then U."""
        replaced = f"({self.has_key('NEW', 's.')}) AND NOT ({self.has_key('OLD', 's.')})"
        gone = f"NOT ({self.has_key('OLD', 's.')}) AND {self.gone('s')}"
        return [
            self.displaced("'D'", f"{replaced} OR {gone}"),
            self.empty_stash(f"{self.has_key('NEW')} AND NOT ({self.has_key('OLD')})"),
            self.raw("U", new=True, old=True),
        ]

    def deleted(self) -> list[str]:
        """D, and no second one."""
        return [
            f"DELETE FROM {self.stash} WHERE {self.has_key('OLD')}",
            self.raw("D", old=True),
        ]

    def has_key(self, row: str, stash: str = "") -> str:
        """OLD or NEW has the key of the stashed row, by the table's own collation."""
        return " AND ".join(f"{row}.{quoted(k)} = {stash}c{self.places[k]}" for k in self.shape.key)

    def gone(self, stash: str) -> str:
        """No row of the table has the key of the stashed one."""
        same = " AND ".join(f"t.{quoted(k)} = {stash}.c{self.places[k]}" for k in self.shape.key)
        return f"NOT EXISTS (SELECT 1 FROM {self.table} t WHERE {same})"

    def displaced(self, op: str, where: str) -> str:
        """Write the stashed rows that are meant."""
        columns = ", ".join(raw_columns("o", self.width))
        values = ", ".join(f"s.c{i}" for i in range(self.width))
        return (
            f"INSERT INTO {RAW} (table_id, op, context, at, {columns})"
            f" SELECT {self.table_id}, {op}, {_CONTEXT}, {_NOW}, {values}"
            f" FROM {self.stash} s WHERE {where}"
        )

    def empty_stash(self, _written: str) -> str:
        """Also of what was given up."""
        return f"DELETE FROM {self.stash}"

    def nothing_changed(self) -> str:
        """Binary, so that a letter's case counts; 1 and 1.0 differ where a column has no type."""
        tests = []
        for column in self.shape.columns:
            new, old = f"NEW.{quoted(column.name)}", f"OLD.{quoted(column.name)}"
            tests.append(f"{new} IS {old} COLLATE BINARY")
            if column.kind in ("any", "blob"):
                tests.append(f"typeof({new}) = typeof({old})")
        return " AND ".join(tests)

    def raw(self, op: str, *, new: bool = False, old: bool = False, where: str = "") -> str:
        """Write a change."""
        columns = ["table_id", "op", "context", "at"]
        values = [str(self.table_id), literal(op), _CONTEXT, _NOW]
        for is_there, prefix, row in ((new, "n", "NEW"), (old, "o", "OLD")):
            if is_there:
                columns += raw_columns(prefix, self.width)
                values += [f"{row}.{quoted(name)}" for name in self.shape.names]
        into, row_values = f"INSERT INTO {RAW} ({', '.join(columns)})", ", ".join(values)
        return f"{into} SELECT {row_values} {where}" if where else f"{into} VALUES ({row_values})"


class NestedTriggers(Triggers):
    """The triggers of a table whose statements may run inside one another.

    The stash keeps its last few rows for the statement around. A row that is being changed is
    *busy*: that it is gone under its key is for its own AFTER trigger to say, which comes later
    than those of what a foreign key's action does. Of a row that was stashed twice the later image
    counts, and an update brings the image up to date.
    """

    def all(self) -> dict[str, str]:
        """One more: before a row is deleted. No WHEN, where every row must be looked at."""
        made = super().all()
        for kind, when, body in (
            ("before_update", "TRUE", [self.now_busy(), *self.stash_for_update()]),
            ("before_delete", "TRUE", [self.now_busy()]),
            ("after_update", _NOT_ECHO, self.updated()),
        ):
            name, text = self.trigger(kind, when, body)
            made[name] = text
        return made

    def now_busy(self) -> str:
        """The row at hand is not displaced, whatever becomes of its key."""
        return f"UPDATE {self.stash} SET busy = 1 WHERE {self.has_key('OLD')}"

    def make_room(self) -> str:
        """Those that are too old to belong to a statement that is still running."""
        kept = max(STASHED_MAX, 2 * len(self.shape.uniques))
        return (
            f"DELETE FROM {self.stash} WHERE rowid <="
            f" (SELECT max(rowid) FROM {self.stash}) - {kept}"
        )

    def displaced(self, op: str, where: str) -> str:
        """Those that are not busy, each once."""
        same = " AND ".join(f"x.c{self.places[k]} = s.c{self.places[k]}" for k in self.shape.key)
        later = f"SELECT 1 FROM {self.stash} x WHERE x.rowid > s.rowid AND {same}"
        return super().displaced(op, f"({where}) AND s.busy IS NULL AND NOT EXISTS ({later})")

    def empty_stash(self, written: str) -> str:
        """Of what was written just now."""
        return (
            f"DELETE FROM {self.stash} WHERE ({written})"
            f" OR (busy IS NULL AND {self.gone(self.stash)})"
        )

    def updated(self) -> list[str]:
        """The row is not busy any more; its change is written unless it is none."""
        names = enumerate(self.shape.names)
        sets = ", ".join(f"c{place} = NEW.{quoted(name)}" for place, name in names)
        displaced, empty, _ = super().updated()
        return [
            displaced,
            empty,
            f"UPDATE {self.stash} SET busy = NULL, {sets} WHERE {self.has_key('OLD')}",
            self.raw("U", new=True, old=True, where=f"WHERE NOT ({self.nothing_changed()})"),
        ]

    def deleted(self) -> list[str]:
        """D; and of the displaced, because the row that displaced them may be the one deleted."""
        own, change = super().deleted()
        gone = f"NOT ({self.has_key('OLD', 's.')}) AND {self.gone('s')}"
        return [self.displaced("'D'", gone), self.empty_stash("FALSE"), own, change]
