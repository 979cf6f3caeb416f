"""Owners: the processes that run executions, each with its proof of life (S33)."""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import bindparam, exists, insert, null, select, text, update

from stepwell.clock import Clock
from stepwell.database.epoch import EPOCH_OF_THE_YOUNGEST
from stepwell.database.liveness import Liveness
from stepwell.database.prepared import Prepared
from stepwell.database.tables import RUNNING_AND_OWNED, batch_job_execution, batch_owner
from stepwell.database.transaction import Reader, Transaction

_o = batch_owner.c
_e = batch_job_execution.c

INSERT_OWNER = Prepared(
    insert(batch_owner)
    .values(
        host=bindparam("host"),
        pid=bindparam("pid"),
        purpose=bindparam("purpose"),
        started_at=bindparam("started_at"),
        epoch=EPOCH_OF_THE_YOUNGEST,
    )
    .returning(_o.owner_id)
)
# Who was found dead may have claimed something after one looked: that is to be recovered first.
END_OWNER = Prepared(
    update(batch_owner)
    .where(
        _o.owner_id == bindparam("id_"),
        _o.ended_at.is_(None),
        ~exists().where(_e.owner_id == bindparam("id_"), text(RUNNING_AND_OWNED)),
    )
    .values(ended_at=bindparam("ended_at"))
)
REOPEN_OWNER = Prepared(
    update(batch_owner).where(_o.owner_id == bindparam("id_")).values(ended_at=null())
)
REQUEST_END = Prepared(
    update(batch_owner)
    .where(_o.owner_id == bindparam("id_"), _o.ended_at.is_(None))
    .values(stop_requested_at=bindparam("requested_at"), stop_reason=bindparam("reason"))
)
_OWNERS = select(
    _o.owner_id,
    _o.host,
    _o.pid,
    _o.purpose,
    _o.started_at,
    _o.ended_at,
    _o.stop_requested_at,
    _o.stop_reason,
)
GET_OWNER = Prepared(_OWNERS.where(_o.owner_id == bindparam("id_")))
LIVE_OWNER_IDS = Prepared(select(_o.owner_id).where(text("ended_at IS NULL")))
LIVE_OWNERS = Prepared(_OWNERS.where(text("ended_at IS NULL")).order_by(_o.owner_id))

WORKING = ("work", "serve")  # The purposes of those who claim registered executions.


@dataclass(frozen=True)
class Owner:
    """A process that runs, or ran, executions."""

    owner_id: int
    host: str
    pid: int
    purpose: str
    started_at: datetime
    ended_at: datetime | None
    stop_requested_at: datetime | None = None
    stop_reason: str | None = None

    def __str__(self) -> str:
        return f"owner {self.owner_id} (pid {self.pid} on {self.host})"


def register_owner(transaction: Transaction, liveness: Liveness, clock: Clock, purpose: str) -> int:
    """Add this process as an owner and hold its proof of life, in one transaction.

    The lock is taken before the row can be seen, so nobody ever finds a living owner without it.
    """
    row = transaction.fetch_one(
        INSERT_OWNER,
        {
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "purpose": purpose,
            "started_at": clock.now(),
        },
    )
    assert row is not None
    owner_id = int(row[0])
    liveness.hold(owner_id, transaction)
    return owner_id


def end_owner(transaction: Transaction, owner_id: int, *, at: datetime) -> None:
    """Record that an owner has gone; a second time changes nothing.

    One that has an execution which has not ended is left to recovery: until then it says who had
    it.
    """
    transaction.execute(END_OWNER, {"id_": owner_id, "ended_at": at})


def request_end(
    transaction: Transaction, owner_id: int, reason: str | None, *, at: datetime
) -> None:
    """Ask a process to end; the last one who asks is the one that it hears."""
    values = {"id_": owner_id, "requested_at": at, "reason": reason}
    transaction.execute(REQUEST_END, values)


def reopen_owner(transaction: Transaction, owner_id: int) -> None:
    """Take back that an owner has gone, for one that is proven alive."""
    transaction.execute(REOPEN_OWNER, {"id_": owner_id})


def live_owners(reader: Reader) -> list[Owner]:
    """Every owner whose end nobody has recorded; it may be dead all the same."""
    return [Owner(*row) for row in reader.fetch_all(LIVE_OWNERS)]


def live_owner_ids(reader: Reader) -> set[int]:
    """Their ids alone, for whoever looks at all of them twice a second."""
    return {row[0] for row in reader.fetch_all(LIVE_OWNER_IDS)}


def find_owner(reader: Reader, owner_id: int) -> Owner | None:
    """The owner of this id, or None."""
    row = reader.fetch_one(GET_OWNER, {"id_": owner_id})
    return None if row is None else Owner(*row)
