"""What a start would do, as JSON; see ``docs/cli.md``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from stepwell.execution.json import from_json
from stepwell.looks.definitions import kind_of
from stepwell.looks.representation import parameters_json

if TYPE_CHECKING:
    from stepwell.runner.dry_run import DryRun, PlannedElement

PARTITIONS_SHOWN = 20  # Unless all are asked for.


def plan_json(planned: DryRun, count: int | None) -> dict[str, Any]:
    """What a start would do; ``count`` limits the partitions of each step, None shows all."""
    ready = planned.ready
    return {
        "job": ready.job.name,
        "goes_on_from": planned.previous and planned.previous.execution_id,
        "begins_at": planned.starts_at,
        "parameters": parameters_json(ready.resolved.recorded),
        "pools": list(ready.declared.pools),
        "resources": list(ready.declared.paths),
        "steps": [_step(each, count) for each in planned.elements],
    }


def _step(each: PlannedElement, count: int | None) -> dict[str, Any]:
    found, previous = each.partitions, each.previous
    return {
        "step": each.element.name,
        "kind": kind_of(each.element),
        "within": each.within,
        "action": each.action,
        "why": each.why or None,
        "previous_execution_id": previous and previous.execution_id,
        "previous_status": previous and str(previous.batch_status),
        "partitions": None
        if found is None
        else {
            "total": found.total,
            "left": None if found.total is None else len(found.left),
            "frozen": found.frozen,
            "first": [
                {"number": one.number, "name": one.name, "input": from_json(one.input)}
                for one in found.left[:count]
            ],
        },
    }
