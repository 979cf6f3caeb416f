"""Any job as the model of job files, so that it can be written as YAML, whatever its origin."""

from __future__ import annotations

import builtins
import types
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Union, get_args, get_origin

import msgspec
from pydantic import TypeAdapter
from pydantic_core import to_json

from stepwell.job.artifact import ArtifactFactory, ArtifactRegistry
from stepwell.job.flow import Decision, Flow, Split, Transition
from stepwell.job.function import input_annotation
from stepwell.job.importable import NotImportable
from stepwell.job.job import Job
from stepwell.job.parameters import Parameters
from stepwell.job.policy import ExceptionFilter, Retry, Skip
from stepwell.job.step import ChunkStep, PartitionedStep, TaskletStep
from stepwell.jsl.build_chunk import WaitingChunk
from stepwell.jsl.model import (
    ArtifactElement,
    ChunkElement,
    DecisionElement,
    ExceptionsElement,
    FlowElement,
    JobElement,
    ParameterElement,
    PartitionElement,
    PlanElement,
    PlanEntry,
    SplitElement,
    StepElement,
    Text,
    TransitionElement,
)
from stepwell.jsl.parameters import NOT_IDENTIFYING, TYPES
from stepwell.jsl.show_artifact import (
    ShownArtifacts,
    properties_of,
    public_path,
    text_of_value,
)
from stepwell.jsl.yaml_text import yaml_data, yaml_of


@dataclass(frozen=True)
class ShownJob:
    """A job as a YAML job file.

    Attributes:
        document: What stands in it; every value is text, as the reader sees it.
        losses: What YAML cannot say of the job, a sentence each; without any, the file makes the
            same job.
    """

    document: Mapping[str, Any]
    losses: Sequence[str]

    @property
    def yaml(self) -> str:
        """The text of the file."""
        return yaml_of(self.document)


def show_job(job: Job, registry: ArtifactRegistry | None = None) -> ShownJob:
    """A Job value as a YAML job file: functions as ``module:name``, or as ``registry`` names them.

    A job file is better shown as it is written: ``JobFile.show``.
    """
    losses: list[str] = []
    document = job_document(job, registry or ArtifactRegistry(), losses)
    return ShownJob(yaml_data(document), tuple(dict.fromkeys(losses)))


def job_document(job: Job, registry: ArtifactRegistry, losses: list[str]) -> JobElement:
    """The document that would make a job like this one; ``losses`` gathers what it cannot say."""
    return _Show(job, ShownArtifacts(registry, losses), losses).document()


_PLAIN = Job("plain", steps=())


