"""What an execution needs for itself, and who has it now: pools and declared resources (S197).

Guarantees: two executions whose resources overlap never run at the same time, and a pool never
has more executions at work than its size. What is held is always read from the rows of owned
executions that have not ended; there is no counter that could disagree with them.

Whoever is about to give an execution an owner takes its turn first (:func:`take_claim_turn`), asks
in the same transaction, and writes the owner in it too. So check and claim are one across all
processes: on SQLite writers are alone anyhow, on PostgreSQL the turn is an advisory lock that ends
with the transaction. The turn comes before any row is changed, and nobody takes it twice.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import combinations
from typing import Literal

from sqlalchemy import bindparam, func, insert, select, text

from stepwell.database.prepared import Prepared, Row
from stepwell.database.tables import (
    RUNNING_AND_OWNED,
    batch_job_execution,
    batch_pool,
    batch_resource,
)
from stepwell.database.transaction import Reader, Transaction
from stepwell.job.resource import Declared, first_overlap

PATH, POOL = "path", "pool"  # The kinds of rows in `batch_resource`.
IDS_BETWEEN_MAX = 1_000  # Farther from each other, executions are asked for one by one.

_e = batch_job_execution.c
_r = batch_resource.c
_p = batch_pool.c

INSERT_DECLARED = Prepared(
    insert(batch_resource).values(
        job_execution_id=bindparam("job_execution_id"),
        kind=bindparam("kind"),
        value=bindparam("value"),
    )
)
LIST_DECLARED = Prepared(select(_r.kind, _r.value).where(_r.job_execution_id == bindparam("id_")))
COPY_DECLARED = Prepared(
    insert(batch_resource).from_select(
        ["job_execution_id", "kind", "value"],
        select(bindparam("to_", type_=_r.job_execution_id.type), _r.kind, _r.value).where(
            _r.job_execution_id == bindparam("from_")
        ),
    )
)
# Not sorted here: for the order of the ids SQLite would read the whole history.
LIST_HELD = Prepared(
    select(_r.kind, _r.value, _e.job_execution_id, func.coalesce(_e.start_time, _e.create_time))
    .select_from(batch_job_execution.join(batch_resource))
    .where(text(RUNNING_AND_OWNED))
)
# Ids that stand behind each other in the queue are mostly near each other, too.
LIST_DECLARED_BETWEEN = Prepared(
    select(_r.job_execution_id, _r.kind, _r.value).where(
        _r.job_execution_id >= bindparam("first_"), _r.job_execution_id <= bindparam("last_")
    )
)
LIST_SIZES = Prepared(select(_p.pool_name, _p.size).order_by(_p.pool_name))


@dataclass(frozen=True)
class Blocker:
    """One reason why an execution, or a lock, must wait.

    Attributes:
        kind: What it waits for.
        name: The pool, the path that the waiting execution declares, or the lock.
        holder_execution_id: Who has it; of a full pool the one that has it longest. None when
            no execution has: a pool of size 0, a lock that a program holds by itself.
        since: When the holder began.
        waits: The holder does not have it yet either: it waits in front.
        detail: The fact for people, with its values: ``pool 'gpu' is full, 2 of 2 (executions
            4, 7)``.
    """

    kind: Literal["pool", "resource", "state_lock"]
    name: str
    holder_execution_id: int | None
    since: datetime | None
    detail: str
    waits: bool = False


@dataclass(frozen=True)
class _Holder:
    execution_id: int
    since: datetime | None


@dataclass
class Occupancy:
    """Who has which resources and pools, read once; see :func:`read_occupancy`.

    A look at the queue goes through it in order and lets in whoever may run. What waits for a
    resource keeps it, so that a stream of small things never starves a large one.
    """

    sizes: dict[str, int]
    pools: dict[str, list[_Holder]] = field(default_factory=dict)
    paths: dict[_Holder, list[str]] = field(default_factory=dict)
    # What those that wait keep for themselves; a path that many wait for stands there once, with
    # the first of them.
    _kept: dict[str, int] = field(default_factory=dict)

    def blockers(self, declared: Declared) -> tuple[Blocker, ...]:
        """What forbids to run it now, pools first; nothing is an empty tuple."""
        found = [blocker for pool in declared.pools if (blocker := self._full(pool))]
        for holder, paths in self.paths.items():
            both = first_overlap(declared.paths, paths)
            if both is not None:
                found.append(_held(*both, holder))
        kept = first_overlap(declared.paths, self._kept)
        if kept is not None:
            first_id = self._kept[kept[1]]
            fact = f"execution {first_id} waits for {kept[1]!r} in front of it"
            found.append(Blocker("resource", kept[0], first_id, None, fact, waits=True))
        return tuple(found)

    def let_in(self, execution_id: int, declared: Declared) -> bool:
        """Whether it may run now; if so, it counts as one at work for those behind it.

        If a resource is in its way, it keeps those that it waits for. Its places in pools stay free
        for the others: every place that is given back can be had by whoever is first.
        """
        if self.keep(execution_id, declared) or any(self._is_full(pool) for pool in declared.pools):
            return False
        holder = _Holder(execution_id, None)
        for pool in declared.pools:
            self.pools.setdefault(pool, []).append(holder)
        if declared.paths:
            self.paths[holder] = list(declared.paths)
        return True

    def keep(self, execution_id: int, declared: Declared) -> bool:
        """Keep the resources of an execution that waits for one of them; whether it does."""
        is_held = any(first_overlap(declared.paths, paths) for paths in self.paths.values())
        is_held = is_held or first_overlap(declared.paths, self._kept) is not None
        if is_held:
            for path in declared.paths:
                self._kept.setdefault(path, execution_id)
        return is_held

    def overlaps(self) -> list[tuple[int, int, str, str]]:
        """Pairs of executions at work that should never be, and what both have; none, ever."""
        return [
            (one.execution_id, other.execution_id, *both)
            for (one, ours), (other, theirs) in combinations(self.paths.items(), 2)
            if (both := first_overlap(ours, theirs)) is not None
        ]

    def _is_full(self, pool: str) -> bool:
        size = self.sizes.get(pool)
        return size is None or len(self.pools.get(pool, ())) >= size

    def _full(self, pool: str) -> Blocker | None:
        if not self._is_full(pool):
            return None
        holders, size = self.pools.get(pool, []), self.sizes.get(pool)
        # While the size is 0 nobody's end lets the next one in.
        first = holders[0] if holders and size else _Holder(0, None)
        if size is None:
            fact = f"pool {pool!r} has no size"
        elif size == 0:
            fact = f"pool {pool!r} is paused, its size is 0"
        else:
            fact = f"pool {pool!r} is full, {len(holders)} of {size}"
        if holders:
            ids = ", ".join(str(holder.execution_id) for holder in holders)
            fact += f" (execution{'s' if len(holders) > 1 else ''} {ids})"
        return Blocker("pool", pool, first.execution_id or None, first.since, fact)


def take_claim_turn(transaction: Transaction) -> None:
    """Be the only one who gives executions with pools or resources an owner, until the end."""
    transaction.take_turn("claim")


def read_occupancy(reader: Reader, *, but: int | None = None) -> Occupancy:
    """Who has what, as this transaction sees it: two statements, however long the history is.

    ``but`` is an execution that is not counted: nothing is in its own way.
    """
    occupancy = Occupancy(dict(reader.fetch_all(LIST_SIZES)))
    for kind, value, execution_id, since in sorted(reader.fetch_all(LIST_HELD), key=_by_id):
        holder = _Holder(execution_id, since)
        if execution_id == but:
            continue
        if kind == POOL:
            occupancy.pools.setdefault(value, []).append(holder)
        else:
            occupancy.paths.setdefault(holder, []).append(value)
    return occupancy


def blockers(transaction: Reader, execution_id: int) -> tuple[Blocker, ...]:
    """What of pools and declared resources forbids this execution to run now; () is nothing.

    One statement for an execution that declares nothing, three for any other. In a claiming
    transaction :func:`take_claim_turn` comes first; a reader, ``why`` say, just asks.
    """
    declared = list_declared(transaction, execution_id)
    if not declared:
        return ()
    return read_occupancy(transaction, but=execution_id).blockers(declared)


# --- what an execution declares ------------------------------------------------------------------


def insert_declared(transaction: Transaction, execution_id: int, declared: Declared) -> None:
    """Store what an execution declares, once, with its row."""
    rows = [(PATH, path) for path in declared.paths] + [(POOL, pool) for pool in declared.pools]
    if rows:
        transaction.execute_many(
            INSERT_DECLARED,
            [
                {"job_execution_id": execution_id, "kind": kind, "value": value}
                for kind, value in rows
            ],
        )


def copy_declared(transaction: Transaction, from_id: int, to_id: int) -> None:
    """Give a successor what its predecessor has declared (S191)."""
    transaction.execute(COPY_DECLARED, {"from_": from_id, "to_": to_id})


def list_declared(reader: Reader, execution_id: int) -> Declared:
    """What an execution declared when it was recorded."""
    return _declared(reader.fetch_all(LIST_DECLARED, {"id_": execution_id}))


def list_declarations(reader: Reader, execution_ids: Sequence[int]) -> dict[int, Declared]:
    """What each of them declares, if anything; one statement when their ids are near."""
    if not execution_ids:
        return {}
    first, last = min(execution_ids), max(execution_ids)
    if last - first > IDS_BETWEEN_MAX:
        return {each: list_declared(reader, each) for each in execution_ids}
    found: dict[int, list[Row]] = {}
    for row in reader.fetch_all(LIST_DECLARED_BETWEEN, {"first_": first, "last_": last}):
        found.setdefault(row[0], []).append(row[1:])
    return {execution_id: _declared(rows) for execution_id, rows in found.items()}


def _declared(rows: Iterable[Row]) -> Declared:
    paths: list[str] = []
    pools: list[str] = []
    for kind, value in rows:
        (paths if kind == PATH else pools).append(value)
    return Declared(tuple(sorted(paths)), tuple(sorted(pools)))


def _by_id(row: Row) -> tuple[int, str, str]:
    return row[2], row[0], row[1]


def _held(path: str, theirs: str, holder: _Holder) -> Blocker:
    fact = f"execution {holder.execution_id} has {theirs!r}"
    return Blocker("resource", path, holder.execution_id, holder.since, fact)
