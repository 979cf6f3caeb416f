"""A job file, substituted, as a Job value; every fault on the way (S183)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from stepwell.execution.parameters import render_parameter
from stepwell.job.artifact import ArtifactRegistry
from stepwell.job.flow import Decision, Flow, Split, Transition
from stepwell.job.job import Job
from stepwell.job.parameters import Parameters
from stepwell.job.step import TaskletStep
from stepwell.jsl.artifact import DECIDER, JOB_LISTENER, STEP_LISTENER, TASKLET
from stepwell.jsl.build_chunk import build_chunk
from stepwell.jsl.build_partition import build_partition
from stepwell.jsl.expression import Template
from stepwell.jsl.fault import Faults
from stepwell.jsl.model import (
    DecisionElement,
    Element,
    FlowElement,
    JobElement,
    SplitElement,
    StepElement,
    Text,
    TransitionElement,
)
from stepwell.jsl.parameters import build_parameters
from stepwell.jsl.reading import Reading
from stepwell.jsl.structure import check_structure
from stepwell.jsl.surroundings import Surroundings, complete


@dataclass(frozen=True)
class Given:
    """What a start gives to a job file.

    Attributes:
        parameters: As text, those of this start or restart alone; None when the file is only
            looked at.
        system_properties: What the host supplies.
        artifacts: The short names.
    """

    parameters: Mapping[str, str] | None
    system_properties: Mapping[str, str]
    artifacts: ArtifactRegistry


def build_job(
    document: JobElement, given: Given, model: type[Parameters] | None, faults: Faults
) -> Job:
    """The job; with errors among ``faults`` it is only good to be shown."""
    surroundings = Surroundings(
        parameters=_known_parameters(given, model),
        any_parameter=given.parameters is None,
        system_properties=given.system_properties,
    )
    reading = Reading(surroundings, given.artifacts, faults, document.language)
    inside, properties = reading.within(document.properties, "the job")
    is_xml = document.language == "xml"
    implied_next = inside.boolean(document.implied_next, "implied_next")
    inside = replace(inside, implied_next=not is_xml if implied_next is None else implied_next)
    job = Job(
        document.id.text,
        steps=[_element(element, inside) for element in document.elements],
        parameters=model,
        identity=inside.one_of(document.identity, "identity", ("parameters", "each-start"))
        or ("each-start" if is_xml else "parameters"),
        run_lock=_run_lock(document, inside),
        resources=_listed(document.resources, "resources", inside),
        pool=_listed(document.pool, "pool", inside),
        restartable=inside.boolean(document.restartable, "restartable") is not False,
        listeners=[inside.artifact(one, JOB_LISTENER, "the job") for one in document.listeners],
        properties=_shown(properties),
        implied_next=inside.implied_next,
        description=document.description,
    )
    check_structure(document, job, faults)
    return job


def job_parameters(
    document: JobElement, artifacts: ArtifactRegistry, faults: Faults
) -> type[Parameters] | None:
    """The model of a job's parameters; None when it takes any name."""
    return build_parameters(document.id.text, document.parameters, artifacts, faults)


def _run_lock(document: JobElement, reading: Reading) -> Literal["parameters", "job"] | None:
    if document.run_lock is None:
        return None if document.language == "xml" else "parameters"
    words: tuple[Literal["parameters", "job", "none"], ...] = ("parameters", "job", "none")
    word = reading.one_of(document.run_lock, "run_lock", words)
    return None if word == "none" else word


def _listed(texts: tuple[Text, ...], what: str, reading: Reading) -> list[str] | None:
    """What a job declares; in XML one property holds it all, with commas between (S197)."""
    known = [text for one in texts if (text := reading.text(one, what))]
    if reading.language == "xml":
        known = [part.strip() for text in known for part in text.split(",") if part.strip()]
    return known or None


def _known_parameters(given: Given, model: type[Parameters] | None) -> Mapping[str, str]:
    if given.parameters is not None:
        return given.parameters
    return default_texts(model) if model is not None else {}


