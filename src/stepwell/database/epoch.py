"""Epochs: a restore begins a new one, and fences whoever worked on the database before it (S33).

A restored database is an older state of itself. A process from before may still hold the number,
the version and the fence of an execution; the same number could be given out again, and reach the
same version. So the first transaction on a restored state

- has every table give out only ids above those that were given out before (S3);
- raises the fence of everything that has not ended above any that it could have reached (S187);
- adds an owner of the new epoch, which says who restored, when and where.

The current epoch is that of the youngest owner. An owner of an earlier one counts as dead, whether
its process lives or not: nothing that it holds can be written any more (S35).
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from datetime import datetime

from sqlalchemy import bindparam, func, insert, literal_column, select, text, update

from stepwell.database.prepared import Prepared
from stepwell.database.tables import (
    batch_job_execution,
    batch_owner,
    batch_partition_execution,
    batch_step_execution,
)
from stepwell.database.transaction import Reader, Transaction

# A fence rises by one with each owner and each verb of an operator: nothing reaches this many.
FENCES_AN_EPOCH = 10_000

_o = batch_owner.c
_e = batch_job_execution.c
_s = batch_step_execution.c
_a = batch_partition_execution.c

_y = batch_owner.alias("youngest").c
_YOUNGEST = select(_y.epoch).order_by(_y.owner_id.desc()).limit(literal_column("1"))
CURRENT_EPOCH = Prepared(_YOUNGEST)
# For the INSERT of the next owner.
EPOCH_OF_THE_YOUNGEST = func.coalesce(_YOUNGEST.scalar_subquery(), literal_column("0"))
IS_OF_THE_PAST = Prepared(
    select(_o.owner_id).where(
        _o.owner_id == bindparam("id_"), _o.epoch < _YOUNGEST.scalar_subquery()
    )
)
LIVING_IN_THE_PAST = Prepared(
    select(_o.owner_id).where(text("ended_at IS NULL"), _o.epoch < _YOUNGEST.scalar_subquery())
)
RAISE_JOBS = Prepared(
    update(batch_job_execution)
    .where(text("end_time IS NULL"))
    .values({_e.fence: literal_column(f"fence + {FENCES_AN_EPOCH}")})
)
_FENCE_OF_JOB = select(_e.fence).where(_e.job_execution_id == _s.job_execution_id).scalar_subquery()
_NOT_ENDED = select(_e.job_execution_id).where(text("batch_job_execution.end_time IS NULL"))
RAISE_STEPS = Prepared(
    update(batch_step_execution)
    .where(_s.job_execution_id.in_(_NOT_ENDED))
    .values({_s.fence: _FENCE_OF_JOB})
)
_FENCE_OF_STEP = (
    select(_s.fence).where(_s.step_execution_id == _a.step_execution_id).scalar_subquery()
)
RAISE_ATTEMPTS = Prepared(
    update(batch_partition_execution)
    .where(
        _a.step_execution_id.in_(
            select(_s.step_execution_id).where(_s.job_execution_id.in_(_NOT_ENDED))
        ),
        text("batch_partition_execution.status IN ('STARTING', 'STARTED')"),
    )
    .values({_a.fence: _FENCE_OF_STEP})
)
INSERT_EPOCH = Prepared(
    insert(batch_owner).values(
        host=bindparam("host"),
        pid=bindparam("pid"),
        purpose=bindparam("purpose"),
        started_at=bindparam("at"),
        ended_at=bindparam("at"),
        epoch=bindparam("epoch"),
    )
)


def current_epoch(reader: Reader) -> int:
    """The epoch of the database; 0 before its first restore."""
    row = reader.fetch_one(CURRENT_EPOCH)
    return int(row[0]) if row else 0


def is_of_an_earlier_epoch(reader: Reader, owner_id: int) -> bool:
    """Whether an owner was registered before the last restore."""
    return reader.fetch_one(IS_OF_THE_PAST, {"id_": owner_id}) is not None


def owners_of_an_earlier_epoch(reader: Reader) -> set[int]:
    """Those of them whose end nobody has recorded."""
    return {int(row[0]) for row in reader.fetch_all(LIVING_IN_THE_PAST)}


def begin_epoch(
    transaction: Transaction,
    *,
    epoch_before: int | None,
    raise_identities: Callable[[Transaction], None],
    purpose: str,
    at: datetime,
) -> int:
    """Make a restored state the beginning of a new epoch; answers its number.

    ``epoch_before`` is that of the state which is replaced, ``raise_identities`` the dialect's.
    The caller owns the transaction, which is the first one that anybody sees of the new state.
    """
    epoch = max(current_epoch(transaction), epoch_before or 0) + 1
    raise_identities(transaction)
    transaction.execute(RAISE_JOBS)
    transaction.execute(RAISE_STEPS)
    transaction.execute(RAISE_ATTEMPTS)
    transaction.execute(
        INSERT_EPOCH,
        {
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "purpose": purpose,
            "at": at,
            "epoch": epoch,
        },
    )
    return epoch
