"""Which tables are captured, what their transactions say of themselves, whether capture is whole.

``track`` refuses what cannot be carried and puts the triggers in place; the rows that are there are
logged behind it, by key range (:mod:`stepwell.sync.baseline`). A table whose definition has changed
since is refused by every export until it is tracked again; then what nobody captured is announced,
as far as it can be told from what the rows were before.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime

from stepwell.database.shape import TableShape
from stepwell.database.transaction import Reader, Transaction
from stepwell.errors import CannotTrack, CaptureBroken
from stepwell.sync.baseline import begin, begin_again
from stepwell.sync.change import Lineage
from stepwell.sync.lineage import Context, encode_context
from stepwell.sync.log import begin_apply, seal
from stepwell.sync.peers import own_node
from stepwell.sync.table import (
    delete_table,
    find_table,
    fingerprint_of,
    get_table,
    insert_table,
    tracked_tables,
    update_shape,
)
from stepwell.sync.versions import alive_page

_OWN_TABLES = ("batch_", "sync_", "change_", "sqlite_")


@dataclass(frozen=True)
class CaptureFault:
    """A table whose changes may be missed."""

    table_name: str
    what: str


def track(
    transaction: Transaction, name: str, *, at: datetime, policy: str = "{}", baseline: bool = True
) -> bool:
    """Capture a table from the commit of this transaction on; answers whether anything changed.

    Tracking it again mends its triggers, and announces what they did not see. ``baseline`` False
    leaves out the rows that are there.

    Raises:
        CannotTrack: it has no declared key, or is no table; the message says what to do.
    """
    own_node(transaction)
    application = transaction.application
    shape = transaction.ask(lambda connection: application.table(connection, name))
    shape = _trackable(name, shape)
    # Nobody may write between the look at the table and its triggers.
    transaction.ask(lambda connection: application.lock_writers(connection, [shape.name]))
    tracked = find_table(transaction, shape.name)
    if tracked is None:
        again = bool(alive_page(transaction, shape.name, "", 1))
        first = (begin_again(None, shape) if again else begin()) if baseline else None
        table_id = insert_table(transaction, shape, policy=policy, at=at, baseline=first)
    else:
        table_id = tracked.table_id
        fault = transaction.ask(lambda connection: application.fault(connection, shape, table_id))
        if not fault and tracked.shape == shape:
            return False
        while not seal(transaction).is_all:  # While their columns are still known.
            pass
        was = tracked.shape
        gap = transaction.ask(lambda connection: application.fault(connection, was, table_id))
        update_shape(transaction, shape, begin_again(tracked, shape, was_captured=not gap))
    transaction.ask(lambda connection: application.install(connection, shape, table_id))
    return True


def untrack(transaction: Transaction, name: str) -> None:
    """Capture a table no longer; what is logged stays, so do the versions of its rows.

    Raises:
        TableNotTracked: it is not captured.
    """
    tracked = get_table(transaction, name)
    application = transaction.application
    begin_apply(transaction).finish()
    transaction.ask(
        lambda connection: application.remove(connection, tracked.table_id, tracked.name)
    )
    delete_table(transaction, tracked.name)


def faults(reader: Reader) -> list[CaptureFault]:
    """The tables whose triggers are not what they must be; none when capture is whole."""
    application = reader.application
    found = []
    for name, tracked in tracked_tables(reader).items():
        shape = reader.ask(lambda connection, name=name: application.table(connection, name))  # type: ignore[misc]
        if shape is None or shape.kind != "table":
            found.append(CaptureFault(name, "the table is not there any more"))
            continue
        if fingerprint_of(shape) != tracked.fingerprint:
            found.append(
                CaptureFault(name, f"its columns have changed: {_changed(tracked.shape, shape)}")
            )
            continue
        what = reader.ask(
            lambda connection, shape=shape, tracked=tracked: application.fault(  # type: ignore[misc]
                connection, shape, tracked.table_id
            )
        )
        if what:
            found.append(CaptureFault(name, what))
    return found


def require_capture(reader: Reader) -> None:
    """Refuse to go on when a change may have been missed.

    Raises:
        CaptureBroken: names the table, the fault and the command that mends it.
    """
    found = faults(reader)
    if found:
        table = found[0].table_name
        more = f" (and {len(found) - 1} more tables)" if len(found) > 1 else ""
        raise CaptureBroken(
            f"cannot export changes of table {table!r}: {found[0].what}{more}",
            hint=f"`stepwell sync track {table}` mends it and announces what was missed;"
            f" `stepwell sync untrack {table}` gives it up",
            fields={"table": table, "tables": [fault.table_name for fault in found]},
        )


def tell(transaction: Transaction, tx_id: str, lineage: Lineage | None = None) -> None:
    """Say what this transaction is: its changes are one group, under this id.

    The context is taken away before the commit.
    """
    application = transaction.application
    text = encode_context(Context(tx_id, lineage))
    transaction.ask(lambda connection: application.set_context(connection, text))
    transaction.before_commit(
        lambda: transaction.ask(lambda connection: application.clear_context(connection, ()))
    )


@contextmanager
def echo(transaction: Transaction) -> Iterator[None]:
    """Inside, nothing that this transaction writes is captured: it is applied from elsewhere."""
    application = transaction.application
    table_ids = [table.table_id for table in tracked_tables(transaction).values()]
    transaction.ask(application.set_echo)
    yield
    # After an exception the whole transaction is rolled back, or the savepoint around this block.
    transaction.ask(lambda connection: application.clear_context(connection, table_ids))


def _trackable(name: str, shape: TableShape | None) -> TableShape:
    if shape is None:
        raise CannotTrack(
            f"cannot track table {name!r}: there is no such table",
            hint="its migrations make it; a name is taken as it is, without a schema",
            fields={"table": name},
        )
    if shape.kind != "table":
        raise CannotTrack(
            f"cannot track table {name!r}: it is a {shape.kind}",
            hint="track the tables beneath it",
            fields={"table": name},
        )
    if shape.name.startswith(_OWN_TABLES):
        raise CannotTrack(
            f"cannot track table {name!r}: it is not the application's",
            hint="each node keeps its own",
            fields={"table": name},
        )
    if not shape.key:
        raise CannotTrack(
            f"cannot track table {name!r}: it has no declared primary key",
            hint="declare one; a rowid is no key, another node would give other numbers",
            fields={"table": name},
        )
    for column in shape.columns:
        if column.name in shape.key and column.nullable:
            raise CannotTrack(
                f"cannot track table {name!r}: column {column.name!r} of its key may be NULL",
                hint="declare it NOT NULL",
                fields={"table": name, "column": column.name},
            )
    missing = set(shape.key) - set(shape.names)
    if missing:
        raise CannotTrack(
            f"cannot track table {name!r}: column {min(missing)!r} of its key is generated",
            hint="a key must be a stored value that can be written",
            fields={"table": name, "column": min(missing)},
        )
    return shape


def _changed(before: TableShape, now: TableShape) -> str:
    added = [name for name in now.names if name not in before.names]
    gone = [name for name in before.names if name not in now.names]
    facts = [
        *(f"{name!r} is new" for name in added),
        *(f"{name!r} is gone" for name in gone),
    ]
    return ", ".join(facts) or "type, key or NOT NULL of a column is another one"
