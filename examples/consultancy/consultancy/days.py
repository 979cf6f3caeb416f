"""What knows all days of a recalculation: the mapper, the collector, the analyzer."""

from datetime import date
from typing import Any

from consultancy.parameters import must_be_a_user
from stepwell import PartitionPlan, StepContext
from stepwell.jsl import batch_property, step_context

THREADS = 4

RECORD = """
INSERT INTO recalculated_day
  (job_name, user_uuid, day, job_execution_id, outcome, row_count, failed)
VALUES (:job_name, :user_uuid, :day, :job_execution_id, :outcome, :row_count, :failed)
ON CONFLICT (job_name, user_uuid, day) DO UPDATE SET
  job_execution_id = excluded.job_execution_id, outcome = excluded.outcome,
  row_count = excluded.row_count, failed = excluded.failed
"""


class DayMapper:
    """One partition a day, first and last included.

    Without an end it goes forward to the last day of the calendar.
    """

    start_date: date | None = batch_property(name="startDate")
    end_date: date | None = batch_property(name="endDate")
    user_uuid: str | None = batch_property(name="userUuid")
    wants_user: bool = batch_property(False, name="wantsUser")
    step: StepContext = step_context()

    def map_partitions(self) -> PartitionPlan:
        if self.start_date is None:
            raise ValueError(f"startDate is missing{self._hint('startDate=2025-09-01')}")
        self._check_user()
        known = self.step.query("SELECT min(day), max(day) FROM calendar")[0]
        first, last = (date.fromisoformat(day) for day in known)
        end = self.end_date or last
        if end < self.start_date:
            raise ValueError(f"endDate {end} must not lie before startDate {self.start_date}")
        if self.start_date < first or end > last:
            raise ValueError(
                f"the days must lie from {first} to {last}, which the calendar holds,"
                f" got {self.start_date} to {end}"
            )
        days = [
            date.fromordinal(number).isoformat()
            for number in range(self.start_date.toordinal(), end.toordinal() + 1)
        ]
        return PartitionPlan(len(days), THREADS, properties=[{"day": day} for day in days])

    def _check_user(self) -> None:
        if self.user_uuid is None:
            if self.wants_user:
                raise ValueError(f"userUuid is missing{self._hint('userUuid=…')}")
        elif not self.step.query(
            "SELECT id FROM app_user WHERE uuid = :uuid", {"uuid": self.user_uuid}
        ):
            raise ValueError(f"{must_be_a_user()}, got {self.user_uuid!r}")

    def _hint(self, example: str) -> str:
        return (
            f": give it, say `{example}`; a restart of a Jakarta Batch job needs its parameters"
            " again, they are never remembered"
        )


class DayCollector:
    """Tells the analyzer how a day has ended; it runs beside the day, also when that failed."""

    day: date = batch_property()
    step: StepContext = step_context()

    def collect_partition_data(self) -> dict[str, Any]:
        result, errors = self.step.transient, self.step.errors
        failed = [f"{error.key}: {error.failure.message}" for error in errors]
        if result is None:  # It was raised.
            failed.append(str(self.step.exception))
        return {
            "day": self.day.isoformat(),
            "outcome": "FAILURE" if result is None else result.outcome.name,
            "row_count": 0 if result is None else result.counts["rows"],
            "failed": "; ".join(failed) or None,
        }


class DayAnalyzer:
    """Records each day as it ends, one at a time, on the step's own thread."""

    user_uuid: str = batch_property("", name="userUuid")
    step: StepContext = step_context()

    def analyze_collector_data(self, payload: dict[str, Any]) -> None:
        with self.step.transaction() as connection:
            connection.execute(
                RECORD,
                {
                    "job_name": self.step.job_name,
                    "user_uuid": self.user_uuid,
                    "job_execution_id": self.step.execution_id,
                    **payload,
                },
            )
