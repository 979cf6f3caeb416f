"""The batchlets as they were first written: a day is right as a whole, or it fails.

They write the same rows. But they return nothing that could be counted, and the first fault of a
user or contract fails the day for all others. They stay so that a job file can go back to them.
"""

from datetime import date

from typing_extensions import deprecated

from consultancy.facts import facts_of
from consultancy.writing import (
    SALARY,
    STATUS,
    WORK,
    contract_rows,
    salary_values,
    status_values,
    work_values,
    write_contracts,
    write_users,
)
from stepwell import StepContext
from stepwell.jsl import batch_property, step_context


@deprecated("use biDateUpdateBatchletEnhanced, which returns its result", category=None)
class BiDateUpdateBatchlet:
    day: date = batch_property()
    step: StepContext = step_context()

    def process(self) -> str:
        people = facts_of(self.step, self.day)
        values = [
            (f.user_id, (*status_values(f), *salary_values(f), *work_values(f))) for f in people
        ]
        contracts = [row for facts in people for row in contract_rows(facts)]
        with self.step.transaction() as connection:
            write_users(connection, self.day, (*STATUS, *SALARY, *WORK), values)
            write_contracts(connection, self.day, contracts)
        return "COMPLETED"


@deprecated(
    "use contractConsultantDayRecalcBatchletEnhanced, which returns its result", category=None
)
class ContractConsultantDayRecalcBatchlet:
    day: date = batch_property()
    user_uuid: str | None = batch_property(name="userUuid")
    step: StepContext = step_context()

    def process(self) -> str:
        people = facts_of(self.step, self.day, self.user_uuid)
        rows = [row for facts in people if facts.statuses for row in contract_rows(facts)]
        with self.step.transaction() as connection:
            write_contracts(connection, self.day, rows)
        return "COMPLETED"


@deprecated("use userSalaryDayRecalcBatchletEnhanced, which returns its result", category=None)
class UserSalaryDayRecalcBatchlet:
    day: date = batch_property()
    user_uuid: str = batch_property(name="userUuid")
    step: StepContext = step_context()

    def process(self) -> str:
        people = facts_of(self.step, self.day, self.user_uuid)
        values = [(facts.user_id, salary_values(facts)) for facts in people if facts.statuses]
        with self.step.transaction() as connection:
            write_users(connection, self.day, SALARY, values)
        return "COMPLETED"


@deprecated("use userStatusDayRecalcBatchletEnhanced, which returns its result", category=None)
class UserStatusDayRecalcBatchlet:
    day: date = batch_property()
    user_uuid: str = batch_property(name="userUuid")
    step: StepContext = step_context()

    def process(self) -> str:
        people = facts_of(self.step, self.day, self.user_uuid)
        values = [(facts.user_id, status_values(facts)) for facts in people if facts.statuses]
        with self.step.transaction() as connection:
            write_users(connection, self.day, STATUS, values)
        return "COMPLETED"
