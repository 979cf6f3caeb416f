from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Text, bindparam, column, insert, select, table

from stepwell.database.connect import Database
from stepwell.database.postgresql import PostgresqlDialect
from stepwell.database.prepared import Prepared
from stepwell.database.sqlite import SqliteDialect
from stepwell.database.types import ByteOrder, UtcTimestamp, utc_text

event = table("event", column("at", UtcTimestamp()))
ADD = Prepared(insert(event))
AT = Prepared(select(event.c.at).order_by(event.c.at))
SINCE = Prepared(select(event.c.at).where(event.c.at >= bindparam("at")).order_by(event.c.at))

MOMENTS = [
    datetime(1, 1, 1, tzinfo=UTC),
    datetime(2026, 11, 20, 1, 2, 3, 4, tzinfo=UTC),
    datetime(2026, 11, 20, 1, 2, 3, 123456, tzinfo=UTC),
    datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=UTC),
]


@pytest.fixture
def events(database: Database) -> Database:
    type_name = "text" if database.path else "timestamptz"
    with database.write() as transaction:
        transaction.connection.execute(f"CREATE TABLE event (at {type_name})")
    return database


def test_a_moment_comes_back_as_it_went_in_and_in_utc(events: Database) -> None:
    tokyo = timezone(timedelta(hours=9))
    events.run(lambda t: t.execute_many(ADD, [{"at": m.astimezone(UTC)} for m in MOMENTS]))
    events.run(lambda t: t.execute(ADD, {"at": datetime(2026, 11, 20, 9, tzinfo=tokyo)}))

    with events.read() as reader:
        found = [at for (at,) in reader.fetch_all(AT)]
        since = [at for (at,) in reader.fetch_all(SINCE, {"at": MOMENTS[2]})]

    expected = sorted([*MOMENTS, datetime(2026, 11, 20, tzinfo=UTC)])
    assert expected == found
    assert {UTC} == {at.tzinfo for at in found}
    assert MOMENTS[2:] == since


def test_no_moment_is_null(events: Database) -> None:
    events.run(lambda t: t.execute(ADD, {"at": None}))

    with events.read() as reader:
        assert [(None,)] == reader.fetch_all(AT)


def test_a_time_without_a_zone_is_refused(events: Database) -> None:
    with pytest.raises(ValueError, match="cannot store time 2026-11-20T01:00:00: it has no time"):
        events.run(lambda t: t.execute(ADD, {"at": datetime(2026, 11, 20, 1)}))


@given(st.datetimes(timezones=st.just(UTC)), st.datetimes(timezones=st.just(UTC)))
def test_the_text_has_one_width_and_sorts_like_the_time(one: datetime, other: datetime) -> None:
    assert len(utc_text(one)) == len("2026-11-20T01:02:03.123456Z") == 27
    assert (one < other) == (utc_text(one) < utc_text(other))
    assert one == datetime.fromisoformat(utc_text(one))


def test_text_is_ordered_by_its_bytes_whatever_a_servers_language_is() -> None:
    """Both databases must have one order of keys; a server's own follows its language."""
    statement = Prepared(select(column("name")).order_by(ByteOrder(column("name", Text))))

    assert statement.plan(PostgresqlDialect.core).sql.endswith('ORDER BY name COLLATE "C"')
    assert statement.plan(SqliteDialect.core).sql.endswith("ORDER BY name")
