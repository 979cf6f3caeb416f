"""A job file as it is written: text that is not substituted yet, each with its line.

The one model of both readers, ``xml_reader.py`` and ``yaml_reader.py``. It holds whatever a
document says, right or wrong; ``build.py`` finds the faults. Two models are equal when their texts
are, wherever they stand.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, TypeAlias


@dataclass(frozen=True)
class Text:
    """An attribute's value, and the line where it stands."""

    text: str
    line: int = field(default=0, compare=False)


@dataclass(frozen=True)
class PropertyElement:
    """One property of a list; name and value may hold expressions (S81)."""

    name: Text
    value: Text


Properties: TypeAlias = tuple[PropertyElement, ...]


@dataclass(frozen=True)
class ArtifactElement:
    """Whatever has a ``ref``: batchlet, reader, listener, decider, mapper and so on."""

    ref: Text
    properties: Properties = ()

    @property
    def line(self) -> int:
        """Where it stands."""
        return self.ref.line


@dataclass(frozen=True)
class TransitionElement:
    """``next``, ``end``, ``stop`` or ``fail`` with its ``on``."""

    kind: Literal["next", "end", "stop", "fail"]
    on: Text
    to: Text | None = None
    exit_status: Text | None = None
    restart: Text | None = None


@dataclass(frozen=True)
class ExceptionsElement:
    """A list of exception classes, included and excluded (S182)."""

    include: tuple[Text, ...] = ()
    exclude: tuple[Text, ...] = ()
    line: int = field(default=0, compare=False)


@dataclass(frozen=True)
class ChunkElement:
    """The chunk of a step. Several processors are called one after the other (YAML)."""

    reader: ArtifactElement | None = None
    processors: tuple[ArtifactElement, ...] = ()
    writer: ArtifactElement | None = None
    checkpoint_policy: Text | None = None
    checkpoint_algorithm: ArtifactElement | None = None
    item_count: Text | None = None
    time_limit: Text | None = None
    skippable: ExceptionsElement | None = None
    skip_limit: Text | None = None
    retryable: ExceptionsElement | None = None
    retry_limit: Text | None = None
    retry_backoff: Text | None = None
    no_rollback: ExceptionsElement | None = None
    write_skip: Text | None = None
    line: int = field(default=0, compare=False)


@dataclass(frozen=True)
class PlanEntry:
    """What one partition gets: properties, or (YAML) one value as its input."""

    partition: Text
    properties: Properties = ()
    value: Text | None = None


@dataclass(frozen=True)
class PlanElement:
    """A static partition plan."""

    partitions: Text | None = None
    entries: tuple[PlanEntry, ...] = ()
    line: int = field(default=0, compare=False)


@dataclass(frozen=True)
class PartitionElement:
    """What makes a step a partitioned one."""

    plan: PlanElement | None = None
    mapper: ArtifactElement | None = None
    threads: Text | None = None
    executor: Text | None = None
    tolerated_failures: Text | None = None
    override: Text | None = None
    replan_on_restart: Text | None = None
    collector: ArtifactElement | None = None
    analyzer: ArtifactElement | None = None
    reducer: ArtifactElement | None = None
    line: int = field(default=0, compare=False)


@dataclass(frozen=True)
class StepElement:
    """A step; with both or neither of tasklet and chunk it is faulty."""

    id: Text
    next: Text | None = None
    start_limit: Text | None = None
    allow_start_if_complete: Text | None = None
    properties: Properties = ()
    listeners: tuple[ArtifactElement, ...] = ()
    tasklet: ArtifactElement | None = None
    chunk: ChunkElement | None = None
    partition: PartitionElement | None = None
    transitions: tuple[TransitionElement, ...] = ()


@dataclass(frozen=True)
class FlowElement:
    """A flow and what it holds."""

    id: Text
    elements: tuple[Element, ...] = ()
    next: Text | None = None
    transitions: tuple[TransitionElement, ...] = ()


@dataclass(frozen=True)
class SplitElement:
    """A split and its flows."""

    id: Text
    flows: tuple[FlowElement, ...] = ()
    next: Text | None = None


@dataclass(frozen=True)
class DecisionElement:
    """A decision and its decider."""

    id: Text
    decider: ArtifactElement
    transitions: tuple[TransitionElement, ...] = ()


Element: TypeAlias = StepElement | FlowElement | SplitElement | DecisionElement


@dataclass(frozen=True)
class ParameterElement:
    """A typed job parameter (YAML).

    Attributes:
        type: ``date``, ``list[int]``, … as ``parameters.py`` knows them.
        default: Text, or JSON for a list or an object; None when there is none.
        optional: The default is None.
    """

    name: Text
    type: Text
    default: Text | None = None
    optional: bool = False
    identifying: Text | None = None
    description: str = ""


@dataclass(frozen=True)
class JobElement:
    """The root.

    Attributes:
        language: The front end, for what differs between them (section 2).
        parameters: None: any name is taken, as text; a Text names a Parameters class.
        resources, pool: Each may hold several, with commas between, when it is the only one (XML).
    """

    id: Text
    language: Literal["xml", "yaml"]
    description: str = ""
    restartable: Text | None = None
    identity: Text | None = None
    run_lock: Text | None = None
    resources: tuple[Text, ...] = ()
    pool: tuple[Text, ...] = ()
    implied_next: Text | None = None
    parameters: tuple[ParameterElement, ...] | Text | None = None
    properties: Properties = ()
    listeners: tuple[ArtifactElement, ...] = ()
    elements: tuple[Element, ...] = ()