class _Show:
    def __init__(self, job: Job, artifacts: ShownArtifacts, losses: list[str]) -> None:
        self._job = job
        self._artifact = artifacts.element
        self._losses = losses

    def document(self) -> JobElement:
        job = self._job
        for name in ("timeout_s", "attempts", "backoff", "on_completion", "evidence"):
            if getattr(job, name) != getattr(_PLAIN, name):
                self._losses.append(f"{name} of the job")
        return JobElement(
            id=Text(job.name),
            language="yaml",
            description=job.description,
            restartable=None if job.restartable else Text("false"),
            identity=_unless(job.identity, "parameters"),
            run_lock=_unless(job.run_lock or "none", "parameters"),
            resources=self._declared(job.resources, "resources"),
            pool=self._declared(job.pool, "pool"),
            implied_next=None if job.implied_next else Text("false"),
            parameters=None if job.parameters is None else self._parameters(job.parameters),
            properties=properties_of(job.properties),
            listeners=self._artifacts(job.listeners, "job listener of the job"),
            elements=tuple(self._element(element) for element in job.steps),
        )

    def _declared(self, declared: Any, what: str) -> tuple[Text, ...]:
        if callable(declared):
            self._losses.append(f"{what}: a function of the parameters")
            return ()
        if declared is None or isinstance(declared, str) or not isinstance(declared, Iterable):
            return () if declared is None else (Text(str(declared)),)
        return tuple(Text(str(one)) for one in declared)

    # --- flow, split, decision, step ----------------------------------------------------------

    def _element(self, element: Any) -> Any:
        match element:
            case Flow():
                return self._flow(element)
            case Split():
                flows = tuple(self._flow(flow) for flow in element.flows)
                return SplitElement(Text(element.name), flows, _text(element.next))
            case Decision():
                decider = self._artifact(element.decide, f"decider of decision {element.name!r}")
                transitions = _transitions(element.transitions)
                return DecisionElement(Text(element.name), decider, transitions)
        return self._step(element)

    def _flow(self, flow: Flow) -> FlowElement:
        if flow.implied_next is not self._job.implied_next:
            self._losses.append(f"flow {flow.name!r}: an implied_next that is not the job's")
        return FlowElement(
            Text(flow.name),
            tuple(self._element(element) for element in flow.elements),
            _text(flow.next),
            _transitions(flow.transitions),
        )

    def _step(self, step: Any) -> StepElement:
        what = f"step {step.name!r}"
        run = step.run if isinstance(step, PartitionedStep) else step
        tasklet, chunk = None, None
        if isinstance(run, ChunkStep):
            chunk = self._chunk(run, what)
            if run is not step and (run.listeners or run.properties):
                self._losses.append(f"{what}: listeners and properties of the ChunkStep inside")
        elif isinstance(run, WaitingChunk):
            chunk = run.chunk
        else:
            function = run.function if isinstance(run, TaskletStep) else run
            tasklet = self._artifact(function, f"tasklet of {what}")
        if step.timeout_s is not None:
            self._losses.append(f"{what}: timeout_s = {step.timeout_s:g}")
        return StepElement(
            id=Text(step.name),
            next=_text(step.next),
            start_limit=Text(str(step.start_limit)) if step.start_limit else None,
            allow_start_if_complete=Text("true") if step.allow_start_if_complete else None,
            properties=properties_of(step.properties),
            listeners=self._artifacts(step.listeners, f"step listener of {what}"),
            tasklet=tasklet,
            chunk=chunk,
            partition=self._partition(step, what) if isinstance(step, PartitionedStep) else None,
            transitions=_transitions(step.transitions),
        )

    def _chunk(self, step: ChunkStep[Any, Any], what: str) -> ChunkElement:
        parts: Any = step.processor
        if not isinstance(parts, (list, tuple)):
            parts = [] if parts is None else [parts]
        algorithm = None
        if step.checkpoint is not None:
            algorithm = self._artifact(step.checkpoint, f"checkpoint algorithm of {what}")
        skip, retry = step.skip, step.retry
        no_rollback = retry.no_rollback if retry else None
        return ChunkElement(
            reader=self._artifact(step.reader, f"reader of {what}"),
            processors=self._artifacts(parts, f"processor of {what}"),
            writer=self._artifact(step.writer, f"writer of {what}"),
            checkpoint_policy=Text("custom") if algorithm else None,
            checkpoint_algorithm=algorithm,
            item_count=Text(str(step.chunk_size)),
            time_limit=_text(step.time_limit_s),
            skippable=self._exceptions(skip, f"{what}: skip"),
            skip_limit=None if skip is None else _text(skip.limit),
            retryable=self._exceptions(retry, f"{what}: retry"),
            retry_limit=None if retry is None else _text(retry.limit),
            retry_backoff=self._backoff(retry, what),
            no_rollback=self._exceptions(no_rollback, f"{what}: no rollback")
            if no_rollback and no_rollback.include
            else None,
            write_skip=_unless(step.write_skip, "item"),
        )

    def _exceptions(self, classes: ExceptionFilter | None, what: str) -> ExceptionsElement | None:
        if classes is None:
            return None

        def named(one: type[BaseException]) -> Text:
            if getattr(builtins, one.__name__, None) is one:
                return Text(one.__name__)
            return self._artifact(one, what).ref

        return ExceptionsElement(
            tuple(map(named, classes.include)), tuple(map(named, classes.exclude))
        )

    def _backoff(self, retry: Skip | Retry | None, what: str) -> Text | None:
        backoff = getattr(retry, "backoff", None)
        if callable(backoff):
            self._losses.append(f"{what}: retry: a function as backoff")
            return None
        return Text(str(backoff)) if backoff else None

    # --- partition ----------------------------------------------------------------------------

    def _partition(self, step: PartitionedStep, what: str) -> PartitionElement:
        made: Any = step.partitions
        is_mapper = isinstance(made, ArtifactFactory) or callable(made)
        is_mapper = is_mapper or hasattr(made, "map_partitions")
        executor = step.executor
        if not isinstance(executor, str):
            self._losses.append(f"{what}: the executor {type(executor).__name__}")
            executor = "threads"

        def artifact(one: Any, role: str) -> ArtifactElement | None:
            return None if one is None else self._artifact(one, f"{role} of {what}")

        return PartitionElement(
            plan=None if is_mapper else self._plan(made, step.run, what),
            mapper=artifact(made, "mapper") if is_mapper else None,
            threads=Text(str(step.workers)) if step.workers else None,
            executor=_unless(executor, "threads"),
            tolerated_failures=_text(step.tolerated_failures or None),
            override=Text("true") if step.partition_override else None,
            replan_on_restart=Text("true") if step.replan_on_restart else None,
            collector=artifact(step.collector, "collector"),
            analyzer=artifact(step.analyzer, "analyzer"),
            reducer=artifact(step.reducer, "reducer"),
        )

    def _plan(self, partitions: Any, run: Any, what: str) -> PlanElement:
        if isinstance(partitions, Mapping):
            self._losses.append(f"{what}: the names of its partitions")
        values = list(partitions.values() if isinstance(partitions, Mapping) else partitions)
        is_function = callable(run) and not isinstance(run, ArtifactFactory)
        entries, is_said = [], True
        for number, value in enumerate(values):
            index = Text(str(number))
            if isinstance(value, Mapping) and all(isinstance(v, str) for v in value.values()):
                entries.append(PlanEntry(index, properties_of(value)))
                continue
            text = text_of_value(value)
            is_said = is_said and text is not None
            is_said = is_said and (not is_function or _is_same_input(run, value, text))
            entries.append(PlanEntry(index, value=Text(text or "")))
        if not is_said:
            self._losses.append(f"{what}: inputs of partitions that are no text")
        return PlanElement(Text(str(len(values))), tuple(entries))

    # --- artifacts, parameters ----------------------------------------------------------------

    def _artifacts(self, artifacts: Sequence[Any], what: str) -> tuple[ArtifactElement, ...]:
        return tuple(self._artifact(one, what) for one in artifacts)

    def _parameters(self, model: type[Parameters]) -> tuple[ParameterElement, ...] | Text:
        try:
            return Text(public_path(model))
        except NotImportable as error:
            self._losses.append(f"parameters: the validators of their model, as {error}")
            fields = model.model_fields.items()
            return tuple(self._parameter(name, field) for name, field in fields)

    def _parameter(self, name: str, field: Any) -> ParameterElement:
        default: Text | None = None
        optional = False
        if not field.is_required():
            value = field.get_default(call_default_factory=True)
            optional = value is None
            if isinstance(value, (list, tuple, dict, set)):
                default = Text(msgspec.json.encode(value, enc_hook=str).decode())
            elif value is not None:
                default = Text(text_of_value(value) or str(value))
        identifying = not any(isinstance(one, type(NOT_IDENTIFYING)) for one in field.metadata)
        return ParameterElement(
            Text(name),
            Text(_type_name(field.annotation, optional=optional)),
            default,
            optional,
            None if identifying else Text("false"),
            field.description or "",
        )


def _is_same_input(run: Any, value: Any, text: str | None) -> bool:
    """Whether the function would get the same for the text as for the value (S195)."""
    decode = TypeAdapter(input_annotation(run)).validate_json
    try:
        return bool(decode(to_json(text)) == decode(to_json(value)))
    except ValueError:
        return False


def _transitions(transitions: Sequence[Transition]) -> tuple[TransitionElement, ...]:
    return tuple(
        TransitionElement(
            one.kind, Text(one.pattern), _text(one.to), _text(one.exit_status), _text(one.restart)
        )
        for one in transitions
    )


def _text(value: Any) -> Text | None:
    return None if value is None else Text(str(value))


def _unless(value: str, default: str) -> Text | None:
    return None if value == default else Text(value)


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
    if isinstance(annotation, type):
        return f"{annotation.__module__}:{annotation.__qualname__}"
    return str(annotation)
