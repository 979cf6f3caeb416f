"""Write the model of a job file as YAML that ``yaml_reader.py`` reads back."""

from __future__ import annotations

import re
from typing import Any

import msgspec
import yaml

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
    Properties,
    SplitElement,
    StepElement,
    Text,
    TransitionElement,
)

WIDTH = 100

# What the reader would take for nothing, if it stood there without quotes.
_LOOKS_NULL = re.compile(r"(~|null|Null|NULL)?")
# Line breaks to some readers of YAML; only double quotes can escape them.
_ODD_BREAK = re.compile("[\x85\u2028\u2029]")
_EXPRESSION = "#{"  # Has single quotes in it, so double ones around it read best.


def yaml_data(document: JobElement) -> dict[str, Any]:
    """What a YAML file would hold, every scalar as text; what is at its default is left out."""
    return _job(document)


def yaml_of(data: Any) -> str:
    """The text of what :func:`yaml_data` answers."""
    text: str = yaml.dump(
        data,
        Dumper=_Dumper,
        sort_keys=False,
        allow_unicode=True,
        default_flow_style=False,
        width=WIDTH,
    )
    return text


class _Dumper(yaml.SafeDumper):
    """Everything is text, as the reader sees it; so numbers and ``on`` need no quotes."""

    yaml_implicit_resolvers: dict[Any, Any] = {}  # noqa: RUF012 - as PyYAML declares it

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:  # noqa: FBT001, FBT002
        super().increase_indent(flow, indentless=False)

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.Node:
    quoted = _LOOKS_NULL.fullmatch(text) or _EXPRESSION in text or _ODD_BREAK.search(text)
    style = '"' if quoted else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


def _represent_none(dumper: yaml.SafeDumper, _: None) -> yaml.Node:
    return dumper.represent_scalar("tag:yaml.org,2002:str", "null")


_Dumper.add_representer(str, _represent_text)
_Dumper.add_representer(type(None), _represent_none)


def _without_nothing(**values: Any) -> dict[str, Any]:
    texts = ((key, v.text if isinstance(v, Text) else v) for key, v in values.items())
    return {key: value for key, value in texts if value is not None and value not in ({}, [], ())}


# --- job, flow, split, decision, step -----------------------------------------------------------


def _job(job: JobElement) -> dict[str, Any]:
    parameters: Any = job.parameters
    if isinstance(parameters, tuple):
        parameters = {one.name.text: _parameter(one) for one in parameters}
    written = _without_nothing(
        job=job.id,
        description=job.description or None,
        identity=job.identity,
        run_lock=job.run_lock,
        resources=[one.text for one in job.resources],
        pool=[one.text for one in job.pool],
        restartable=job.restartable,
        implied_next=job.implied_next,
        parameters=parameters,
        properties=_properties(job.properties),
        listeners=[_artifact(one) for one in job.listeners],
    )
    if job.parameters == ():
        written["parameters"] = {}  # None at all, where absence means any.
    return {**written, "steps": [_element(element) for element in job.elements]}


def _element(element: Element) -> dict[str, Any]:
    match element:
        case StepElement():
            return _step(element)
        case FlowElement():
            return _flow(element)
        case SplitElement():
            flows = [_flow(flow) for flow in element.flows]
            return _without_nothing(split=element.id, flows=flows, next=element.next)
        case DecisionElement():
            return _without_nothing(
                decision=element.id,
                decider=_artifact(element.decider),
                transitions=_transitions(element.transitions),
            )


def _flow(flow: FlowElement) -> dict[str, Any]:
    return _without_nothing(
        flow=flow.id,
        steps=[_element(element) for element in flow.elements],
        next=flow.next,
        transitions=_transitions(flow.transitions),
    )


def _step(step: StepElement) -> dict[str, Any]:
    return _without_nothing(
        step=step.id,
        tasklet=step.tasklet and _artifact(step.tasklet),
        chunk=step.chunk and _chunk(step.chunk),
        partition=_partition(step.partition) if step.partition else None,
        start_limit=step.start_limit,
        allow_start_if_complete=step.allow_start_if_complete,
        properties=_properties(step.properties),
        listeners=[_artifact(one) for one in step.listeners],
        next=step.next,
        transitions=_transitions(step.transitions),
    )


def _transitions(transitions: tuple[TransitionElement, ...]) -> list[dict[str, Any]]:
    return [_transition(one) for one in transitions]


