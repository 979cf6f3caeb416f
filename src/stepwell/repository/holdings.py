"""Who has what at this moment: run locks, resources, named locks; one listing, for people.

Nothing here is stored: run locks and resources are those of the owned executions that have not
ended, named locks have rows of their own.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from stepwell.database.transaction import Reader
from stepwell.execution.parameters import describe_parameters
from stepwell.execution.records import JobExecution
from stepwell.repository.blockers import list_declared
from stepwell.repository.executions import list_parameters, running_executions
from stepwell.repository.locks import list_locks


@dataclass(frozen=True)
class Holding:
    """One thing that somebody has, or waits for.

    Attributes:
        kind: ``run`` lock, ``resource``, or ``state`` for a named lock.
        name: The job with its parameters, the path, or the name.
        mode: ``write`` or ``read``.
        waits: It is a place in the queue; only of named locks.
        fence: Of a named lock, else None.
        since: When it was had, or the wait began.
        is_overdue: Its holder has promised to extend it, and has not.
    """

    kind: Literal["run", "resource", "state"]
    name: str
    mode: str
    waits: bool
    fence: int | None
    owner_id: int
    execution_id: int | None
    since: datetime
    ttl_s: int | None
    is_overdue: bool


def list_holdings(reader: Reader, *, now: datetime) -> list[Holding]:
    """Run locks, then resources, then named locks by name, those who wait behind who holds."""
    return [*_of_executions(reader), *_named(reader, now)]


def _of_executions(reader: Reader) -> list[Holding]:
    found: list[Holding] = []
    for execution in running_executions(reader):
        if execution.owner_id is None:
            continue
        if execution.run_lock_key is not None:
            found.append(_of_execution(execution, "run", _run_lock_name(reader, execution)))
        paths = list_declared(reader, execution.execution_id).paths
        found += [_of_execution(execution, "resource", path) for path in paths]
    return sorted(found, key=lambda holding: (holding.kind != "run", holding.name))


def _of_execution(execution: JobExecution, kind: Literal["run", "resource"], name: str) -> Holding:
    assert execution.owner_id is not None
    return Holding(
        kind,
        name,
        mode="write",
        waits=False,
        fence=None,
        owner_id=execution.owner_id,
        execution_id=execution.execution_id,
        since=execution.start_time or execution.create_time,
        ttl_s=None,
        is_overdue=False,
    )


def _run_lock_name(reader: Reader, execution: JobExecution) -> str:
    """The key's last part is a hash: people are told the parameters."""
    parameters = describe_parameters(list_parameters(reader, execution.execution_id))
    if execution.run_lock_key == execution.job_name or not parameters:
        return execution.job_name
    return f"{execution.job_name} with {parameters}"


def _named(reader: Reader, now: datetime) -> list[Holding]:
    found = [
        Holding(
            "state",
            lock.name,
            lock.mode,
            waits=lock.acquired_at is None,
            fence=lock.fence,
            owner_id=lock.owner_id,
            execution_id=lock.execution_id,
            since=lock.acquired_at or lock.requested_at,
            ttl_s=lock.ttl_s,
            is_overdue=lock.is_overdue(now),
        )
        for lock in list_locks(reader)
    ]
    return sorted(found, key=lambda holding: (holding.name, holding.waits))
