"""Pools: named limits of how many executions run at a time, across all processes (S197).

Only the size is stored. Who is in a pool is read from the rows of owned executions that have not
ended, so a killed process leaves nothing behind that recovery does not clear. A size may change
while executions run: a larger one lets the next in at once, a smaller one interrupts nobody.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import bindparam, func, literal_column, select, text, update
from sqlalchemy.dialects.postgresql import insert

from stepwell.database.connect import Database
from stepwell.database.prepared import Prepared
from stepwell.database.tables import RUNNING, batch_job_execution, batch_pool, batch_resource
from stepwell.database.transaction import Transaction
from stepwell.errors import InvalidSetting
from stepwell.job.resource import pool_name_fault
from stepwell.repository.blockers import POOL, read_occupancy

SIZE_MAX = 1_000_000  # More processes than that share no database.

_p = batch_pool.c
_e = batch_job_execution.c
_r = batch_resource.c

LIST_CONFIGURED = Prepared(select(_p.pool_name, _p.configured_size).order_by(_p.pool_name))
_insert = insert(batch_pool).values(
    pool_name=bindparam("name_"), size=bindparam("size_"), configured_size=bindparam("configured_")
)
SET_SIZE = Prepared(
    _insert.on_conflict_do_update(
        index_elements=[_p.pool_name], set_={"size": literal_column("excluded.size")}
    )
)
CONFIGURE = Prepared(_insert.on_conflict_do_nothing(index_elements=[_p.pool_name]))
RECONFIGURE = Prepared(
    update(batch_pool)
    .where(
        _p.pool_name == bindparam("name_"),
        func.coalesce(_p.configured_size, literal_column("-1")) != bindparam("configured_"),
    )
    .values(size=bindparam("size_"), configured_size=bindparam("configured_"))
)
COUNT_WAITING = Prepared(
    select(_r.value, func.count())
    .select_from(batch_job_execution.join(batch_resource))
    .where(text("end_time IS NULL"), text(RUNNING), _e.owner_id.is_(None), _r.kind == POOL)
    .group_by(_r.value)
)


@dataclass(frozen=True)
class Pool:
    """A pool as it is at this moment.

    Attributes:
        size: How many executions may be at work in it; 0 lets nobody in.
        configured_size: What ``[pools]`` in the settings said last; None when it is not there.
        holders: The executions in it, the oldest first; more than ``size`` after it was lowered.
        waiting: How many registered executions name it and have no owner yet.
    """

    name: str
    size: int
    configured_size: int | None
    holders: tuple[int, ...]
    waiting: int


class Pools:
    """The pools of one database; ``Node.pools`` is one."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def list(self) -> list[Pool]:
        """Every pool by name, with who is in it and how many wait."""
        with self._database.read() as reader:
            configured: dict[str, int | None] = dict(reader.fetch_all(LIST_CONFIGURED))
            waiting: dict[str, int] = dict(reader.fetch_all(COUNT_WAITING))
            occupancy = read_occupancy(reader)
        return [
            Pool(
                name,
                size,
                configured.get(name),
                tuple(holder.execution_id for holder in occupancy.pools.get(name, ())),
                waiting.get(name, 0),
            )
            for name, size in sorted(occupancy.sizes.items())
        ]

    def set(self, name: str, size: int) -> None:
        """Make a pool, or change its size; it holds until somebody changes it again.

        Raises:
            InvalidSetting: the name or the size is none; nothing was changed.
        """
        fault = pool_name_fault(name)
        if fault:
            raise InvalidSetting(fault, fields={"pool": name})
        if not 0 <= size <= SIZE_MAX:
            raise InvalidSetting(
                f"a pool's size must be a whole number from 0 to {SIZE_MAX}, got {size!r}",
                hint="0 lets nobody in",
                fields={"pool": name},
            )
        values = {"name_": name, "size_": size, "configured_": None}
        self._database.run(lambda t: t.execute(SET_SIZE, values), what=f"set pool {name!r}")

    def configure(self, sizes: Mapping[str, int]) -> None:
        """Hear the settings: a size that is not the one of last time is set (whoever spoke last).

        Settings that say nothing new write nothing.

        Raises:
            InvalidSetting: a name or a size is none; nothing was changed.
        """
        for name, size in sizes.items():
            fault = pool_name_fault(name)
            if fault or size > SIZE_MAX:
                fault = fault or f"pools must be at most {SIZE_MAX}, got {size} for {name!r}"
                raise InvalidSetting(fault, fields={"setting": "pools", "pool": name})
        with self._database.read() as reader:
            heard: dict[str, int | None] = dict(reader.fetch_all(LIST_CONFIGURED))
        new = {name: size for name, size in sizes.items() if heard.get(name) != size}
        if new:
            self._database.run(lambda t: _configure(t, new), what="set the pools of the settings")


def _configure(transaction: Transaction, sizes: Mapping[str, int]) -> None:
    for name, size in sorted(sizes.items()):
        values = {"name_": name, "size_": size, "configured_": size}
        if transaction.execute(CONFIGURE, values) == 0:
            transaction.execute(RECONFIGURE, values)
