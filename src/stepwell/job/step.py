"""The three kinds of step that a job is made of, as values."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Generic, Literal, TypeAlias, TypeVar

from stepwell.job.chunk import CheckpointAlgorithm
from stepwell.job.flow import Transition
from stepwell.job.item import ItemProcessor, ItemReader, ItemWriter
from stepwell.job.partition import PartitionAnalyzer, PartitionCollector, PartitionReducer
from stepwell.job.policy import Retry, Skip

In = TypeVar("In")
Out = TypeVar("Out")

ExecutorName: TypeAlias = Literal["inline", "threads", "processes", "dask"]


class _Repeat:
    """The type of :data:`Repeat`."""

    def __repr__(self) -> str:
        return "Repeat"


# What a tasklet returns to be called again, after its context was committed (S135).
Repeat: Final = _Repeat()


@dataclass(frozen=True)
class TaskletStep:
    """A step that calls one function.

    >>> def tidy(step):
    ...     with step.transaction() as connection:
    ...         connection.execute("DELETE FROM basket WHERE age_days > :days", {"days": 30})

    Args:
        name: Unique in its job. A restart looks for it: a renamed step is a new step.
        function: ``function(step)`` or ``function()``; returns the exit status, None, or
            ``Repeat`` to be called again behind a commit (S135). Or an object with ``process()``
            and, to be told of a stop from another thread, ``stop()`` (S136).
        transitions: ``on("FAILED").to("mend")`` and the like, first match wins (S41).
        next: The element that follows when no transition matches.
        start_limit: How often the step may start in one instance; 0 is unlimited (S49).
        allow_start_if_complete: Run again on a restart although it is COMPLETED (S65).
        listeners: Step listeners (S78).
        properties: Text that ``step.properties`` shows (S76).
        timeout_s: After so many seconds of this step the execution is asked to stop (S186).
    """

    name: str
    function: Callable[..., Any] | Any
    transitions: Sequence[Transition] = ()
    next: str | None = None
    start_limit: int = 0
    allow_start_if_complete: bool = False
    listeners: Sequence[Any] = ()
    properties: Mapping[str, str] = field(default_factory=dict)
    timeout_s: float | None = None


@dataclass(frozen=True)
class ChunkStep(Generic[In, Out]):
    """A step that reads items one by one and writes them a chunk at a time.

    Each chunk is one transaction, the empty one at the end too (S97): what the writer wrote through
    the step's connection, the reader's checkpoint and the counters are committed together. After a
    crash the step goes on behind the last committed chunk. The items of the unfinished chunk are
    read again, so a processor may see an item twice; rows written through the connection are never
    doubled.
    A step holds no state of an execution; one object may serve several at once.

    >>> written: list[str] = []
    >>> load = ChunkStep("load", ["a", "b", "c"], str.upper, written.extend, chunk_size=2)

    Args:
        name: Unique in its job. A restart looks for it: a renamed step is a new step.
        reader: An ItemReader, or any iterable that yields the same items each time.
        processor: Called once an item; returning None counts the item as filtered. None, one
            function, or a list of them.
        writer: An ItemWriter, or ``writer(items)`` or ``writer(items, step)``.
        chunk_size: Items read a chunk, filtered ones included. A larger chunk commits less
            often and reads more again after a crash.
        time_limit_s: Seconds after which a chunk ends before it is full; None is no limit.
        checkpoint: A CheckpointAlgorithm that decides instead of size and time (S102).
        skip: The exceptions that leave an item out, and how many in one execution.
        retry: The exceptions that are worth another try.
        write_skip: What a skipped write loses: only items that fail alone, or the chunk (S130).
        timeout_s: After so many seconds of this step the execution is asked to stop (S186).

    A value out of its range is refused when a job starts, before anything is recorded: the
    ``JobStartError`` names the field and the value (S183).
    """

    name: str
    reader: ItemReader[In] | Iterable[In]
    processor: (
        ItemProcessor[In, Out] | Callable[[In], Out | None] | Sequence[Callable[[Any], Any]] | None
    )
    writer: ItemWriter[Out] | Callable[..., Any]
    chunk_size: int = 1_000
    time_limit_s: float | None = None
    checkpoint: CheckpointAlgorithm | Any | None = None
    skip: Skip | None = None
    retry: Retry | None = None
    write_skip: Literal["item", "chunk"] = "item"
    transitions: Sequence[Transition] = ()
    next: str | None = None
    start_limit: int = 0
    allow_start_if_complete: bool = False
    listeners: Sequence[Any] = ()
    properties: Mapping[str, str] = field(default_factory=dict)
    timeout_s: float | None = None


@dataclass(frozen=True)
class PartitionedStep:
    """A step whose work is a frozen plan of numbered partitions.

    The plan is stored before the first partition runs and a restart keeps it: only partitions
    without a SUCCESS or PARTIAL result run again (S156). Progress is counted from results that
    were returned and committed, so it is exact at every moment.

    >>> def days(parameters) -> list[date]: ...
    >>> def recalculate(day: date, step) -> PartitionResult: ...
    >>> step = PartitionedStep("recalculate", days, recalculate, workers=4)

    Args:
        name: Unique in its job. A restart looks for it: a renamed step is a new step.
        partitions: ``partitions(parameters)`` or ``partitions()``: a list of JSON values, or a
            mapping from partition name to value; or such a list or mapping itself. Values are
            stored as JSON and reach ``run`` through its first argument's annotation (S195).
        run: ``run(input, step)``, ``run(input)`` or ``run()``; returns a PartitionResult, an exit
            status or None; an exception is a FAILURE of this partition alone (S143, S160). Or a
            ChunkStep, whose reader, processor and writer are opened once a partition.
        workers: How many run at a time; 0 means as many as there are partitions (S142).
        executor: ``"threads"``; ``"inline"``, on the step's own thread and in order;
            ``"processes"``, for work that keeps a processor busy; ``"dask"``, the cluster of the
            program's Dask client; or any ``concurrent.futures.Executor``. In other processes
            ``run`` is found by its import path: a function at the top of a module, or, for a
            ChunkStep, a Job or step in a variable of one (S193).
        tolerated_failures: A count, or a fraction from 0.0 to 1.0 of all partitions (S163).
        collector: Runs beside each partition and tells the analyzer (S150).
        analyzer: Hears payloads and ends on the main thread, one at a time (S151).
        reducer: Hears the step as a whole begin, complete or roll back (S140).
        partition_override: A restart throws the plan and its results away (S157).
        replan_on_restart: A restart asks for the plan again and takes its inputs, number by number,
            as job files do; otherwise the frozen inputs are used (S156).
        timeout_s: After so many seconds of this step the execution is asked to stop (S186).
    """

    name: str
    partitions: Callable[..., Iterable[Any] | Mapping[str, Any]] | Sequence[Any] | Mapping[str, Any]
    run: Callable[..., Any] | ChunkStep[Any, Any] | Any
    workers: int = 0
    executor: ExecutorName | Any = "threads"
    tolerated_failures: float = 0
    collector: PartitionCollector | Any | None = None
    analyzer: PartitionAnalyzer | Any | None = None
    reducer: PartitionReducer | Any | None = None
    partition_override: bool = False
    replan_on_restart: bool = False
    transitions: Sequence[Transition] = ()
    next: str | None = None
    start_limit: int = 0
    allow_start_if_complete: bool = False
    listeners: Sequence[Any] = ()
    properties: Mapping[str, str] = field(default_factory=dict)
    timeout_s: float | None = None


Step: TypeAlias = TaskletStep | ChunkStep[Any, Any] | PartitionedStep
