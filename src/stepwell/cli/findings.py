"""Findings and repairs as text."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from stepwell.cli.output import DONE, FINDINGS, Page
from stepwell.doctor.repair import in_turn
from stepwell.finding import Finding, Repair, Severity
from stepwell.looks.text import how_many, local_time, one_line

if TYPE_CHECKING:
    from stepwell.doctor.repair import Outcome
    from stepwell.repository.repair_log import RecordedRepair

SHOWN_OF_A_CODE = 20
_DEEP = "    "
_ORDER = {Severity.ERROR: 0, Severity.WARNING: 1, Severity.INFO: 2}


def exit_status(findings: Iterable[Finding]) -> int:
    """5 when there is something to do; what is only told is no reason."""
    return FINDINGS if any(f.severity is not Severity.INFO for f in findings) else DONE


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
