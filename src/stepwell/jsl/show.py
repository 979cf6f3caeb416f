"""Any job as the model of job files, so that it can be written as YAML, whatever its origin."""

from __future__ import annotations

import builtins
import functools
import inspect
import types
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Union, get_args, get_origin

import msgspec
from pydantic_core import PydanticSerializationError, to_json

from stepwell.execution.parameters import render_parameter
from stepwell.job.flow import Decision, Flow, Split, Transition
from stepwell.job.job import Job
from stepwell.job.parameters import Parameters
from stepwell.job.policy import ExceptionFilter, Retry, Skip
from stepwell.job.step import ChunkStep, PartitionedStep, TaskletStep
from stepwell.jsl.artifact import ReferencedArtifact
from stepwell.jsl.build_chunk import ITEM_COUNT, WRITE_SKIP, WaitingChunk
from stepwell.jsl.expression import write
from stepwell.jsl.model import (
    ArtifactElement,
    ChunkElement,
    DecisionElement,
    Element,
    ExceptionsElement,
    FlowElement,
    JobElement,
    ParameterElement,
    PartitionElement,
    PlanElement,
    PlanEntry,
    Properties,
    PropertyElement,
    SplitElement,
    StepElement,
    Text,
    TransitionElement,
)
from stepwell.jsl.parameters import NOT_IDENTIFYING, TYPES
from stepwell.jsl.yaml_text import write_yaml


def to_yaml(job: Job) -> str:
    """A job of any origin as a YAML job file; Python functions as ``module:name``.

    What YAML cannot say, an object made with arguments that are no text, say, is shown by its class
    and reads as that. A job file is better shown as it is written: ``JobFile.to_yaml``.
    """
    return write_yaml(job_document(job))


def as_yaml(document: JobElement) -> JobElement:
    """A document of either language as YAML has it: what differs between them is written out."""
    if document.language == "yaml":
        return document
    return replace(
        document,
        language="yaml",
        identity=document.identity or Text("each-start"),
        run_lock=document.run_lock or Text("none"),
        implied_next=document.implied_next or Text("false"),
        elements=tuple(_element_as_yaml(element) for element in document.elements),
    )


def _element_as_yaml(element: Element) -> Any:
    match element:
        case FlowElement():
            inner = tuple(_element_as_yaml(one) for one in element.elements)
            return replace(element, elements=inner)
        case SplitElement():
            return replace(element, flows=tuple(_element_as_yaml(one) for one in element.flows))
        case StepElement():
            chunk, partition = element.chunk, element.partition
            return replace(
                element,
                chunk=chunk and _chunk_as_yaml(chunk),
                partition=partition and _partition_as_yaml(partition),
            )
    return element


def _chunk_as_yaml(chunk: ChunkElement) -> ChunkElement:
    is_custom = chunk.checkpoint_policy is not None and chunk.checkpoint_policy.text != "item"
    return replace(
        chunk,
        checkpoint_policy=Text("custom") if is_custom else None,
        checkpoint_algorithm=chunk.checkpoint_algorithm if is_custom else None,
        item_count=chunk.item_count or Text(str(ITEM_COUNT["xml"])),
        write_skip=chunk.write_skip or Text(WRITE_SKIP["xml"]),
    )


def _partition_as_yaml(partition: PartitionElement) -> PartitionElement:
    plan = partition.plan or (None if partition.mapper else PlanElement())
    return replace(partition, plan=plan and replace(plan, partitions=plan.partitions or Text("1")))


# --- a Job value --------------------------------------------------------------------------------


def job_document(job: Job) -> JobElement:
    """The document that would make a job like this one."""
    return JobElement(
        id=Text(job.name),
        language="yaml",
        description=job.description,
        restartable=None if job.restartable else Text("false"),
        identity=_unless(job.identity, "parameters"),
        run_lock=_unless(job.run_lock or "none", "parameters"),
        implied_next=None if job.implied_next else Text("false"),
        parameters=None if job.parameters is None else _parameters(job.parameters),
        properties=_properties(job.properties),
        listeners=_artifacts(job.listeners),
        elements=tuple(_element(element) for element in job.steps),
    )


def _element(element: Any) -> Any:
    match element:
        case Flow():
            return _flow(element)
        case Split():
            flows = tuple(_flow(flow) for flow in element.flows)
            return SplitElement(Text(element.name), flows, _text(element.next))
        case Decision():
            decider = _artifact(element.decide)
            return DecisionElement(Text(element.name), decider, _transitions(element.transitions))
    return _step(element)


