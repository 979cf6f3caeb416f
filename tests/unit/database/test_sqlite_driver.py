"""What users may bind on both databases."""

from __future__ import annotations

from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest

from stepwell.database.connect import open_database


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (date(2026, 2, 28), "2026-02-28"),
        (datetime(2026, 2, 28, 1, 2, 3, tzinfo=UTC), "2026-02-28 01:02:03+00:00"),
        (time(1, 2, 3), "01:02:03"),
        (Decimal("1.50"), "1.50"),
        (UUID(int=7), "00000000-0000-0000-0000-000000000007"),
    ],
)
def test_dates_decimals_and_uuids_can_be_bound_without_a_warning(
    database_url: str, value: Any, text: str
) -> None:
    """Python 3.12 warns of its own adapters for dates, and the tests turn warnings into errors."""
    with open_database(database_url) as database, database.write() as transaction:
        connection = transaction.connection
        connection.execute("CREATE TABLE bound (value TEXT)")
        connection.execute("INSERT INTO bound VALUES (:value)", {"value": value})
        stored = connection.execute("SELECT value FROM bound").fetchone()

    assert stored is not None
    assert str(stored[0]).startswith(text[:19])
