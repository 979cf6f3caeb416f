"""What the recalculations write, each in the transaction of its caller; twice is once."""

from collections.abc import Sequence
from datetime import date
from typing import Any

from consultancy.calculate import (
    Facts,
    available_minutes,
    planned,
    salary_cents,
    status_of,
    worked,
)

STATUS = ("status", "available_minutes")
SALARY = ("salary_cents",)
WORK = ("worked_minutes", "revenue_cents")

FORGET_USERS = """
DELETE FROM bi_day WHERE day = :day AND NOT EXISTS
  (SELECT 1 FROM user_status s WHERE s.user_id = bi_day.user_id AND s.valid_from <= :day)"""
FORGET_CONTRACTS = """
DELETE FROM contract_consultant_day WHERE day = :day AND NOT EXISTS (
  SELECT 1 FROM contract_consultant c
  JOIN user_status s ON s.user_id = c.user_id AND s.valid_from <= :day
  WHERE c.id = contract_consultant_day.contract_consultant_id
    AND c.user_id = contract_consultant_day.user_id
    AND c.valid_from <= :day AND c.valid_to >= :day)"""
WRITE_CONTRACTS = """
INSERT INTO contract_consultant_day
  (day, user_id, contract_consultant_id, planned_minutes, planned_cents)
VALUES (:day, :user_id, :id, :minutes, :cents)
ON CONFLICT (day, user_id, contract_consultant_id)
  DO UPDATE SET planned_minutes = excluded.planned_minutes, planned_cents = excluded.planned_cents
"""


def status_values(facts: Facts) -> tuple[str, int]:
    status = status_of(facts)
    assert status is not None  # Facts without one are not written.
    return status.status, available_minutes(facts)


def salary_values(facts: Facts) -> tuple[int]:
    return (salary_cents(facts),)


def work_values(facts: Facts) -> tuple[int, int]:
    return worked(facts)


def contract_rows(facts: Facts) -> list[tuple]:
    return [contract_row(facts, contract) for contract in facts.contracts]


def contract_row(facts: Facts, contract: Any) -> tuple:
    return (facts.day.isoformat(), facts.user_id, contract.id, *planned(facts, contract))


def write_users(
    connection: Any, day: date, columns: Sequence[str], values: Sequence[tuple[int, tuple]]
) -> int:
    """Write these columns of ``bi_day`` for each user; forget users without a status."""
    connection.execute(FORGET_USERS, {"day": day.isoformat()})
    names = ", ".join(columns)
    markers = ", ".join(f":{column}" for column in columns)
    changes = ", ".join(f"{column} = excluded.{column}" for column in columns)
    return connection.executemany(
        f"INSERT INTO bi_day (day, user_id, {names}) VALUES (:day, :user_id, {markers})"
        f" ON CONFLICT (day, user_id) DO UPDATE SET {changes}",
        [(day.isoformat(), user_id, *row) for user_id, row in values],
    )


def write_contracts(connection: Any, day: date, rows: Sequence[tuple]) -> int:
    """Write rows of ``contract_consultant_day``; forget contracts that nobody is on any more."""
    connection.execute(FORGET_CONTRACTS, {"day": day.isoformat()})
    return connection.executemany(WRITE_CONTRACTS, rows)