def _flow(flow: Flow) -> FlowElement:
    elements = tuple(_element(element) for element in flow.elements)
    return FlowElement(Text(flow.name), elements, _text(flow.next), _transitions(flow.transitions))


def _step(step: Any) -> StepElement:
    run = step.run if isinstance(step, PartitionedStep) else step
    chunk = run.chunk if isinstance(run, WaitingChunk) else None
    tasklet: Any = None
    if isinstance(run, ChunkStep):
        chunk = _chunk(run)
    elif isinstance(run, TaskletStep):
        tasklet = run.function
    elif chunk is None:
        tasklet = run
    return StepElement(
        id=Text(step.name),
        next=_text(step.next),
        start_limit=Text(str(step.start_limit)) if step.start_limit else None,
        allow_start_if_complete=Text("true") if step.allow_start_if_complete else None,
        properties=_properties(step.properties),
        listeners=_artifacts(step.listeners),
        tasklet=None if tasklet is None else _artifact(tasklet),
        chunk=chunk,
        partition=_partition(step) if isinstance(step, PartitionedStep) else None,
        transitions=_transitions(step.transitions),
    )


def _transitions(transitions: Sequence[Transition]) -> tuple[TransitionElement, ...]:
    return tuple(
        TransitionElement(
            one.kind, Text(one.pattern), _text(one.to), _text(one.exit_status), _text(one.restart)
        )
        for one in transitions
    )


def _chunk(step: ChunkStep[Any, Any]) -> ChunkElement:
    parts: Any = step.processor
    if not isinstance(parts, (list, tuple)):
        parts = [] if parts is None else [parts]
    algorithm = None if step.checkpoint is None else _artifact(step.checkpoint)
    skip, retry = step.skip, step.retry
    no_rollback = retry.no_rollback if retry else None
    return ChunkElement(
        reader=_artifact(step.reader),
        processors=_artifacts(parts),
        writer=_artifact(step.writer),
        checkpoint_policy=Text("custom") if algorithm else None,
        checkpoint_algorithm=algorithm,
        item_count=Text(str(step.chunk_size)),
        time_limit=_text(step.time_limit_s),
        skippable=_exceptions(skip),
        skip_limit=_limit(skip),
        retryable=_exceptions(retry),
        retry_limit=_limit(retry),
        retry_backoff=_backoff(retry),
        no_rollback=_exceptions(no_rollback) if no_rollback and no_rollback.include else None,
        write_skip=_unless(step.write_skip, "item"),
    )


def _exceptions(exceptions: ExceptionFilter | None) -> ExceptionsElement | None:
    if exceptions is None:
        return None
    include, exclude = exceptions.include, exceptions.exclude
    return ExceptionsElement(tuple(map(_class, include)), tuple(map(_class, exclude)))


def _class(one: type[BaseException]) -> Text:
    return Text(one.__name__ if getattr(builtins, one.__name__, None) is one else ref_of(one))


def _limit(policy: Skip | Retry | None) -> Text | None:
    return None if policy is None else _text(policy.limit)


def _backoff(retry: Retry | None) -> Text | None:
    if retry is None or not retry.backoff:
        return None
    return Text(ref_of(retry.backoff) if callable(retry.backoff) else str(retry.backoff))


def _partition(step: PartitionedStep) -> PartitionElement:
    made: Any = step.partitions
    is_mapper = callable(made) or isinstance(made, ReferencedArtifact)
    is_mapper = is_mapper or hasattr(made, "map_partitions")
    executor = step.executor
    return PartitionElement(
        plan=None if is_mapper else _plan(made),
        mapper=_artifact(made) if is_mapper else None,
        threads=Text(str(step.workers)) if step.workers else None,
        executor=_unless(executor if isinstance(executor, str) else ref_of(executor), "threads"),
        tolerated_failures=_text(step.tolerated_failures or None),
        override=Text("true") if step.partition_override else None,
        collector=None if step.collector is None else _artifact(step.collector),
        analyzer=None if step.analyzer is None else _artifact(step.analyzer),
        reducer=None if step.reducer is None else _artifact(step.reducer),
    )


