"""Whether a transaction has committed whose connection was lost during COMMIT (S37).

The server may have done it and only the answer is lost. Every fact of an owner raises the version
of a row that it holds, so the row itself tells; it is locked first, because a COMMIT may still be
under way on the server's side.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TypeVar

from sqlalchemy import bindparam, select

from stepwell.database.connect import Database
from stepwell.database.prepared import Prepared
from stepwell.database.tables import batch_job_execution, batch_step_execution
from stepwell.database.transaction import Transaction
from stepwell.errors import (
    BatchError,
    ConnectionLost,
    ConstraintViolation,
    DatabaseError,
    LostOwnership,
)
from stepwell.execution.records import JobExecution, StepExecution
from stepwell.repository.creation import CreatedExecution

logger = logging.getLogger("stepwell.repository")

T = TypeVar("T")

CREATE_ATTEMPTS = 3  # A loser on PostgreSQL looks again and then finds the winner.

_j = batch_job_execution.c
_s = batch_step_execution.c
LOCK_JOB_GUARD = Prepared(
    select(_j.version, _j.fence).where(_j.job_execution_id == bindparam("id_")).with_for_update()
)
LOCK_STEP_GUARD = Prepared(
    select(_s.version, _s.fence).where(_s.step_execution_id == bindparam("id_")).with_for_update()
)


def run_and_settle(database: Database, fact: Callable[[Transaction], T], held: JobExecution) -> T:
    """Run ``fact``, which updates the row of ``held`` once; settle a lost COMMIT by that row.

    Raises:
        LostOwnership: the fence has moved meanwhile (S25).
        ConnectionLost: it did not commit; or, when its fields say ``during_commit``, the
            repository does not answer and nobody knows.
    """
    answers: list[T] = []

    def remembered(transaction: Transaction) -> T:
        answers.append(fact(transaction))
        return answers[-1]

    try:
        return database.run(remembered)
    except ConnectionLost as lost:
        if not answers or not has_committed(database, lost, held):
            raise
        return answers[-1]


def create_and_settle(
    database: Database, birth: Callable[[Transaction], CreatedExecution]
) -> CreatedExecution:
    """Run the birth of an execution; a lost COMMIT is settled by asking for the same again.

    No row is held yet that could tell. But twice is once: the keys make the second wait for the
    first, and where that has committed the second is refused because of it.

    Raises:
        BatchError: what forbids it; nothing was recorded.
        ConnectionLost: it did not commit; or its fields say ``during_commit``, the repository does
            not answer, and nobody knows whether the ``execution_id`` in them exists.
    """
    born: CreatedExecution | None = None
    lost: ConnectionLost | None = None
    for attempt in range(1, CREATE_ATTEMPTS + 1):
        made: list[CreatedExecution] = []
        try:
            return database.run(lambda t: _remembered(birth(t), made))  # noqa: B023 - run at once
        except BatchError as refused:
            winner = refused.fields.get("most_recent_id", refused.fields.get("execution_id"))
            if born is None or winner != born.execution.execution_id:
                raise
            logger.warning("execution %s: its birth succeeded, the answer was lost", winner)
            return born
        except DatabaseError as error:
            if made and is_unknown(error):
                born, lost = made[-1], of_unknown(error, made[-1].execution.execution_id)
            elif not isinstance(error, ConstraintViolation) or attempt == CREATE_ATTEMPTS:
                raise (lost or error) from error
    raise lost or AssertionError("unreachable")


def _remembered(created: CreatedExecution, made: list[CreatedExecution]) -> CreatedExecution:
    made.append(created)
    return created


def of_unknown(error: DatabaseError, execution_id: int) -> ConnectionLost:
    """``error`` of a birth or a claim, with the execution that may be this process's now."""
    return ConnectionLost(
        error.message,
        hint=f"`stepwell status {execution_id}` tells: if it was recorded, it is settled as FAILED",
        fields={**error.fields, "execution_id": execution_id},
    )


def has_committed(
    database: Database, lost: ConnectionLost, held: JobExecution | StepExecution | None
) -> bool:
    """Whether the transaction that ended in ``lost``, and raised the row of ``held``, committed.

    Raises:
        LostOwnership, ConnectionLost: as ``run_and_settle``.
    """
    if held is None or not lost.fields.get("during_commit"):
        return False
    if isinstance(held, StepExecution):
        row_id, guard = held.step_execution_id, LOCK_STEP_GUARD
    else:
        row_id, guard = held.execution_id, LOCK_JOB_GUARD
    try:
        with database.write() as transaction:
            row = transaction.fetch_one(guard, {"id_": row_id})
    except DatabaseError as error:
        logger.exception("execution %s: the outcome is UNKNOWN", held.execution_id)
        raise lost from error
    version, fence = row or (held.version, held.fence)
    if fence != held.fence:
        raise LostOwnership(
            f"cannot update execution {held.execution_id}:"
            f" its fence is {fence}, this owner holds {held.fence}",
            hint=f"it was recovered meanwhile, see `stepwell status {held.execution_id}`",
            fields={"execution_id": held.execution_id, "fence": held.fence, "current_fence": fence},
        ) from lost
    if version == held.version:
        raise ConnectionLost(
            lost.message.replace("whose outcome is unknown", "which did not happen"),
            hint=lost.hint,
            fields={**lost.fields, "during_commit": False},
        ) from lost
    logger.warning("execution %s: a commit succeeded, its answer was lost", held.execution_id)
    return True


def is_unknown(error: BaseException | None) -> bool:
    """Whether ``error``, or what led to it, leaves the outcome of a commit unknown (S37)."""
    while error is not None:
        if isinstance(error, LostOwnership):
            return False  # The row told: somebody else has it (S25).
        if isinstance(error, ConnectionLost):
            return bool(error.fields.get("during_commit"))  # False: it was settled.
        error = error.__cause__ or error.__context__
    return False
