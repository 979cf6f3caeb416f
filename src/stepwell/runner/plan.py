"""The plan of a partitioned step: number, name and input of each partition (S142, S155, S195)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from pydantic_core import PydanticSerializationError, to_json

from stepwell.errors import ContextTooLarge, ValueNotJson
from stepwell.execution.json import INPUT_BYTES_MAX
from stepwell.execution.records import Partition
from stepwell.job.function import with_arguments
from stepwell.job.step import PartitionedStep

NAME_CHARACTERS_MAX = 200


def make_plan(step: PartitionedStep, parameters: Any, *, plan_id: int) -> list[Partition]:
    """Ask the step for its partitions, number them from 0 and encode their inputs.

    Raises:
        ValueNotJson: an input is nothing that JSON can carry; it is named.
        ContextTooLarge: an input is over ``INPUT_BYTES_MAX`` bytes.
    """
    made = step.partitions
    if callable(made):
        made = with_arguments(made, 1)(parameters)
    if isinstance(made, (str, bytes)) or not isinstance(made, Iterable):
        raise TypeError(
            f"partitions of step {step.name!r} must be a list or a mapping, got {made!r}"
        )
    named: Iterable[tuple[str | None, Any]]
    if isinstance(made, Mapping):
        named = ((str(name), value) for name, value in made.items())
    else:
        named = ((None, value) for value in made)
    return [
        _partition(step, plan_id, number, name, value) for number, (name, value) in enumerate(named)
    ]


def _partition(
    step: PartitionedStep, plan_id: int, number: int, name: str | None, value: Any
) -> Partition:
    try:
        encoded = to_json(value, inf_nan_mode="constants").decode()
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
        name = encoded.strip('"') if encoded[:1] not in "[{" else str(number)
    return Partition(plan_id, number, name[:NAME_CHARACTERS_MAX], encoded)