def _transition(transition: TransitionElement) -> dict[str, Any]:
    if transition.kind == "next":
        return {"on": transition.on.text, "to": transition.to.text if transition.to else ""}
    ending = _without_nothing(exit_status=transition.exit_status, restart=transition.restart)
    return {"on": transition.on.text, transition.kind: ending or "true"}


# --- chunk and partition ------------------------------------------------------------------------


def _chunk(chunk: ChunkElement) -> dict[str, Any]:
    processors = [_artifact(one) for one in chunk.processors]
    is_custom = chunk.checkpoint_policy is not None and chunk.checkpoint_policy.text != "item"
    skip = _without_nothing(**_exceptions(chunk.skippable), limit=chunk.skip_limit)
    retry = _without_nothing(
        **_exceptions(chunk.retryable), limit=chunk.retry_limit, backoff_s=chunk.retry_backoff
    )
    if chunk.no_rollback is not None:
        retry["no_rollback"] = _exceptions(chunk.no_rollback)
    return _without_nothing(
        reader=chunk.reader and _artifact(chunk.reader),
        processor=processors[0] if len(processors) == 1 else processors,
        writer=chunk.writer and _artifact(chunk.writer),
        chunk_size=chunk.item_count,
        time_limit_s=chunk.time_limit,
        checkpoint=_artifact(chunk.checkpoint_algorithm)
        if chunk.checkpoint_algorithm and is_custom
        else None,
        skip=skip,
        retry=retry,
        write_skip=chunk.write_skip,
    )


def _exceptions(exceptions: ExceptionsElement | None) -> dict[str, Any]:
    if exceptions is None:
        return {}
    return _without_nothing(
        exceptions=[one.text for one in exceptions.include],
        exclude=[one.text for one in exceptions.exclude],
    )


def _partition(partition: PartitionElement) -> dict[str, Any]:
    plan = partition.plan
    return _without_nothing(
        partitions=plan.partitions if plan and not _is_list(plan) else None,
        plan=_plan(plan) if plan else None,
        mapper=partition.mapper and _artifact(partition.mapper),
        workers=partition.threads,
        executor=partition.executor,
        tolerated_failures=partition.tolerated_failures,
        override=partition.override,
        replan_on_restart=partition.replan_on_restart,
        collector=partition.collector and _artifact(partition.collector),
        analyzer=partition.analyzer and _artifact(partition.analyzer),
        reducer=partition.reducer and _artifact(partition.reducer),
    )


def _plan(plan: PlanElement) -> Any:
    entries = [
        (one.partition.text, _data(one.value) if one.value else _properties(one.properties))
        for one in plan.entries
    ]
    return [value for _, value in entries] if _is_list(plan) else dict(entries)


def _is_list(plan: PlanElement) -> bool:
    """Whether the entries are all there, in their order: then a list says it."""
    numbers = [entry.partition.text for entry in plan.entries]
    count = plan.partitions.text if plan.partitions else str(len(numbers))
    return bool(numbers) and [*map(str, range(len(numbers))), count] == [
        *numbers,
        str(len(numbers)),
    ]


# --- artifacts, properties, parameters ----------------------------------------------------------


def _artifact(artifact: ArtifactElement) -> Any:
    if not artifact.properties:
        return artifact.ref.text
    return {"ref": artifact.ref.text, "properties": _properties(artifact.properties)}


def _properties(properties: Properties) -> dict[str, Any]:
    return {one.name.text: _data(one.value) for one in properties}


def _data(value: Text) -> Any:
    """Lists and mappings, which the reader stores as JSON, as themselves."""
    if value.text[:1] in ("[", "{"):
        try:
            data = _as_text(msgspec.json.decode(value.text))
        except msgspec.DecodeError:
            return value.text
        if msgspec.json.encode(data).decode() == value.text:
            return data
    return value.text


def _as_text(value: Any) -> Any:
    match value:
        case dict():
            return {str(key): _as_text(inner) for key, inner in value.items()}
        case list():
            return [_as_text(inner) for inner in value]
        case bool():
            return "true" if value else "false"
        case None:
            return None
        case _:
            return str(value)


def _parameter(parameter: ParameterElement) -> Any:
    more = _without_nothing(
        identifying=parameter.identifying, description=parameter.description or None
    )
    if parameter.default is not None:
        more = {"default": _data(parameter.default), **more}
    elif parameter.optional:
        more = {"default": None, **more}
    return {"type": parameter.type.text, **more} if more else parameter.type.text
