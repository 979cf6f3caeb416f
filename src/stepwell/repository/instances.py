"""Job instances: one row per job name and job key (S4)."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import bindparam, func, insert, select

from stepwell.database.prepared import Prepared
from stepwell.database.tables import batch_job_instance
from stepwell.database.transaction import Reader, Transaction
from stepwell.execution.records import JobInstance

_i = batch_job_instance.c
_COLUMNS = (_i.job_instance_id, _i.job_name, _i.job_key)

# On PostgreSQL the row is locked before anyone looks at its executions (S7); SQLite's writers are
# alone anyhow, and its compiler leaves the clause out.
FIND_INSTANCE = Prepared(
    select(*_COLUMNS)
    .where(_i.job_name == bindparam("job_name"), _i.job_key == bindparam("job_key"))
    .with_for_update()
)
LOOK_UP_INSTANCE = Prepared(
    select(*_COLUMNS).where(
        _i.job_name == bindparam("job_name"), _i.job_key == bindparam("job_key")
    )
)
INSERT_INSTANCE = Prepared(
    insert(batch_job_instance)
    .values(
        job_name=bindparam("job_name"),
        job_key=bindparam("job_key"),
        create_time=bindparam("create_time"),
    )
    .returning(_i.job_instance_id)
)
GET_INSTANCE = Prepared(select(*_COLUMNS).where(_i.job_instance_id == bindparam("id_")))
LOCK_INSTANCE = Prepared(
    select(*_COLUMNS).where(_i.job_instance_id == bindparam("id_")).with_for_update()
)
LIST_INSTANCES = Prepared(
    select(*_COLUMNS)
    .where(_i.job_name == bindparam("job_name"))
    .order_by(_i.job_instance_id.desc())
    .limit(bindparam("count_"))
    .offset(bindparam("start_"))
)
COUNT_INSTANCES = Prepared(
    select(func.count()).select_from(batch_job_instance).where(_i.job_name == bindparam("job_name"))
)
# From name to name by the index, however many instances each has; DISTINCT would read them all.
_name = select(func.min(_i.job_name).label("name")).cte("names", recursive=True)
_next_name = (
    select(func.min(_i.job_name)).where(_i.job_name > _name.c.name).correlate(_name)
).scalar_subquery()
_names = _name.union_all(select(_next_name).where(_name.c.name.is_not(None)))
LIST_NAMES = Prepared(
    select(_names.c.name).where(_names.c.name.is_not(None)).order_by(_names.c.name)
)


def find_instance(transaction: Transaction, job_name: str, job_key: str) -> JobInstance | None:
    """The instance of this name and key, locked for the rest of the transaction; or None."""
    row = transaction.fetch_one(FIND_INSTANCE, {"job_name": job_name, "job_key": job_key})
    return None if row is None else JobInstance(*row)


def look_up_instance(reader: Reader, job_name: str, job_key: str) -> JobInstance | None:
    """The same for whoever only looks: nothing is locked."""
    row = reader.fetch_one(LOOK_UP_INSTANCE, {"job_name": job_name, "job_key": job_key})
    return None if row is None else JobInstance(*row)


def insert_instance(
    transaction: Transaction, job_name: str, job_key: str, *, create_time: datetime
) -> JobInstance:
    """Add an instance.

    Raises:
        ConstraintViolation: another process was first (PostgreSQL); the caller looks again.
    """
    row = transaction.fetch_one(
        INSERT_INSTANCE, {"job_name": job_name, "job_key": job_key, "create_time": create_time}
    )
    assert row is not None
    return JobInstance(row[0], job_name, job_key)


def get_instance(reader: Reader, instance_id: int) -> JobInstance | None:
    """The instance of this id, or None."""
    row = reader.fetch_one(GET_INSTANCE, {"id_": instance_id})
    return None if row is None else JobInstance(*row)


def list_instances(reader: Reader, job_name: str, *, start: int, count: int) -> list[JobInstance]:
    """The window [start, start + count) of a job's instances, newest first."""
    rows = reader.fetch_all(
        LIST_INSTANCES, {"job_name": job_name, "start_": start, "count_": count}
    )
    return [JobInstance(*row) for row in rows]
