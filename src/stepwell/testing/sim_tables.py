"""What the nodes of a simulation write: small tables with few keys, so that they meet often."""

from __future__ import annotations

from collections.abc import Callable, Container
from dataclasses import dataclass

from stepwell.testing.dice import Dice

IDS = 6  # Keys of a table: nodes write the same rows.
VALUES = 5


@dataclass(frozen=True)
class SimTable:
    """A table that every node has.

    Attributes:
        sql: Statements that make it, for both databases.
        policy: As ``sync track --policy`` takes it.
        row: The values of a new row behind its id.
        change: A SET clause.
        columns: The names of all of them.
        may_be_rebuilt: Nobody points to it, and nothing is counted in it.
    """

    name: str
    sql: tuple[str, ...]
    policy: str
    row: Callable[[Dice], tuple[object, ...]]
    change: Callable[[Dice], str]
    columns: tuple[str, ...]
    may_be_rebuilt: bool = False


def _number(dice: Dice) -> int:
    return dice.below(VALUES)


NOTE = SimTable(
    "note",
    ("CREATE TABLE note (id INTEGER NOT NULL PRIMARY KEY, a INTEGER, b TEXT)",),
    "lww",
    lambda dice: (_number(dice), f"text {_number(dice)}"),
    lambda dice: dice.choose((f"a = {_number(dice)}", f"b = 'text {_number(dice)}'", "a = NULL")),
    ("id", "a", "b"),
    may_be_rebuilt=True,
)
MASTER = SimTable(
    "master",
    ("CREATE TABLE master (id INTEGER NOT NULL PRIMARY KEY, a INTEGER)",),
    "main_wins",
    lambda dice: (_number(dice),),
    lambda dice: f"a = {_number(dice)}",
    ("id", "a"),
    may_be_rebuilt=True,
)
COUNTER = SimTable(
    "counter",
    (
        """CREATE TABLE counter (
            id INTEGER NOT NULL PRIMARY KEY, n INTEGER NOT NULL, m INTEGER NOT NULL, b INTEGER
        )""",
    ),
    '{"rows":"columns","columns":{"n":"delta","m":"max"}}',
    lambda dice: (_number(dice), _number(dice), _number(dice)),
    lambda dice: dice.choose(
        (f"n = n + {1 + _number(dice)}", f"m = m + {_number(dice)}", f"b = {_number(dice)}")
    ),
    ("id", "n", "m", "b"),
)
CODED = SimTable(
    "coded",
    (
        "CREATE TABLE coded (id INTEGER NOT NULL PRIMARY KEY, code INTEGER, a INTEGER)",
        "CREATE UNIQUE INDEX coded_code ON coded (code)",
    ),
    "lww",
    lambda dice: (_number(dice), _number(dice)),
    lambda dice: dice.choose((f"code = {_number(dice)}", f"a = {_number(dice)}", "code = NULL")),
    ("id", "code", "a"),
    may_be_rebuilt=True,
)
PARENT = SimTable(
    "parent",
    ("CREATE TABLE parent (id INTEGER NOT NULL PRIMARY KEY, a INTEGER)",),
    "lww",
    lambda dice: (_number(dice),),
    lambda dice: f"a = {_number(dice)}",
    ("id", "a"),
)
CHILD = SimTable(
    "child",
    (
        """CREATE TABLE child (
            id INTEGER NOT NULL PRIMARY KEY, parent INTEGER NOT NULL REFERENCES parent (id),
            a INTEGER
        )""",
    ),
    "lww",
    lambda dice: (dice.below(IDS), _number(dice)),
    lambda dice: dice.choose((f"a = {_number(dice)}", f"parent = {dice.below(IDS)}")),
    ("id", "parent", "a"),
)
PERSON = SimTable(
    "person",
    ("CREATE TABLE person (id INTEGER NOT NULL PRIMARY KEY, a INTEGER)",),
    "manual",
    lambda dice: (_number(dice),),
    lambda dice: f"a = {_number(dice)}",
    ("id", "a"),
    may_be_rebuilt=True,
)

ALL = (NOTE, MASTER, COUNTER, CODED, PARENT, CHILD, PERSON)


def some_statement(
    dice: Dice, table: SimTable, *, is_sqlite: bool, grown: Container[str] = ()
) -> str:
    """One change of a table, which a constraint may refuse; one of ``grown`` has a column more."""
    key = dice.below(IDS)
    if table.name in grown and dice.one_in(4):
        return f"UPDATE {table.name} SET extra = {_number(dice)} WHERE id = {key}"
    match dice.below(8):
        case 0 | 1 | 2:
            values = ", ".join(map(_literal, (key, *table.row(dice))))
            verb = "INSERT"
            if is_sqlite and table is not COUNTER:  # A column by `max` is only raised.
                verb = dice.choose(("INSERT", "INSERT", "INSERT OR REPLACE", "INSERT OR IGNORE"))
            return f"{verb} INTO {table.name} ({', '.join(table.columns)}) VALUES ({values})"
        case 3 | 4 | 5:
            return f"UPDATE {table.name} SET {table.change(dice)} WHERE id = {key}"
        case 6:
            return f"DELETE FROM {table.name} WHERE id = {key}"
        case _:
            if table.name in ("parent", "child"):
                return f"UPDATE {table.name} SET {table.change(dice)} WHERE id >= {key}"
            return f"UPDATE {table.name} SET id = {dice.below(IDS)} WHERE id = {key}"


def _literal(value: object) -> str:
    return f"'{value}'" if isinstance(value, str) else str(value)
