"""The doctor: what is wrong, why it matters, what would mend it, and the repair itself."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from contextlib import nullcontext
from typing import Annotated, Any

from fastapi import APIRouter, Query
from starlette.responses import Response

from stepwell.doctor.doctor import fingerprint
from stepwell.doctor.repair import in_turn
from stepwell.errors import Kind, StepwellError
from stepwell.finding import Finding, Repair, Severity
from stepwell.repository.repair_log import LAST_ID, list_repairs
from stepwell.web.desk.desk import Acting, Desk, Looking, invalid
from stepwell.web.desk.words import PLACES
from stepwell.web.documents import ID_MAX

router = APIRouter(include_in_schema=False)
logger = logging.getLogger("stepwell.web")

SHOWN_OF_A_CODE = 20
_ORDER = (Severity.ERROR, Severity.WARNING, Severity.INFO)

Thorough = Annotated[bool, Query(description="Read every page of the file, all executions.")]
Only = Annotated[str, Query(max_length=200, description="Only findings of this code.")]


@router.get("/doctor")
def show_findings(desk: Looking, thorough: Thorough = False) -> Response:
    """What is wrong; a quick look unless asked for more."""
    # A thorough look reads everything; a quick one nobody has to wait for.
    with desk.face.examination.alone("examine") if thorough else nullcontext():
        found = desk.face.node.doctor.examine(thorough=thorough)
    return desk.draw(
        "doctor.html",
        codes=_by_code(found),
        summary=_summary(found),
        can=sum(isinstance(finding.repair, Repair) for finding in found),
        thorough=thorough,
    )


@router.get("/doctor/plan")
def show_plan(desk: Looking, only: Only = "") -> Response:
    """What a repair would do, before it is done."""
    return _plan(desk, only)


@router.post("/doctor/repair")
def repair(desk: Acting) -> Response:
    """Do what the plan says, and nothing else; a second time there is nothing to do."""
    only, plan = desk.form.text("only"), desk.form.text("plan")
    try:
        if not plan:
            raise invalid("plan", "it must name the plan that was read, and is empty")
        with desk.face.examination.alone("repair"):
            logger.info("%s has a repair made", desk.caller.actor)
            outcome = desk.face.node.doctor.repair(
                only=[only] if only else None, expected_plan=plan, actor=desk.caller.actor
            )
    except StepwellError as error:
        if error.kind is Kind.BUG:
            raise
        return _plan(desk, only, error)
    return desk.draw(
        "repaired.html",
        outcome=outcome,
        codes=_by_code(outcome.after),
        summary=_summary(outcome.after),
        shown_max=SHOWN_OF_A_CODE,
    )


@router.get("/doctor/repairs")
def show_repairs(
    desk: Looking, before: Annotated[int | None, Query(ge=1, le=ID_MAX)] = None
) -> Response:
    """The repairs that were made, the last one first."""
    with desk.face.node.database.read() as reader:
        repairs = list_repairs(reader, before_id=before or LAST_ID)
    return desk.draw(
        "repairs.html",
        repairs=repairs,
        next_before=repairs[-1].repair_id if len(repairs) == 100 else None,
    )


def _plan(desk: Desk, only: str, problem: StepwellError | None = None) -> Response:
    with desk.face.examination.alone("examine"):
        found = desk.face.node.doctor.examine()
    planned = [
        finding
        for finding in in_turn(found)
        if isinstance(finding.repair, Repair) and only in ("", finding.code)
    ]
    return desk.draw(
        "plan.html",
        problem,
        codes=_by_code(planned),
        number=len(planned),
        only=only,
        plan=fingerprint(found),
    )


def _by_code(found: Iterable[Finding]) -> list[dict[str, Any]]:
    """The worst first; of each code so many as a person reads."""
    by_code: dict[str, list[Finding]] = {}
    for finding in sorted(found, key=lambda finding: _ORDER.index(finding.severity)):
        by_code.setdefault(finding.code, []).append(finding)
    return [
        {
            "code": code,
            "severity": of_it[0].severity,
            "rule": of_it[0].rule,
            "explanation": of_it[0].explanation,
            "findings": [
                (finding, finding.repair if isinstance(finding.repair, Repair) else None)
                for finding in of_it[:SHOWN_OF_A_CODE]
            ],
            "place": PLACES.get(code),
            "more": max(0, len(of_it) - SHOWN_OF_A_CODE),
            "can": sum(isinstance(finding.repair, Repair) for finding in of_it),
        }
        for code, of_it in by_code.items()
    ]


def _summary(found: list[Finding]) -> list[tuple[str, int]]:
    counted = ((str(each), sum(f.severity is each for f in found)) for each in _ORDER)
    return [(word, number) for word, number in counted if number]
