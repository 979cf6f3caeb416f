"""A database that goes on elsewhere: what both sides know of it, and how each is closed meanwhile.

A row of ``batch_move`` says that the database is one side of a copy. The table exists only where a
copy was begun, so it is no part of the schema. Closed tables refuse every write, whoever it is by:
each has triggers. Only a transaction that has said so in ``batch_move`` may write, and nobody else
sees that it has, because it takes it back before it commits.

Guarantees: the source is closed before its first row is read, and nobody works on it then; the
target is closed before its first row is written, and opened with its last one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    Integer,
    MetaData,
    Table,
    Text,
    bindparam,
    insert,
    literal_column,
    select,
    text,
    update,
)
from sqlalchemy.schema import CreateTable

from stepwell.database.connect import Database
from stepwell.database.dialect import CLOSED, Dialect
from stepwell.database.prepared import Prepared
from stepwell.database.shape import literal, quoted
from stepwell.database.transaction import Reader, Transaction
from stepwell.database.types import UtcTimestamp

Side = Literal["source", "target"]

metadata = MetaData()

batch_move = Table(
    "batch_move",
    metadata,
    Column("one", Integer, CheckConstraint("one = 1"), primary_key=True, autoincrement=False),
    Column("move_id", Text, nullable=False),
    Column("side", Text, nullable=False),
    Column("other", Text, nullable=False),  # Where the other side is, without a password.
    Column("began_at", UtcTimestamp(), nullable=False),
    # The rows that have come, at the target; whoever writes the next ones must know it.
    Column("row_count", BigInteger, nullable=False, server_default=text("0")),
    Column("is_writing", Integer, nullable=False, server_default=text("0")),
    # Source: proven equal, so that the target may open. Target: open.
    Column("completed_at", UtcTimestamp()),
)

_m = batch_move.c
_FIND = Prepared(select(_m.move_id, _m.side, _m.other, _m.began_at, _m.row_count, _m.completed_at))
_INSERT = Prepared(
    insert(batch_move).values(
        {
            _m.one: literal_column("1"),
            **{_m[name]: bindparam(name) for name in ("move_id", "side", "other", "began_at")},
        }
    )
)
_WRITE = Prepared(
    update(batch_move)
    .where(
        _m.move_id == bindparam("id_"),
        _m.row_count == bindparam("expected"),
        _m.completed_at.is_(None),
    )
    .values(is_writing=literal_column("1"))
)
_WRITTEN = Prepared(
    update(batch_move).values(is_writing=literal_column("0"), row_count=bindparam("count_"))
)
_COMPLETE = Prepared(
    update(batch_move)
    .where(_m.move_id == bindparam("id_"))
    .values(completed_at=bindparam("at_"), is_writing=literal_column("0"))
)

_EVENTS = ("INSERT", "UPDATE", "DELETE")
_FUNCTION = f"""CREATE OR REPLACE FUNCTION batch_move_closes() RETURNS trigger AS $$
BEGIN
  IF (SELECT is_writing FROM batch_move) IS NOT DISTINCT FROM 1 THEN
    RETURN NULL;
  END IF;
  RAISE EXCEPTION USING MESSAGE = '{CLOSED}' || TG_ARGV[0], ERRCODE = 'SW001';
END $$ LANGUAGE plpgsql"""


@dataclass(frozen=True)
class Move:
    """One side of a copy.

    Attributes:
        move_id: The same at both sides.
        other: Where the other side is.
        row_count: How many rows have come, at the target.
        completed_at: At the source, when both were proven equal; at the target, when it opened.
    """

    move_id: str
    side: Side
    other: str
    began_at: datetime
    row_count: int
    completed_at: datetime | None


def find_move(database: Database, reader: Reader) -> Move | None:
    """What this database knows of a copy that it is a side of; None when it is none."""
    dialect = database.dialect
    if not reader.ask(lambda connection: dialect.has_table(connection, batch_move.name)):
        return None
    row = reader.fetch_one(_FIND)
    return None if row is None else Move(*row)


def close_side(
    database: Database,
    transaction: Transaction,
    tables: Sequence[str],
    *,
    move_id: str,
    side: Side,
    other: str,
    at: datetime,
) -> None:
    """Have the tables refuse every write from this transaction on, and say why.

    On PostgreSQL this waits for whoever is writing one of them; what they wrote can be seen then.
    """
    core = database.dialect.core
    create = str(CreateTable(batch_move).compile(dialect=core)).strip()
    transaction.connection.execute(create)
    values = {"move_id": move_id, "side": side, "other": other, "began_at": at}
    transaction.execute(_INSERT, values)
    why = f"{other!r} goes on in its place"
    if side == "target":
        why = f"it is becoming a copy of {other!r}"
    for statement in _closing(database.dialect, tables, why):
        transaction.connection.execute(statement)


def open_side(database: Database, transaction: Transaction, tables: Sequence[str]) -> None:
    """Have the tables take writes again."""
    for statement in _opening(database.dialect, tables):
        transaction.connection.execute(statement)


def forget_move(transaction: Transaction) -> None:
    """This database is no side of a copy any more; its tables were opened before."""
    transaction.connection.execute(f"DROP TABLE {batch_move.name}")


def may_write(transaction: Transaction, move_id: str, *, expected: int) -> bool:
    """Let this transaction write closed tables; False: this many rows is not what has come."""
    return transaction.execute(_WRITE, {"id_": move_id, "expected": expected}) == 1


def has_written(transaction: Transaction, row_count: int) -> None:
    """Close them again, before the commit; so many rows have come now."""
    transaction.execute(_WRITTEN, {"count_": row_count})


def complete_side(transaction: Transaction, move_id: str, *, at: datetime) -> bool:
    """Record that this side is done; False: it is no side of this copy."""
    return transaction.execute(_COMPLETE, {"id_": move_id, "at_": at}) == 1


def _closing(dialect: Dialect, tables: Sequence[str], why: str) -> Iterator[str]:
    if dialect.sql_style.is_sqlite:
        for table in tables:
            for event in _EVENTS:
                yield (
                    f"CREATE TRIGGER {_trigger(table, event)} BEFORE {event} ON {quoted(table)}"
                    " WHEN (SELECT is_writing FROM batch_move) IS NOT 1"
                    f" BEGIN SELECT RAISE(ABORT, {literal(CLOSED + why)}); END"
                )
        return
    yield _FUNCTION
    for table in tables:
        yield (
            f"CREATE TRIGGER {_trigger(table)} BEFORE INSERT OR UPDATE OR DELETE OR TRUNCATE"
            f" ON {quoted(table)} FOR EACH STATEMENT"
            f" EXECUTE FUNCTION batch_move_closes({literal(why)})"
        )


def _opening(dialect: Dialect, tables: Sequence[str]) -> Iterator[str]:
    if dialect.sql_style.is_sqlite:
        for table in tables:
            for event in _EVENTS:
                yield f"DROP TRIGGER IF EXISTS {_trigger(table, event)}"
        return
    for table in tables:
        yield f"DROP TRIGGER IF EXISTS {_trigger(table)} ON {quoted(table)}"
    yield "DROP FUNCTION IF EXISTS batch_move_closes()"


def _trigger(table: str, event: str = "") -> str:
    return quoted(f"batch_move_closes_{table}" + (f"_{event.lower()}" if event else ""))
