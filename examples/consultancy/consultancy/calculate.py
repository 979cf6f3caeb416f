"""What one user is, costs and earns on one day. Pure: from facts to numbers, whole cents."""

from calendar import monthrange
from dataclasses import dataclass
from datetime import date

MINUTES_A_DAY = 24 * 60


@dataclass(frozen=True)
class Status:
    valid_from: date
    status: str
    weekly_minutes: int


@dataclass(frozen=True)
class Salary:
    valid_from: date
    monthly_cents: int


@dataclass(frozen=True)
class Contract:
    """A contract that the user is on at that day."""

    id: int
    weekly_minutes: int
    hourly_cents: int | None


@dataclass(frozen=True)
class Work:
    minutes: int
    hourly_cents: int | None


@dataclass(frozen=True)
class Facts:
    """What is known of one user on one day; statuses and salaries begin at that day or before."""

    day: date
    is_workday: bool
    user_id: int
    uuid: str
    statuses: tuple[Status, ...] = ()
    salaries: tuple[Salary, ...] = ()
    contracts: tuple[Contract, ...] = ()
    work: tuple[Work, ...] = ()


def status_of(facts: Facts) -> Status | None:
    """The status that holds; None before the first one."""
    return max(facts.statuses, key=lambda status: status.valid_from, default=None)


def available_minutes(facts: Facts) -> int:
    """A fifth of the agreed week on a working day; nothing on leave."""
    status = status_of(facts)
    if status is None or status.status != "ACTIVE" or not facts.is_workday:
        return 0
    return status.weekly_minutes // 5


def salary_cents(facts: Facts) -> int:
    """The day's share of the monthly salary.

    Shares differ by a cent, so that those of a month add up to the salary: the share of day d of n
    is floor(salary · d / n) − floor(salary · (d − 1) / n). Unpaid leave and the time behind the
    last day cost nothing.
    """
    status = status_of(facts)
    salary = max(facts.salaries, key=lambda salary: salary.valid_from, default=None)
    if status is None or status.status not in ("ACTIVE", "PAID_LEAVE") or salary is None:
        return 0
    day, days = facts.day.day, monthrange(facts.day.year, facts.day.month)[1]
    return salary.monthly_cents * day // days - salary.monthly_cents * (day - 1) // days


def planned(facts: Facts, contract: Contract) -> tuple[int, int]:
    """Minutes and cents that one contract plans for the day."""
    if contract.hourly_cents is None:
        raise ValueError(f"contract_consultant {contract.id} has no hourly_cents")
    minutes = contract.weekly_minutes // 5 if available_minutes(facts) else 0
    return minutes, amount(minutes, contract.hourly_cents)


def worked(facts: Facts) -> tuple[int, int]:
    """Minutes that were worked, and what they earn."""
    minutes = sum(work.minutes for work in facts.work)
    if minutes > MINUTES_A_DAY:
        raise ValueError(
            f"user {facts.uuid} has worked {minutes} minutes on {facts.day},"
            f" a day has {MINUTES_A_DAY}"
        )
    cents = 0
    for work in facts.work:
        if work.hourly_cents is None:
            raise ValueError(f"user {facts.uuid} has worked on {facts.day} without an hourly rate")
        cents += amount(work.minutes, work.hourly_cents)
    return minutes, cents


def amount(minutes: int, hourly_cents: int) -> int:
    """What the minutes are worth, rounded to the cent, half a cent up."""
    return (minutes * hourly_cents + 30) // 60
