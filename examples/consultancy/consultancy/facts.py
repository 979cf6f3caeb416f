"""Facts from the database: what is known of each user on one day."""

from collections import defaultdict
from collections.abc import Iterable
from datetime import date

from consultancy.calculate import Contract, Facts, Salary, Status, Work
from stepwell import StepContext

USERS = """
SELECT id, uuid FROM app_user u
WHERE EXISTS (SELECT 1 FROM user_status s WHERE s.user_id = u.id AND s.valid_from <= :day)"""
STATUSES = """
SELECT user_id, valid_from, status, weekly_minutes FROM user_status WHERE valid_from <= :day"""
SALARIES = "SELECT user_id, valid_from, monthly_cents FROM salary WHERE valid_from <= :day"
CONTRACTS = """
SELECT user_id, id, weekly_minutes, hourly_cents FROM contract_consultant
WHERE valid_from <= :day AND valid_to >= :day"""
WORK = """
SELECT w.user_id, w.minutes, c.hourly_cents FROM work_entry w
JOIN contract_consultant c ON c.id = w.contract_consultant_id
WHERE w.day = :day"""


def facts_of(step: StepContext, day: date, user_uuid: str | None = None) -> list[Facts]:
    """Of everybody who has a status on that day, or of one user, who may have none yet."""
    is_workday = _is_workday(step, day)
    values = {"day": day.isoformat()}
    if user_uuid is None:
        users, of_user = step.query(f"{USERS} ORDER BY id", values), ""
    else:
        users, of_user = [(user_id_of(step, user_uuid), user_uuid)], " AND user_id = :user_id"
        values["user_id"] = users[0][0]
    statuses = _by_user(step.query(STATUSES + of_user, values))
    salaries = _by_user(step.query(SALARIES + of_user, values))
    contracts = _by_user(step.query(CONTRACTS + of_user, values))
    work = _by_user(step.query(WORK + of_user.replace("user_id =", "w.user_id ="), values))
    return [
        Facts(
            day,
            is_workday,
            user_id,
            uuid,
            tuple(Status(date.fromisoformat(since), *rest) for since, *rest in statuses[user_id]),
            tuple(Salary(date.fromisoformat(since), cents) for since, cents in salaries[user_id]),
            tuple(Contract(*row) for row in contracts[user_id]),
            tuple(Work(*row) for row in work[user_id]),
        )
        for user_id, uuid in users
    ]


def user_id_of(step: StepContext, user_uuid: str) -> int:
    found = step.query("SELECT id FROM app_user WHERE uuid = :uuid", {"uuid": user_uuid})
    if not found:
        raise LookupError(f"there is no user {user_uuid!r}")
    return found[0][0]


def _is_workday(step: StepContext, day: date) -> bool:
    found = step.query("SELECT is_workday FROM calendar WHERE day = :day", {"day": day.isoformat()})
    if not found or found[0][0] is None:
        raise LookupError(f"the calendar does not say whether {day} is a working day")
    return bool(found[0][0])


def _by_user(rows: Iterable[tuple]) -> dict[int, list[tuple]]:
    found = defaultdict(list)
    for user_id, *rest in rows:
        found[user_id].append(tuple(rest))
    return found
