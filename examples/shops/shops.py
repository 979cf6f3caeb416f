"""Shops and head office: four databases that become equal by exchanging files (scenario D).

    stepwell --config main.toml run migrate           the same for shop-1.toml to shop-3.toml
    stepwell --config main.toml run seed role=main
    stepwell --config shop-1.toml run seed role=shop store=1
    stepwell --config shop-1.toml run week store=1 begins=2026-03-02

Each node has its settings and its database in this folder. Companies, stores and budgets are
written at head office, visits in the shops. What carries the changes is
not in here: `stepwell sync`.
"""

from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path
from typing import Literal

from stepwell import ChunkStep, Job, MigrationTasklet, Parameters, StepContext, TaskletStep
from stepwell.items import SqlWriter

HERE = Path(__file__).resolve().parent

STORES = {1: "Harbour", 2: "Market", 3: "Station"}
MONTH = "2026-03"
FIRST_DAY = date(2026, 2, 26)
DAYS_SEEDED = 3


# --- migrate: the application's tables -----------------------------------------------------------

migrate = Job(
    "migrate",
    identity="each-start",
    steps=[TaskletStep("migrateMetadataStep", MigrationTasklet(HERE / "migrations"))],
)


# --- seed: what is there on the first day --------------------------------------------------------


class Seed(Parameters):
    role: Literal["main", "shop"]
    store: int = 0  # of a shop


def fill(step: StepContext) -> None:
    asked: Seed = step.parameters
    with step.transaction() as connection:
        if asked.role == "shop":
            connection.executemany(VISIT, list(visits(asked.store, FIRST_DAY, DAYS_SEEDED)))
            return
        connection.execute(
            "INSERT INTO company (company_id, name) VALUES (1, 'Northern Shops')"
            " ON CONFLICT (company_id) DO NOTHING"
        )
        for store, name in STORES.items():
            row = {"store": store, "code": f"N{store:02d}", "name": name}
            connection.execute(
                "INSERT INTO store (store_id, company_id, code, name)"
                " VALUES (:store, 1, :code, :name) ON CONFLICT (store_id) DO NOTHING",
                row,
            )
            connection.execute(
                "INSERT INTO budget_monthly (store_id, month, amount, note)"
                " VALUES (:store, :month, :amount, NULL) ON CONFLICT (store_id, month) DO NOTHING",
                {"store": store, "month": MONTH, "amount": 40_000 + 1_000 * store},
            )


VISIT = (
    "INSERT INTO visit_daily (store_id, day, visitors, sales)"
    " VALUES (:store_id, :day, :visitors, :sales) ON CONFLICT (store_id, day) DO NOTHING"
)

seed = Job("seed", parameters=Seed, steps=[TaskletStep("fill", fill)])


# --- week: a week of business in one shop --------------------------------------------------------


class Week(Parameters):
    store: int
    begins: date


class Days:
    """The visits of a week, made up, the same each time."""

    def open(self, checkpoint: int | None, step: StepContext) -> None:
        week: Week = step.parameters
        self._done = checkpoint or 0
        self._rows = list(visits(week.store, week.begins, 7))

    def read(self) -> dict | None:
        if self._done == len(self._rows):
            return None
        self._done += 1
        return self._rows[self._done - 1]

    def checkpoint(self) -> int:
        return self._done

    def close(self) -> None:
        pass


def visits(store: int, begins: date, days: int) -> Iterator[dict]:
    for number in range(days):
        day = begins + timedelta(days=number)
        visitors = 80 + (store * 37 + day.toordinal() * 13) % 60
        yield {
            "store_id": store,
            "day": day.isoformat(),
            "visitors": visitors,
            "sales": visitors * 25 + day.day / 2,
        }


week = Job(
    "week",
    parameters=Week,
    steps=[
        ChunkStep(
            "visits",
            Days(),
            None,
            SqlWriter("visit_daily", key=["store_id", "day"]),
            chunk_size=2,
        )
    ],
)
