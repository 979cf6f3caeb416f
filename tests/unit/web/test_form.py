"""The form of a job's parameters, made of their types and limits."""

from __future__ import annotations

from datetime import date, time
from decimal import Decimal
from enum import Enum
from typing import Any, Literal

from pydantic import Field

from stepwell import Job, NonIdentifying, Parameters, TaskletStep
from stepwell.looks.definitions import Definition
from stepwell.web.form import fields_of


class Size(Enum):
    SMALL = "s"
    LARGE = "l"


class Order(Parameters):
    day: date
    pieces: int = Field(3, ge=1, lt=100)
    above: int = Field(5, gt=0, le=9)
    price: Decimal | None = None
    weight: float = 1.5
    begin: time = time(2)
    size: Size = Size.SMALL
    mode: Literal["full", "quick"] = "full"
    urgent: bool = False
    shops: list[int] = Field(default_factory=list)
    note: NonIdentifying[str] = Field("", max_length=40, description="For the night shift.")


def fields(**options: Any) -> dict[str, Any]:
    job = Job("order", [TaskletStep("only", print)], parameters=Order)
    found = fields_of(Definition(job, "module jobs"), options, {"pieces": "it is too many"})
    return {one.name: one for one in found}


def test_a_field_is_made_of_its_type() -> None:
    found = fields()

    assert {
        "day": "date",
        "pieces": "number",
        "above": "number",
        "price": "number",
        "weight": "number",
        "begin": "time",
    } == {name: one.input for name, one in found.items() if one.input != "text"}
    assert {
        "size": ("s", "l"),
        "mode": ("full", "quick"),
        "urgent": ("true", "false"),
    } == {name: one.choices for name, one in found.items() if one.choices}
    assert ["day"] == [name for name, one in found.items() if one.required]
    assert ["note"] == [name for name, one in found.items() if not one.identifying]


def test_limits_go_to_the_browser_and_faults_to_their_field() -> None:
    found = fields(pieces="200")

    assert {"step": "1", "min": "1", "max": "99"} == found["pieces"].limits
    assert {"step": "1", "min": "1", "max": "9"} == found["above"].limits
    assert [{"step": "any"}] * 2 == [found[name].limits for name in ("price", "weight")]
    assert {"maxlength": "40"} == found["note"].limits
    assert ("200", "it is too many") == (found["pieces"].value, found["pieces"].fault)
    assert ("", "", "3") == (found["day"].value, found["day"].fault, found["pieces"].default)


def test_a_job_that_takes_anything_has_no_fields() -> None:
    assert [] == fields_of(Definition(Job("any", [TaskletStep("a", print)]), "module jobs"), {}, {})