def default_texts(model: type[Parameters]) -> dict[str, str]:
    """The defaults of a model, as text, for a check without parameters."""
    texts: dict[str, str] = {}
    for name, field in model.model_fields.items():
        if not field.is_required() and field.default_factory is None:
            text = render_parameter(name, field.default).value or ""
            texts |= {name: text, field.alias or name: text}
    return texts


def _shown(properties: Mapping[str, Template]) -> dict[str, str]:
    """Properties for a context; what waits for a partition is as if undefined there."""
    return {name: complete(value, None) for name, value in properties.items()}


# --- elements -----------------------------------------------------------------------------------


def _element(element: Element, reading: Reading) -> Any:
    match element:
        case StepElement():
            return _step(element, reading)
        case FlowElement():
            return _flow(element, reading)
        case SplitElement():
            name = element.id.text
            flows = [_flow(flow, reading) for flow in element.flows]
            return Split(name, flows, reading.text(element.next, f"split {name!r}: next"))
        case DecisionElement():
            name = element.id.text
            what = f"decision {name!r}"
            decider = reading.artifact(element.decider, DECIDER, what)
            inside, _ = reading.within(element.decider.properties, what)
            return Decision(name, decider, _transitions(element.transitions, inside, what))


def _flow(flow: FlowElement, reading: Reading) -> Flow:
    what = f"flow {flow.id.text!r}"
    return Flow(
        flow.id.text,
        [_element(element, reading) for element in flow.elements],
        _transitions(flow.transitions, reading, what),
        reading.text(flow.next, f"{what}: next"),
        implied_next=reading.implied_next,
    )


def _step(step: StepElement, reading: Reading) -> Any:
    name = step.id.text
    what = f"step {name!r}"
    there = reading.with_partitions() if step.partition is not None else reading
    inside, properties = there.within(step.properties, what)
    # The main thread sees the same properties, but no partition.
    main = inside if step.partition is None else _without_partitions(inside)
    start_limit = reading.named("start-limit", "start_limit")
    again = reading.named("allow-start-if-complete", "allow_start_if_complete")
    of_the_step: dict[str, Any] = {
        "transitions": _transitions(step.transitions, main, what),
        "next": main.text(step.next, f"{what}: next"),
        "start_limit": main.whole_number(step.start_limit, f"{what}: {start_limit}", at_least=0)
        or 0,
        "allow_start_if_complete": main.boolean(step.allow_start_if_complete, f"{what}: {again}")
        or False,
        "listeners": [inside.artifact(one, STEP_LISTENER, what) for one in step.listeners],
        "properties": _shown(properties),
    }
    # With both of them, which is a fault, the faults of both are told.
    tasklet = inside.artifact(step.tasklet, TASKLET, what) if step.tasklet else None
    chunk = None
    if step.chunk is not None and step.partition is None:
        chunk = build_chunk(step.chunk, name, inside, **of_the_step)
    if step.partition is not None:
        return build_partition(step, step.partition, tasklet, main, **of_the_step)
    return chunk or TaskletStep(name, tasklet, **of_the_step)


def _without_partitions(reading: Reading) -> Reading:
    return replace(reading, surroundings=replace(reading.surroundings, partitions_here=False))


def _transitions(
    elements: tuple[TransitionElement, ...], reading: Reading, of: str
) -> list[Transition]:
    return [_transition(element, reading, of) for element in elements]


def _transition(element: TransitionElement, reading: Reading, of: str) -> Transition:
    what = f"{of}: {element.kind}"
    pattern = reading.text(element.on, f"{what} on")
    exit_status = reading.text(
        element.exit_status, f"{what} {reading.named('exit-status', 'exit_status')}"
    )
    return Transition(
        element.on.text if pattern is None else pattern,
        element.kind,
        to=reading.text(element.to, f"{what} to"),
        exit_status=exit_status or None,  # "" is as if it were not there (S84).
        restart=reading.text(element.restart, f"{what} restart"),
    )
