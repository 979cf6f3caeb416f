"""T19 between databases: what a shop on SQLite wrote comes back from a main on PostgreSQL."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from stepwell.clock import Clock
from stepwell.database.connect import open_database
from stepwell.sync.quarantine import list_quarantine
from stepwell.sync.rows import same_row
from stepwell.sync.session import Sync
from stepwell.sync.table import tracked_tables
from tests.support.change_log import execute
from tests.support.sync_nodes import rows, send

TABLE = """CREATE TABLE thing (
    id BIGINT NOT NULL PRIMARY KEY, n BIGINT, r DOUBLE PRECISION, d NUMERIC(30, 10), b BOOLEAN,
    t TEXT, x {blob}, day DATE, at {timestamp}, j {json}, u UUID
)"""
DOUBLES = [0.1, -0.0, 5e-324, 1.7976931348623157e308, math.inf, 0.30000000000000004, 1e22]
TEXTS = ["", "ü €\n", "'quoted' \"twice\"", '{"$b": "no"}', " padded "]
UUID = "0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0"


def values() -> list[dict[str, Any]]:
    nothing = dict.fromkeys(("n", "r", "d", "b", "t", "x", "day", "at", "j", "u"))
    found: list[dict[str, Any]] = [dict(nothing)]
    found += [{**nothing, "n": n} for n in (2**63 - 1, -(2**63), 0)]
    found += [{**nothing, "r": r} for r in DOUBLES]
    found += [{**nothing, "t": t} for t in TEXTS]
    found += [{**nothing, "x": x} for x in (b"", b"\x00\xff", bytes(range(256)))]
    found += [{**nothing, "d": d} for d in ("1.5", "-0.0001", "12345678.25")]
    found += [{**nothing, "b": b} for b in (True, False)]
    found += [{**nothing, "day": "2026-02-28", "at": "2026-11-20 01:02:03.456789"}]
    found += [{**nothing, "j": '{"a": [1, 2.50]}', "u": UUID}]
    return [{"id": number, **each} for number, each in enumerate(found)]


def test_every_value_survives_the_way_there_and_back(
    tmp_path: Path, postgresql_database_url: str
) -> None:
    """Method: the main touches each row in a column that the shop left alone, and sends it back."""
    with (
        open_database(f"sqlite:///{tmp_path}/shop.db") as of_shop,
        open_database(postgresql_database_url) as of_main,
    ):
        shop, main = Sync(of_shop, Clock()), Sync(of_main, Clock())
        for sync, name, kinds in (
            (shop, "shop-1", {"blob": "BLOB", "timestamp": "TIMESTAMP", "json": "JSON"}),
            (main, "main", {"blob": "BYTEA", "timestamp": "TIMESTAMP", "json": "JSON"}),
        ):
            sync.init(name, is_main=name == "main")
            execute(sync.database, TABLE.format(**kinds))
            sync.track("thing")
        with shop.transaction() as connection:
            names = ", ".join(f":{name}" for name in values()[0])
            connection.executemany(f"INSERT INTO thing VALUES ({names})", values())
        before = rows(of_shop)["thing"]
        send(shop, main, at=Clock().now())
        execute(of_main, "UPDATE thing SET id = id + 1000")
        send(main, shop, at=Clock().now())
        after, there = rows(of_shop)["thing"], rows(of_main)["thing"]
        with of_shop.read() as reader:
            shape = tracked_tables(reader)["thing"].shape
            assert [] == list_quarantine(reader)
        with of_main.read() as reader:
            assert [] == list_quarantine(reader)

    assert len(values()) == len(after) == len(there)
    for number, row in enumerate(before.values()):
        was = {**row, "id": number + 1000}
        [now] = [each for each in after.values() if each["id"] == number + 1000]
        [other] = [each for each in there.values() if each["id"] == number + 1000]
        assert same_row(shape, was, now), (was, now)
        assert same_row(shape, was, other), (was, other)
