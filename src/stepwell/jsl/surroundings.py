"""What the expressions of an element can see: parameters, properties level by level, the partition.

The levels of ``jobProperties`` are looked through from the inside out: earlier properties of the
same list, then those of the artifact, the step, the job; inner beats outer (S83). What is undefined
yields ``""`` (S84).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from stepwell.execution.parameters import render_parameter
from stepwell.jsl.expression import (
    JOB_PARAMETERS,
    JOB_PROPERTIES,
    PARTITION_PLAN,
    SYSTEM_PROPERTIES,
    OrElse,
    Reference,
    Template,
    fill,
    join,
)


class NoPartitionHere(ValueError):
    """``partitionPlan`` where no partition starts (S83, S183)."""


@dataclass(frozen=True)
class Surroundings:
    """What expressions are answered from; each element has its own.

    Attributes:
        parameters: The job parameters of this start or restart, as text.
        any_parameter: They are not known yet, the file is only checked: what is not in
            ``parameters`` waits instead of being ``""``.
        system_properties: What the host supplies; never the process environment.
        levels: The properties of job, step and artifact, the outermost first.
        partitions_here: ``partitionPlan`` may stand here; it waits for its partition.
        partition: The properties of the partition that starts; None before.
    """

    parameters: Mapping[str, str] = field(default_factory=dict)
    any_parameter: bool = False
    system_properties: Mapping[str, str] = field(default_factory=dict)
    levels: tuple[Mapping[str, Template], ...] = ()
    partitions_here: bool = False
    partition: Mapping[str, Any] | None = None

    def fill(self, template: Template) -> Template:
        """``template`` as far as it is known here.

        Raises:
            NoPartitionHere: it asks for a partition's properties outside a partitioned step.
        """
        return fill(template, self._answer)

    def within(self, level: Mapping[str, Template]) -> Surroundings:
        """The same, one level further in."""
        return replace(self, levels=(*self.levels, level))

    def _answer(self, reference: Reference) -> Template:
        name = reference.name
        if reference.operator == JOB_PARAMETERS:
            return self.parameters.get(name, reference if self.any_parameter else "")
        if reference.operator == JOB_PROPERTIES:
            return next((level[name] for level in reversed(self.levels) if name in level), "")
        if reference.operator == SYSTEM_PROPERTIES:
            return self.system_properties.get(name, "")
        if self.partition is not None:
            return partition_text(self.partition, name)
        if self.partitions_here:
            return reference
        raise NoPartitionHere(name)


def complete(template: Template, partition: Mapping[str, Any] | None) -> str:
    """The text when a partition starts; ``partition`` None is outside of one, all is ``""``."""

    def answer(reference: Reference) -> str:
        if reference.operator != PARTITION_PLAN or partition is None:
            return ""
        return partition_text(partition, reference.name)

    filled = fill(template, answer)
    assert isinstance(filled, str)  # ``answer`` leaves nothing to wait.
    return filled


def partition_text(partition: Mapping[str, Any], name: str) -> str:
    """A property of a partition; the input of a Python plan may hold other things than text."""
    value = partition.get(name)
    return "" if value is None else render_parameter(name, value).value or ""


def assumed(template: Template) -> str | None:
    """What a text would be without the parameters that it waits for; None when it needs one.

    A check without parameters looks at the defaults, which a start without them would use.
    """
    match template:
        case str():
            return template
        case OrElse(value, default) if waits_for_parameters_alone(value):
            text = assumed(value)
            return assumed(default) if text is None else text
        case Reference() | OrElse():
            return None
    texts = [assumed(part) for part in template.parts]
    known = [text for text in texts if text is not None]
    joined = join(known) if len(known) == len(texts) else None
    return joined if isinstance(joined, str) else None


def waits_for_parameters_alone(template: Template) -> bool:
    """Whether no partition has to start for ``template`` to be known."""
    match template:
        case Reference(operator, _):
            return operator == JOB_PARAMETERS
        case OrElse(value, default):
            return waits_for_parameters_alone(value) and waits_for_parameters_alone(default)
        case str():
            return True
    return all(waits_for_parameters_alone(part) for part in template.parts)
