"""Says in a job's transaction which job it is, so that its changes tell it, here and elsewhere.

Costs nothing where nothing is tracked: a process asks its database now and then, inside the first
transaction of a step's code.
"""

from __future__ import annotations

from collections.abc import Callable
from weakref import WeakKeyDictionary

import msgspec

from stepwell.clock import Clock
from stepwell.database.connect import Database
from stepwell.database.transaction import Transaction
from stepwell.sync.change import Lineage

ASKED_AGAIN_AFTER_S = 5.0  # A table that is tracked meanwhile has its job's name from then on.

# Whether the database tracks anything, and when that was asked.
_tracking: WeakKeyDictionary[Database, tuple[bool, float]] = WeakKeyDictionary()


class Context(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a transaction of Stepwell's own says to the triggers."""

    tx_id: str
    lineage: Lineage | None = None


_decoder = msgspec.json.Decoder(Context)


def encode_context(context: Context) -> str:
    """As the triggers store it."""
    return msgspec.json.encode(context).decode("utf-8")


def decode_context(text: str) -> Context:
    """The other way round."""
    return _decoder.decode(text)


def tell_job(
    database: Database, transaction: Transaction, clock: Clock, lineage: Callable[[], Lineage]
) -> None:
    """Have what the transaction writes to tracked tables be one group that names its job."""
    if _tracks(database, transaction, clock):
        from stepwell.sync.capture import tell

        tell(transaction, clock.new_id(), lineage())


def _tracks(database: Database, transaction: Transaction, clock: Clock) -> bool:
    known = _tracking.get(database)
    now = clock.monotonic()
    if known is not None and (known[0] or now < known[1] + ASKED_AGAIN_AFTER_S):
        return known[0]
    tracks = transaction.ask(
        lambda connection: database.dialect.has_table(connection, "sync_table")
    ) and bool(transaction.connection.execute("SELECT 1 FROM sync_table LIMIT 1").fetchall())
    _tracking[database] = tracks, now
    return tracks
