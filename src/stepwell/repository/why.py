"""Why an execution does not run, or has not ended: the facts that decide, each with the way out.

Guarantee: nothing here is a guess or a stored reason. What holds an execution back is asked of the
same rows, in the same order and by the same functions as a claim asks them, so ``why`` cannot say
one thing while the workers do another.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from stepwell.database.connect import Database
from stepwell.database.transaction import Reader
from stepwell.execution.records import JobExecution
from stepwell.execution.status import BatchStatus
from stepwell.repository.blockers import Blocker
from stepwell.repository.executions import (
    find_execution,
    get_execution,
    holder_of_run_lock,
    last_of_instance,
)
from stepwell.repository.owners import WORKING, Owner, find_owner, live_owners
from stepwell.repository.queue import Place, list_waiting, places_in_queue
from stepwell.repository.requests import open_stop_request
from stepwell.repository.steps import list_steps


@dataclass(frozen=True)
class Reason:
    """One fact that keeps an execution where it is.

    Attributes:
        code: For programs: ``scheduled_later``, ``waits_for_execution``, ``run_lock_held``,
            ``pool_full``, ``paused`` (a pool of size 0, or none), ``resource_held``,
            ``behind_others``, ``no_worker``, ``can_run``, ``dead_owner``, ``stopping``,
            ``running``, ``ended``.
        fact: A clause with its values.
        execution_id: The execution that holds it back, or goes on in its place.
        since: When that began, or, of what is scheduled, when it will be due.
        hint: The next command; empty when there is nothing to do but wait.
    """

    code: str
    fact: str
    execution_id: int | None = None
    since: datetime | None = None
    hint: str = ""


@dataclass(frozen=True)
class Why:
    """The reasons, those that must go first in front; never none.

    Attributes:
        place: Its place among those that could start now, from 1; None when it could not.
        at: When the question was asked.
    """

    execution: JobExecution
    reasons: tuple[Reason, ...]
    place: int | None
    at: datetime


def explain(database: Database, execution_id: int, *, at: datetime) -> Why:
    """Everything that keeps an execution from running, or from having ended.

    Raises:
        NoSuchJobExecution: no execution has this id.
    """
    with database.read() as reader:
        record = get_execution(reader, execution_id)
        if not record.batch_status.is_running:
            return Why(record, (_ended(reader, record),), None, at)
        if record.owner_id is None:
            seen = _see(reader, [record], at)
        else:
            owner = find_owner(reader, record.owner_id)
            request = open_stop_request(reader, execution_id)
            asked = None if request is None else (request.actor, request.reason)
            waits_for = _waits_for(reader, execution_id)
    # Whether somebody is alive is asked outside: on PostgreSQL it needs a transaction of its own.
    if record.owner_id is None:
        return _explain_waiting(database, seen, at)[0]
    dead = database.liveness.is_dead(record.owner_id)
    return Why(record, (_owned(record, owner, asked, waits_for, is_dead=dead),), None, at)


def explain_queue(
    database: Database, *, after_id: int | None = None, count: int, at: datetime
) -> list[Why]:
    """A page of what waits for a worker, in the order of the queue, behind one of it."""
    with database.read() as reader:
        seen = _see(reader, list_waiting(reader, after_id=after_id, count=count), at)
    return _explain_waiting(database, seen, at)


class _Seen(NamedTuple):
    """What one transaction has seen of executions that wait."""

    records: Sequence[JobExecution]
    places: dict[int, Place]
    of_their_own: dict[int, list[Reason]]
    workers: list[Owner]


def _see(reader: Reader, records: Sequence[JobExecution], at: datetime) -> _Seen:
    return _Seen(
        records,
        places_in_queue(reader, records, at=at),
        {record.execution_id: _of_its_own(reader, record, at) for record in records},
        [owner for owner in live_owners(reader) if owner.purpose in WORKING],
    )


def _explain_waiting(database: Database, seen: _Seen, at: datetime) -> list[Why]:
    is_at_work = any(not database.liveness.is_dead(worker.owner_id) for worker in seen.workers)
    found = []
    for record in seen.records:
        place = seen.places[record.execution_id]
        facts = [*seen.of_their_own[record.execution_id], *map(_of_blocker, place.blockers)]
        reasons = [_with_liveness(database, reason) for reason in facts]
        if not reasons:
            reasons.append(_free(record, place, is_at_work=is_at_work))
        elif not is_at_work:
            reasons.append(_NO_WORKER)
        found.append(Why(record, tuple(reasons), place.number, at))
    return found


def _ended(reader: Reader, record: JobExecution) -> Reason:
    last = last_of_instance(reader, record.instance_id) or record
    ended = f"it has ended: it is {record.batch_status}"
    if last.execution_id != record.execution_id:
        fact = f"{ended}, execution {last.execution_id} of its instance came after it"
        hint = f"`stepwell why {last.execution_id}`" if last.batch_status.is_running else ""
        return Reason("ended", fact, last.execution_id, record.end_time, hint)
    deaths, most = record.recoveries, record.max_recoveries
    if record.batch_status is BatchStatus.FAILED and most is not None and deaths > most:
        fact = f"{ended}; its instance has died {deaths} times, max_recoveries is {most}"
        hint = f"find out why, then `stepwell restart {record.execution_id}`"
        return Reason("ended", fact, None, record.end_time, hint)
    hint = ""
    if record.batch_status.is_restartable:
        hint = f"`stepwell restart {record.execution_id}` goes on where it stopped"
    return Reason("ended", ended, None, record.end_time, hint)


def _owned(
    record: JobExecution,
    owner: Owner | None,
    asked: tuple[str, str | None] | None,
    waits_for: str,
    *,
    is_dead: bool,
) -> Reason:
    name = owner or f"owner {record.owner_id}"
    if is_dead:
        return Reason(
            "dead_owner",
            f"its owner is dead: {name}, last heard of then",
            None,
            record.last_updated,
            f"`stepwell recover {record.execution_id}`, or a running `stepwell work` does it",
        )
    step = f", in step {record.current_step!r}" if record.current_step else ""
    if asked is not None:
        actor, reason = asked
        because = f": {reason}" if reason else ""
        fact = f"{actor} has asked it to stop{because}; {name} has not read it yet"
        return Reason("stopping", fact, None, record.start_time)
    if record.batch_status is BatchStatus.STOPPING:
        fact = f"{name} stops it after its current chunk{step}"
        return Reason("stopping", fact, None, record.last_updated)
    return Reason("running", f"{name} runs it{step}{waits_for}", None, record.start_time)


def _waits_for(reader: Reader, execution_id: int) -> str:
    """What the partitions that were handed out wait for: their step says so in its row."""
    waits = (
        step.progress_label
        for step in list_steps(reader, execution_id)
        if step.batch_status.is_running and step.partition_total is not None
    )
    return next((f", which {what}" for what in waits if what), "")


def _of_its_own(reader: Reader, record: JobExecution, at: datetime) -> list[Reason]:
    """What its own row says: when it is due, whom it follows, its run lock."""
    reasons = []
    if record.run_after is not None and record.run_after > at:
        reasons.append(Reason("scheduled_later", "it is due later", None, record.run_after))
    if record.after_id is not None:
        reasons += _of_awaited(reader, record, record.after_id)
    if record.run_lock_key is not None:
        holder = holder_of_run_lock(reader, record.run_lock_key)
        if holder is not None:
            fact = f"execution {holder.execution_id} has its run lock"
            began = holder.start_time or holder.create_time
            reasons.append(Reason("run_lock_held", fact, holder.execution_id, began))
    return reasons


def _of_awaited(reader: Reader, record: JobExecution, after_id: int) -> list[Reason]:
    stop = f"`stepwell stop {record.execution_id}` takes it out of the queue"
    awaited = find_execution(reader, after_id)
    if awaited is None:
        fact = f"it waits for execution {after_id}, which was purged"
        return [Reason("waits_for_execution", fact, after_id, None, stop)]
    last = last_of_instance(reader, awaited.instance_id) or awaited
    if last.batch_status is BatchStatus.COMPLETED:
        return []
    restarted = f", restarted as {last.execution_id}" if last.execution_id != after_id else ""
    fact = f"it waits for execution {after_id}{restarted}, which is {last.batch_status}"
    hint = f"`stepwell why {last.execution_id}`"
    if last.batch_status.is_restartable:
        hint = f"`stepwell restart {last.execution_id}`; {stop}"
    since = last.end_time or last.start_time
    return [Reason("waits_for_execution", fact, last.execution_id, since, hint)]


def _of_blocker(blocker: Blocker) -> Reason:
    held, since = blocker.holder_execution_id, blocker.since
    if blocker.waits:
        return Reason("behind_others", blocker.detail, held, since)
    if blocker.kind != "pool":
        return Reason("resource_held", blocker.detail, held, since)
    if held is None:
        hint = f"`stepwell pool set {blocker.name} N` lets N in"
        return Reason("paused", blocker.detail, None, None, hint)
    return Reason("pool_full", blocker.detail, held, since)


def _with_liveness(database: Database, reason: Reason) -> Reason:
    """A holder that is dead is the true reason, and has another way out."""
    if reason.execution_id is None or reason.code in ("behind_others", "waits_for_execution"):
        return reason
    with database.read() as reader:
        holder = find_execution(reader, reason.execution_id)
    if holder is None or holder.owner_id is None or not holder.batch_status.is_running:
        return reason
    if not database.liveness.is_dead(holder.owner_id):
        return reason
    hint = f"`stepwell recover {holder.execution_id}`, or a running `stepwell work` does it"
    fact = f"{reason.fact}; the owner of execution {holder.execution_id} is dead"
    return Reason(reason.code, fact, reason.execution_id, reason.since, hint)


_NO_WORKER = Reason("no_worker", "no worker is at work", hint="`stepwell work` starts one")


def _free(record: JobExecution, place: Place, *, is_at_work: bool) -> Reason:
    if not is_at_work:
        return _NO_WORKER
    ahead = (place.number or 1) - 1
    if ahead:
        those = "1 execution is" if ahead == 1 else f"{ahead} executions are"
        fact = f"{those} in front of it, and no worker is free"
        hint = f"`stepwell priority {record.execution_id} N` moves it, more workers run it sooner"
        return Reason("behind_others", fact, place.first_ahead, None, hint)
    fact = "nothing: it can run, and the next free worker that knows its job takes it"
    return Reason("can_run", fact)
