"""Artifacts of a job file: made anew for each occurrence and scope, checked before (S77)."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from stepwell.job.artifact import ArtifactRegistry, Scope
from stepwell.job.check import ASYNC_METHODS
from stepwell.job.importable import PROGRAM, NotImportable
from stepwell.job.listener import JOB_CALLBACKS, STEP_CALLBACKS
from stepwell.jsl.expression import Template
from stepwell.jsl.fault import did_you_mean
from stepwell.jsl.injection import (
    accepted_arguments,
    annotation_of,
    convert,
    create,
    declared_properties,
    is_function,
)
from stepwell.jsl.references import NotFound, find_artifact
from stepwell.jsl.surroundings import complete


@dataclass(frozen=True)
class ReferencedArtifact:
    """An ArtifactFactory of one ``ref``; what waits for the partition is completed there.

    In another process it is looked up again: what a ``ref`` means is never sent (S193).

    Attributes:
        target: What ``ref`` means; None while it waits.
        registry: Where ``ref`` is looked up.
    """

    ref: Template
    properties: tuple[tuple[str, Template], ...]
    target: Any
    registry: ArtifactRegistry = field(compare=False)

    def create_artifact(self, scope: Scope) -> Any:
        """A new instance with its properties and contexts (S76, S77, S86, S87).

        Raises:
            ValueError: a ``ref`` leads nowhere, or a property cannot be converted.
        """
        target = self.target
        if target is None:
            ref = complete(self.ref, scope.partition)
            try:
                target = find_artifact(ref, self.registry)
            except NotFound as error:
                raise ValueError(f"cannot make artifact {ref!r}: {error.fact}") from error
        properties = {name: complete(value, scope.partition) for name, value in self.properties}
        return create(target, properties, scope)

    def require_portable(self) -> None:
        """Refuse a ``ref`` that means nothing in another process (S193).

        Raises:
            NotImportable: it was registered by the program alone, or is of the program itself.
        """
        if not isinstance(self.ref, str):
            return  # It waits for its partition, which fails when it leads nowhere.
        if self.registry.find(self.ref) is not None:
            self.registry.require_portable(self.ref)
        elif self.ref.partition(":")[0] in PROGRAM:
            raise NotImportable(f"{self.ref!r} is in the program itself")

    def __reduce__(self) -> tuple[Any, ...]:
        return ReferencedArtifact, (self.ref, self.properties, None, self.registry)


@dataclass(frozen=True)
class Role:
    """What an artifact is used as.

    Attributes:
        methods: It must have one of them.
        function: A plain function will do.
    """

    name: str
    methods: tuple[str, ...]
    function: bool = False


TASKLET = Role("tasklet", ("process",), function=True)
READER = Role("reader", ("read", "__iter__"), function=True)
PROCESSOR = Role("processor", ("process",), function=True)
WRITER = Role("writer", ("write",), function=True)
CHECKPOINT = Role("checkpoint algorithm", ("is_ready_to_checkpoint",))
DECIDER = Role("decider", ("decide",), function=True)
MAPPER = Role("mapper", ("map_partitions",), function=True)
COLLECTOR = Role("collector", ("collect_partition_data",), function=True)
ANALYZER = Role("analyzer", ("analyze_collector_data", "analyze_status"))
REDUCER = Role(
    "reducer",
    (
        "begin_partitioned_step",
        "before_partitioned_step_completion",
        "rollback_partitioned_step",
        "after_partitioned_step_completion",
    ),
)
JOB_LISTENER = Role("job listener", JOB_CALLBACKS)
STEP_LISTENER = Role("step listener", STEP_CALLBACKS)


_MAY_BE_ASYNC = "only tasklets, partition functions and processors may be `async def`"


def role_faults(target: Any, role: Role) -> Iterator[tuple[str, str]]:
    """Message and hint of whatever keeps ``target`` from being used as ``role``."""
    if is_function(target):
        if not role.function:
            yield (
                f"a function cannot be a {role.name}",
                f"it needs a class with {' or '.join(role.methods)}",
            )
        elif inspect.iscoroutinefunction(target) and "process" not in role.methods:
            yield f"a {role.name} must not be a coroutine function (S80)", _MAY_BE_ASYNC
        return
    made = target if isinstance(target, type) else type(target)
    if not (role.function and _is_callable(made)) and not any(
        callable(getattr(made, name, None)) for name in role.methods
    ):
        yield (
            f"{made.__name__!r} cannot be a {role.name}: it has no {' or '.join(role.methods)}",
            "name another artifact, or give it the method",
        )
    for name in dir(made):
        if name.startswith("_") or name in ASYNC_METHODS:
            continue
        if inspect.iscoroutinefunction(inspect.getattr_static(made, name, None)):
            yield (
                f"{name} of {made.__name__!r} must not be a coroutine function (S80)",
                _MAY_BE_ASYNC,
            )


def argument_faults(target: Any, given: set[str]) -> Iterator[tuple[str, str]]:
    """Message and hint for arguments that a class's constructor needs and no property gives."""
    if not isinstance(target, type):
        return
    declared = {one.attribute for one in declared_properties(target).values()}
    for name, parameter in accepted_arguments(target).items():
        if parameter.default is parameter.empty and name not in given | declared:
            yield (
                f"{target.__name__!r} cannot be made: no property gives {name!r}",
                f"add the property {name!r}",
            )


def property_warnings(
    target: Any, properties: dict[str, str | None]
) -> Iterator[tuple[str, str, str]]:
    """Name, message and hint of properties that nobody takes, or that cannot be converted.

    They do not refuse a start: what is not declared is not injected, and a text that cannot be
    converted fails the step (S87).
    """
    made = target if isinstance(target, type) else type(target)
    declared = {} if is_function(target) else declared_properties(made)
    accepted = accepted_arguments(target) if isinstance(target, type) or is_function(target) else {}
    known = [*declared, *(name for name in accepted if name not in _ENGINE_ARGUMENTS)]
    of = getattr(target, "__name__", made.__name__)
    for name, text in properties.items():
        if name not in known:
            yield (
                name,
                f"property {name!r} is not taken by {of!r}",
                f"{did_you_mean(name, known)} it takes {', '.join(known) or 'none'}".strip(),
            )
        elif name in declared and text:
            annotation = annotation_of(made, declared[name].attribute)
            try:
                convert(text, annotation, f"property {name!r} into {of}")
            except ValueError as error:
                yield name, str(error), "the step will fail"


def deprecation_of(target: Any) -> str:
    """What ``@deprecated("use …")``, or the attribute ``__deprecated__``, says; "" without."""
    return str(getattr(target, "__deprecated__", "") or "")


_ENGINE_ARGUMENTS = ("self", "step", "item", "items", "parameters", "input")


def _is_callable(made: type) -> bool:
    return any("__call__" in vars(ancestor) for ancestor in made.__mro__[:-1])
