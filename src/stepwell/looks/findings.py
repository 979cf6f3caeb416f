"""Findings and repairs as JSON; see ``docs/cli.md``."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from stepwell.doctor.examine import counts_by_code
from stepwell.finding import Finding, Repair
from stepwell.looks.text import iso_utc

if TYPE_CHECKING:
    from stepwell.doctor.doctor import Doctor
    from stepwell.doctor.repair import Outcome
    from stepwell.repository.repair_log import RecordedRepair


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
