"""The chunk of budget-aggregation: one item a month and contract that somebody is on."""

from datetime import date
from typing import Any

from consultancy.calculate import amount
from stepwell import StepContext
from stepwell.items import SqlWriter
from stepwell.jsl import batch_property, step_context

# A day plans something when it is a working day on which the user is active.
MONTH = """
SELECT c.id, c.weekly_minutes, c.hourly_cents,
  (SELECT count(*) FROM calendar d
   WHERE d.day >= max(c.valid_from, :first) AND d.day <= min(c.valid_to, :last) AND d.is_workday
     AND 'ACTIVE' = (SELECT s.status FROM user_status s
                     WHERE s.user_id = c.user_id AND s.valid_from <= d.day
                     ORDER BY s.valid_from DESC LIMIT 1)) AS days,
  COALESCE(w.minutes, 0), COALESCE(w.cents, 0)
FROM contract_consultant c
LEFT JOIN (SELECT e.contract_consultant_id AS id, sum(e.minutes) AS minutes,
                  sum((e.minutes * c.hourly_cents + 30) / 60) AS cents
           FROM work_entry e JOIN contract_consultant c ON c.id = e.contract_consultant_id
           WHERE e.day >= :first AND e.day <= :last GROUP BY e.contract_consultant_id) w
  ON w.id = c.id
WHERE c.id > :behind
  AND (c.valid_from <= :last AND c.valid_to >= :first OR w.id IS NOT NULL OR c.id IN
       (SELECT b.contract_consultant_id FROM budget_month b WHERE b.month = :month))
ORDER BY c.id"""


class BudgetReader:
    """Reads the months one after the other; a month is one query.

    The checkpoint is the month and the last contract in it, so a restart reads nothing again.
    """

    start_date: date = batch_property(name="startDate")
    end_date: date = batch_property(name="endDate")
    step: StepContext = step_context()

    def open(self, checkpoint: list[Any] | None) -> None:
        self._months = _months(self.start_date, self.end_date)
        self._month, self._behind = checkpoint or [self._months[0], 0]
        self._rows = iter(self._query())

    def read(self) -> dict[str, Any] | None:
        while (row := next(self._rows, None)) is None:
            following = self._months.index(self._month) + 1
            if following == len(self._months):
                return None
            self._month, self._behind = self._months[following], 0
            self._rows = iter(self._query())
        self._behind = row[0]
        names = ("id", "weekly_minutes", "hourly_cents", "days", "worked_minutes", "revenue_cents")
        return {"month": self._month, **dict(zip(names, row, strict=True))}

    def checkpoint(self) -> list[Any]:
        return [self._month, self._behind]

    def close(self) -> None:
        self._rows = iter(())

    def _query(self) -> list[tuple]:
        values = {
            "month": self._month,
            "first": f"{self._month}-01",
            "last": f"{self._month}-31",  # As text it is behind each day of the month.
            "behind": self._behind,
        }
        return list(self.step.query(MONTH, values))


def budget_processor(item: dict[str, Any]) -> dict[str, Any]:
    """The row of one month and contract; the same rounding as a day's, so that sums agree."""
    if item["hourly_cents"] is None:
        raise ValueError(f"contract_consultant {item['id']} has no hourly_cents")
    minutes = item["weekly_minutes"] // 5
    return {
        "month": item["month"],
        "contract_consultant_id": item["id"],
        "planned_minutes": item["days"] * minutes,
        "planned_cents": item["days"] * amount(minutes, item["hourly_cents"]),
        "worked_minutes": item["worked_minutes"],
        "revenue_cents": item["revenue_cents"],
    }


budget_writer = SqlWriter(
    "budget_month",
    columns=[
        *("month", "contract_consultant_id", "planned_minutes", "planned_cents"),
        *("worked_minutes", "revenue_cents"),
    ],
    key=["month", "contract_consultant_id"],
)


def _months(first: date, last: date) -> list[str]:
    """Each month that has a day of the range, as a whole: 2025-09."""
    count = (last.year - first.year) * 12 + last.month - first.month + 1
    months = (first.month - 1 + number for number in range(count))
    return [f"{first.year + month // 12}-{month % 12 + 1:02}" for month in months]
