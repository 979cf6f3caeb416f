"""The plan of a partitioned step: number, name and input of each partition (S142, S155, S195)."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from pydantic_core import PydanticSerializationError, to_json

from stepwell.errors import ContextTooLarge, ValueNotJson
from stepwell.execution.json import INPUT_BYTES_MAX
from stepwell.execution.records import Partition
from stepwell.execution.result import storable
from stepwell.job.artifact import Scope, make_artifact
from stepwell.job.function import with_arguments
from stepwell.job.partition import PartitionPlan
from stepwell.job.step import PartitionedStep

logger = logging.getLogger("stepwell.runner")

NAME_CHARACTERS_MAX = 200


@dataclass(frozen=True)
class Planned:
    """What the step's plan or mapper asks for now; ``workers`` 0 means all at once (S142)."""

    partitions: list[Partition]
    workers: int
    override: bool = False

    def inputs_for(self, rest: list[Partition], total: int) -> list[Partition]:
        """The kept partitions ``rest``, with this plan's inputs where it was made anew (S156)."""
        if not self.partitions:
            return rest
        if len(self.partitions) != total:
            logger.warning(
                "the plan has %d partitions now, the frozen one has %d: the frozen number counts",
                len(self.partitions),
                total,
            )
        fresh = {partition.number: partition.input for partition in self.partitions}
        return [replace(p, input=fresh.get(p.number, p.input)) for p in rest]


def make_plan(step: PartitionedStep, scope: Scope, *, plan_id: int) -> Planned:
    """Ask the step for its partitions, number them from 0 and encode their inputs.

    Raises:
        ValueNotJson: an input is nothing that JSON can carry; it is named.
        ContextTooLarge: an input is over ``INPUT_BYTES_MAX`` bytes.
    """
    made: Any = make_artifact(step.partitions, scope)
    if callable(getattr(made, "map_partitions", None)):
        made = made.map_partitions()
    elif callable(made):
        made = with_arguments(made, 1)(scope.job.parameters)
    if isinstance(made, PartitionPlan):
        inputs = [dict(p) for p in made.properties][: made.partitions]
        inputs += [{} for _ in range(made.partitions - len(inputs))]
        partitions = [_partition(step, plan_id, n, None, p) for n, p in enumerate(inputs)]
        return Planned(partitions, made.threads, made.override)
    if isinstance(made, (str, bytes)) or not isinstance(made, Iterable):
        raise TypeError(
            f"partitions of step {step.name!r} must be a list or a mapping, got {made!r}"
        )
    named: Iterable[tuple[str | None, Any]]
    if isinstance(made, Mapping):
        named = ((str(name), value) for name, value in made.items())
    else:
        named = ((None, value) for value in made)
    return Planned(
        [
            _partition(step, plan_id, number, name, value)
            for number, (name, value) in enumerate(named)
        ],
        step.workers,
    )


def _partition(
    step: PartitionedStep, plan_id: int, number: int, name: str | None, value: Any
) -> Partition:
    try:
        encoded = to_json(value, inf_nan_mode="constants").decode()
        if "NaN" in encoded or "Infinity" in encoded:  # Perhaps only as a part of a text.
            json.loads(encoded, parse_constant=_refuse_constant)
    except (PydanticSerializationError, UnicodeDecodeError, ValueError) as error:
        raise ValueNotJson(
            f"cannot store input {number} of step {step.name!r}: {error}",
            hint="a partition's input is text, numbers, dates, lists, dicts or models of these",
            fields={"step": step.name, "partition": number},
        ) from error
    if len(encoded) > INPUT_BYTES_MAX:
        raise ContextTooLarge(
            f"cannot store input {number} of step {step.name!r}:"
            f" it is {len(encoded)} bytes of JSON, the limit is {INPUT_BYTES_MAX}",
            hint="pass a key, and let the partition read its data",
            fields={"step": step.name, "partition": number},
        )
    if name is None:
        name = _name(value, encoded, number)
    return Partition(plan_id, number, storable(name[:NAME_CHARACTERS_MAX]), encoded)


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON number")


def _name(value: Any, encoded: str, number: int) -> str:
    """A plain value is its own name, a partition of one property is named by that, say its day."""
    if encoded[:1] not in "[{":
        return encoded.strip('"')
    if isinstance(value, Mapping) and len(value) == 1:
        (only,) = value.values()
        if isinstance(only, str) and only:
            return only
    return str(number)
