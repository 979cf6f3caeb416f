"""Read a Jakarta Batch document (section 15) into the model of job files."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, cast

from stepwell.jsl.fault import Faults, did_you_mean
from stepwell.jsl.model import (
    ArtifactElement,
    ChunkElement,
    DecisionElement,
    Element,
    ExceptionsElement,
    FlowElement,
    JobElement,
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
from stepwell.jsl.xml_order import check_order
from stepwell.jsl.xml_tree import Node, read_tree

JAKARTA = "https://jakarta.ee/xml/ns/jakartaee"
JCP = "http://xmlns.jcp.org/xml/ns/javaee"
VERSIONS = {JAKARTA: "2.0", JCP: "1.0"}

ENGINE_PREFIX = "stepwell."  # Of the engine's own keys among the properties (S76).
JOB_KEYS = ("description", "identity", "run_lock", "resources", "pool", "parameters")
STEP_KEYS = (
    "executor",
    "tolerated_failures",
    "partition_override",
    "retry_backoff_s",
    "write_skip",
)


def read_xml(document: bytes, faults: Faults) -> JobElement | None:
    """The job that a document describes, as far as it can be read."""
    root = read_tree(document, faults)
    if root is None:
        return None
    _check_namespace(root, faults)
    check_order(root, faults)
    if root.tag != "job":
        return None
    return _job(root, faults)


def _check_namespace(root: Node, faults: Faults) -> None:
    if root.namespace not in VERSIONS:
        faults.error(
            root.line,
            f"the namespace must be {JAKARTA!r}, got {root.namespace!r}",
            f'write `<job xmlns="{JAKARTA}" version="2.0" …>`; {JCP!r} is accepted too',
        )
        return
    version, expected = root.attributes.get("version"), VERSIONS[root.namespace]
    if version != expected:
        faults.warn(
            root.line,
            f"version must be {expected!r}, got {version!r}",
            "the document is read all the same, by the rules of 2.0",
        )


# --- job, flow, split, decision, step -----------------------------------------------------------


def _job(node: Node, faults: Faults) -> JobElement:
    properties, keys = _own_keys(_properties(node), JOB_KEYS, faults)
    return JobElement(
        id=_id(node),
        language="xml",
        description=keys["description"].text if "description" in keys else "",
        restartable=_text(node, "restartable"),
        identity=keys.get("identity"),
        run_lock=keys.get("run_lock"),
        resources=_if_any(keys.get("resources")),
        pool=_if_any(keys.get("pool")),
        parameters=keys.get("parameters"),
        properties=properties,
        listeners=_listeners(node),
        elements=_elements(node, faults),
    )


def _elements(node: Node, faults: Faults) -> tuple[Element, ...]:
    read: dict[str, Any] = {
        "step": lambda child: _step(child, faults),
        "flow": lambda child: _flow(child, faults),
        "split": lambda child: _split(child, faults),
        "decision": _decision,
    }
    return tuple(read[child.tag](child) for child in node.children if child.tag in read)


def _flow(node: Node, faults: Faults) -> FlowElement:
    return FlowElement(
        id=_id(node),
        elements=_elements(node, faults),
        next=_text(node, "next"),
        transitions=_transitions(node),
    )


def _split(node: Node, faults: Faults) -> SplitElement:
    flows = tuple(_flow(child, faults) for child in _all(node, "flow"))
    return SplitElement(id=_id(node), flows=flows, next=_text(node, "next"))


def _decision(node: Node) -> DecisionElement:
    return DecisionElement(_id(node), _as_artifact(node), _transitions(node))


def _step(node: Node, faults: Faults) -> StepElement:
    properties, keys = _own_keys(_properties(node), STEP_KEYS, faults)
    return StepElement(
        id=_id(node),
        next=_text(node, "next"),
        start_limit=_text(node, "start-limit"),
        allow_start_if_complete=_text(node, "allow-start-if-complete"),
        properties=properties,
        listeners=_listeners(node),
        tasklet=_artifact(node, "batchlet"),
        chunk=_chunk(node, keys, faults),
        partition=_partition(node, keys, faults),
        transitions=_transitions(node),
    )


def _transitions(node: Node) -> tuple[TransitionElement, ...]:
    return tuple(
        TransitionElement(
            kind=cast(Any, child.tag),
            on=_text(child, "on") or Text("", child.line),
            to=_text(child, "to"),
            exit_status=_text(child, "exit-status"),
            restart=_text(child, "restart"),
        )
        for child in node.children
        if child.tag in ("next", "end", "stop", "fail")
    )


# --- chunk and partition ------------------------------------------------------------------------


def _chunk(step: Node, keys: dict[str, Text], faults: Faults) -> ChunkElement | None:
    node = _first(step, "chunk")
    if node is None:
        _refuse_keys(("retry_backoff_s", "write_skip"), keys, "chunk", faults)
        return None
    processor = _artifact(node, "processor")
    return ChunkElement(
        reader=_artifact(node, "reader"),
        processors=(processor,) if processor else (),
        writer=_artifact(node, "writer"),
        checkpoint_policy=_text(node, "checkpoint-policy"),
        checkpoint_algorithm=_artifact(node, "checkpoint-algorithm"),
        item_count=_text(node, "item-count"),
        time_limit=_text(node, "time-limit"),
        skippable=_exceptions(node, "skippable-exception-classes"),
        skip_limit=_text(node, "skip-limit"),
        retryable=_exceptions(node, "retryable-exception-classes"),
        retry_limit=_text(node, "retry-limit"),
        retry_backoff=keys.get("retry_backoff_s"),
        no_rollback=_exceptions(node, "no-rollback-exception-classes"),
        write_skip=keys.get("write_skip"),
        line=node.line,
    )


def _exceptions(chunk: Node, tag: str) -> ExceptionsElement | None:
    node = _first(chunk, tag)
    if node is None:
        return None

    def classes(kind: str) -> Iterable[Text]:
        return (Text(child.attributes.get("class", ""), child.line) for child in _all(node, kind))

    return ExceptionsElement(tuple(classes("include")), tuple(classes("exclude")), node.line)


def _partition(step: Node, keys: dict[str, Text], faults: Faults) -> PartitionElement | None:
    node = _first(step, "partition")
    if node is None:
        names = ("executor", "tolerated_failures", "partition_override")
        _refuse_keys(names, keys, "partition", faults)
        return None
    plan = _first(node, "plan")
    return PartitionElement(
        plan=_plan(plan) if plan else None,
        mapper=_artifact(node, "mapper"),
        threads=_text(plan, "threads") if plan else None,
        executor=keys.get("executor"),
        tolerated_failures=keys.get("tolerated_failures"),
        override=keys.get("partition_override"),
        collector=_artifact(node, "collector"),
        analyzer=_artifact(node, "analyzer"),
        reducer=_artifact(node, "reducer"),
        line=node.line,
    )


def _plan(node: Node) -> PlanElement:
    return PlanElement(
        partitions=_text(node, "partitions"),
        entries=tuple(
            PlanEntry(_text(child, "partition") or Text("", child.line), _property_list(child))
            for child in _all(node, "properties")
        ),
        line=node.line,
    )


# --- artifacts and properties -------------------------------------------------------------------


def _listeners(node: Node) -> tuple[ArtifactElement, ...]:
    listeners = _first(node, "listeners")
    return tuple(_as_artifact(child) for child in _all(listeners, "listener")) if listeners else ()


def _artifact(node: Node, tag: str) -> ArtifactElement | None:
    child = _first(node, tag)
    return None if child is None else _as_artifact(child)


def _as_artifact(node: Node) -> ArtifactElement:
    return ArtifactElement(_text(node, "ref") or Text("", node.line), _properties(node))


def _properties(node: Node) -> Properties:
    child = _first(node, "properties")
    return _property_list(child) if child else ()


def _property_list(node: Node) -> Properties:
    return tuple(
        PropertyElement(
            Text(child.attributes.get("name", ""), child.line),
            Text(child.attributes.get("value", ""), child.line),
        )
        for child in _all(node, "property")
    )


def _own_keys(
    properties: Properties, known: tuple[str, ...], faults: Faults
) -> tuple[Properties, dict[str, Text]]:
    """The user's properties, and the engine's keys among them without their prefix (S76)."""
    users: list[PropertyElement] = []
    keys: dict[str, Text] = {}
    for one in properties:
        if not one.name.text.startswith(ENGINE_PREFIX):
            users.append(one)
            continue
        name = one.name.text.removeprefix(ENGINE_PREFIX)
        if name in known:
            keys[name] = one.value
        else:
            meant = did_you_mean(name, known)
            faults.error(
                one.name.line,
                f"property {one.name.text!r} is unknown: {ENGINE_PREFIX!r} begins the engine's own",
                f"{meant} here there are {', '.join(ENGINE_PREFIX + k for k in known)}".strip(),
            )
    return tuple(users), keys


def _if_any(text: Text | None) -> tuple[Text, ...]:
    return () if text is None else (text,)


def _refuse_keys(names: tuple[str, ...], keys: dict[str, Text], tag: str, faults: Faults) -> None:
    for name in names:
        if name in keys:
            faults.error(
                keys[name].line,
                f"property '{ENGINE_PREFIX}{name}' is for a step with a <{tag}>",
                "remove the property",
            )


# --- the tree -----------------------------------------------------------------------------------


def _id(node: Node) -> Text:
    return _text(node, "id") or Text("", node.line)


def _text(node: Node, name: str) -> Text | None:
    value = node.attributes.get(name)
    return None if value is None else Text(value, node.line)


def _all(node: Node, tag: str) -> list[Node]:
    return [child for child in node.children if child.tag == tag]


def _first(node: Node, tag: str) -> Node | None:
    return next((child for child in node.children if child.tag == tag), None)
