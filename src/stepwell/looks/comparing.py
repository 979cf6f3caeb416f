"""Two executions side by side, and what is not the same."""

from __future__ import annotations

from typing import Any

from stepwell.looks.progress import StepProgress
from stepwell.looks.reading import Look
from stepwell.looks.representation import look_json
from stepwell.looks.wording import (
    counters_text,
    failure_text,
    status_text,
    step_counts,
    step_status,
)


def comparison_json(first: Look, second: Look) -> dict[str, Any]:
    """Both, and what differs; see ``docs/cli.md``."""
    return {
        "executions": [look_json(first), look_json(second)],
        "differences": [
            {"what": what, "first": one or None, "second": other or None}
            for what, one, other in facts_of(first, second)
            if one != other
        ],
    }


def facts_of(*looks: Look) -> list[tuple[str, str, str]]:
    """What can be compared of the two: its name, and the value of each; empty: it has none."""
    columns = [_columns_of(look) for look in looks]
    return [fact for part in zip(*columns, strict=True) for fact in side_by_side(list(part))]


def _columns_of(look: Look) -> list[dict[str, str]]:
    """What it is, what it was given, how it ended, its steps."""
    execution = look.execution
    ended = {
        "status": status_text(execution),
        "exit status": execution.exit_status or "",
        "failure": failure_text(execution.failure),
        "started by": ", ".join(filter(None, [execution.trigger_source, execution.triggered_by])),
        "recoveries": str(execution.recoveries or ""),
    }
    steps: dict[str, str] = {}
    for progress in look.steps:
        steps |= _facts_of_step(progress)
    given = {f"parameter {p.name}": p.value or "none" for p in execution.parameters}
    return [{"job": execution.job_name}, given, ended, steps]


def _facts_of_step(progress: StepProgress) -> dict[str, str]:
    step = progress.step
    name = f"step {step.step_name}"
    return {
        name: step_status(progress),
        f"{name}, exit status": step.exit_status or "",
        f"{name}, counts": step_counts(progress) or counters_text(step.metrics),
        f"{name}, failure": failure_text(step.failure),
    }


def side_by_side(columns: list[dict[str, str]]) -> list[tuple[str, str, str]]:
    """Two columns of named values as rows; a value that one has not is empty."""
    names = dict.fromkeys(name for column in columns for name in column)
    return [(name, columns[0].get(name, ""), columns[1].get(name, "")) for name in names]
