"""The batchlets of the four recalculations, as the job files name them: one call, one day.

Each returns a PartitionResult. What fails by itself inside a day (a user, a contract) is recorded
with its trace and makes the day PARTIAL, the rest of the day is written; what fails as a whole is
raised and makes it FAILED.
"""

from datetime import date

from consultancy.calculate import Facts
from consultancy.facts import facts_of
from consultancy.writing import (
    SALARY,
    STATUS,
    WORK,
    contract_row,
    contract_rows,
    salary_values,
    status_values,
    work_values,
    write_contracts,
    write_users,
)
from stepwell import PartitionResult, StepContext
from stepwell.jsl import batch_property, step_context


class Day:
    """What is injected into each of them."""

    day: date = batch_property()
    step: StepContext = step_context()

    def result(self, *, rows: int, **counts: int) -> PartitionResult:
        """PARTIAL beside attempts that failed, FAILED when nothing else was there to write."""
        make = PartitionResult.success
        if self.step.error_count:
            make = PartitionResult.partial if rows else PartitionResult.failure
        self.step.transient = make(rows=rows, **counts)  # The collector looks at it, too.
        return self.step.transient


class BiDateUpdateBatchletEnhanced(Day):
    """All that is calculated, for everybody; each user is an attempt of its own."""

    def process(self) -> PartitionResult:
        users: list[tuple[int, tuple]] = []
        contracts: list[tuple] = []
        for facts in facts_of(self.step, self.day):
            with self.step.attempt(facts.uuid):
                values = (*status_values(facts), *salary_values(facts), *work_values(facts))
                contracts += contract_rows(facts)
                users.append((facts.user_id, values))
        with self.step.transaction() as connection:
            rows = write_users(connection, self.day, (*STATUS, *SALARY, *WORK), users)
            rows += write_contracts(connection, self.day, contracts)
        return self.result(users=len(users), rows=rows)


class ContractConsultantDayRecalcBatchletEnhanced(Day):
    """What the contracts of one user, or of all, plan for the day; each contract an attempt."""

    user_uuid: str | None = batch_property(name="userUuid")

    def process(self) -> PartitionResult:
        contracts: list[tuple] = []
        for facts in facts_of(self.step, self.day, self.user_uuid):
            for contract in facts.contracts if facts.statuses else ():
                with self.step.attempt(f"contract_consultant {contract.id}"):
                    contracts.append(contract_row(facts, contract))
        with self.step.transaction() as connection:
            rows = write_contracts(connection, self.day, contracts)
        return self.result(rows=rows)


class UserDay(Day):
    """The day of one user."""

    user_uuid: str = batch_property(name="userUuid")

    def facts(self) -> Facts:
        return facts_of(self.step, self.day, self.user_uuid)[0]


class UserSalaryDayRecalcBatchletEnhanced(UserDay):
    """What one user costs on the day."""

    def process(self) -> PartitionResult:
        facts = self.facts()
        values = [(facts.user_id, salary_values(facts))] if facts.statuses else []
        with self.step.transaction() as connection:
            rows = write_users(connection, self.day, SALARY, values)
        return self.result(rows=rows)


class UserStatusDayRecalcBatchletEnhanced(UserDay):
    """What one user is on the day, and how many minutes there are of it."""

    def process(self) -> PartitionResult:
        facts = self.facts()
        values = [(facts.user_id, status_values(facts))] if facts.statuses else []
        with self.step.transaction() as connection:
            rows = write_users(connection, self.day, STATUS, values)
        return self.result(rows=rows)
