"""The parameters of the jobs, checked before anything is recorded; the files name these models."""

from datetime import date
from uuid import UUID

from pydantic import ValidationInfo, field_validator

from consultancy.generate import users
from stepwell import Parameters


class Days(Parameters):
    start_date: date
    end_date: date

    @field_validator("end_date")
    @classmethod
    def must_not_lie_before(cls, end: date, info: ValidationInfo) -> date:
        start = info.data.get("start_date")
        if start is not None and end < start:
            raise ValueError(f"endDate must not lie before startDate {start}")
        return end


def _must_be_a_uuid(text: str | None) -> str | None:
    try:
        return None if text is None else str(UUID(text))
    except ValueError:
        raise ValueError(must_be_a_user()) from None


class UserDays(Parameters):
    user_uuid: str
    start_date: date
    end_date: date | None = None  # forward, to the last day that is known

    _is_a_uuid = field_validator("user_uuid")(_must_be_a_uuid)


class ContractDays(Parameters):
    user_uuid: str | None = None  # of everybody
    start_date: date
    end_date: date | None = None

    _is_a_uuid = field_validator("user_uuid")(_must_be_a_uuid)


def must_be_a_user() -> str:
    """What to say to a placeholder such as USER_UUID_HERE, or to an id that nobody has."""
    some = " and ".join(f"{uuid} ({name})" for uuid, name in users()[:2])
    return (
        "userUuid must be the uuid of a user"
        f" (`python users.py` lists them, the table app_user has them; two are {some})"
    )
