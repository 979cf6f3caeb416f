"""Findings and repairs as text and as JSON."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from stepwell.cli.output import DONE, FINDINGS, Page
from stepwell.doctor.examine import counts_by_code
from stepwell.doctor.repair import in_turn
from stepwell.finding import Finding, Repair, Severity
from stepwell.looks.text import how_many, iso_utc, local_time, one_line

if TYPE_CHECKING:
    from stepwell.doctor.doctor import Doctor
    from stepwell.doctor.repair import Outcome
    from stepwell.repository.repair_log import RecordedRepair

SHOWN_OF_A_CODE = 20
_DEEP = "    "
_ORDER = {Severity.ERROR: 0, Severity.WARNING: 1, Severity.INFO: 2}


def exit_status(findings: Iterable[Finding]) -> int:
    """5 when there is something to do; what is only told is no reason."""
    return FINDINGS if any(f.severity is not Severity.INFO for f in findings) else DONE


# --- text --------------------------------------------------------------------------------------


def findings_page(findings: list[Finding], *, plan: str | None = None) -> Page:
    """Findings by code, the worst first; with the fingerprint of a plan also their repairs."""
    page = Page()
    shown = in_turn(findings) if plan is not None else findings
    _add_findings(page, shown, with_repairs=plan is not None)
    can = sum(isinstance(finding.repair, Repair) for finding in findings)
    if not findings:
        page.line("nothing is wrong")
        return page
    page.line()
    page.line(f"{_summary(findings)}; {can} can be repaired")
    if plan is not None and can:
        page.hint(f"`stepwell doctor --repair --expect {plan}` does this and nothing else")
    elif can:
        page.hint("`stepwell doctor --plan` shows the repairs, `stepwell doctor --repair` does")
    return page


def outcome_page(outcome: Outcome, left: list[Finding]) -> Page:
    """What was repaired, what was not and why, what is left."""
    page = Page()
    if outcome.copy is not None:
        page.line(f"copy: {outcome.copy}")
    for repaired in outcome.repaired:
        page.line(f"repaired {repaired.finding.code}, {repaired.finding.where}: {repaired.does}")
    for failed in outcome.not_repaired:
        page.line(f"not repaired {failed.finding.code}, {failed.finding.where}: {failed.why}")
    if outcome.repaired or outcome.not_repaired:
        page.line()
    page.line(how_many(len(outcome.repaired), "repair"))
    if not left:
        page.line("nothing is wrong")
        return page
    page.heading("left")
    _add_findings(page, left, with_repairs=False)
    page.line()
    page.line(_summary(left))
    return page


def repairs_page(repairs: list[RecordedRepair]) -> Page:
    """The repairs that were made, the last one first."""
    page = Page()
    if not repairs:
        page.line("no repair was made here")
    for repair in repairs:
        page.line(f"{local_time(repair.repaired_at)}  {repair.code}, {repair.place}")
        page.block(one_line(f"found: {repair.found}"))
        page.block(one_line(f"done: {repair.done} ({how_many(repair.rows_changed, 'row')})"))
        if repair.copy:
            page.block(one_line(f"copy: {repair.copy}"))
    return page


def _summary(findings: list[Finding]) -> str:
    by_severity = {
        severity: sum(finding.severity is severity for finding in findings) for severity in _ORDER
    }
    parts = [how_many(number, severity) for severity, number in by_severity.items() if number]
    return f"{how_many(len(findings), 'finding')}: {', '.join(parts)}".replace("infos", "info")


def _add_findings(page: Page, findings: list[Finding], *, with_repairs: bool) -> None:
    by_code: dict[str, list[Finding]] = {}
    for finding in sorted(findings, key=lambda finding: _ORDER[finding.severity]):
        by_code.setdefault(finding.code, []).append(finding)
    for code, of_code in by_code.items():
        rule = f" ({of_code[0].rule})" if of_code[0].rule else ""
        page.heading(f"{of_code[0].severity}: {code}{rule}")
        page.block(of_code[0].explanation)
        for finding in of_code[:SHOWN_OF_A_CODE]:
            page.block(one_line(f"- {finding.where}: {finding.what}"))
            _add_way_out(page, finding, with_repairs=with_repairs)
        if len(of_code) > SHOWN_OF_A_CODE:
            page.block(f"- and {len(of_code) - SHOWN_OF_A_CODE:,} more; `--json` lists all")


def _add_way_out(page: Page, finding: Finding, *, with_repairs: bool) -> None:
    repair = finding.repair
    if not isinstance(repair, Repair):
        page.block(one_line(f"by hand: {finding.hint}"), indent=_DEEP)
    elif with_repairs:
        page.block(one_line(f"repair: {repair.does}"), indent=_DEEP)
        if repair.cannot_know:
            page.block(one_line(f"it cannot know {repair.cannot_know}"), indent=_DEEP)


# --- JSON --------------------------------------------------------------------------------------


def findings_json(findings: list[Finding], doctor: Doctor | None) -> dict[str, Any]:
    """The findings with their counts and the metrics of the project."""
    known = doctor.counts() if doctor is not None else {}
    return {
        "findings": [_finding(finding) for finding in findings],
        "counts": {**known, **counts_by_code(findings)},
        "metrics": doctor.metrics() if doctor is not None else {},
    }


def outcome_json(outcome: Outcome, left: list[Finding], doctor: Doctor) -> dict[str, Any]:
    """What a repair has come to; ``findings`` are those that are left."""
    return {
        "copy": outcome.copy,
        "before": [_finding(finding) for finding in outcome.before],
        "repaired": [
            {**_finding(each.finding), "does": each.does, "rows_changed": each.rows_changed}
            for each in outcome.repaired
        ],
        "not_repaired": [
            {**_finding(each.finding), "why": each.why} for each in outcome.not_repaired
        ],
        **findings_json(left, doctor),
    }


def repairs_json(repairs: list[RecordedRepair]) -> list[dict[str, Any]]:
    """The repairs that were made, the last one first."""
    return [
        {**dataclasses.asdict(repair), "repaired_at": iso_utc(repair.repaired_at)}
        for repair in repairs
    ]


def _finding(finding: Finding) -> dict[str, Any]:
    repair = finding.repair
    return {
        "code": finding.code,
        "severity": finding.severity,
        "where": finding.where,
        "what": finding.what,
        "explanation": finding.explanation,
        "hint": finding.hint,
        "rule": finding.rule or None,
        "execution_id": finding.execution_id,
        "repair": _repair(repair) if isinstance(repair, Repair) else None,
    }


def _repair(repair: Repair) -> dict[str, Any]:
    return {
        "does": repair.does,
        "cannot_know": repair.cannot_know,
        "operation": repair.operation or None,
        "statements": [
            {"sql": statement.sql, "values": _plain(statement.values)}
            for statement in repair.statements
        ],
    }


def _plain(values: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: value if isinstance(value, str | int | float | None) else str(value)
        for name, value in values.items()
    }
