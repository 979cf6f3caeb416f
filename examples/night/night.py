"""The night: a shop trades by day, closes its week at night, and head office reads it (scenario G).

    stepwell run migrate
    stepwell register trade day=2026-03-02         by day, while anything runs
    stepwell work                                  at night: what is registered, and what is due
    stepwell doctor && stepwell backup create monday && stepwell sync push

The tables are those of the shops (`examples/shops`). Each node is a folder with its settings, its
jobs and its database: `head-office`, `shop-1`.
"""

import os
import time
from calendar import monthrange
from datetime import date, timedelta
from pathlib import Path

from stepwell import (
    ChunkStep,
    Job,
    MigrationTasklet,
    Parameters,
    PartitionedStep,
    PartitionResult,
    TaskletStep,
)
from stepwell.items import SqlReader, SqlWriter

HERE = Path(__file__).resolve().parent
SHOPS = HERE.parent / "shops" / "migrations"

STORE = 1
MONTHLY_BUDGET = 93_000
DAYS = 7
PAUSE_S = float(os.environ.get("NIGHT_PAUSE_S", "0"))  # So that somebody can kill it in the middle.


# --- migrate and seed: once on every node --------------------------------------------------------

migrate = Job(
    "migrate",
    identity="each-start",
    steps=[
        TaskletStep("shops", MigrationTasklet(SHOPS)),
        TaskletStep("reports", MigrationTasklet(HERE / "migrations")),
    ],
)


class Seed(Parameters):
    month: str  # 2026-03


def fill(step):
    """What head office decides: the company, its store, the budget of a month."""
    with step.transaction() as connection:
        connection.execute(
            "INSERT INTO company (company_id, name) VALUES (1, 'Northern Shops')"
            " ON CONFLICT (company_id) DO NOTHING"
        )
        connection.execute(
            "INSERT INTO store (store_id, company_id, code, name)"
            " VALUES (:store, 1, 'N01', 'Harbour') ON CONFLICT (store_id) DO NOTHING",
            {"store": STORE},
        )
        connection.execute(
            "INSERT INTO budget_monthly (store_id, month, amount, note)"
            " VALUES (:store, :month, :amount, NULL) ON CONFLICT (store_id, month) DO NOTHING",
            {"store": STORE, "month": step.parameters.month, "amount": MONTHLY_BUDGET},
        )


seed = Job("seed", parameters=Seed, steps=[TaskletStep("fill", fill)])


# --- trade: a day of business, registered by day -------------------------------------------------


class Day(Parameters):
    day: date


def sell(step):
    day = step.parameters.day
    visitors = 80 + day.toordinal() * 13 % 60
    with step.transaction() as connection:
        connection.execute(
            "INSERT INTO visit_daily (store_id, day, visitors, sales)"
            " VALUES (:store, :day, :visitors, :sales)",
            {
                "store": STORE,
                "day": day.isoformat(),
                "visitors": visitors,
                "sales": visitors * 25 + day.day / 2,
            },
        )


trade = Job("trade", parameters=Day, steps=[TaskletStep("sell", sell)])


# --- close-week: at night, in partitions ---------------------------------------------------------


class Week(Parameters):
    last_day: date


def days(week: Week) -> list[date]:
    """One partition a day."""
    return [week.last_day - timedelta(days=n) for n in reversed(range(DAYS))]


def visits(day: date, step) -> PartitionResult:
    """The visits of a day, recalculated."""
    time.sleep(PAUSE_S)
    with step.transaction() as connection:
        connection.execute(
            "INSERT INTO day_report (store_id, day, visitors, sales, budget)"
            " SELECT store_id, day, visitors, sales, NULL FROM visit_daily"
            " WHERE store_id = :store AND day = :day"
            " ON CONFLICT (store_id, day) DO UPDATE"
            " SET visitors = excluded.visitors, sales = excluded.sales",
            {"store": STORE, "day": day.isoformat()},
        )
    return PartitionResult.success(rows=1)


def budgets(day: date, step) -> PartitionResult:
    """The day's share of its month's budget."""
    with step.transaction() as connection:
        connection.execute(
            "UPDATE day_report SET budget = ("
            "   SELECT amount * 1.0 / :length FROM budget_monthly b"
            "   WHERE b.store_id = day_report.store_id AND b.month = :month)"
            " WHERE store_id = :store AND day = :day",
            {
                "store": STORE,
                "day": day.isoformat(),
                "month": day.isoformat()[:7],
                "length": monthrange(day.year, day.month)[1],
            },
        )
    return PartitionResult.success(rows=1)


WEEK = """SELECT store_id, :last_day AS last_day, SUM(visitors) AS visitors, SUM(sales) AS sales,
    COALESCE(SUM(budget), 0) AS budget
FROM day_report WHERE day BETWEEN :first_day AND :last_day GROUP BY store_id"""


def bounds(step):
    last = step.parameters.last_day
    return {
        "first_day": (last - timedelta(days=DAYS - 1)).isoformat(),
        "last_day": last.isoformat(),
    }


close_week = Job(
    "close-week",
    parameters=Week,
    steps=[
        PartitionedStep("visits", days, visits, workers=2),
        PartitionedStep("budgets", days, budgets, workers=2),
        ChunkStep(
            "report",
            SqlReader(
                query=WEEK,
                columns=["store_id", "last_day", "visitors", "sales", "budget"],
                key=["store_id"],
                parameters=bounds,
            ),
            None,
            SqlWriter("week_report", key=["store_id", "last_day"]),
        ),
    ],
)
