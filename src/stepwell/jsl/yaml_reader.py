"""Read a YAML job file into the model of job files; ``docs/job-files.md`` describes the form."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import yaml

from stepwell.jsl.fault import Faults
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
from stepwell.jsl.yaml_tree import (
    Fields,
    data_of,
    is_null,
    items_of,
    line_of,
    read_nodes,
    text_of,
)

JOB_KEYS = (
    "job",
    "description",
    "identity",
    "run_lock",
    "resources",
    "pool",
    "restartable",
    "implied_next",
    "parameters",
    "properties",
    "listeners",
    "steps",
)
STEP_KEYS = (
    "step",
    "tasklet",
    "chunk",
    "partition",
    "next",
    "transitions",
    "start_limit",
    "allow_start_if_complete",
    "properties",
    "listeners",
)
FLOW_KEYS = ("flow", "steps", "next", "transitions")
SPLIT_KEYS = ("split", "flows", "next")
DECISION_KEYS = ("decision", "decider", "transitions")
CHUNK_KEYS = (
    "reader",
    "processor",
    "writer",
    "chunk_size",
    "time_limit_s",
    "checkpoint",
    "skip",
    "retry",
    "write_skip",
)
SKIP_KEYS = ("exceptions", "exclude", "limit")
RETRY_KEYS = (*SKIP_KEYS, "backoff_s", "no_rollback")
PARTITION_KEYS = (
    "partitions",
    "plan",
    "mapper",
    "workers",
    "executor",
    "tolerated_failures",
    "override",
    "replan_on_restart",
    "collector",
    "analyzer",
    "reducer",
)
PARAMETER_KEYS = ("type", "default", "identifying", "description")
TRANSITION_KEYS = ("on", "to", "end", "stop", "fail")


def read_yaml(document: bytes, faults: Faults) -> JobElement | None:
    """The job that a document describes, as far as it can be read."""
    root = read_nodes(document, faults)
    return None if root is None else _Reader(faults).job(root)


class _Reader:
    def __init__(self, faults: Faults) -> None:
        self._faults = faults

    # --- job, flow, split, decision, step -----------------------------------------------------

    def job(self, root: yaml.Node) -> JobElement:
        fields = Fields(root, "the job", JOB_KEYS, self._faults)
        description = fields.text("description")
        return JobElement(
            id=self._id(fields, "job"),
            language="yaml",
            description=description.text if description else "",
            restartable=fields.text("restartable"),
            identity=fields.text("identity"),
            run_lock=self._run_lock(fields),
            resources=self._texts(fields, "resources"),
            pool=self._texts(fields, "pool"),
            implied_next=fields.text("implied_next"),
            parameters=self._parameters(fields),
            properties=self._properties(fields),
            listeners=self._artifacts(fields, "listeners"),
            elements=self._elements(fields, "steps"),
        )

    def _run_lock(self, fields: Fields) -> Text | None:
        if fields.has("run_lock") and fields.node("run_lock") is None:
            return Text("none", fields.line)  # ``run_lock: null`` says it as Python does.
        return fields.text("run_lock")

    def _elements(self, fields: Fields, key: str) -> tuple[Element, ...]:
        read = (self._element(node) for node in items_of(fields.node(key), key, self._faults))
        return tuple(element for element in read if element is not None)

    def _element(self, node: yaml.Node) -> Element | None:
        kinds: dict[str, Callable[[yaml.Node], Element]] = {
            "step": self._step,
            "flow": self._flow,
            "split": self._split,
            "decision": self._decision,
        }
        keys = [str(key.value) for key, _ in node.value] if _is_mapping(node) else []
        for kind, read in kinds.items():
            if kind in keys:
                return read(node)
        self._faults.error(
            line_of(node),
            "an element must say what it is",
            "begin it with `step: NAME`, `flow: NAME`, `split: NAME` or `decision: NAME`",
        )
        return None

    def _id(self, fields: Fields, kind: str) -> Text:
        name = fields.text(kind)
        if name is None or not name.text:
            self._faults.error(fields.line, f"the {kind} must have a name", f"`{kind}: NAME`")
        return name or Text("", fields.line)

    def _step(self, node: yaml.Node) -> StepElement:
        fields = self._named(node, "step", STEP_KEYS)
        return StepElement(
            id=self._id(fields, "step"),
            next=fields.text("next"),
            start_limit=fields.text("start_limit"),
            allow_start_if_complete=fields.text("allow_start_if_complete"),
            properties=self._properties(fields),
            listeners=self._artifacts(fields, "listeners"),
            tasklet=self._artifact(fields, "tasklet"),
            chunk=self._chunk(fields),
            partition=self._partition(fields),
            transitions=self._transitions(fields),
        )

    def _flow(self, node: yaml.Node) -> FlowElement:
        fields = self._named(node, "flow", FLOW_KEYS)
        return FlowElement(
            id=self._id(fields, "flow"),
            elements=self._elements(fields, "steps"),
            next=fields.text("next"),
            transitions=self._transitions(fields),
        )

    def _split(self, node: yaml.Node) -> SplitElement:
        fields = self._named(node, "split", SPLIT_KEYS)
        nodes = items_of(fields.node("flows"), f"{fields.what}: flows", self._faults)
        flows = tuple(self._flow(child) for child in nodes)
        return SplitElement(id=self._id(fields, "split"), flows=flows, next=fields.text("next"))

    def _decision(self, node: yaml.Node) -> DecisionElement:
        fields = self._named(node, "decision", DECISION_KEYS)
        decider = self._artifact(fields, "decider")
        if decider is None:
            self._faults.error(fields.line, f"{fields.what} must have a decider")
        return DecisionElement(
            self._id(fields, "decision"),
            decider or ArtifactElement(Text("", fields.line)),
            self._transitions(fields),
        )

    def _named(self, node: yaml.Node, kind: str, known: tuple[str, ...]) -> Fields:
        """The keys of an element; faults in it name it."""
        name = ""
        if _is_mapping(node):
            name = next((repr(str(v.value)) for k, v in node.value if k.value == kind), "")
        return Fields(node, f"{kind} {name}".strip(), known, self._faults)

    def _transitions(self, fields: Fields) -> tuple[TransitionElement, ...]:
        what = f"a transition of {fields.what}"
        nodes = items_of(fields.node("transitions"), f"{fields.what}: transitions", self._faults)
        read = (self._transition(Fields(n, what, TRANSITION_KEYS, self._faults)) for n in nodes)
        return tuple(transition for transition in read if transition is not None)

    def _transition(self, fields: Fields) -> TransitionElement | None:
        on = fields.text("on")
        actions = [name for name in TRANSITION_KEYS[1:] if fields.has(name)]
        if on is None or len(actions) != 1:
            self._faults.error(
                fields.line,
                f"{fields.what} must have `on` and one of to, end, stop and fail",
                "`- {on: FAILED, to: mend}`, `- {on: WAIT, stop: {restart: report}}`",
            )
            return None
        action = actions[0]
        if action == "to":
            return TransitionElement("next", on, to=fields.text("to") or Text("", fields.line))
        kind: Any = action
        node = fields.node(action)
        if node is None or (isinstance(node, yaml.ScalarNode) and node.value == "true"):
            return TransitionElement(kind, on)
        known = ("exit_status", "restart") if action == "stop" else ("exit_status",)
        ending = Fields(node, f"{action} of {fields.what}", known, self._faults)
        return TransitionElement(
            kind, on, exit_status=ending.text("exit_status"), restart=ending.text("restart")
        )

    # --- chunk --------------------------------------------------------------------------------

    def _chunk(self, step: Fields) -> ChunkElement | None:
        fields = step.inside("chunk", CHUNK_KEYS)
        if fields is None:
            return None
        skip, retry = fields.inside("skip", SKIP_KEYS), fields.inside("retry", RETRY_KEYS)
        algorithm = self._artifact(fields, "checkpoint")
        return ChunkElement(
            reader=self._artifact(fields, "reader"),
            processors=self._artifacts(fields, "processor"),
            writer=self._artifact(fields, "writer"),
            checkpoint_policy=Text("custom", algorithm.line) if algorithm else None,
            checkpoint_algorithm=algorithm,
            item_count=fields.text("chunk_size"),
            time_limit=fields.text("time_limit_s"),
            skippable=None if skip is None else self._exceptions(skip),
            skip_limit=skip.text("limit") if skip else None,
            retryable=None if retry is None else self._exceptions(retry),
            retry_limit=retry.text("limit") if retry else None,
            retry_backoff=retry.text("backoff_s") if retry else None,
            no_rollback=self._no_rollback(retry) if retry else None,
            write_skip=fields.text("write_skip"),
            line=fields.line,
        )

    def _exceptions(self, policy: Fields) -> ExceptionsElement:
        include, exclude = self._texts(policy, "exceptions"), self._texts(policy, "exclude")
        return ExceptionsElement(include, exclude, policy.line)

    def _no_rollback(self, retry: Fields) -> ExceptionsElement | None:
        node = retry.node("no_rollback")
        if node is None:
            return None
        if not _is_mapping(node):
            return ExceptionsElement(self._texts(retry, "no_rollback"))
        inside = retry.inside("no_rollback", ("exceptions", "exclude"))
        return None if inside is None else self._exceptions(inside)

    def _texts(self, fields: Fields, key: str) -> tuple[Text, ...]:
        """One text, or a list of them."""
        node, what = fields.node(key), f"{fields.what}: {key}"
        if node is None:
            return ()
        nodes = [node] if isinstance(node, yaml.ScalarNode) else items_of(node, what, self._faults)
        texts = (text_of(child, what, self._faults) for child in nodes)
        return tuple(text for text in texts if text is not None)

    # --- partition ----------------------------------------------------------------------------

    def _partition(self, step: Fields) -> PartitionElement | None:
        fields = step.inside("partition", PARTITION_KEYS)
        if fields is None:
            return None
        return PartitionElement(
            plan=self._plan(fields),
            mapper=self._artifact(fields, "mapper"),
            threads=fields.text("workers"),
            executor=fields.text("executor"),
            tolerated_failures=fields.text("tolerated_failures"),
            override=fields.text("override"),
            replan_on_restart=fields.text("replan_on_restart"),
            collector=self._artifact(fields, "collector"),
            analyzer=self._artifact(fields, "analyzer"),
            reducer=self._artifact(fields, "reducer"),
            line=fields.line,
        )

    def _plan(self, fields: Fields) -> PlanElement | None:
        count, node = fields.text("partitions"), fields.node("plan")
        what = f"{fields.what}: plan"
        if node is None:
            return PlanElement(count, (), count.line) if count else None
        line = fields.line_of("plan")
        if _is_mapping(node):
            numbered = Fields(node, what, None, self._faults)
            entries = tuple(self._plan_entry(number, child) for number, child in numbered)
            return PlanElement(count, entries, line)
        nodes = items_of(node, what, self._faults)
        entries = tuple(
            self._plan_entry(Text(str(number), line_of(child)), child)
            for number, child in enumerate(nodes)
        )
        return PlanElement(count or Text(str(len(nodes)), line), entries, line)

    def _plan_entry(self, number: Text, node: yaml.Node) -> PlanEntry:
        if not _is_mapping(node):
            return PlanEntry(number, value=data_of(node, "a partition of a plan", self._faults))
        return PlanEntry(number, self._property_list(node, "a partition of a plan"))

    # --- artifacts, properties, parameters ----------------------------------------------------

    def _artifacts(self, fields: Fields, key: str) -> tuple[ArtifactElement, ...]:
        """One artifact, or a list of them."""
        node = fields.node(key)
        if node is None:
            return ()
        nodes = node.value if isinstance(node, yaml.SequenceNode) else [node]
        read = (self._as_artifact(child, f"{key} of {fields.what}") for child in nodes)
        return tuple(artifact for artifact in read if artifact is not None)

    def _artifact(self, fields: Fields, key: str) -> ArtifactElement | None:
        node = fields.node(key)
        return None if node is None else self._as_artifact(node, f"{key} of {fields.what}")

    def _as_artifact(self, node: yaml.Node, what: str) -> ArtifactElement | None:
        if _is_mapping(node):
            fields = Fields(node, what, ("ref", "properties"), self._faults)
            ref, properties = fields.text("ref"), self._properties(fields)
        else:
            ref, properties = text_of(node, what, self._faults), ()
            if ref is None:
                return None
        if ref is None or not ref.text or is_null(node):
            message = f"{what} must name an artifact"
            self._faults.error(line_of(node), message, "`package.module:name`, or `ref: …`")
            return ArtifactElement(Text("", line_of(node)), properties)
        return ArtifactElement(ref, properties)

    def _properties(self, fields: Fields) -> Properties:
        node = fields.node("properties")
        return () if node is None else self._property_list(node, f"properties of {fields.what}")

    def _property_list(self, node: yaml.Node, what: str) -> Properties:
        fields = Fields(node, what, None, self._faults)
        return tuple(
            PropertyElement(name, data_of(value, f"{what}: {name.text}", self._faults))
            for name, value in fields
        )

    def _parameters(self, fields: Fields) -> tuple[ParameterElement, ...] | Text | None:
        node = fields.node("parameters")
        if node is None:
            return () if fields.has("parameters") else None
        if isinstance(node, yaml.ScalarNode):
            return text_of(node, "parameters", self._faults)
        return tuple(
            self._parameter(name, child)
            for name, child in Fields(node, "parameters", None, self._faults)
        )

    def _parameter(self, name: Text, node: yaml.Node) -> ParameterElement:
        what = f"parameter {name.text!r}"
        if not _is_mapping(node):
            type_name = text_of(node, what, self._faults)
            return ParameterElement(name, type_name or Text("str", name.line))
        fields = Fields(node, what, PARAMETER_KEYS, self._faults)
        description, default = fields.text("description"), fields.node("default")
        return ParameterElement(
            name,
            fields.text("type") or Text("str", name.line),
            default=None if default is None else data_of(default, f"{what}: default", self._faults),
            optional=fields.has("default") and default is None,
            identifying=fields.text("identifying"),
            description=description.text if description else "",
        )


def _is_mapping(node: yaml.Node) -> bool:
    return isinstance(node, yaml.MappingNode)