def _plan(partitions: Mapping[str, Any] | Sequence[Any]) -> PlanElement:
    """The names of a mapping's partitions are not shown: YAML has numbers alone."""
    values = list(partitions.values() if isinstance(partitions, Mapping) else partitions)
    entries = []
    for number, value in enumerate(values):
        index = Text(str(number))
        if isinstance(value, Mapping):
            entries.append(PlanEntry(index, _properties(value)))
        else:
            entries.append(PlanEntry(index, value=Text(_data(value))))
    return PlanElement(Text(str(len(values))), tuple(entries))


# --- artifacts ----------------------------------------------------------------------------------


def _artifacts(artifacts: Sequence[Any]) -> tuple[ArtifactElement, ...]:
    return tuple(_artifact(one) for one in artifacts)


def _artifact(artifact: Any) -> ArtifactElement:
    if isinstance(artifact, ReferencedArtifact):
        properties = {name: write(value) for name, value in artifact.properties}
        return ArtifactElement(Text(write(artifact.ref)), _properties(properties))
    if isinstance(artifact, functools.partial):
        return ArtifactElement(Text(ref_of(artifact.func)), _properties(artifact.keywords))
    if inspect.isroutine(artifact) or isinstance(artifact, type):
        return ArtifactElement(Text(ref_of(artifact)))
    return ArtifactElement(Text(ref_of(type(artifact))), _properties(_arguments(artifact)))


def ref_of(one: Any) -> str:
    """``module:name`` of a class or function; of another object that of its class."""
    if not hasattr(one, "__qualname__"):
        one = type(one)
    owner = getattr(one, "__self__", None)
    module = getattr(one, "__module__", None) or type(owner).__module__
    return f"{module}:{one.__qualname__}"


def _arguments(artifact: Any) -> dict[str, Any]:
    """What an object was constructed with, as far as it keeps it under the same names as text."""
    try:
        parameters = inspect.signature(type(artifact)).parameters.values()
    except (TypeError, ValueError):
        return {}
    missing = object()
    found: dict[str, Any] = {}
    for parameter in parameters:
        value = getattr(artifact, parameter.name, missing)
        if isinstance(value, (str, int, float, bool, Path)) and value != parameter.default:
            found[parameter.name] = value
    return found


def _properties(properties: Mapping[str, Any]) -> Properties:
    return tuple(
        PropertyElement(Text(str(name)), Text(_data(value))) for name, value in properties.items()
    )


def _data(value: Any) -> str:
    """A value as text: itself, its canonical text, or JSON."""
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    try:
        return render_parameter("value", value).value or ""
    except TypeError:
        pass
    try:
        return to_json(value).decode()
    except PydanticSerializationError:
        return str(value)


def _text(value: Any) -> Text | None:
    return None if value is None else Text(str(value))


def _unless(value: str, default: str) -> Text | None:
    return None if value == default else Text(value)


# --- parameters ---------------------------------------------------------------------------------


def _parameters(model: type[Parameters]) -> tuple[ParameterElement, ...]:
    return tuple(_parameter(name, field) for name, field in model.model_fields.items())


def _parameter(name: str, field: Any) -> ParameterElement:
    default: Text | None = None
    optional = False
    if not field.is_required():
        value = field.get_default(call_default_factory=True)
        optional = value is None
        if isinstance(value, (list, tuple, dict, set)):
            default = Text(msgspec.json.encode(value, enc_hook=str).decode())
        elif value is not None:
            default = Text(_data(value))
    identifying = not any(isinstance(one, type(NOT_IDENTIFYING)) for one in field.metadata)
    return ParameterElement(
        Text(name),
        Text(_type_name(field.annotation, optional=optional)),
        default,
        optional,
        None if identifying else Text("false"),
        field.description or "",
    )


def _type_name(annotation: Any, *, optional: bool = False) -> str:
    """As ``parameters.py`` reads it, where it can."""
    arguments = get_args(annotation)
    if get_origin(annotation) in (Union, types.UnionType):
        rest = [one for one in arguments if one is not type(None)]
        if len(rest) == 1:
            return _type_name(rest[0]) + ("" if optional else "?")
    if get_origin(annotation) is list and arguments:
        return f"list[{_type_name(arguments[0])}]"
    for name, one in TYPES.items():
        if one is annotation:
            return name
    return ref_of(annotation) if isinstance(annotation, type) else str(annotation)
